"""Many seeds, in as many processes as there are processors."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from clento_engine.interface.chaos.virtual.case import Case, read_case

_LINE = 16 * 2**20  # bytes of an answer at most
Show = Callable[[Mapping[str, Any]], None]


class WorkerEnded(RuntimeError):
    """A process that plays ended by itself; the message is what it said last."""


@dataclass(slots=True)
class Sum:
    """What came of all of them."""

    seeds: int = 0
    leads: int = 0
    actions: int = 0
    walks: int = 0
    ended: int = 0
    seconds: float = 0.0  # of one process after the other
    findings: Counter[str] = field(default_factory=Counter)
    accidents: Counter[str] = field(default_factory=Counter)
    failed: list[Mapping[str, Any]] = field(default_factory=list)
    digests: dict[int, str] = field(default_factory=dict)

    def add(self, played: Mapping[str, Any]) -> None:
        """Add what came of one play."""
        self.seeds += 1
        for name in ("leads", "actions", "walks", "ended", "seconds"):
            setattr(self, name, getattr(self, name) + played[name])
        self.findings.update(played["findings"])
        self.accidents.update(played["accidents"])
        self.digests[played["seed"]] = played["digest"]
        if not played["clean"]:
            self.failed.append(played)

    @property
    def held_share(self) -> float:
        """The share of all leads of which only a person can tell what became of them."""
        return (self.findings["held"] + self.findings["unresolved"]) / max(self.leads, 1)


async def play_all(cases: Sequence[Case], *, show: Show, processes: int | None = None) -> Sum:
    """Play them all; `show` hears of each as it ends.  Raises WorkerEnded."""
    left = iter(cases)
    total = Sum()

    async def one() -> None:
        async with _Worker() as worker:
            for case in left:
                played = await worker.ask(case.to_json())
                total.add(played)
                show(played)

    count = min(len(cases), processes or os.cpu_count() or 1)
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(one())
    total.failed.sort(key=lambda played: int(played["seed"]))
    return total


async def shrink(case: Case, kinds: Sequence[str]) -> Case:
    """Return a smaller case that fails by one of these kinds."""
    async with _Worker() as worker:
        return read_case(await worker.ask({**case.to_json(), "shrink": list(kinds)}))


class _Worker:
    """A process that plays, while the context is open."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        package = Path(__file__).parents[4]
        path = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "clento_engine.interface.chaos.virtual"),
            env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": path},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LINE,
        )
        return self

    async def __aexit__(self, *_error: object) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        assert process.stdin is not None  # noqa: S101  it was asked for
        process.stdin.close()  # it ends its server, then itself
        try:
            async with asyncio.timeout(30):
                await process.wait()
        except TimeoutError:
            process.terminate()
            await process.wait()

    async def ask(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Have a case played."""
        process = self._process
        assert process is not None  # noqa: S101  the context is open
        assert process.stdin is not None  # noqa: S101  it was asked for
        assert process.stdout is not None  # noqa: S101  as above
        assert process.stderr is not None  # noqa: S101  as above
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        await process.stdin.drain()
        line = await process.stdout.readline()
        if not line:
            said = (await process.stderr.read()).decode(errors="replace")
            raise WorkerEnded(f"seed {asked['seed']}: {said[-3000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer
