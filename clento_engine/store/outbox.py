"""Notices to customers, saved with the state that they tell of, and sent until they arrive."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.errors import UniqueViolation

from clento_engine.domain.execution import Notify
from clento_engine.domain.notice import Notice
from clento_engine.domain.report import Effected
from clento_engine.domain.workflow import Workflow
from clento_engine.store.errors import AlreadyExists, Noun
from clento_engine.store.ids import uuid7
from clento_engine.store.inbox import NOBODY_KNOWN
from clento_engine.store.rows import recordset
from clento_engine.store.stamp import IS_QUARANTINED

# Of a notice's payload: the campaign `c` and the lead `p`.
CAMPAIGN = "jsonb_build_object('id', c.id, 'name', c.name)"
LEAD = """jsonb_build_object(
           'id', p.id, 'firstName', p.first_name, 'lastName', p.last_name, 'company', p.company,
           'jobTitle', p.job_title, 'email', p.email, 'profileUrl', p.profile_url,
           'publicIdentifier', p.public_identifier, 'fields', p.fields)"""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notice to send.  `attempt` counts the tries that were made."""

    organization_id: UUID
    id: UUID
    url: str
    payload: dict[str, Any]
    attempt: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where notices are delivered; `notices`: of what, besides the nodes that name its id."""

    id: str
    name: str
    url: str
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True)
class News:
    """What happened to a lead, in a campaign, with a sender.

    `key`: what makes two the same, within the organisation; `message_id` and `at`: the message that
    did it, as the provider names it, and when it was written.
    """

    organization_id: UUID
    notice: Notice
    key: str
    campaign_id: UUID
    lead_id: UUID
    account_id: UUID
    message_id: str | None
    at: datetime


async def add_endpoint(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    endpoint_id: str,
    name: str,
    url: str,
    notices: Iterable[Notice] = (),
) -> None:
    """Register where the webhook nodes that name `endpoint_id` deliver, and what else it is told.

    Raises AlreadyExists.
    """
    try:
        await conn.execute(
            "insert into webhook_endpoints (organization_id, id, name, url, notices)"
            " values (%s, %s, %s, %s, %s)",
            (organization_id, endpoint_id, name, url, [notice.value for notice in notices]),
        )
    except UniqueViolation:
        raise AlreadyExists(Noun.WEBHOOK, endpoint_id) from None


async def endpoints(conn: AsyncConnection[Any], organization_id: UUID) -> list[Endpoint]:
    """List the registered webhooks by name."""
    cursor = await conn.execute(
        "select id, name, url, notices from webhook_endpoints where organization_id = %s"
        " order by name, id",
        (organization_id,),
    )
    return [
        Endpoint(webhook_id, name, url, tuple(map(Notice, notices)))
        for webhook_id, name, url, notices in await cursor.fetchall()
    ]


# The id is made of what happened, so that it is told once however often it is heard.  What is known
# of the lead is read here, after the event was written in the same transaction.
_TELL = f"""
insert into webhook_deliveries (organization_id, id, campaign_id, lead_id, url, payload,
                                next_attempt_at)
select r.organization_id, i.id, r.campaign_id, r.lead_id, w.url,
       jsonb_build_object(
         'event', r.event, 'id', i.id, 'at', %(now)s, 'organizationId', r.organization_id,
         'campaign', {CAMPAIGN},
         'execution', jsonb_build_object(
           'status', e.status, 'outcome', e.outcome, 'connected', e.connected,
           'replied', e.replied, 'startedAt', e.started_at, 'accountId', e.account_id),
         'sender', jsonb_build_object('id', a.id, 'name', a.name),
         'contact', jsonb_build_object(
           'providerId', coalesce(k.provider_id, e.provider_id), 'chatId', k.chat_id),
         'message', jsonb_build_object('id', r.message_id, 'at', r.at),
         'lead', {LEAD}),
       %(now)s
  from json_to_recordset(%(rows)s) as r(organization_id uuid, notice text, event text, key text,
       campaign_id uuid, lead_id uuid, account_id uuid, message_id text, at timestamptz)
  join webhook_endpoints w on w.organization_id = r.organization_id and r.notice = any(w.notices)
  join campaigns c on c.organization_id = r.organization_id and c.id = r.campaign_id
  join campaign_executions e on e.organization_id = r.organization_id
                            and e.campaign_id = r.campaign_id and e.lead_id = r.lead_id
  join leads p on p.organization_id = r.organization_id and p.id = r.lead_id
  join connected_accounts a on a.organization_id = r.organization_id and a.id = r.account_id
  left join contacts k on k.organization_id = r.organization_id and k.account_id = r.account_id
                      and k.person_id = p.person_id
 cross join lateral (
       select substr(encode(sha256(convert_to(
                concat_ws('/', w.id, r.notice, r.key), 'UTF8')), 'hex'), 1, 32)::uuid as id) i
 order by i.id
    on conflict (organization_id, id) do nothing
"""


async def tell(conn: AsyncConnection[Any], news: Sequence[News], now: datetime) -> None:
    """Put into the outbox what happened, for each endpoint that asked to be told of it.

    In the transaction that writes what happened; once, however often it is heard.
    """
    if not news:
        return
    rows = recordset(
        {
            "organization_id": each.organization_id,
            "notice": each.notice.value,
            "event": each.notice.event,
            "key": each.key,
            "campaign_id": each.campaign_id,
            "lead_id": each.lead_id,
            "account_id": each.account_id,
            "message_id": each.message_id,
            "at": each.at,
        }
        for each in news
    )
    await conn.execute(_TELL, {"rows": rows, "now": now})


# A webhook node's notice, once for each lead and node, with what is known of the lead.
_TELL_NODES = f"""
insert into webhook_deliveries (organization_id, id, campaign_id, lead_id, node_id, url, payload,
                                next_attempt_at)
