"""The exact texts of a campaign for real leads, before anything starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from clento_engine.domain.intent import Person
from clento_engine.domain.preview import Preview, previews
from clento_engine.store.addressees import addressees
from clento_engine.store.campaigns import find_campaign
from clento_engine.store.database import Conn
from clento_engine.store.lists import saved_columns
from clento_engine.store.senders import senders
from clento_engine.store.workflows import load_workflows


@dataclass(frozen=True, slots=True)
class LeadPreview:
    """What one lead would get from its sender."""

    lead_id: UUID
    lead: str
    name: str
    sender: str
    tier: str
    texts: Sequence[Preview]


async def preview(
    conn: Conn,
    organization_id: UUID,
    name: str,
    *,
    now: datetime,
    limit: int,
    leads: Sequence[UUID] | None = None,
) -> list[LeadPreview]:
    """Render every text of a campaign for its first leads, or for those of `leads` among them.

    Exactly what would be sent with the values and senders of this moment.  Raises NotFound.
    """
    campaign = await find_campaign(conn, organization_id, name)
    version_id = campaign.workflow_version_id
    workflow = (await load_workflows(conn, [(organization_id, version_id)]))[version_id]
    accounts = {each.id: each for each in await senders(conn, organization_id, campaign.id)}
    columns = await saved_columns(conn, organization_id, campaign.list_id)
    found = await addressees(conn, organization_id, campaign.id, now=now, limit=limit, leads=leads)
    return [
        LeadPreview(
            each.lead_id,
            each.identity,
            each.name,
            accounts[each.account_id].name,
            accounts[each.account_id].tier,
            previews(
                workflow,
                each.lead_id,
                Person(None, None, each.fields, columns),
                tier=accounts[each.account_id].tier,
                subject=campaign.inmail_subject,
            ),
        )
        for each in found
        if each.account_id in accounts
    ]
