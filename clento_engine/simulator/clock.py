"""The simulator's time: moved by hand, or running at a multiple of real time."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import lru_cache

Clock = Callable[[], datetime]


class DrivenClock:
    """Time that stands still until it is moved.  Aware UTC; never goes backwards."""

    speed = 0.0

    def __init__(self, start: datetime) -> None:
        self._now = start

    def __call__(self) -> datetime:
        return self._now

    def move(self, to: datetime) -> None:
        """Make it `to`; an instant that is over changes nothing."""
        self._now = max(self._now, to)


class RunningClock:
    """Time that began at `start` and runs `speed` times as fast as a monotonic clock."""

    def __init__(
        self, start: datetime, speed: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.speed = speed
        self._start = start
        self._monotonic = monotonic
        self._began = monotonic()

    def __call__(self) -> datetime:
        return self._start + timedelta(seconds=(self._monotonic() - self._began) * self.speed)


def http_date(at: datetime) -> bytes:
    """Write an instant as HTTP's Date header does, in whole seconds (RFC 7231, 7.1.1.1)."""
    return _http_date(at.replace(microsecond=0))


@lru_cache(maxsize=1)  # the answers of one second have the same
def _http_date(at: datetime) -> bytes:
    return format_datetime(at.astimezone(UTC), usegmt=True).encode()


def iso_ms(at: datetime) -> str:
    """Write an instant as Unipile does: UTC, milliseconds, Z."""
    return at.isoformat(timespec="milliseconds")[:-6] + "Z"


def iso_exact(at: datetime) -> str:
    """Write an instant with all its digits: the ledger is judged to the microsecond."""
    return at.isoformat(timespec="microseconds")[:-6] + "Z"
