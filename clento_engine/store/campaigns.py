"""Campaigns: made, started, paused, resumed, stopped, completed; and how they stand."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.errors import UniqueViolation
from psycopg.rows import dict_row

from clento_engine.domain.campaign import (
    COMPLETE,
    PAUSE,
    RESUME,
    START,
    STOP,
    CampaignStatus,
    Change,
    Pace,
)
from clento_engine.domain.execution import OnMissing
from clento_engine.domain.failure import REFUSALS_IN_A_ROW
from clento_engine.domain.schedule import WorkingHours
from clento_engine.domain.workflow import Workflow
from clento_engine.store.contactable import CONTACTABLE, left_out
from clento_engine.store.errors import (
    AlreadyExists,
    NobodyToContact,
    NotFound,
    Noun,
    WrongState,
)
from clento_engine.store.history import record
from clento_engine.store.ids import uuid7
from clento_engine.store.inbox import NOBODY_KNOWN
from clento_engine.store.lanes import make_lanes, set_lanes
from clento_engine.store.literals import (
    COMPLETED,
    DRAFT,
    INTENDED,
    RUNNING,
    STARTS,
    STOPPED,
)
from clento_engine.store.moves import count_enrolled
from clento_engine.store.rows import RULES

_USUAL_PACE = Pace()
ENROLLED = "Enrolled"  # the event that tells what was known of a lead already


@dataclass(frozen=True, slots=True)
class CampaignRow:
    """A campaign as it is stored.  `senders` are account ids in order."""

    id: UUID
    name: str
    status: CampaignStatus
    workflow_version_id: UUID
    list_id: UUID
    working_hours: str
    inmail_subject: str | None
    stop_on_reply: bool
    stop_on_own_message: bool
    on_missing: str
    max_duration: timedelta
    max_concurrent_leads: int
    lead_processing_delay: timedelta
    leads_per_day: int | None
    created_at: datetime
    start_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    senders: list[UUID]


_CAMPAIGN = f"""
select c.id, c.name, c.status, c.workflow_version_id, c.list_id, c.working_hours,
       c.inmail_subject, {RULES}, c.max_concurrent_leads,
       c.lead_processing_delay, c.leads_per_day, c.created_at, c.start_at, c.started_at,
       c.completed_at,
       (select coalesce(array_agg(s.account_id order by s.position), '{{}}')
          from campaign_senders s
         where s.organization_id = c.organization_id and s.campaign_id = c.id) as senders
  from campaigns c
 where c.organization_id = %(organization_id)s
"""


async def create_campaign(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    *,
    name: str,
    workflow_version_id: UUID,
    list_id: UUID,
    senders: Sequence[UUID],
    hours: WorkingHours,
    stop_on_reply: bool = True,
    stop_on_own_message: bool = True,
    on_missing: OnMissing = OnMissing.HOLD,
    max_duration: timedelta = timedelta(days=30),
    inmail_subject: str | None = None,
    hold_after: int = REFUSALS_IN_A_ROW,
    pace: Pace = _USUAL_PACE,
    overlap: bool = False,
    rest: timedelta | None = None,
) -> UUID:
    """Create a campaign in draft; its id.  Raises AlreadyExists.

    `hold_after`: refusals in a row, by one word of the provider's, that hold a lane.  `overlap`:
    its people may walk in other campaigns as well.  `rest`: how long before its start nobody must
    have contacted them.
    """
    campaign_id = uuid7()
    async with conn.transaction():
        try:
            await conn.execute(
                "insert into campaigns (organization_id, id, name, workflow_version_id, list_id,"
                " working_hours, inmail_subject, stop_on_reply, stop_on_own_message, on_missing,"
                " max_duration, max_concurrent_leads, lead_processing_delay, leads_per_day,"
                " hold_after, overlap, rest)"
                " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (
                    organization_id,
                    campaign_id,
                    name,
                    workflow_version_id,
                    list_id,
                    str(hours),
                    inmail_subject,
                    stop_on_reply,
                    stop_on_own_message,
                    on_missing.value,
                    max_duration,
                    pace.max_concurrent_leads,
                    pace.lead_processing_delay,
                    pace.leads_per_day,
                    hold_after,
                    overlap,
                    rest,
                ),
            )
        except UniqueViolation:
            raise AlreadyExists(Noun.CAMPAIGN, name) from None
        for position, account_id in enumerate(senders):
            await conn.execute(
                "insert into campaign_senders (organization_id, campaign_id, account_id, position)"
                " values (%s, %s, %s, %s)",
                (organization_id, campaign_id, account_id, position),
            )
    return campaign_id


async def campaigns(conn: AsyncConnection[Any], organization_id: UUID) -> list[CampaignRow]:
    """List an organisation's campaigns, oldest first."""
    cursor = conn.cursor(row_factory=dict_row)
    await cursor.execute(f"{_CAMPAIGN} order by c.id", {"organization_id": organization_id})
    return [_campaign(row) for row in await cursor.fetchall()]


