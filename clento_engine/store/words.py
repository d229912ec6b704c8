"""Whether a message says what a node of somebody's walk would say to them."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from clento_engine.domain.account import Tier
from clento_engine.domain.authorship import digest
from clento_engine.domain.intent import Person, text_for
from clento_engine.domain.preview import written
from clento_engine.domain.template import collapsed
from clento_engine.domain.workflow import Workflow
from clento_engine.store.claimed import fields_of
from clento_engine.store.inbox import Walk
from clento_engine.store.workflows import load_workflows

# Ours, no source gives a figure: what is shorter people write by hand in the same words.
SHORTEST = 40

_ADDRESSED = """
select e.workflow_version_id, e.lead_id, a.tier, t.columns, p.fields::text as fields,
       p.first_name, p.last_name, p.company, p.job_title, p.email
  from campaign_executions e
  join unnest(%(campaigns)s::uuid[], %(leads)s::uuid[]) w(campaign_id, lead_id)
    on w.campaign_id = e.campaign_id and w.lead_id = e.lead_id
  join connected_accounts a on a.organization_id = e.organization_id and a.id = e.account_id
  join campaigns c on c.organization_id = e.organization_id and c.id = e.campaign_id
  join lead_lists t on t.organization_id = c.organization_id and t.id = c.list_id
  join leads p on p.organization_id = e.organization_id and p.id = e.lead_id
 where e.organization_id = %(organization_id)s
"""


async def is_of_a_node(
    conn: AsyncConnection[Any], organization_id: UUID, walks: Sequence[Walk], text_digest: str
) -> bool:
    """Whether a text is, word for word, what a node of one of the walks says to its person."""
    cursor = conn.cursor(row_factory=dict_row)
    await cursor.execute(
        _ADDRESSED,
        {
            "organization_id": organization_id,
            "campaigns": [walk.campaign_id for walk in walks],
            "leads": [walk.lead_id for walk in walks],
        },
    )
    rows = await cursor.fetchall()
    versions = {(organization_id, row["workflow_version_id"]) for row in rows}
    workflows = await load_workflows(conn, versions)
    return any(
        len(collapsed(text)) >= SHORTEST and digest(text) == text_digest
        for row in rows
        for text in _texts(workflows[row["workflow_version_id"]], row)
    )


def _texts(workflow: Workflow, row: dict[str, Any]) -> Iterable[str]:
    fields = fields_of(row)
    if not isinstance(fields, dict):
        return
    person = Person(None, None, fields, tuple(row["columns"]))
    for node in written(workflow):
        if not node.operation.traits.is_message:
            continue  # a note's echo comes in what words the provider likes
        text = text_for(node, row["lead_id"], person, Tier(row["tier"]))
        if isinstance(text, str):
            yield text
