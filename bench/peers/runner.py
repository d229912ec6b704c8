"""What the peers' runners share: imported in their environments, so it needs nothing of ours.

A runner is called with `prepare URL JOBS` or `work URL JOBS` and prints one JSON object.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path


class Watch:
    """Counts jobs, and takes the time when the last one is done."""

    def __init__(self, jobs: int) -> None:
        """Start now."""
        self.jobs, self.done = jobs, 0
        self.over = asyncio.Event()
        self._began, self._cpu = time.perf_counter(), time.process_time()
        self._seconds = self._cpu_s = 0.0

    def tick(self) -> None:
        """Count one job."""
        self.done += 1
        if self.done == self.jobs:
            self.stop()

    def stop(self) -> None:
        """Take the time; again when there is more that belongs to the jobs, such as their ends."""
        self._seconds = time.perf_counter() - self._began
        self._cpu_s = time.process_time() - self._cpu
        self.over.set()

    def told(self) -> dict[str, float]:
        """Return what was measured."""
        return {
            "jobs": self.done,
            "seconds": self._seconds,
            "cpu_s": self._cpu_s,
            "rss_mb": peak_rss_mb(),
        }


def peak_rss_mb() -> float:
    """Return the most memory this process ever had, in MB of a million bytes.

    Not getrusage's, which begins with what the process had that this one was forked from.
    """
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) * 1024 / 1e6


def run(
    prepare: Callable[[str, int], Coroutine[None, None, None]],
    work: Callable[[str, int], Coroutine[None, None, dict[str, float]]],
) -> None:
    """Do what the command line says."""
    what, url, jobs = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if what == "prepare":
        asyncio.run(prepare(url, jobs))
        print("{}")
        return
    print(json.dumps(new_runner().run(work(url, jobs))))


def new_runner() -> asyncio.Runner:
    """Return the quickest event loop that the environment has."""
    try:
        import uvloop  # noqa: PLC0415  not every peer asks for it
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)
