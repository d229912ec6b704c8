"""Scenario 6, Operators: large files, large campaigns, and commands that must answer at once."""

import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.figures import Measured, Spread, spreads
from bench.population import Population, populate
from bench.result import Bar, Result, Rows
from bench.server import BenchServer
from bench.worker import WorkerFailed, measured, running
from clento_engine.domain.limits import bucket_at
from clento_engine.runtime.clock import system_clock

SIZES = {"100 k leads": 100_000, "1 M leads": 1_000_000}
LARGEST = "1 M leads"
SENDERS = 2_000
MANY_SENDERS = f"{SENDERS:,} senders"
PYTHON = sys.executable
CLENTO = str(Path(PYTHON).with_name("clento"))
LOOK_EVERY_S = 0.02
NOBODY = "http://127.0.0.1:9"  # nothing is due, so nobody is asked
REPEATS = 15  # of commands that take less than a second

# What an idle tick and a help are held against: the imports that they cannot do without.
STARTS: Mapping[str, Sequence[str]] = {
    "clento tick, nothing due": (CLENTO, "tick", "--json"),
    "import sqlalchemy, psycopg": (PYTHON, "-c", "import sqlalchemy, psycopg"),
    "clento --help": (CLENTO, "--help"),
    "import click": (PYTHON, "-c", "import click"),
}
HELP_BESIDES_S = 0.1


def operators(
    server: BenchServer, *, rounds: int, sizes: Mapping[str, int] = SIZES, repeats: int = REPEATS
) -> Result:
    """Measure imports, starts and answers by size, then the commands that are started often."""
    runs: dict[str, list[Measured]] = {label: [] for label in sizes}
    with tempfile.TemporaryDirectory() as folder:
        files = {label: Path(folder) / f"{leads}.csv" for label, leads in sizes.items()}
        for label, file in files.items():
            _write(file, sizes[label])
        for _ in range(rounds):
            for label, file in files.items():
                runs[label].append(_walked(server, file, sizes[label]))
    runs[MANY_SENDERS] = many_senders(server, rounds)
    rows: dict[str, dict[str, Spread]] = {label: spreads(each) for label, each in runs.items()}
    return result({**rows, **_starts(server, repeats)})


def _walked(server: BenchServer, file: Path, leads: int) -> Measured:
    """Import a file, start a campaign with it, and ask it everything."""
    url = server.create_ours("operators")
    found: dict[str, float] = {}
    _clento(url, "org", "create", "Bench")
    _clento(
        url,
        *("account", "add", "--unipile-id", "bench", "--name", "Lea", "--tier", "premium"),
        *("--zone", "Europe/Berlin"),
    )
    imported, found["import_s"], found["import_mb"] = _clento(
        url, "leads", "import", str(file), "--list", "all", "--json"
    )
    if imported["added"] != leads:
        raise WorkerFailed(f"{imported['added']} of {leads} leads were imported")
    _clento(
        url,
        *("campaign", "create", "c", "--workflow", "examples/outreach.json", "--list", "all"),
        *("--sender", "Lea", "--inmail-subject", "A question"),
    )
    started, found["start_s"], found["start_mb"] = _clento(
        url, "campaign", "start", "c", "--skip-unready", "--json"
    )
    if started["leads"] != leads:
        raise WorkerFailed(f"{started['leads']} of {leads} leads were enrolled")
    server.settle_down("operators")
    found |= measured("operate", url=url, campaign="c")
    _, found["status_command_s"], found["status_command_mb"] = _clento(
        url, "campaign", "status", "c", "--json"
    )
    server.drop("operators")
    return found


def many_senders(server: BenchServer, rounds: int, senders: int = SENDERS) -> list[Measured]:
    """Ask how a campaign of thousands of senders stands, each of whom has worked since morning."""
    url = server.create_ours("senders")
    now = system_clock()
    with server.admin("senders") as conn:
        populate(conn, Population(parked=10 * senders, senders=senders), now)
        conn.execute(_WORKED, {"bucket": bucket_at(now), "hours": HOURS_WORKED})
    server.settle_down("senders")
    runs: list[Measured] = [measured("stand", url=url) for _ in range(rounds)]
    server.drop("senders")
    return runs


HOURS_WORKED = 3
_WORKED = """
insert into rate_counters (organization_id, account_id, operation, bucket_at, used)
select organization_id, account_id, operation, %(bucket)s::timestamptz - interval '1 hour' * n, 2
  from rate_limits, generate_series(1, %(hours)s) n
 where operation in ('profile_visit', 'invitation', 'message')
"""


