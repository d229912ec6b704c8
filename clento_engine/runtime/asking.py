"""Something that is looked at before every request: the time that is left, a lease."""

import inspect
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, cast

from clento_engine.provider.port import Provider

MayGoOn = Callable[[], bool]


def always() -> bool:
    """Say that there is time left."""
    return True


def looking(provider: Provider, look: Callable[[], Awaitable[None]]) -> Provider:
    """Return `provider` so that `look` is awaited before each of its requests, and may raise."""
    return cast("Provider", _Looking(provider, look))


class _Looking:
    def __init__(self, provider: Provider, look: Callable[[], Awaitable[None]]) -> None:
        self._provider = provider
        self._look = look

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever the provider has
        found = getattr(self._provider, name)
        if not inspect.iscoroutinefunction(found):
            return found

        @wraps(found)
        async def ask(*given: object, **named: object) -> object:
            await self._look()
            return await found(*given, **named)

        return ask
