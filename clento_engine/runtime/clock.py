"""The only module that reads the time."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from clento_engine.runtime.errors import ClockSkew

Clock = Callable[[], datetime]

# Of real time.  More than clocks kept by NTP ever differ; far less than the shortest thing that is
# measured by two of them, which is what a lease outlasts its requests by.
MOST_SKEW = timedelta(seconds=5)


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


class SteadyClock:
    """A clock that is not read any more once it has jumped: every reading then raises ClockSkew.

    Leases, limits and working hours hold because the clocks of all tickers agree.  A host's clock
    that is set, or that went on while the machine slept, parts from the monotonic clock by as much:
    better to end, and be started anew, than to act at a wrong time.
    """

    def __init__(self, clock: Clock, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Trust `clock` as it is now."""
        self.speed = speed_of(clock)
        self._clock = clock
        self._monotonic = monotonic
        self._began, self._began_at = monotonic(), clock()

    def __call__(self) -> datetime:
        """Return the present instant.  Raises ClockSkew."""
        now = self._clock()
        passed = timedelta(seconds=(self._monotonic() - self._began) * self.speed)
        skew = now - self._began_at - passed
        if abs(skew) > MOST_SKEW * self.speed:
            raise ClockSkew(skew)
        return now


def speed_of(clock: Clock) -> float:
    """Return how many times as fast as real time a clock runs."""
    return float(getattr(clock, "speed", 1.0))


def require_agreement(clock: Clock, before: datetime, told: datetime, whose: str) -> None:
    """Raise ClockSkew when `told`, asked for since `before` by `clock`, is not the same time."""
    most = MOST_SKEW * speed_of(clock)
    after = clock()
    if before - most <= told <= after + most:
        return
    skew = (before - told) if told < before else (after - told)
    raise ClockSkew(skew, whose)
