"""Two accounts that one member acted by become one, with all that both did and used."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from clento_engine.store.literals import ACTIVE, OPEN, RUNNING
from clento_engine.store.senders import close_gaps


async def carry(
    conn: AsyncConnection[Any], of: Mapping[str, Any], organization_id: UUID, account_id: UUID
) -> None:
    """Give an account all that another used in the name of the same member: units and gaps."""
    both = {**of, "from_organization_id": organization_id, "from_account_id": account_id}
    for statement in _CARRY:
        await conn.execute(statement, both)


async def fold(conn: AsyncConnection[Any], both: Mapping[str, Any]) -> None:
    """Give all of the account `new` to the account `old`, and delete `new`.

    `both` names them, the Unipile id of each, their organisation and the time.  The caller keeps
    other changes of who has which member out.
    """
    organization_id, old, new = both["organization_id"], both["old"], both["new"]
    for statement in _LOCK_BOTH:
        await conn.execute(statement, both)
    for statement in _MOVE:
        await conn.execute(statement, both)
    await carry(conn, {**both, "account_id": old}, organization_id, new)
    cursor = await conn.execute(_MERGE_SENDERS[0], both)
    emptied = [row[0] for row in await cursor.fetchall()]
    for statement in (*_MERGE_SENDERS[1:], *_DELETE_NEW):
        await conn.execute(statement, both)
    await close_gaps(conn, organization_id, emptied)


_CARRY = (
    """
insert into rate_counters as n (organization_id, account_id, operation, bucket_at, used)
select %(organization_id)s, %(account_id)s, operation, bucket_at, used from rate_counters
 where organization_id = %(from_organization_id)s and account_id = %(from_account_id)s
 order by operation, bucket_at
    on conflict (organization_id, account_id, operation, bucket_at)
    do update set used = n.used + excluded.used
""",
    """
delete from rate_counters
 where organization_id = %(from_organization_id)s and account_id = %(from_account_id)s
""",
    """
update connected_accounts a
   set next_free_at = greatest(a.next_free_at, b.next_free_at),
       blocked_until = greatest(a.blocked_until, b.blocked_until),
       throttles = greatest(a.throttles, b.throttles),
       warmup_started_at = coalesce(a.warmup_started_at, b.warmup_started_at)
  from connected_accounts b
 where a.organization_id = %(organization_id)s and a.id = %(account_id)s
   and b.organization_id = %(from_organization_id)s and b.id = %(from_account_id)s
""",
    """
update rate_limits a
   set next_free_at = greatest(a.next_free_at, b.next_free_at),
       blocked_until = greatest(a.blocked_until, b.blocked_until),
       blocked_reason = case when a.blocked_until >= b.blocked_until then a.blocked_reason
                             else coalesce(b.blocked_reason, a.blocked_reason) end,
       throttles = greatest(a.throttles, b.throttles)
  from rate_limits b
 where a.organization_id = %(organization_id)s and a.account_id = %(account_id)s
   and b.organization_id = %(from_organization_id)s and b.account_id = %(from_account_id)s
   and b.operation = a.operation
""",
)

# Of the row that is folded (`new`): what refers to it, in the order of locks.
_OF_NEW = """organization_id = %(organization_id)s and account_id = %(new)s
   and campaign_id in (select campaign_id from campaign_senders
                        where organization_id = %(organization_id)s and account_id = %(new)s)"""
_LOCK_BOTH = (
    f"""
select from actions
 where {_OF_NEW} and state in {OPEN}
 order by campaign_id, lead_id
   for no key update
""",
    f"""
select from campaign_executions
 where {_OF_NEW}
 order by campaign_id, lead_id
   for no key update
""",
    """
select from lanes
 where organization_id = %(organization_id)s and account_id in (%(old)s, %(new)s)
 order by organization_id, campaign_id, account_id, operation
   for update
""",
    """
select from connected_accounts
 where organization_id = %(organization_id)s and id in (%(old)s, %(new)s) order by id for update
""",
    """
