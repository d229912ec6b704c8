"""Whether "not there" is said of the person, or of the account that asked.

Unipile answers 404 to everything that is asked in the name of an account that it no longer has.
"""

import asyncio
import time
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from clento_engine.domain.failure import Fail, Failure, Pause, Retry, Skip, Wait
from clento_engine.provider.port import Account, Provider


@dataclass(slots=True)
class _Asked:
    """What the provider said of an account last, and when it was asked."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    at: float | None = None
    failure: Failure | None = None


_asked: WeakKeyDictionary[Provider, dict[str, _Asked]] = WeakKeyDictionary()


async def whose_absence(provider: Provider, account: str) -> Failure | None:
    """Say why a 404 that came just now is none about the person; None when it is.

    Asks for the account, free of LinkedIn traffic.  Many that come together share one question: it
    counts for every 404 that was there before it was asked.
    """
    came_at = time.monotonic()
    asked = _asked.setdefault(provider, {}).setdefault(account, _Asked())
    async with asked.turn:
        if asked.at is None or asked.at <= came_at:
            at = time.monotonic()
            asked.failure = _failure(await provider.account(account))
            asked.at = at
        return asked.failure


def _failure(answer: Account | Failure) -> Failure | None:
    match answer:
        case Account(usable=True):
            return None
        case Account(status=status):
            return Pause(status)
        case Skip(reason) | Fail(reason):  # says nothing of the account
            return Retry(reason)
        case Retry() | Wait() | Pause():
            return answer
