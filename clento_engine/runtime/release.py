"""A lead's hold, lifted by a person."""

from datetime import datetime
from uuid import UUID

from clento_engine.domain.execution import Execution, Released, Status
from clento_engine.store.campaigns import CannotDo
from clento_engine.store.database import Conn
from clento_engine.store.reports import walk
from clento_engine.store.settle import Report, settle


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
    Raises NotFound, and CannotDo when the lead is not held or was changed at this moment.
    """
    lead = await walk(conn, organization_id, campaign_id, lead_id)
    if lead.status != Status.HELD.value:
        raise CannotDo(f"the lead is {lead.status}: only one that is held can be released")
    report = Report(
        organization_id,
        campaign_id,
        lead_id,
        lead.account_id,
        event=Released(skip=skip),
        ticket=lead.ticket,
        state=None if lead.ticket is None else "done" if skip else "absent",
        reason=None if lead.ticket is None else "by the word of an operator",
    )
    settled = await settle(conn, [report], now=now, actor="operator")
    if not settled.outcomes:
        raise CannotDo("the lead was changed at this moment: look at it again")
    return settled.outcomes[0].execution
