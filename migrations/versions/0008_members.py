"""One member, one account, one budget; and the database knows whose provider it talks to.

An account acts once Unipile has shown which LinkedIn member is behind it, and a member has one
account in all organisations: `provider_accounts` holds that.  Accounts whose member is not known
yet are paused until the next sweep has asked.  Accounts that are there more than once (one Unipile
account, or one member) are paused for a person to choose, with the units of all of them counted in
each: whoever goes on carries all that was done in the member's name.

Webhooks were stored for every organisation, whoever's account they told of: what was stored for
others than its owner is deleted.

Tickers of the version before must have ended: they do not know that an account needs a member.
"""

from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from alembic import context, op
from sqlalchemy import Connection, text

revision = "0008"
down_revision = "0007"

BATCH = 10_000  # webhooks looked at in one transaction

NOT_LOOKED_UP = "not yet looked up at Unipile"
DOUBLE = (
    "connected more than once, so that its limits were spent more than once: resume one of the"
    " accounts, and remove the others"
)

_TABLES = """
create table provider_accounts (
    member_id text not null,
    unipile_account_id text,
    organization_id uuid not null,
    account_id uuid not null,
    created_at timestamptz,
    seen_at timestamptz,
    released_at timestamptz,
    constraint provider_accounts_pkey primary key (member_id),
    constraint provider_accounts_unipile_account_id_key unique (unipile_account_id),
    constraint provider_accounts_account_id_key unique (organization_id, account_id),
    constraint provider_accounts_member_id_key unique (member_id, organization_id, account_id),
    constraint provider_accounts_released_at_check
        check ((released_at is null) = (unipile_account_id is not null))
);
create table installation (
    is_only boolean not null default true,
    provider_kind text,
    provider_dsn text,
    bound_at timestamptz,
    unrouted_webhooks bigint not null default '0',
    constraint installation_pkey primary key (is_only),
    constraint installation_is_only_check check (is_only),
    constraint installation_provider_kind_check check (provider_kind in ('real', 'simulated')),
    constraint installation_bound_check check (
        (provider_kind is null) = (provider_dsn is null)
        and (provider_kind is null) = (bound_at is null))
);
alter table connected_accounts add store_since timestamptz, add removed_at timestamptz;
alter table connected_accounts drop constraint connected_accounts_unipile_account_id_key;
create unique index connected_accounts_unipile_account_id_key
    on connected_accounts (organization_id, unipile_account_id) where removed_at is null
"""

_CONSTRAINTS = """
alter table connected_accounts
    add constraint connected_accounts_provider_accounts_fkey
        foreign key (provider_id, organization_id, id)
        references provider_accounts (member_id, organization_id, account_id),
    add constraint connected_accounts_member_check
        check (status = 'paused' or provider_id is not null),
    add constraint connected_accounts_removed_at_check check (
        removed_at is null or (paused_by = 'operator' and provider_id is null))
"""

_DOUBLES = """
select a.organization_id, a.id, a.unipile_account_id, a.provider_id, a.name, o.name as owner
  from connected_accounts a
  join organizations o on o.id = a.organization_id
 where a.unipile_account_id in (
           select unipile_account_id from connected_accounts group by 1 having count(*) > 1)
    or a.provider_id in (
           select provider_id from connected_accounts group by 1 having count(*) > 1)
 order by o.name, a.name, a.id
"""

# Epoch: due at once, by whatever clock the database lives.
_PAUSE_UNKNOWN = """
with paused as (
    update connected_accounts
       set status = 'paused', paused_by = 'provider', pause_reason = :reason,
           next_sweep_at = 'epoch'
     where provider_id is null and status = 'active'
    returning organization_id, id)
insert into events (organization_id, subject_id, at, kind, actor, detail)
select organization_id, id, now(), 'AccountPaused', 'upgrade',
       jsonb_build_object('reason', cast(:reason as text))
  from paused
"""

_PAUSE_DOUBLES = """
with paused as (
    update connected_accounts
       set status = 'paused', paused_by = 'operator', pause_reason = :reason, provider_id = null
     where id = any(:ids)
    returning organization_id, id)
insert into events (organization_id, subject_id, at, kind, actor, detail)
select organization_id, id, now(), 'AccountPaused', 'upgrade',
       jsonb_build_object('reason', cast(:reason as text))
  from paused
"""

_SUM_COUNTERS = """
insert into rate_counters (organization_id, account_id, operation, bucket_at, used)
select a.organization_id, a.id, n.operation, n.bucket_at, n.used
  from (select operation, bucket_at, sum(used) as used from rate_counters
         where account_id = any(:ids) group by 1, 2) n
 cross join connected_accounts a
 where a.id = any(:ids)
    on conflict (organization_id, account_id, operation, bucket_at)
    do update set used = excluded.used
"""

