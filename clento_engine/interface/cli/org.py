"""`clento org`: organisations."""

import click

from clento_engine.config import read_settings
from clento_engine.interface.cli.output import Table, answer
from clento_engine.interface.cli.session import json_option, opened, run
from clento_engine.interface.cli.values import NAME
from clento_engine.store.accounts import create_organization, organizations


@click.command()
@click.argument("name", type=NAME)
@json_option
def create(name: str, as_json: bool) -> None:
    """Create an organisation.

    Everything else belongs to one: senders, lists, campaigns.  As long as there is only one, no
    other command needs --org.

    \b
    Example:
      clento org create Acme
    """
    settings = read_settings()

    async def work() -> object:
        async with opened(settings) as database, database.connection() as conn:
            return await create_organization(conn, name)

    answer(as_json, {"id": run(work(), settings), "name": name}, f"created {name}")


@click.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the organisations.

    \b
    Example:
      clento org list
    """
    settings = read_settings()

    async def work() -> list[dict[str, object]]:
        async with opened(settings) as database, database.connection() as conn:
            return [{"id": each[0], "name": each[1]} for each in await organizations(conn)]

    found = run(work(), settings)
    rows = [(each["name"], each["id"]) for each in found]
    none = "there is no organisation yet: `clento org create NAME`"
    answer(as_json, found, Table(("name", "id"), rows, empty=none))
