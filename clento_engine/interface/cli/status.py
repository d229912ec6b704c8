"""`clento status`: whether anybody looks for what is due, and what needs a person."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import click

from clento_engine.domain.limits import MOST_PENDING
from clento_engine.interface.cli.output import Table, answer, moment
from clento_engine.interface.cli.quarantine import quarantine_line
from clento_engine.interface.cli.session import Here, json_option, org_option, within
from clento_engine.store.lanes import Wrong, wrong_lanes
from clento_engine.store.pending import Crowded, crowded
from clento_engine.store.stamp import Quarantine, read_stamp
from clento_engine.store.tickers import (
    FailingSweep,
    Ticker,
    failing_sweeps,
    is_anything_running,
    tickers,
)

WARNED = 3  # done, and something needs a person
SILENT = timedelta(minutes=15)  # three times what the shipped timer waits


@click.command()
@org_option
@json_option
@click.pass_context
def status(ctx: click.Context, org: str | None, as_json: bool) -> None:
    """Show who ticks, and what is wrong.

    Every host's tickers with when they last looked; a warning when none has for a quarter of an
    hour while a campaign runs, when a sender's lists could not be read or many of its invitations
    are pending, for lanes that would leave leads waiting for ever, and for a database that is not
    the one it was.  Exit status 3 when there is a warning.

    \b
    Example:
      clento status
    """

    async def work(
        here: Here,
    ) -> tuple[
        Quarantine | None,
        list[Ticker],
        list[FailingSweep],
        list[Crowded],
        list[Wrong],
        bool,
        datetime,
    ]:
        now = here.clock()
        return (
            (await read_stamp(here.conn)).quarantine,
            await tickers(here.conn),
            await failing_sweeps(here.conn, organization_id=here.organization_id),
            await crowded(here.conn, here.organization_id),
            [
                each
                for each in await wrong_lanes(here.conn, now)
                if each.organization_id == here.organization_id
            ],
            await is_anything_running(here.conn, here.organization_id),
            now,
        )

    quarantine, seen, failing, full, wrong, is_running, now = within(org, work)
    warnings = [
        *([] if quarantine is None else [quarantine_line(quarantine)]),
        *silence(seen, now, is_running=is_running),
        *map(sweep_warning, failing),
        *map(_pending_warning, full),
    ]
    if wrong:
        warnings.append(
            f"{len(wrong):,} lanes are not what their leads need: the next tick mends them, or"
            " `clento db mend`"
        )
    rows = [(each.host, each.kind, each.version, each.provider, each.seen_at) for each in seen]
    table = Table(
        ("host", "kind", "version", "provider", "seen"),
        [(*row[:4], moment(row[4])) for row in rows],
        empty="no ticker was ever seen: `clento tick` or `clento run`",
    )
    data = {
        "quarantine": quarantine,
        "tickers": seen,
        "sweeps_failed": failing,
        "pending_invitations": full,
        "lanes": wrong,
        "warnings": warnings,
    }
    answer(as_json, data, table, *(f"warning: {each}" for each in warnings))
    if warnings:
        ctx.exit(WARNED)


def silence(seen: Sequence[Ticker], now: datetime, *, is_running: bool) -> list[str]:
    """Warn when campaigns run and nobody looks for what is due."""
    if not is_running:
        return []
    last = max((each.seen_at for each in seen), default=None)
    if last is None:
        return ["no ticker was ever seen: nothing happens until `clento tick` or `clento run`"]
    if now - last < SILENT:
        return []
    return [f"no ticker for {_span(now - last)}: see that cron, the timer or `clento run` is up"]


def sweep_warning(failing: FailingSweep) -> str:
    """Say that a sender could not be swept."""
    again = f"; tried again at {moment(failing.again_at)}" if failing.again_at is not None else ""
    times = f", {failing.failures:,} times in a row" if failing.failures > 1 else ""
    return f"{failing.name} could not be swept{times}: {failing.reason}{again}"


def _pending_warning(full: Crowded) -> str:
    held = "none are sent" if full.pending >= MOST_PENDING else f"at {MOST_PENDING} none are sent"
    count = f"{full.pending:,}" if full.pending < MOST_PENDING else f"{MOST_PENDING} or more"
    return (
        f"{full.name} has {count} invitations pending: {held}; withdraw old ones, by hand or by a"
        " withdrawal in the workflow"
    )


def _span(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    if minutes < 120:  # noqa: PLR2004
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h" if hours < 48 else f"{hours // 24} days"  # noqa: PLR2004
