"""`clento webhook`: where notices are delivered, of workflow nodes and of what leads do."""

from collections.abc import Iterable

import click
from uuid_utils.compat import uuid4

from clento_engine.config import read_settings
from clento_engine.domain.notice import Notice
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
@click.option(
    "--on",
    "notices",
    multiple=True,
    type=click.Choice([notice.value for notice in Notice]),
    help="What it is told besides, of whatever campaign; may be given more than once.",
)
@org_option
@json_option
def add(
    url: str,
    webhook_id: str | None,
    name: str | None,
    notices: tuple[str, ...],
    org: str | None,
    as_json: bool,
) -> None:
    """Register where notices are posted.

    A node names its webhook by id (webhookId); `clento workflow validate` shows which are named.
    With --on it is told of each reply, also after the last step (replied), of each lead whose walk
    ended because the sender's owner wrote by hand (taken_over), and of who asked to be left alone
    (opted_out): once each, with campaign, lead and sender, and never the message's text.
    Only public addresses are posted to, and what CLENTO_WEBHOOKS_MAY_REACH lists.  A user and
    password in the URL are sent, and never shown.

    \b
    Example:
      clento webhook add --id crm --url https://example.com/hooks/clento
      clento webhook add --url https://example.com/replies --on replied --on taken_over
    """
    if (refusal := misplaced(url, read_settings().webhooks_may_reach)) is not None:
        raise Refused(*refusal)
    made = webhook_id or str(uuid4())
    called = name or made
    asked = [notice for notice in Notice if notice.value in notices]

    async def work(here: Here) -> None:
        await add_endpoint(here.conn, here.organization_id, made, called, url, asked)

    within(org, work)
    told = f", told of {_words(asked)}" if asked else ""
    answer(
        as_json,
        {"id": made, "name": called, "url": masked(url), "on": asked},
        f"registered {made}: {masked(url)}{told}",
    )


@click.command("list")
@org_option
@json_option
def list_(org: str | None, as_json: bool) -> None:
    """List the registered webhooks, and what each is told of.

    \b
    Example:
      clento webhook list --json
    """
    rows = within(org, lambda here: endpoints(here.conn, here.organization_id))
    data = [
        {"id": each.id, "name": each.name, "url": masked(each.url), "on": list(each.notices)}
        for each in rows
    ]
    found = [(each.id, each.name, masked(each.url), _words(each.notices)) for each in rows]
    table = Table(("id", "name", "url", "told of"), found, empty="no webhook is registered")
    answer(as_json, data, table)


def _words(notices: Iterable[Notice]) -> str:
    return ", ".join(notice.value for notice in notices) or "workflow nodes"
