"""Unipile's webhooks: proved by a secret, stored, and only then answered."""

import hmac
import json
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from clento_engine.provider.webhooks import account_in
from clento_engine.runtime.inbox import receive
from clento_engine.runtime.world import World
from clento_engine.store.database import Lost
from clento_engine.store.errors import DatabaseUnavailable

SECRET_HEADER = "Unipile-Auth"  # noqa: S105  its name; set by `register_webhook`
MOST_BYTES = 1024 * 1024  # of a body; a message with all its attendees has a few thousand

log = logging.getLogger(__name__)


class _Refused(Exception):
    """What is answered instead of 200; the provider tries five times more, then drops it."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def receiver(world: World, secret: str | None) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of Unipile's webhooks, of all accounts of all organisations.

    Those of accounts that nobody has are answered with 202, which says that they are not kept, so
    that they do not come again: one token of Unipile's may serve others too.  Logs say what came
    and what became of it, never what it says.
    """

    async def endpoint(request: Request) -> Response:
        told = {"path": request.url.path}
        try:
            _need_secret(request, secret)
            payload = await _payload(request)
            stored = await _store(world, payload)
        except _Refused as refused:
            log.warning(
                "webhook refused",
                extra={**told, "status": refused.status.value, "reason": refused.reason},
            )
            return JSONResponse({"error": refused.reason}, refused.status)
        if stored is None:
            log.warning("webhook unrouted", extra={**told, "account": account_in(payload)})
            return JSONResponse({"unrouted": True}, HTTPStatus.ACCEPTED)
        log.info("webhook received", extra={**told, "duplicate": not stored})
        return JSONResponse({"duplicate": not stored})

    return endpoint


def _need_secret(request: Request, secret: str | None) -> None:
    if not secret:
        raise _Refused(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "no secret for webhooks is set, so that none can be told from a forged one:"
            " set CLENTO_WEBHOOK_SECRET",
        )
    given = request.headers.get(SECRET_HEADER, "")
    # bytes, since text that is not ASCII cannot be compared; headers arrive as Latin-1
    if not hmac.compare_digest(given.encode("latin-1"), secret.encode()):
        raise _Refused(HTTPStatus.UNAUTHORIZED, f"the header {SECRET_HEADER} is not the secret")


async def _payload(request: Request) -> dict[str, Any]:
    """Read the body as JSON, whatever its content type: the provider's default names none."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BYTES:
                raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MOST_BYTES} bytes")
    except ClientDisconnect:
        raise _Refused(HTTPStatus.BAD_REQUEST, "the body broke off") from None
    try:
        payload = json.loads(bytes(body))
    except (ValueError, RecursionError):
        raise _Refused(HTTPStatus.BAD_REQUEST, "the body is not JSON") from None
    if not isinstance(payload, dict):
        raise _Refused(HTTPStatus.BAD_REQUEST, "the body is not a JSON object")
    return payload


async def _store(world: World, payload: dict[str, Any]) -> bool | None:
    try:
        return await receive(world, payload)
    except ValueError as error:
        raise _Refused(HTTPStatus.BAD_REQUEST, str(error)) from None
    except (DatabaseUnavailable, Lost):
        raise _Refused(
            HTTPStatus.SERVICE_UNAVAILABLE, "the database does not answer: try again later"
        ) from None
