"""Writing `results.json` and `README.md`: what was measured, where, by which versions."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.result import Result, from_json

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
README = HERE / "README.md"

UNITS = {
    "steps_per_s": "a second",
    "client_cpu_ms": "client CPU, ms each",
    "server_cpu_ms": "server CPU, ms each",
    "simulator_cpu_ms": "simulator CPU, ms each",
    "commits": "commits each",
    "wal_bytes": "WAL, B each",
    "rows_written": "rows written each",
    "blocks": "blocks looked at each",
    "blocks_to_first": "blocks / first's",
    "early_mb": "early RSS, MB",
    "late_mb": "late RSS, MB",
    "grown_mb": "growth, MB",
    "rss_mb": "peak RSS, MB",
    "ours_over_theirs": "ours / theirs",
    "claim_p50_ms": "claim p50, ms",
    "claim_p99_ms": "claim p99, ms",
    "settle_p50_ms": "settle p50, ms",
    "idle_tick_p50_ms": "idle tick p50, ms",
    "idle_tick_p99_ms": "idle tick p99, ms",
    "lateness_p50_s": "lateness p50, s",
    "lateness_p99_s": "lateness p99, s",
    "lateness_last_s": "the last, s",
    "small_p50_s": "small tenants p50, s",
    "small_last_s": "small tenants' last, s",
    "waits_share": "share of transactions that waited",
    "longest_wait_ms": "longest wait, ms",
    "import_s": "import, s",
    "import_mb": "its memory, MB",
    "start_s": "start, s",
    "start_mb": "its memory, MB",
    "pause_ms": "pause, ms",
    "resume_ms": "resume, ms",
    "stop_ms": "stop, ms",
    "status_ms": "status, ms",
    "status_command_s": "status command, s",
    "status_command_mb": "its memory, MB",
    "whole_s": "whole process, s",
    "virtual_days_per_s": "virtual days a second",
    "executions_written": "leads' rows written each",
    "claim_to_first": "claim p50 / first's",
    "speed_to_first": "speed / first's",
}

Table = tuple[Sequence[str], Sequence[Sequence[str]]]


def save(
    result: Result,
    empty: Mapping[str, Result],
    *,
    now: datetime,
    minutes: float,
    settings: dict[str, str],
) -> None:
    """Put the result, which took so many minutes, among the others; write both files anew.

    `empty` has every scenario, in the page's order, as it is when it was not measured.
    """
    saved: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    about = {
        "when": f"{now:%Y-%m-%d %H:%M} UTC",
        "minutes": round(minutes, 1),
        "commit": commit(),
        "postgresql": settings,
        **machine(),
    }
    saved[result.name] = {"about": about, **result.to_json()}
    kept = {name: saved[name] for name in empty if name in saved}
    RESULTS.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    README.write_text(page(kept, empty))


def page(saved: Mapping[str, Any], empty: Mapping[str, Result]) -> str:
    """Return the page of all results; a scenario that was not measured has bars and no table."""
    results = {name: from_json(name, each) for name, each in saved.items()}
    bars = [bar for result in {**empty, **results}.values() for bar in result.bars]
    blocks = [
        _HEAD,
        "## Bars",
        markdown((("bar", *_TOLD), [(bar.text, *bar.told()) for bar in bars])),
    ]
    for name, result in results.items():
        about = saved[name]["about"]
        blocks += [f"## {result.title}", result.how, markdown(table(result))]
        blocks += ["\n".join(f"- {note}" for note in result.notes)] if result.notes else []
        took = f" in {about['minutes']} minutes" if "minutes" in about else ""
        blocks.append(f"Measured {about['when']} at {about['commit']}{took}.")
    blocks += [_where(each["about"]) for each in list(saved.values())[-1:]]
    return "\n\n".join(block.strip() for block in blocks) + "\n"


_TOLD = ("needed", "measured", "verdict")


def table(result: Result) -> Table:
    """Return a result's figures, a row for each of what was measured."""
    names = list(dict.fromkeys(name for row in result.rows.values() for name in row))
    head = ["", *(UNITS.get(name, name.replace("_", " ")) for name in names)]
    rows = [
        [label, *("" if name not in figures else str(figures[name]) for name in names)]
        for label, figures in result.rows.items()
    ]
    return head, rows


def markdown(table: Table) -> str:
    """Write a table; the first column is text, the others are numbers."""
    head, rows = table
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *rows)) + "\n"


def machine() -> dict[str, str]:
    """Say what this was measured on, without naming it."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory_kb = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "cpu": f"{os.cpu_count()} × {model}",
        "memory": f"{memory_kb / 1e6:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def commit(folder: Path = HERE) -> str:
    """Return the commit checked out around a `folder` of it, with a + when files differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(  # noqa: S603  git, with our own words
            ["git", *words],  # noqa: S607
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "..", ":!results.json")
    return (git("rev-parse", "--short", "HEAD") or "no commit") + ("+" if changed else "")


def _where(about: dict[str, Any]) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in about["postgresql"].items())
    return (
        "## Where\n\n"
        f"{about['cpu']}, {about['memory']}, {about['system']}, Python {about['python']}.\n"
        f"PostgreSQL: {settings}.\n"
    )


_HEAD = """# The benchmark

Written by `make bench`; `docs/performance.md` says what was tried and why the engine is as it is.
Each figure is the median of the rounds, with the least and the most.  Ours and the peers run in
turn, on the same server, a database each; only ratios of one run mean anything.
"""