select r.organization_id, r.id, r.campaign_id, r.lead_id, r.node_id, coalesce(w.url, r.url),
       jsonb_build_object(
         'event', 'lead.step', 'id', r.id, 'at', %(now)s, 'organizationId', r.organization_id,
         'campaign', {CAMPAIGN},
         'nodeId', r.node_id,
         'execution', r.execution,
         'lead', {LEAD}),
       %(now)s
  from json_to_recordset(%(rows)s) as r(organization_id uuid, id uuid, campaign_id uuid,
       lead_id uuid, node_id text, webhook_id text, url text, execution jsonb)
  join campaigns c on c.organization_id = r.organization_id and c.id = r.campaign_id
  join leads p on p.organization_id = r.organization_id and p.id = r.lead_id
  left join webhook_endpoints w
    on w.organization_id = r.organization_id and w.id = r.webhook_id
 where coalesce(w.url, r.url) is not null
    on conflict (organization_id, campaign_id, lead_id, node_id) do nothing
"""


async def tell_nodes(
    conn: AsyncConnection[Any],
    effects: Iterable[Effected],
    workflows: Mapping[tuple[UUID, UUID], Workflow],
    now: datetime,
) -> None:
    """Put the notices of webhook nodes into the outbox; `workflows` by campaign and lead."""
    notices = []
    for report, effect, run in effects:
        if not isinstance(effect, Notify):
            continue
        node = workflows[report.campaign_id, report.lead_id].nodes[effect.node_id]
        notices.append(
            {
                "organization_id": report.organization_id,
                "id": uuid7(),
                "campaign_id": report.campaign_id,
                "lead_id": report.lead_id,
                "node_id": effect.node_id,
                "webhook_id": node.webhook_id,
                "url": node.webhook_url,
                "execution": {
                    "status": run.status,
                    "outcome": run.outcome,
                    "connected": run.connected,
                    "replied": run.replied,
                    "startedAt": run.started_at,
                    "accountId": report.account_id,
                },
            }
        )
    if notices:
        await conn.execute(_TELL_NODES, {"rows": recordset(notices), "now": now})


_LATE = f"""
select r.organization_id, i.key, r.campaign_id, r.lead_id, r.account_id,
       i.payload ->> 'message_id', i.received_at
  from json_to_recordset(%(rows)s) as r(organization_id uuid, campaign_id uuid, lead_id uuid,
       account_id uuid)
  join campaign_executions e on e.organization_id = r.organization_id
                            and e.campaign_id = r.campaign_id and e.lead_id = r.lead_id
  join connected_accounts a on a.organization_id = r.organization_id and a.id = r.account_id
  join inbox_events i on i.organization_id = r.organization_id and i.result = '{NOBODY_KNOWN}'
                     and i.payload -> 'sender' ->> 'attendee_provider_id' = e.provider_id
                     and i.payload ->> 'account_id' = a.unipile_account_id
                     and i.received_at >= e.started_at
"""


async def tell_late(
    conn: AsyncConnection[Any], walks: Sequence[dict[str, UUID]], now: datetime
) -> None:
    """Tell of replies that came when nobody knew yet who wrote them.

    `walks`: organization, campaign, lead and account, each by the name of its column.
    """
    cursor = await conn.execute(_LATE, {"rows": recordset(walks)})
    news = [
        News(organization_id, Notice.REPLIED, *fields)
        for organization_id, *fields in await cursor.fetchall()
    ]
    await tell(conn, news, now)


async def take_deliveries(
    conn: AsyncConnection[Any], *, now: datetime, lease: timedelta, most: int
) -> list[Delivery]:
    """Take notices that are due; they come again after `lease` unless their end is written."""
    cursor = await conn.execute(
        f"""
        with due as materialized (
            select organization_id, id from webhook_deliveries
             where next_attempt_at <= %(now)s and not {IS_QUARANTINED}
             order by next_attempt_at, id
             limit %(most)s
               for no key update skip locked)
        update webhook_deliveries d
           set next_attempt_at = %(until)s, attempt = d.attempt + 1
          from due
         where d.organization_id = due.organization_id and d.id = due.id
        returning d.organization_id, d.id, d.url, d.payload, d.attempt
        """,
        {"now": now, "until": now + lease, "most": most},
    )
    return [Delivery(*row) for row in await cursor.fetchall()]


async def delivered(conn: AsyncConnection[Any], delivery: Delivery, now: datetime) -> None:
    """Write that a notice arrived."""
    await conn.execute(
        "update webhook_deliveries set delivered_at = %s, next_attempt_at = null, reason = null"
        " where organization_id = %s and id = %s and next_attempt_at is not null",
        (now, delivery.organization_id, delivery.id),
    )


async def not_delivered(
    conn: AsyncConnection[Any],
    delivery: Delivery,
    reason: str,
    *,
    again_at: datetime | None,
    now: datetime,
) -> None:
    """Write that a try failed; `again_at` None was the last."""
    await conn.execute(
        "update webhook_deliveries set next_attempt_at = %s, reason = %s,"
        " failed_at = case when %s::timestamptz is null then %s::timestamptz end"
        " where organization_id = %s and id = %s and attempt = %s and delivered_at is null",
        (
            again_at,
            reason,
            again_at,
            now,
            delivery.organization_id,
            delivery.id,
            delivery.attempt,
        ),
    )
