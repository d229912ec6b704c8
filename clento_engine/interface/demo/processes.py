"""The demo's processes: the simulator, and the ticker that is started again when it dies."""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime

from clento_engine.interface.demo.__main__ import DAYS_OVER
from clento_engine.interface.demo.ticker import Role

MOST_STARTS = 100  # of a ticker that keeps dying: then it is the program, not somebody's kill


class TickerFailed(Exception):
    """The ticker ended with an error of its own; the message is what it said last."""


@asynccontextmanager
async def simulator_process(*, seed: int, start: datetime) -> AsyncIterator[str]:
    """Run the simulator while the context is open, its time moved by requests; its URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "clento_engine.simulator", "--port", "0", "--speed", "0"),
        *("--accounts", "0", "--seed", str(seed), "--start", start.isoformat()),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None  # noqa: S101  it was asked for
    try:
        line = await process.stdout.readline()
        if not line:
            raise RuntimeError(f"the simulator did not start: exit {await process.wait()}")
        yield json.loads(line)["url"]
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def supervise(role: Role, *, on_restart: "OnRestart") -> bool:
    """Run ticker processes, one after the other, until one sees the campaign end.

    One that was killed is replaced.  False when the days were over first.
    Raises TickerFailed when a ticker ends by an error of its own.
    """
    told = json.dumps(asdict(role), default=str)
    for _ in range(MOST_STARTS):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "clento_engine.interface.demo", told),
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, said = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode in (0, DAYS_OVER):
            return process.returncode == 0
        if process.returncode is None or process.returncode > 0:
            raise TickerFailed(said.decode(errors="replace")[-2000:])
        on_restart(-process.returncode)
    raise TickerFailed(f"it was killed {MOST_STARTS} times")


class OnRestart:
    """Counts the tickers that were killed."""

    def __init__(self) -> None:
        self.killed = 0

    def __call__(self, _signal: int) -> None:
        """Hear that a ticker was killed by a signal."""
        self.killed += 1


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
