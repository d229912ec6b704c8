"""`clento chaos --virtual`: many seeds in virtual time, each the same whenever it is played."""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from clento_engine.config import read_settings
from clento_engine.interface.chaos.run import MOST_HELD
from clento_engine.interface.chaos.virtual.case import DAYS, LEADS, Case
from clento_engine.interface.chaos.virtual.seeds import Sum, play_all, shrink
from clento_engine.interface.cli.output import Table, answer, note
from clento_engine.interface.cli.session import run

MOST_TOLD = 5  # findings of a seed


def play_seeds(
    ctx: click.Context,
    cases: Sequence[Case],
    promises: Sequence[tuple[str, str, str]],
    *,
    smaller: bool,
    as_json: bool,
) -> None:
    """Play them all, say what came of it, and what replays the first that failed."""
    began = time.monotonic()

    def show(played: Mapping[str, Any]) -> None:
        if not as_json:
            note(_line(played))

    async def played() -> tuple[Sum, Case | None]:
        total = await play_all(cases, show=show)
        if not total.failed or not smaller:
            return total, None
        first = total.failed[0]
        case = next(case for case in cases if case.seed == first["seed"])
        note(f"seed {case.seed} fails: it is made small")
        return total, await shrink(case, _broken(first))

    total, small = run(played(), read_settings(), level=logging.ERROR)
    seconds = time.monotonic() - began
    by_seed = {case.seed: case for case in cases}
    replays = [command(by_seed[each["seed"]]) for each in total.failed]
    data = _json(total, replays, small, seconds)
    answer(as_json, data, *_report(total, promises, seconds))
    for each, replay in zip(total.failed, replays, strict=True):
        for line in each["lines"][:MOST_TOLD]:
            note(f"seed {each['seed']}: {line}")
        note(f"replay it: {replay}")
    if small is not None:
        note(f"made small: {command(small)}")
    held = total.held_share > MOST_HELD and len(cases) > 1
    if held:
        note(f"left to people: {total.held_share:.2%} of leads, at most {MOST_HELD:.1%} may be")
    if total.failed or held:
        ctx.exit(1)


def command(case: Case) -> str:
    """Return the command that plays a case again."""
    words = ["clento chaos --virtual", f"--seed {case.seed}"]
    if case.days != DAYS:
        words.append(f"--days {case.days}")
    if case.leads != LEADS:
        words.append(f"--leads {case.leads}")
    if case.chosen is not None:
        words += [f"--fault {family}" for family in sorted(case.chosen) or ["none"]]
    return " ".join(words)


def _broken(played: Mapping[str, Any]) -> list[str]:
    left = ("held", "unresolved")
    return [kind for kind, count in played["findings"].items() if count and kind not in left]


def _line(played: Mapping[str, Any]) -> str:
    broken = ", ".join(f"{played['findings'][kind]} {kind}" for kind in _broken(played))
    return (
        f"seed {played['seed']}: {broken or 'every promise held'}; {played['actions']} actions,"
        f" {sum(played['accidents'].values())} accidents, {played['seconds']:.1f} s,"
        f" digest {played['digest'][:12]}"
    )


def _json(total: Sum, replays: Sequence[str], small: Case | None, seconds: float) -> dict[str, Any]:
    found = Sum().findings | total.findings
    disagreements = found["disagreements"] + found["unknown"]
    return {
        "seeds": total.seeds,
        "leads": total.leads,
        "actions": total.actions,
        "accidents": dict(sorted(total.accidents.items())),
        **{kind: found[kind] for kind in ("duplicates", "lost", "over_cap", "outside_hours")},
        "after_stop": found["after_stop"],
        "disagreements": disagreements,
        "held": found["held"],
        "unresolved": found["unresolved"],
        "held_share": round(total.held_share, 5),
        "ended_by_themselves": round(total.ended / max(total.walks, 1), 5),
        "failed": replays,
        "made_small": None if small is None else command(small),
        "digests": {str(seed): digest for seed, digest in sorted(total.digests.items())},
        "seconds": round(seconds, 1),
    }


def _report(
    total: Sum, promises: Sequence[tuple[str, str, str]], seconds: float
) -> list[str | Table]:
    figures = _json(total, (), None, seconds)
    return [
        Table(("what was done to it", "times"), list(figures["accidents"].items())),
        Table(
            ("promise", "broken", "meaning", "verdict"),
            [
                (promise, figures[kind], meaning, "held" if figures[kind] == 0 else "BROKEN")
                for kind, promise, meaning in promises
            ],
            title="Verdict: the simulator's ledger against our books",
        ),
        (
            f"{total.seeds} seeds in {seconds:.0f} s, {total.seconds / max(total.seeds, 1):.1f} s"
            f" each; {total.actions:,} actions for {total.leads:,} leads, {figures['held']} held"
            f" for a person, {figures['unresolved']} actions closed unresolved"
            f" ({total.held_share:.2%})"
        ),
    ]
