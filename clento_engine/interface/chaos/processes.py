"""The processes of a storm: each leads a group of its own, and none outlives the storm."""

import asyncio
import atexit
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_CLENTO = "from clento_engine.interface.cli import main; main()"
_living: set[int] = set()  # groups to be ended with us, whatever happens


@atexit.register
def _end_all() -> None:
    for group in list(_living):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


async def start(*command: str, env: Mapping[str, str], log: Path) -> asyncio.subprocess.Process:
    """Start a process in a group of its own, its stderr appended to `log`."""
    with log.open("ab") as said:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            env={**os.environ, **env},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=said,
            start_new_session=True,
        )
    _living.add(process.pid)
    return process


async def end(process: asyncio.subprocess.Process, number: int = signal.SIGKILL) -> None:
    """Signal a process, and see it end."""
    with suppress(ProcessLookupError):
        os.kill(process.pid, number)
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGCONT)  # a stopped one ends by SIGKILL only
    await process.wait()
    _living.discard(process.pid)


@asynccontextmanager
async def simulator(told: Mapping[str, object], log: Path) -> AsyncIterator[str]:
    """Run the provider while the context is open; its URL."""
    process = await start("-m", "clento_engine.interface.chaos", json.dumps(told), env={}, log=log)
    assert process.stdout is not None  # noqa: S101  it was asked for
    try:
        line = await process.stdout.readline()
        if not line:
            raise RuntimeError(f"the simulator did not start: see {log}")
        yield json.loads(line)["url"]
    finally:
        await end(process)


@dataclass(eq=False, slots=True)
class Ticker:
    """One ticker process."""

    process: asyncio.subprocess.Process
    name: str
    began: float
    is_stopped: bool = False
    is_spared: bool = False

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.returncode is None


@dataclass(slots=True)
class Fleet:
    """All tickers.  Those that run as a service are started again when they end."""

    env: Mapping[str, str]
    folder: Path
    tickers: set[Ticker] = field(default_factory=set)
    started: int = 0
    failed: int = 0  # ended by an error of their own
    _watching: set[asyncio.Task[None]] = field(default_factory=set)
    _closing: bool = False

    @property
    def targets(self) -> list[Ticker]:
        """Those that a signal can reach and is meant for, in the order of their start."""
        alive = (each for each in self.tickers if each.is_alive and not each.is_spared)
        return sorted(alive, key=lambda each: each.began)

    def keep(self, name: str, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        """Run a ticker, and another whenever it ends."""
        self._watch(self._kept(name, arguments, env or {}))

    def once(
        self,
        name: str,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        ended: Callable[[int], None] | None = None,
    ) -> None:
        """Run a ticker to its end; with `ended`, which is called with its status, spare it."""
        self._watch(self._one(name, arguments, env or {}, ended))

    async def close(self) -> None:
        """Kill them all."""
        self._closing = True
        for task in list(self._watching):
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)

    def _watch(self, running: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(running)
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    async def _kept(self, name: str, arguments: tuple[str, ...], env: Mapping[str, str]) -> None:
        while not self._closing:
            await self._one(name, arguments, env)
            await asyncio.sleep(0.1)

    async def _one(
        self,
        name: str,
        arguments: tuple[str, ...],
        env: Mapping[str, str],
        ended: Callable[[int], None] | None = None,
    ) -> None:
        process = await start(
            "-c", _CLENTO, *arguments, env={**self.env, **env}, log=self.folder / f"{name}.log"
        )
        self.started += 1
        began = asyncio.get_running_loop().time()
        ticker = Ticker(process, name, began, is_spared=ended is not None)
        self.tickers.add(ticker)
        try:
            await process.communicate()
            status = process.returncode or 0
            self.failed += status > 0
            if ended is not None:
                ended(status)
        finally:
            self.tickers.discard(ticker)
            await end(process)
