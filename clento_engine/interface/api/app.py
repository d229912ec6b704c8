"""The application: every room's routes, put together."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from clento_engine.interface.api.receiver import receiver
from clento_engine.runtime.registration import PATH
from clento_engine.runtime.world import World


def create_app(world: World, *, secret: str | None) -> Starlette:
    """Return the application; without `secret` it refuses every webhook."""
    webhooks = receiver(world, secret)
    return Starlette(
        routes=[
            Route("/healthz", _healthz),
            Route(PATH, webhooks, methods=["POST"]),
            # as versions before registered it: until that is deleted, it brings the same webhooks
            Route(f"{PATH}/{{organization_id:uuid}}", webhooks, methods=["POST"]),
        ]
    )


async def _healthz(_request: Request) -> JSONResponse:
    """Say that the process answers; whether there is work to do is `clento tick`'s to say."""
    return JSONResponse({"status": "ok"})