def _write(file: Path, leads: int) -> None:
    """Write a file of people as an export holds them."""
    with file.open("w", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(("First Name", "Last Name", "Company", "Email", "Person Linkedin Url"))
        for number in range(leads):
            rows.writerow(
                (
                    "Ada",
                    f"Moss {number}",
                    f"Company {number % 5000}",
                    f"ada-{number}@company-{number % 5000}.example",
                    f"https://www.linkedin.com/in/ada-moss-{number}",
                )
            )


def _starts(server: BenchServer, repeats: int) -> dict[str, dict[str, Spread]]:
    """Run the commands that are started often, in turn; how long each took as a whole process."""
    url = server.create_ours("idle")
    with server.admin("idle") as conn:
        populate(conn, Population(parked=10_000, senders=100, campaigns=10), system_clock())
        conn.execute(
            "insert into installation (provider_kind, provider_dsn, bound_at)"
            " values ('real', %s, now())",
            (NOBODY,),
        )
    runs: dict[str, list[Measured]] = {label: [] for label in STARTS}
    for _ in range(repeats):
        for label, command in STARTS.items():
            _, seconds, peak_mb = run(command, _environment(url))
            runs[label].append({"whole_s": seconds, "rss_mb": peak_mb})
    server.drop("idle")
    return {label: spreads(each) for label, each in runs.items()}


def _environment(url: str) -> dict[str, str]:
    return {
        "DATABASE_URL": url,
        "UNIPILE_DSN": NOBODY,
        "UNIPILE_ACCESS_TOKEN": "bench",
    }


def _clento(url: str, *words: str) -> tuple[dict[str, Any], float, float]:
    """Run a command; its JSON if it was asked for, its seconds and its peak memory in MB."""
    said, seconds, peak_mb = run((CLENTO, *words), _environment(url))
    return json.loads(said) if "--json" in words else {}, seconds, peak_mb


def run(command: Sequence[str], environment: Mapping[str, str]) -> tuple[str, float, float]:
    """Run a command to its end; what it said, its seconds, and its peak memory in MB.

    Raises WorkerFailed when its status is not 0.
    """
    peak_kb = 0
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        began = time.perf_counter()
        with running(command, environment=environment, stdout=out, stderr=errors) as process:
            while process.poll() is None:
                peak_kb = max(peak_kb, _peak_kb(process.pid))
                try:
                    process.wait(LOOK_EVERY_S)
                except subprocess.TimeoutExpired:
                    continue
        seconds = time.perf_counter() - began
        out.seek(0)
        errors.seek(0)
        if process.returncode != 0:
            raise WorkerFailed(
                f"{' '.join(command)} ended with {process.returncode}: {errors.read()}"
            )
        return out.read(), seconds, peak_kb * 1024 / 1e6


def _peak_kb(pid: int) -> int:
    """Return the most memory a process had so far; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(x.split()[1]) for x in status.splitlines() if x.startswith("VmHWM")), 0)


def result(rows: Rows) -> Result:
    """Hold what operators wait for against its bars."""
    whole = {label: _median(rows, label, "whole_s") for label in STARTS}
    tick, imports = whole["clento tick, nothing due"], whole["import sqlalchemy, psycopg"]
    told, click = whole["clento --help"], whole["import click"]
    return Result(
        "operators",
        "Operators",
        "Whole processes for import, start, status and the commands that are started often; pause, "
        "resume, stop and status also as calls in a process that is connected already.  Of "
        f"{MANY_SENDERS}, each has visited, invited and written in each of {HOURS_WORKED} hours.",
        rows,
        (
            *_answers(rows),
            Bar(
                "clento tick with nothing due, to importing SQLAlchemy and psycopg",
                3.0,
                None if tick is None or imports is None else tick / imports,
                "×",
            ),
            Bar(
                "clento --help, less twice importing click",
                HELP_BESIDES_S,
                None if told is None or click is None else told - 2 * click,
                " s",
            ),
        ),
    )


def _answers(rows: Rows) -> Iterable[Bar]:
    least, most = next(iter(SIZES)), LARGEST
    for text, name, limit, unit in (
        ("import", "import_s", 90.0, " s"),
        ("enrollment", "start_s", 60.0, " s"),
        ("pause", "pause_ms", 50.0, " ms"),
        ("resume", "resume_ms", 50.0, " ms"),
        ("stop", "stop_ms", 50.0, " ms"),
        ("status", "status_ms", 50.0, " ms"),
    ):
        yield Bar(f"1 M leads: {text}", limit, _median(rows, most, name), unit)
    yield Bar(f"{MANY_SENDERS}: status", 50.0, _median(rows, MANY_SENDERS, "status_ms"), " ms")
    for text, name in (("import", "import_mb"), ("enrollment", "start_mb")):
        large, small = _median(rows, most, name), _median(rows, least, name)
        yield Bar(
            f"Memory of an {text}, 1 M leads to 100 k",
            1.1,
            None if large is None or small is None else large / small,
            "×",
        )


def _median(rows: Rows, label: str, name: str) -> float | None:
    found = rows.get(label, {}).get(name)
    return None if found is None else found.median
