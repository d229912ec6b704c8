"""The only module that reads the time."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """Return the present instant, aware UTC."""
    return datetime.now(UTC)


class VirtualClock:
    """A clock that stands still until it is moved; never backwards."""

    def __init__(self, start: datetime) -> None:
        """Start at an aware instant."""
        self._now = start.astimezone(UTC)

    def __call__(self) -> datetime:
        """Return the instant it was moved to last."""
        return self._now

    def move_to(self, at: datetime) -> None:
        """Move on to `at`; an instant that is past leaves the clock as it is."""
        self._now = max(self._now, at.astimezone(UTC))


class SpeedClock:
    """A clock that runs `speed` times as fast as the wall's, from `start`."""

    def __init__(self, start: datetime, speed: float) -> None:
        """Begin to run at once."""
        self._start = start.astimezone(UTC)
        self.speed = speed
        self._began = time.monotonic()

    def __call__(self) -> datetime:
        """Return the present instant of the faster time."""
        return self._start + timedelta(seconds=(time.monotonic() - self._began) * self.speed)
