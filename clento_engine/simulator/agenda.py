"""What is going to happen, and when."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Happening(Generic[T]):
    """One thing to come: `act` is called, and what it returns is for whoever empties the agenda."""

    at: datetime
    act: Callable[[], T]


class Agenda(Generic[T]):
    """Happenings in order of time; at the same instant, in the order they were planned."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, int, Happening[T]]] = []
        self._planned = 0
        self.on_earlier: Callable[[], None] = lambda: None  # called when the next instant moves up

    def plan(self, at: datetime, act: Callable[[], T]) -> None:
        """Have `act` called at `at`."""
        self._planned += 1
        earlier = not self._heap or at < self._heap[0][0]
        heapq.heappush(self._heap, (at, self._planned, Happening(at, act)))
        if earlier:
            self.on_earlier()

    @property
    def next_at(self) -> datetime | None:
        """The instant of the next happening."""
        return self._heap[0][0] if self._heap else None

    def take(self, until: datetime) -> Happening[T] | None:
        """Remove and return the next happening, if it is due by `until`."""
        if not self._heap or self._heap[0][0] > until:
            return None
        return heapq.heappop(self._heap)[2]

    def __len__(self) -> int:
        return len(self._heap)