select from rate_limits
 where organization_id = %(organization_id)s and account_id in (%(old)s, %(new)s)
 order by account_id, operation
   for update
""",
)
_MOVE = (
    f"update actions set account_id = %(old)s where {_OF_NEW}",
    f"update campaign_executions set account_id = %(old)s where {_OF_NEW}",
    # what they wrote to the old Unipile account is heard as written to the new one; what was said
    # of the old account's state is not
    """
update inbox_events
   set payload = jsonb_set(payload, '{account_id}', to_jsonb(%(unipile_account_id)s::text))
 where organization_id = %(organization_id)s
   and payload ->> 'account_id' = %(old_unipile_account_id)s
   and (applied_at is null or result = 'nobody known')
""",
    """
update inbox_events set applied_at = %(now)s, result = 'of a Unipile account that went'
 where organization_id = %(organization_id)s and applied_at is null
   and payload -> 'AccountStatus' ->> 'account_id' = %(old_unipile_account_id)s
""",
    f"""
insert into lanes (organization_id, campaign_id, account_id, operation, budget, active, ready_at)
select n.organization_id, n.campaign_id, %(old)s, n.operation, n.budget,
       c.status = {RUNNING} and a.status = {ACTIVE}, n.ready_at
  from lanes n
  join campaigns c on c.organization_id = n.organization_id and c.id = n.campaign_id
  join connected_accounts a on a.organization_id = n.organization_id and a.id = %(old)s
 where n.organization_id = %(organization_id)s and n.account_id = %(new)s
    on conflict (organization_id, campaign_id, account_id, operation)
    do update set ready_at = least(lanes.ready_at, excluded.ready_at)
""",
    "delete from lanes where organization_id = %(organization_id)s and account_id = %(new)s",
    # what each lane waited for was another budget: all look again
    """
update lanes set ready_at = %(now)s
 where organization_id = %(organization_id)s and account_id = %(old)s and ready_at > %(now)s
""",
    """
insert into contacts as k (organization_id, account_id, person_id, provider_id, invitation_id,
       connected_at, replied_at)
select organization_id, %(old)s, person_id, provider_id, invitation_id, connected_at, replied_at
  from contacts where organization_id = %(organization_id)s and account_id = %(new)s
    on conflict (organization_id, account_id, person_id)
    do update set provider_id = coalesce(k.provider_id, excluded.provider_id),
                  invitation_id = coalesce(k.invitation_id, excluded.invitation_id),
                  connected_at = least(k.connected_at, excluded.connected_at),
                  replied_at = greatest(k.replied_at, excluded.replied_at)
""",
    "delete from contacts where organization_id = %(organization_id)s and account_id = %(new)s",
    """
update events set subject_id = %(old)s
 where organization_id = %(organization_id)s and subject_id = %(new)s
""",
)
_MERGE_SENDERS = (
    """
update campaign_senders o
   set leads = o.leads + n.leads,
       starts = case when n.starts_on is null or n.starts_on < o.starts_on then o.starts
                     when n.starts_on = o.starts_on then o.starts + n.starts
                     else n.starts end,
       starts_on = greatest(o.starts_on, n.starts_on)
  from campaign_senders n
 where o.organization_id = %(organization_id)s and o.account_id = %(old)s
   and n.organization_id = o.organization_id and n.campaign_id = o.campaign_id
   and n.account_id = %(new)s
returning o.campaign_id
""",
    """
delete from campaign_senders n
 where n.organization_id = %(organization_id)s and n.account_id = %(new)s
   and exists (select from campaign_senders o
                where o.organization_id = n.organization_id and o.campaign_id = n.campaign_id
                  and o.account_id = %(old)s)
""",
    """
update campaign_senders set account_id = %(old)s
 where organization_id = %(organization_id)s and account_id = %(new)s
""",
)
_DELETE_NEW = (
    """
delete from pending_invitations
 where organization_id = %(organization_id)s and account_id = %(new)s
""",
    "delete from rate_limits where organization_id = %(organization_id)s and account_id = %(new)s",
    "delete from connected_accounts where organization_id = %(organization_id)s and id = %(new)s",
)
