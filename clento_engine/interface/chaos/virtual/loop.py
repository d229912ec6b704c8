"""An event loop whose time goes on only when nothing is left to do.

All that is ready runs first; then what the database answers is waited for, while time stands; and
only when nobody is waited for, time jumps to the next timer.  So a month passes in seconds, and how
fast the machine is changes nothing: the same seed meets the same moments.
"""

import asyncio
import selectors
import time
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

AT_ONCE = 1e-6  # seconds: two timers nearer to each other ring together

Tasks = WeakKeyDictionary["asyncio.Task[Any]", None]  # in the order in which they began
of_process: ContextVar[Tasks] = ContextVar("of_process")
"""The tasks of the process that the running one is of: it puts those into it that it begins."""


class NothingLeft(RuntimeError):
    """Everybody waits, and nothing will ever come."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that reads no clock."""

    def __init__(self) -> None:
        self._passed_s = 0.0
        self.waiting_for_quiet: list[asyncio.Future[None]] = []
        super().__init__(_Jumping(self))
        self._clock_resolution = AT_ONCE
        self.set_task_factory(_begun)

    def time(self) -> float:
        """Return how many seconds have passed."""
        return self._passed_s

    async def quiet(self) -> None:
        """Return when everybody else who could go on has gone on, to where they wait."""
        here: asyncio.Future[None] = self.create_future()
        self.waiting_for_quiet.append(here)
        await here

    def jump(self, by_s: float) -> None:
        """Let time go on."""
        self._passed_s += by_s


class _Jumping(selectors.DefaultSelector):
    """Waits for sockets as long as it takes, and for time not at all."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return []  # whoever is ready goes on first, whatever has come meanwhile
        if self._loop.waiting_for_quiet:
            waiting, self._loop.waiting_for_quiet = self._loop.waiting_for_quiet, []
            for each in waiting:
                if not each.done():
                    each.set_result(None)
            return []
        if len(self.get_map()) > 1:  # more than the loop's own
            return super().select(None)
        if timeout is None:
            raise NothingLeft
        self._loop.jump(timeout)
        return []


def _begun(
    loop: asyncio.AbstractEventLoop,
    coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
    **named: Any,  # noqa: ANN401 - asyncio's own
) -> "asyncio.Task[Any]":
    task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **named)
    tasks = of_process.get(None)
    if tasks is not None:
        tasks[task] = None
    return task


@contextmanager
def clocked_by(loop: VirtualLoop) -> Iterator[None]:
    """Let `loop` tell the whole process how long things take."""
    before, time.monotonic = time.monotonic, loop.time
    try:
        yield
    finally:
        time.monotonic = before
