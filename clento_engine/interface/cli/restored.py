"""`clento db restored`: going on from a backup, or from a standby that lacks the last commits."""

import asyncio
from datetime import datetime

import click

from clento_engine.config import clock_for, read_settings
from clento_engine.domain.restore import Cause
from clento_engine.interface.cli.failures import Refused
from clento_engine.interface.cli.output import answer, moment, note
from clento_engine.interface.cli.session import json_option, opened, run
from clento_engine.interface.cli.values import INSTANT
from clento_engine.store.restored import Restored, heal, known
from clento_engine.store.stamp import read_stamp


@click.command()
@click.option(
    "--since",
    type=INSTANT,
    metavar="WHEN",
    help="When the backup was made, with its offset; else the newest moment that it tells of.",
)
@click.option("--yes", is_flag=True, help="Do it, without asking.")
@json_option
def restored(since: datetime | None, yes: bool, as_json: bool) -> None:
    """Go on from a restored backup, or a promoted standby.

    To be run once, when no ticker works on an older copy of this database any more.  Every budget
    counts as fully used since the backup, each sender hears what was written to it before it acts,
    and whatever reaches a person is looked for at Unipile before it is sent: what is there already
    is taken as done.  Leads then go on by themselves.  docs/restore.md has the recipe.

    \b
    Example:
      clento db restored --since 2026-01-31T02:00:00+01:00
    """
    settings = read_settings()

    async def work() -> Restored:
        async with opened(settings) as database, database.connection() as conn:
            seen = (await read_stamp(conn)).quarantine
            if since is None and seen is not None and seen.cause is Cause.WORDS:
                raise Refused(
                    "the database worked on after the restore, so that it cannot tell when the"
                    " backup was made",
                    "say it with --since",
                )
            clock = await asyncio.to_thread(clock_for, settings)
            if not yes:
                await asyncio.to_thread(_ask, await known(conn, clock(), since=since), as_json)
            return await heal(conn, clock(), since=since)

    lost = run(work(), settings)
    answer(
        as_json,
        lost,
        f"{lost.walks:,} leads go on, and {lost.accounts:,} senders: nothing is known of"
        f" {moment(lost.since)} to {moment(lost.until)}",
        *_unknown(lost),
    )


def _ask(lost: Restored, as_json: bool) -> None:
    """Say what healing means, and ask whether to go on."""
    if as_json:
        raise Refused("nobody is asked where JSON is wanted", "say --yes")
    for line in (
        f"of what was done since {moment(lost.since)} this database knows nothing:",
        f"  every budget of {lost.accounts:,} senders counts as fully used since then",
        f"  what reaches {lost.walks:,} leads is looked for at Unipile before it is sent",
        f"  {lost.running:,} campaigns run",
        *(f"  {line}" for line in _unknown(lost)),
    ):
        note(line)
    click.confirm("Does no ticker work on an older copy any more, and go on?", abort=True, err=True)


def _unknown(lost: Restored) -> list[str]:
    """Say what was lost and cannot be found again."""
    newest = "none is known" if lost.suppressed_at is None else moment(lost.suppressed_at)
    return [
        "lost since then, and found nowhere: pauses, stops, releases and settings; say them again",
        f"so are suppressions, imports and campaigns; newest suppression that is known: {newest}",
        "who asked in a message to be left alone is found again",
    ]
