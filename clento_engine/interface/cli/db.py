"""`clento db`: the schema of the database."""

import click

from clento_engine.config import read_settings
from clento_engine.interface.cli.output import answer
from clento_engine.interface.cli.session import database_url, json_option, opened, run
from clento_engine.store import migrate
from clento_engine.store.database import Database, newest_revision, unsafe_settings
from clento_engine.store.moves import recount as recount_moves


@click.command()
@json_option
def upgrade(as_json: bool) -> None:
    """Bring the database to the schema this version needs.

    Safe to run again, by several hosts at once, and while tickers run: each migration is small,
    and what is done stays done.  CHANGELOG.md says what to run once the old tickers have ended.

    \b
    Example:
      DATABASE_URL=postgresql://clento@db/clento clento db upgrade
    """
    applied = migrate.upgrade(database_url(read_settings()))
    said = f"applied {', '.join(applied)}" if applied else "nothing to do"
    answer(as_json, {"applied": applied, "current": newest_revision()}, said)


@click.command()
@json_option
def current(as_json: bool) -> None:
    """Show which schema the database has.

    \b
    Example:
      clento db current
    """
    found, newest = migrate.current(database_url(read_settings())), newest_revision()
    if found is None:
        said = "empty: run `clento db upgrade`"
    elif found < newest:
        said = f"{found}, and {newest} is needed: run `clento db upgrade`"
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
    differences = migrate.check(url)

    async def unsafe() -> list[str]:
        async with Database(url) as database, database.connection() as conn:
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
    version that did not count have ended.

    \b
    Example:
      clento db recount
    """
    settings = read_settings()

    async def counted() -> int:
        async with opened(settings) as database, database.connection() as conn:
            return await recount_moves(conn)

    mended = run(counted(), settings)
    answer(as_json, {"mended": mended}, f"{mended:,} counts were wrong and are right now")