# the gaps too, and what the provider said of throttling
_SUM_GAPS = """
update connected_accounts a
   set next_free_at = x.next_free_at, blocked_until = x.blocked_until, throttles = x.throttles
  from (select max(next_free_at) as next_free_at, max(blocked_until) as blocked_until,
               max(throttles) as throttles
          from connected_accounts where id = any(:ids)) x
 where a.id = any(:ids)
"""
_SUM_BUDGET_GAPS = """
update rate_limits b
   set next_free_at = x.next_free_at, blocked_until = x.blocked_until, throttles = x.throttles
  from (select operation, max(next_free_at) as next_free_at, max(blocked_until) as blocked_until,
               max(throttles) as throttles
          from rate_limits where account_id = any(:ids) group by 1) x
 where b.account_id = any(:ids) and b.operation = x.operation
"""

_BIND = """
insert into provider_accounts (member_id, unipile_account_id, organization_id, account_id)
select provider_id, unipile_account_id, organization_id, id
  from connected_accounts where provider_id is not null
"""

_SILENCE = """
update lanes l set active = false
  from connected_accounts a
 where l.active and a.organization_id = l.organization_id and a.id = l.account_id
   and a.status = 'paused'
"""

_LAST_OF_BATCH = """
select max(id) from (select id from inbox_events where organization_id = :organization_id
                        and id > :after order by id limit :batch) b
"""

_DELETE_STRAY = """
delete from inbox_events i
 where i.organization_id = :organization_id and i.id > :after and i.id <= :last
   and exists (select from connected_accounts a
                where a.unipile_account_id = coalesce(i.payload ->> 'account_id',
                                                     i.payload -> 'AccountStatus' ->> 'account_id')
                  and a.organization_id <> i.organization_id)
   and not exists (select from connected_accounts a
                    where a.unipile_account_id
                              = coalesce(i.payload ->> 'account_id',
                                         i.payload -> 'AccountStatus' ->> 'account_id')
                      and a.organization_id = i.organization_id)
"""


def upgrade() -> None:
    say: Callable[[str], None] = context.config.attributes.get("say", print)
    # first, since it may be broken off and begun again: what follows is one transaction
    with op.get_context().autocommit_block():
        deleted = _delete_strays(op.get_bind())
    if deleted:
        say(f"{deleted:,} webhooks deleted that were stored for another than the account's owner")
    op.execute(
        "lock table lanes, connected_accounts, rate_limits, rate_counters in access exclusive mode"
    )
    op.execute(_TABLES)
    conn = op.get_bind()
    doubles = conn.execute(text(_DOUBLES)).mappings().all()
    for ids in _together(doubles):
        of = {"ids": ids, "reason": DOUBLE}
        for statement in (_SUM_COUNTERS, _SUM_GAPS, _SUM_BUDGET_GAPS, _PAUSE_DOUBLES):
            conn.execute(text(statement), of)
    if doubles:
        say("paused, since they are connected more than once; resume one of each, remove the rest:")
    for row in doubles:
        say(f"  {row['name']} ({row['unipile_account_id']}) of {row['owner']}")
    conn.execute(text(_PAUSE_UNKNOWN), {"reason": NOT_LOOKED_UP})
    op.execute(_BIND)
    op.execute(_SILENCE)
    op.execute(_CONSTRAINTS)


def _delete_strays(conn: Connection) -> int:
    deleted = 0
    for (organization_id,) in conn.execute(text("select id from organizations")).all():
        after = 0
        while True:
            of = {"organization_id": organization_id, "after": after, "batch": BATCH}
            last = conn.execute(text(_LAST_OF_BATCH), of).scalar_one()
            if last is None:
                break
            deleted += conn.execute(text(_DELETE_STRAY), {**of, "last": last}).rowcount
            after = last
    return deleted


def _together(rows: Iterable[Any]) -> list[list[UUID]]:
    """Return the accounts that are one: whatever shares a Unipile account or a member."""
    groups: list[tuple[set[str], list[UUID]]] = []
    for row in rows:
        names = {f"unipile {row['unipile_account_id']}"}
        if row["provider_id"] is not None:
            names.add(f"member {row['provider_id']}")
        ids = [row["id"]]
        apart = []
        for group in groups:
            if names & group[0]:
                names |= group[0]
                ids = group[1] + ids
            else:
                apart.append(group)
        groups = [*apart, (names, ids)]
    return [ids for _, ids in groups]
