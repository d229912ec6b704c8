"""A lead's hold, lifted by a person."""

from datetime import datetime
from uuid import UUID

from clento_engine.domain.execution import Execution, Status
from clento_engine.domain.report import Report
from clento_engine.store.database import Conn
from clento_engine.store.errors import ChangedMeanwhile, Noun, WrongState
from clento_engine.store.executions import walk
from clento_engine.store.settle import settle


async def release(
    conn: Conn,
    organization_id: UUID,
    campaign_id: UUID,
    lead_id: UUID,
    *,
    skip: bool,
    now: datetime,
) -> Execution:
    """Let a held lead go on: its step runs again or, with `skip`, is passed over.

    An action whose outcome nobody could find out is closed by the word of whoever releases: to run
    the step again says that it did not happen; to pass over it counts it as done, as it may be.
    Raises NotFound, WrongState when the lead is not held, and ChangedMeanwhile.
    """
    lead = await walk(conn, organization_id, campaign_id, lead_id)
    if lead.status != Status.HELD.value:
        raise WrongState(Noun.LEAD, lead.status, [Status.HELD])
    report = Report.of_release(
        organization_id, campaign_id, lead_id, lead.account_id, lead.ticket, skip=skip
    )
    settled = await settle(conn, [report], now=now, actor="operator")
    if not settled.outcomes:
        raise ChangedMeanwhile(Noun.LEAD)
    return settled.outcomes[0].execution
