"""Routes of webhooks."""

from clento_engine.simulator import payloads
from clento_engine.simulator.asgi import Answer, Handler, Request
from clento_engine.simulator.refusal import Refusal
from clento_engine.simulator.routes.paging import list_answer, page_of
from clento_engine.simulator.webhook_events import register_webhook
from clento_engine.simulator.world import World


class WebhookRoutes:
    """Webhooks: registered, listed, removed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.handlers: dict[str, Handler] = {
            "POST /webhooks": self.create_webhook,
            "GET /webhooks": self.webhooks,
            "DELETE /webhooks/{id}": self.delete_webhook,
        }

    def create_webhook(self, request: Request) -> Answer:
        """Register a webhook."""
        webhook = register_webhook(self.world, request.json)
        return Answer({"object": "WebhookCreated", "webhook_id": webhook.id}, 201)

    def webhooks(self, request: Request) -> Answer:
        """List the webhooks."""
        known = list(self.world.webhooks.values())
        page, cursor = page_of(request, known, default=100, most=250)
        return list_answer("WebhookList", map(payloads.webhook, page), cursor)

    def delete_webhook(self, _request: Request, webhook_id: str) -> Answer:
        """Remove a webhook."""
        if self.world.webhooks.pop(webhook_id, None) is None:
            raise Refusal("resource_not_found", "No such webhook.")
        return Answer({"object": "WebhookDeleted"})