async def find_campaign(
    conn: AsyncConnection[Any], organization_id: UUID, name_or_id: str
) -> CampaignRow:
    """Return a campaign by its name or id.  Raises NotFound."""
    cursor = conn.cursor(row_factory=dict_row)
    await cursor.execute(
        f"{_CAMPAIGN} and (c.name = %(name)s or c.id::text = %(name)s)",
        {"organization_id": organization_id, "name": name_or_id},
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(Noun.CAMPAIGN, name_or_id)
    return _campaign(row)


def _campaign(row: dict[str, Any]) -> CampaignRow:
    return CampaignRow(**{**row, "status": CampaignStatus(row["status"])})


async def start_campaign(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    campaign_id: UUID,
    workflow: Workflow,
    *,
    workflow_version_id: UUID,
    pace: Pace,
    start_at: datetime,
    now: datetime,
) -> int:
    """Start a draft: enroll every lead of its list, in one statement; return how many.

    Suppressed people are passed over.  Leads are dealt out to the senders in turn.
    Raises WrongState when the campaign is no draft, NobodyToContact when nobody can be enrolled:
    nothing is changed.
    """
    async with conn.transaction():
        await _begin(conn, organization_id, campaign_id, workflow_version_id, pace, start_at, now)
        of = {
            "organization_id": organization_id,
            "campaign_id": campaign_id,
            "start_at": start_at,
            "now": now,
        }
        await conn.execute(_REMEMBER, of)
        cursor = await conn.execute(_ENROLL, of)
        enrolled = cursor.rowcount
        if enrolled == 0:
            raise NobodyToContact(await left_out(conn, organization_id, campaign_id, now))
        await count_enrolled(conn, organization_id, campaign_id, enrolled)
        await conn.execute(_DEALT, of)
        await conn.execute(_TELL_KNOWN, of)
        # only now, since claims pass over the accounts that it locks
        await make_lanes(conn, organization_id, campaign_id, workflow, start_at)
        await conn.execute(
            "update connected_accounts a"
            " set next_sweep_at = coalesce(a.next_sweep_at, %(start_at)s)"
            " from campaign_senders s where s.organization_id = %(organization_id)s"
            " and s.campaign_id = %(campaign_id)s and a.organization_id = s.organization_id"
            " and a.id = s.account_id",
            of,
        )
        await record(conn, organization_id, campaign_id, START.event, "operator", now, None)
    return enrolled


async def _begin(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    campaign_id: UUID,
    workflow_version_id: UUID,
    pace: Pace,
    start_at: datetime,
    now: datetime,
) -> None:
    """Write that a draft runs, and how.  Raises WrongState when it is none."""
    cursor = await conn.execute(
        f"update campaigns set status = {RUNNING}, started_at = %s, start_at = %s,"
        " next_start_at = %s, workflow_version_id = %s, max_concurrent_leads = %s,"
        " lead_processing_delay = %s, leads_per_day = %s"
        f" where organization_id = %s and id = %s and status = {DRAFT}",
        (
            now,
            start_at,
            start_at,
            workflow_version_id,
            pace.max_concurrent_leads,
            pace.lead_processing_delay,
            pace.leads_per_day,
            organization_id,
            campaign_id,
        ),
    )
    if cursor.rowcount == 0:
        status = await _status(conn, organization_id, campaign_id)
        raise WrongState(Noun.CAMPAIGN, status, START.before)


# Whom an earlier walk of the list visited, and no more, has no contact yet; whether they wrote
# after its end is in the inbox.  Of walks that are not over their own claims take care.
_REMEMBER = f"""
insert into contacts (organization_id, account_id, person_id, provider_id, replied_at)
select distinct on (e.account_id, l.person_id)
       e.organization_id, e.account_id, l.person_id, e.provider_id, w.at
  from campaigns c
  join campaigns o on o.organization_id = c.organization_id and o.list_id = c.list_id
                  and o.id <> c.id
  join campaign_executions e on e.organization_id = o.organization_id and e.campaign_id = o.id
                            and e.provider_id is not null
                            and (e.outcome is not null or o.status = {STOPPED})
  join leads l on l.organization_id = e.organization_id and l.id = e.lead_id
  join connected_accounts a on a.organization_id = e.organization_id and a.id = e.account_id
 cross join lateral (
       select max(i.received_at) as at from inbox_events i
        where i.organization_id = e.organization_id and i.result = '{NOBODY_KNOWN}'
          and i.payload -> 'sender' ->> 'attendee_provider_id' = e.provider_id
          and i.payload ->> 'account_id' = a.unipile_account_id
          and i.received_at >= e.started_at) w
 where c.organization_id = %(organization_id)s and c.id = %(campaign_id)s
   and not exists (select from contacts k
                    where k.organization_id = e.organization_id and k.account_id = e.account_id
                      and k.person_id = l.person_id)
 order by e.account_id, l.person_id, w.at desc nulls last
    on conflict do nothing
"""

# A campaign that a restore lost may be made again: its leads are asked about first, too.
_LOST_FOR = "interval '60 days'"

_ENROLL = f"""
insert into campaign_executions (organization_id, campaign_id, lead_id, account_id,
       workflow_version_id, status, operation, next_run_at, provider_id, connected, replied,
       doubted_since)
select p.organization_id, c.id, p.id, s.account_id, c.workflow_version_id, 'waiting', {STARTS},
       %(start_at)s, t.provider_id, t.connected_at is not null, t.replied_at is not null,
       (select lost_since from database_stamp where restored_at > %(now)s - {_LOST_FOR})
  from campaigns c
  join {CONTACTABLE} p
    on p.organization_id = c.organization_id and p.list_id = c.list_id
  join (select s.organization_id, s.account_id, s.position, count(*) over () as senders
          from campaign_senders s
         where s.organization_id = %(organization_id)s and s.campaign_id = %(campaign_id)s) s
    on s.organization_id = c.organization_id and s.position = p.place %% s.senders
  left join contacts t on t.organization_id = p.organization_id and t.account_id = s.account_id
                      and t.person_id = p.person_id
 where c.organization_id = %(organization_id)s and c.id = %(campaign_id)s
"""

_DEALT = """
update campaign_senders s set leads = d.leads
  from (select account_id, count(*) as leads from campaign_executions
         where organization_id = %(organization_id)s and campaign_id = %(campaign_id)s
         group by 1) d
 where s.organization_id = %(organization_id)s and s.campaign_id = %(campaign_id)s
   and s.account_id = d.account_id
"""

# Where a walk begins is a part of its history: what the account knew of the lead then, since
# `contacts` goes on learning.  Of a lead that nobody knew there is nothing to tell.
_TELL_KNOWN = f"""
insert into events (organization_id, subject_id, campaign_id, at, kind, actor, detail)
select e.organization_id, e.lead_id, e.campaign_id, %(now)s, '{ENROLLED}', 'operator',
       jsonb_build_object('provider_id', e.provider_id, 'connected', e.connected,
                          'replied', e.replied)
  from campaign_executions e
 where e.organization_id = %(organization_id)s and e.campaign_id = %(campaign_id)s
   and (e.provider_id is not null or e.connected or e.replied)
"""


async def pause_campaign(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    campaign_id: UUID,
    *,
    now: datetime,
    actor: str = "operator",
) -> None:
    """Pause: once this is committed no step is claimed.  Touches lanes, no lead.

    What is in flight goes on; `in_flight` counts it.  Raises WrongState when it is not running.
    """
    await _change(conn, organization_id, campaign_id, PAUSE, now, actor)


async def resume_campaign(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    campaign_id: UUID,
    *,
    now: datetime,
    actor: str = "operator",
) -> None:
    """Let a paused campaign go on.  Gaps, caps and hours hold, so that no burst follows.

    Raises WrongState when it is not paused.
    """
    await _change(conn, organization_id, campaign_id, RESUME, now, actor)


async def stop_campaign(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    campaign_id: UUID,
    *,
    now: datetime,
    actor: str = "operator",
) -> None:
    """End a campaign for good; its leads stay where they are, as stopped.  Touches no lead.

    Raises WrongState when it is neither running nor paused.
    """
    await _change(conn, organization_id, campaign_id, STOP, now, actor)


async def _change(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    campaign_id: UUID,
    change: Change,
    now: datetime,
    actor: str,
) -> None:
    async with conn.transaction():
        cursor = await conn.execute(
            "update campaigns set status = %s"
            " where organization_id = %s and id = %s and status = any(%s)",
            (change.after, organization_id, campaign_id, list(change.before)),
        )
        if cursor.rowcount == 0:
            status = await _status(conn, organization_id, campaign_id)
            raise WrongState(Noun.CAMPAIGN, status, change.before)
        await set_lanes(conn, organization_id, campaign_id=campaign_id)
        await record(conn, organization_id, campaign_id, change.event, actor, now, None)


async def _status(conn: AsyncConnection[Any], organization_id: UUID, campaign_id: UUID) -> str:
    cursor = await conn.execute(
        "select status from campaigns where organization_id = %s and id = %s",
        (organization_id, campaign_id),
    )
    row = await cursor.fetchone()
    return "gone" if row is None else str(row[0])


async def in_flight(
    conn: AsyncConnection[Any], organization_id: UUID, campaign_id: UUID, now: datetime
) -> int:
    """Count the actions that a living ticker may be performing right now.

    An action whose lease is over is not counted: nobody may act on it any more.
    """
    cursor = await conn.execute(
        "select count(*) from actions where organization_id = %s and campaign_id = %s"
        f" and state = {INTENDED} and check_at > %s",
        (organization_id, campaign_id, now),
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def complete_campaigns(conn: AsyncConnection[Any], now: datetime) -> list[UUID]:
    """Mark the running campaigns whose last lead is final; return them.

    Their lanes say cheaply which may be over; every lead of those is looked at, since a lane may
    have been deleted.
    """
    async with conn.transaction():
        cursor = await conn.execute(
            f"""
            with emptied as materialized (
            select c.organization_id, c.id from campaigns c
             where c.status = {RUNNING}
               and not exists (
                   select from lanes l
                    cross join lateral (
                          select from (select * from campaign_executions e
                                        where e.lane = l.lane and e.outcome is null
                                       offset 0) e
                           where e.organization_id = l.organization_id
                             and e.campaign_id = l.campaign_id and e.account_id = l.account_id
                             and e.operation = l.operation
                           limit 1) e
                    where l.organization_id = c.organization_id and l.campaign_id = c.id))
            update campaigns c set status = {COMPLETED}, completed_at = %(now)s
              from emptied
             where c.organization_id = emptied.organization_id and c.id = emptied.id
               and c.status = {RUNNING}
               and not exists (
                   select from campaign_executions e
                    where e.organization_id = c.organization_id and e.campaign_id = c.id
                      and e.outcome is null)
            returning c.organization_id, c.id
            """,
            {"now": now},
        )
        done = await cursor.fetchall()
        for organization_id, campaign_id in done:
            await set_lanes(conn, organization_id, campaign_id=campaign_id)
            await record(conn, organization_id, campaign_id, COMPLETE.event, "ticker", now, None)
    return [campaign_id for _, campaign_id in done]


async def is_over(conn: AsyncConnection[Any], organization_id: UUID, campaign_id: UUID) -> bool:
    """Whether the campaign is completed and every notice of it arrived or was given up."""
    cursor = await conn.execute(
        f"""
        select c.status = {COMPLETED}
               and not exists (select 1 from webhook_deliveries d
                                where d.organization_id = c.organization_id
                                  and d.campaign_id = c.id and d.next_attempt_at is not null)
          from campaigns c where c.organization_id = %s and c.id = %s
        """,
        (organization_id, campaign_id),
    )
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def steps_recorded(
    conn: AsyncConnection[Any], organization_id: UUID, campaign_id: UUID
) -> int:
    """Count the events in the histories of the campaign's leads."""
    cursor = await conn.execute(
        "select count(*) from history where organization_id = %s and campaign_id = %s",
        (organization_id, campaign_id),
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])
