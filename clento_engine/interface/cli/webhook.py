"""`clento webhook`: where the notices of workflow nodes are delivered."""

import click
from uuid_utils.compat import uuid4

from clento_engine.config import read_settings
from clento_engine.domain.reach import masked, misplaced
from clento_engine.interface.cli.failures import Refused
from clento_engine.interface.cli.output import Table, answer
from clento_engine.interface.cli.session import Here, json_option, org_option, within
from clento_engine.interface.cli.values import NAME, URL
from clento_engine.store.outbox import add_endpoint, endpoints


@click.command()
@click.option("--url", required=True, type=URL, help="Where notices are posted: http or https.")
@click.option("--id", "webhook_id", type=NAME, help="The node's webhookId; without it a new one.")
@click.option("--name", type=NAME, help="What people call it; without it, the id.")
@org_option
@json_option
def add(url: str, webhook_id: str | None, name: str | None, org: str | None, as_json: bool) -> None:
    """Register where a workflow's webhook nodes deliver.

    A node names its webhook by id (webhookId); `clento workflow validate` shows which are named.
    Only public addresses are posted to, and what CLENTO_WEBHOOKS_MAY_REACH lists.  A user and
    password in the URL are sent, and never shown.

    \b
    Example:
      clento webhook add --id crm --url https://example.com/hooks/clento
    """
    if (refusal := misplaced(url, read_settings().webhooks_may_reach)) is not None:
        raise Refused(*refusal)
    made = webhook_id or str(uuid4())
    called = name or made

    async def work(here: Here) -> None:
        await add_endpoint(here.conn, here.organization_id, made, called, url)

    within(org, work)
    answer(
        as_json,
        {"id": made, "name": called, "url": masked(url)},
        f"registered {made}: {masked(url)}",
    )


@click.command("list")
@org_option
@json_option
def list_(org: str | None, as_json: bool) -> None:
    """List the registered webhooks.

    \b
    Example:
      clento webhook list --json
    """
    rows = within(org, lambda here: endpoints(here.conn, here.organization_id))
    found = [(webhook_id, name, masked(url)) for webhook_id, name, url in rows]
    data = [dict(zip(("id", "name", "url"), each, strict=True)) for each in found]
    answer(as_json, data, Table(("id", "name", "url"), found, empty="no webhook is registered"))
