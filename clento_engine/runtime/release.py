"""A lead's hold, lifted by a person."""

from datetime import datetime
from uuid import UUID

from clento_engine.domain.action import ActionState
from clento_engine.domain.execution import Execution, Released, Status
from clento_engine.store.database import Conn
from clento_engine.store.errors import ChangedMeanwhile, Noun, WrongState
from clento_engine.store.executions import walk
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
    Raises NotFound, WrongState when the lead is not held, and ChangedMeanwhile.
    """
    lead = await walk(conn, organization_id, campaign_id, lead_id)
    if lead.status != Status.HELD.value:
        raise WrongState(Noun.LEAD, lead.status, [Status.HELD])
    report = Report(
        organization_id,
        campaign_id,
        lead_id,
        lead.account_id,
        event=Released(skip=skip),
        ticket=lead.ticket,
        state=None if lead.ticket is None else ActionState.DONE if skip else ActionState.ABSENT,
        reason=None if lead.ticket is None else "by the word of an operator",
    )
    settled = await settle(conn, [report], now=now, actor="operator")
    if not settled.outcomes:
        raise ChangedMeanwhile(Noun.LEAD)
    return settled.outcomes[0].execution
