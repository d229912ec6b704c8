"""The process in which something of ours is measured: `python -m bench.worker NAME ARGUMENTS`.

ARGUMENTS are one JSON object, the answer is one JSON line on standard output.
"""

import cProfile
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

PROJECT = Path(__file__).resolve().parent.parent
LONGEST_S = 560
PATIENCE_S = 30  # with a process that was told to end: a demo stops its servers first

# Each is the function of that name in its module, which is imported only where it is called:
# another checkout's engine need not have what other work needs.
WORK: Mapping[str, str] = {
    "add_senders": "bench.wire",
    "bare": "bench.wire",
    "claims": "bench.claims",
    "drain": "bench.drain",
    "idle": "bench.drain",
    "lateness": "bench.drain",
    "operate": "bench.operate",
    "over_http": "bench.wire",
    "prepare": "bench.prepare",
    "shared": "bench.drain",
    "soak": "bench.drain",
    "stand": "bench.operate",
}


class WorkerFailed(Exception):
    """A measured process ended badly; the message has its last words."""


_running: set[subprocess.Popen[str]] = set()


@contextmanager
def running(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    checkout: Path = PROJECT,
    **streams: Any,  # noqa: ANN401  Popen's own
) -> Iterator[subprocess.Popen[str]]:
    """Run a command of ours beside a `with`; when that is left too early, it is told to end.

    `python -m` finds the engine in `checkout`.
    """
    with subprocess.Popen(  # noqa: S603  our own commands
        command, cwd=checkout, env={**os.environ, **environment}, text=True, **streams
    ) as process:
        _running.add(process)
        try:
            yield process
        finally:
            _end(process)
            _running.discard(process)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()


def end_in_order_on_sigterm() -> None:
    """Let SIGTERM end what is measured, then us by way of every `with`: no server is left."""

    def end(*_: object) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: we are ending
        for process in tuple(_running):
            process.terminate()
        sys.exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)


def measured(
    name: str,
    *,
    profile: Path | None = None,
    limit_s: float = LONGEST_S,
    checkout: Path = PROJECT,
    **arguments: object,
) -> dict[str, Any]:
    """Do a piece of work in a new process; return its answer.  Raises WorkerFailed."""
    environment = {} if profile is None else {"BENCH_PROFILE": str(profile.resolve())}
    return answer_of(
        _command(name, arguments), environment=environment, limit_s=limit_s, checkout=checkout
    )


def together(name: str, processes: int, **arguments: object) -> list[dict[str, Any]]:
    """Do a piece of work in several new processes at once.  Raises WorkerFailed."""
    run = partial(answer_of, _command(name, arguments), environment={})
    with ThreadPoolExecutor(processes) as pool:
        return [each.result() for each in [pool.submit(run) for _ in range(processes)]]


def _command(name: str, arguments: Mapping[str, object]) -> list[str]:
    return [sys.executable, "-m", "bench.worker", name, json.dumps(arguments, default=str)]


def answer_of(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    limit_s: float = LONGEST_S,
    checkout: Path = PROJECT,
) -> dict[str, Any]:
    """Run a command that prints one JSON object as its last line; return that.

    Raises WorkerFailed.
    """
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with running(command, environment=environment, checkout=checkout, **pipes) as process:
        try:
            told, errors = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired as late:
            raise WorkerFailed(f"{command[0]} did not end in {limit_s:.0f} s") from late
    if process.returncode != 0:
        said = "\n".join((errors or told).splitlines()[-12:])
        raise WorkerFailed(f"{' '.join(command[:4])} ended with {process.returncode}:\n{said}")
    answer: dict[str, Any] = json.loads(told.splitlines()[-1])
    return answer


def main() -> None:
    """Do one piece of work, under cProfile if the environment asks for it."""
    name, arguments = sys.argv[1], json.loads(sys.argv[2])
    work = getattr(import_module(WORK[name]), name)
    if to := os.environ.get("BENCH_PROFILE"):
        profiler = cProfile.Profile()
        answer = profiler.runcall(work, **arguments)
        profiler.dump_stats(to)
    else:
        answer = work(**arguments)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
