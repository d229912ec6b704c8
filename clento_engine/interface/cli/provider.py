"""`clento provider`: which Unipile, or which simulator, the database belongs to."""

import asyncio
from dataclasses import replace

import click

from clento_engine.config import clock_for, read_settings
from clento_engine.interface.cli.asked import workspace
from clento_engine.interface.cli.failures import Refused
from clento_engine.interface.cli.output import answer, moment, note
from clento_engine.interface.cli.session import json_option, opened, run
from clento_engine.runtime.clock import speed_of
from clento_engine.runtime.errors import WrongProvider
from clento_engine.runtime.guard import NOTICED
from clento_engine.runtime.workspace import Workspace
from clento_engine.store import installation as store
from clento_engine.store.installation import Binding, Provided
from clento_engine.store.members import REFUSALS
from clento_engine.store.rests import Rest, rest


@click.command()
@json_option
def show(as_json: bool) -> None:
    """Show which provider the database belongs to.

    Also how its accounts stand with it, and whether it can be asked.  A database belongs to the
    Unipile, or the simulator, that its first account was looked up at.  Webhooks of accounts that
    no organisation has are counted, not kept.

    \b
    Example:
      clento provider show
    """
    settings = read_settings()

    async def work() -> tuple[Binding | None, Provided, Rest | None]:
        async with (
            opened(settings, of_any_provider=True) as database,
            database.connection() as conn,
        ):
            provided = await store.provided(conn, REFUSALS)
            return await store.binding(conn), provided, await rest(conn)

    bound, counts, rests = run(work(), settings)
    data = {
        "dsn": None if bound is None else bound.dsn,
        "is_simulated": None if bound is None else bound.is_simulated,
        "since": None if bound is None else bound.bound_at,
        "accounts": {
            "bound": counts.bound,
            "waiting": counts.waiting,
            "refused": counts.refused,
        },
        "open_actions": counts.open_actions,
        "unrouted_webhooks": counts.unrouted_webhooks,
        "rest": rests,
    }
    belongs = (
        "the database belongs to no provider yet: it will to the one that its first account is"
        " looked up at"
        if bound is None
        else f"the database belongs to {_named(bound)}, since {moment(bound.bound_at)}"
    )
    accounts = (
        f"accounts: {counts.bound:,} bound, {counts.waiting:,} to be looked up,"
        f" {counts.refused:,} refused"
    )
    unrouted = f"webhooks of accounts that nobody here has: {counts.unrouted_webhooks:,}"
    lines = [resting(rests)] if rests is not None else []
    answer(as_json, data, belongs, *lines, accounts, unrouted)


def resting(rests: Rest) -> str:
    """Say that nobody asks the provider, and why."""
    return (
        f"  the provider cannot be asked since {moment(rests.since)}: {rests.reason};"
        f" everything waits, asked again at {moment(rests.until)}"
    )


@click.command()
@click.option("--to", "dsn", required=True, metavar="DSN", help="As UNIPILE_DSN is given.")
@click.option("--yes", is_flag=True, help="Do it, without asking.")
@json_option
def move(dsn: str, yes: bool, as_json: bool) -> None:
    """Let the database belong to another Unipile.

    For when your accounts were moved to another DSN.  What it means is said first, in numbers.
    Every account stops until it was looked up there and is the same LinkedIn member as before; one
    that has another id there is added with `clento account add`, and goes on as the account it was.
    Set UNIPILE_DSN before you start the tickers again.  A database of a simulator cannot be moved
    to Unipile, nor the other way round: they live by different clocks.

    \b
    Example:
      clento provider move --to api9.unipile.com:13900
    """
    settings = replace(read_settings(), unipile_dsn=dsn)
    target = workspace(settings)
    if target is None:
        raise click.UsageError("--to is empty")

    async def work() -> Provided:
        async with (
            opened(settings, of_any_provider=True) as database,
            database.connection() as conn,
        ):
            bound = await store.binding(conn)
            if bound is not None:
                _require_move(bound, target)
            counts = await store.provided(conn, REFUSALS)
            if not yes:
                await asyncio.to_thread(_ask, counts, target, as_json)
            clock = await asyncio.to_thread(clock_for, settings)
            await store.move(
                conn,
                target.dsn,
                is_simulated=target.is_simulated,
                now=clock(),
                ask_after=NOTICED * max(speed_of(clock), 1.0),
            )
            return counts

    counts = run(work(), settings)
    data = {
        "dsn": target.dsn,
        "accounts": counts.bound + counts.waiting + counts.refused,
        "chats_forgotten": counts.chats,
        "open_actions": counts.open_actions,
    }
    answer(as_json, data, f"the database belongs to {target} now: set UNIPILE_DSN to it")


def _require_move(bound: Binding, target: Workspace) -> None:
    if bound.is_simulated != target.is_simulated:
        raise WrongProvider(Workspace(bound.dsn, bound.is_simulated), target)
    if bound.dsn == target.dsn:
        raise Refused(f"the database belongs to {target} already", "`clento provider show`")


def _ask(counts: Provided, target: Workspace, as_json: bool) -> None:
    """Say what the move means, and ask whether to go on."""
    accounts = counts.bound + counts.waiting + counts.refused
    if as_json:
        raise Refused("nobody is asked where JSON is wanted", "say --yes")
    for line in (
        f"moving to {target} means:",
        f"  {accounts:,} accounts stop until they were looked up there",
        f"  {counts.chats:,} chats are forgotten, and found again as they are needed",
        f"  {counts.open_actions:,} actions of unknown outcome will be asked about there;",
        "  while its store is young, none is believed not to have happened",
    ):
        note(line)
    click.confirm("Move?", abort=True, err=True)


def _named(bound: Binding) -> str:
    return str(Workspace(bound.dsn, bound.is_simulated))
