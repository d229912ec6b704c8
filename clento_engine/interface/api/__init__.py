"""HTTP in: today the provider's webhooks and a sign of life."""

from clento_engine.interface.api.app import create_app
from clento_engine.interface.api.server import serve

__all__ = ["create_app", "serve"]
