"""`clento db start` and `stop`: the embedded PostgreSQL, used when DATABASE_URL is not set."""

import click

from clento_engine.config import read_settings
from clento_engine.interface.cli.output import answer, note
from clento_engine.interface.cli.session import json_option
from clento_engine.store import server

_NOT_USED = "DATABASE_URL is set, so that commands do not use this server"


@click.command()
@json_option
def start(as_json: bool) -> None:
    """Start the embedded PostgreSQL.

    It lives in CLENTO_DATA_DIR, is reached through a socket there only, and stays up until
    `clento db stop`.  Commands start it by themselves when DATABASE_URL is not set.

    \b
    Example:
      clento db start
    """
    settings = read_settings()
    running = server.embedded_server(settings.data_dir)
    if settings.database_url is not None:
        note(_NOT_USED)
    answer(
        as_json,
        {"data_dir": running.data_dir, "url": running.url},
        f"PostgreSQL runs in {running.data_dir}",
        f"  {running.url}",
    )


@click.command()
@json_option
def stop(as_json: bool) -> None:
    """Stop the embedded PostgreSQL.

    What is under way is rolled back, as on a loss of connection; nothing that was answered is
    lost.  Nothing to do is no failure.

    \b
    Example:
      clento db stop
    """
    settings = read_settings()
    was_running = server.stop(settings.data_dir)
    said = "PostgreSQL is stopped" if was_running else f"no PostgreSQL ran in {settings.data_dir}"
    answer(as_json, {"was_running": was_running}, said)
