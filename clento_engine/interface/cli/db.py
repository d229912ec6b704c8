"""`clento db`: the schema of the database."""

import click

from clento_engine.config import clock_for, read_settings
from clento_engine.interface.cli.failures import Refused
from clento_engine.interface.cli.output import Table, answer
from clento_engine.interface.cli.session import database_url, json_option, opened, run
from clento_engine.store import migrate
from clento_engine.store.database import Database, unsafe_settings
from clento_engine.store.lanes import Wrong, mend_lanes
from clento_engine.store.moves import recount as recount_moves
from clento_engine.store.moves import shortened_histories
from clento_engine.store.schema import newest_revision


@click.command()
@click.option(
    "--tickers-have-ended",
    is_flag=True,
    help="Go on although some seem alive: a pooler's idle session, a `clento run` that was killed.",
)
@json_option
def upgrade(tickers_have_ended: bool, as_json: bool) -> None:
    """Bring the database to the schema this version needs.

    Until 0.1.0, end every `clento run` and stop cron's `clento tick` before, and start the new
    version's after it.  Where one seems alive (a session of ours at this database, a heartbeat of
    the last two minutes) nothing is done, and it is named.  An empty database needs no look, nor
    one where nothing is to do.

    Safe to run again and by several hosts at once: each migration is small, and what is done stays
    done.  CHANGELOG.md says what to run after it.  What a migration found that people must decide
    on is listed.

    \b
    Example:
      DATABASE_URL=postgresql://clento@db/clento clento db upgrade
    """
    notes: list[str] = []
    settings = read_settings()
    applied = migrate.upgrade(
        database_url(settings),
        schema=settings.schema,
        pooler=settings.pooler,
        say=notes.append,
        tickers_have_ended=tickers_have_ended,
    )
    said = f"applied {', '.join(applied)}" if applied else "nothing to do"
    answer(
        as_json, {"applied": applied, "current": newest_revision(), "notes": notes}, said, *notes
    )


@click.command()
@json_option
def current(as_json: bool) -> None:
    """Show which schema the database has.

    \b
    Example:
      clento db current
    """
    settings = read_settings()
    found, newest = migrate.current(database_url(settings), settings.schema), newest_revision()
    if found is None:
        said = "empty: run `clento db upgrade`"
    elif found < newest:
        said = f"{found}, and {newest} is needed: run `clento db upgrade`"
    elif found > newest:
        said = f"{found}, and this version knows {newest}: install the version that upgraded it"
    else:
        said = f"{found}, as this version needs"
    answer(as_json, {"current": found, "newest": newest}, said)


@click.command()
@json_option
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> None:
    """Compare the database with what this version expects.

    Shows every table, column, constraint and index that differs; status 1 if any does.  The role
    needs CREATEDB, because the expected schema is made in a database beside it for comparison.
    Says too whether the server keeps what it commits: where it does not, no command works with it
    but with CLENTO_TRUST_STORAGE=1.

    \b
    Example:
      clento db check
    """
    settings = read_settings()
    url = database_url(settings)
    differences = migrate.check(url, schema=settings.schema, pooler=settings.pooler)

    async def unsafe() -> list[str]:
        async with (
            Database(url, schema=settings.schema, pooler=settings.pooler) as database,
            database.connection() as conn,
        ):
            return await unsafe_settings(conn)

    off = run(unsafe(), settings)
    said = differences or ["no difference"]
    if off:
        trust = "trusted by CLENTO_TRUST_STORAGE" if settings.trust_storage else "not trusted"
        said = [*said, f"storage: {' and '.join(off)} off, {trust}"]
    storage = {"off": off, "trusted": settings.trust_storage}
    answer(as_json, {"differences": differences, "storage": storage}, *said)
    if differences:
        ctx.exit(1)


@click.command()
@json_option
def recount(as_json: bool) -> None:
    """Count anew what `clento campaign status` adds up.

    From every lead and its history; nobody waits for it.  To be run once, when the tickers of a
    version that did not count have ended.  Refused where histories are shorter than what was
    counted: what was deleted of them cannot be counted anew.

    \b
    Example:
      clento db recount
    """
    settings = read_settings()

    async def counted() -> int:
        async with opened(settings) as database, database.connection() as conn:
            if shortened := await shortened_histories(conn):
                raise Refused(
                    f"histories lack {shortened:,} steps that were counted: counted anew, a status"
                    " would show less than was done",
                    "leave the counts as they are, or restore what was deleted of `events` and"
                    " `actions` first",
                )
            return await recount_moves(conn)

    mended = run(counted(), settings)
    answer(as_json, {"mended": mended}, f"{mended:,} counts were wrong and are right now")


@click.command()
@json_option
def mend(as_json: bool) -> None:
    """Make lanes right that would leave leads waiting for ever.

    What the view `invariants.lanes` lists: lanes that were deleted, switched or put to sleep by
    hand.  Tickers do it every ten minutes by themselves.  Limits, gaps and hours hold.  A campaign
    that was completed with leads unfinished is paused: resume or stop it.

    \b
    Example:
      clento db mend
    """
    settings = read_settings()

    async def mended() -> list[Wrong]:
        async with opened(settings) as database, database.connection() as conn:
            return await mend_lanes(conn, clock_for(settings)())

    found = run(mended(), settings)
    rows = [(each.campaign_id, each.account_id, each.operation, each.problem) for each in found]
    columns = ("campaign", "account", "operation", "it was")
    answer(as_json, {"mended": found}, Table(columns, rows, empty="nothing was wrong"))
