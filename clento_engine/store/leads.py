"""People, one per identity and list: bringing them in, listing and finding them."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, AsyncCursor
from psycopg.errors import ForeignKeyViolation
from psycopg.rows import class_row, scalar_row

from clento_engine.domain.lead import Identity, LeadRow
from clento_engine.domain.suppression import company_key, email_key
from clento_engine.store.ids import uuid7

MOST_TRIES = 20  # of an import whose people are merged by others at this moment
BATCH = 5000  # rows that one COPY takes, so that none outlasts a statement's time limit


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did to how many; rows that name a person again count as `unchanged`."""

    list_id: UUID
    added: int
    unchanged: int
    updated: int


@dataclass(frozen=True, slots=True)
class Lead:
    """A person of a list, as stored."""

    id: UUID
    list_id: UUID
    identity: str
    public_identifier: str | None
    provider_id: str | None
    first_name: str | None
    last_name: str | None
    company: str | None
    job_title: str | None
    email: str | None
    profile_url: str | None
    fields: Mapping[str, str]
    row_number: int
    created_at: datetime


async def import_leads(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    list_name: str,
    rows: Iterable[LeadRow],
    now: datetime,
    *,
    update: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Imported:
    """Add the people of `rows` to the list, which is made if need be, and say what was done.

    One transaction: when a row cannot be read or stored, nothing was imported.  Run again, it adds
    nobody.  A person already in the list stays as is or, with `update`, takes the values that the
    row has: an empty cell erases nothing, and a custom field not in the row is kept.  Rows that
    share no name, one by slug alone and one by provider id alone, stay two leads: only the
    provider can tell.

    `rows` is consumed as it is stored, never held whole.  `progress` hears how many rows were read
    so far, after every `BATCH` and at the end.
    """
    async with conn.transaction(), conn.cursor(row_factory=scalar_row) as cur:
        await cur.execute(_STAGE, prepare=False)  # two statements cannot be
        columns: set[str] = set()
        count = await _stage(cur, rows, columns, progress)
        await cur.execute("analyze staged_leads")
        # From here on, imports into one list go one after the other: rows locked in the order of
        # two different files would be a deadlock, and a person under two names slip in twice.
        await cur.execute("set local lock_timeout = 0")  # whoever is before us may take a while
        await cur.execute(_MAKE_LIST, (organization_id, uuid7(), list_name, now))
        await cur.execute(_LOCK_LIST, (organization_id, list_name))
        list_id = await cur.fetchone()
        if list_id is None:
            raise RuntimeError(f"list {list_name!r} was deleted during its import")
        given = {"organization_id": organization_id, "list_id": list_id, "now": now}
        await cur.execute(_JOIN_NAMES)
        # Not prepared: a plan kept from an empty list would suit no other.
        await cur.execute(_FIND_KNOWN, given, prepare=False)
        await cur.execute("analyze known_leads")
        await cur.execute(_ADD_COLUMNS, {**given, "columns": sorted(columns)})
        updated = 0
        if update:
            await cur.execute(_UPDATE, given, prepare=False)
            updated = cur.rowcount
        added = await _add(conn, cur, given)
        await cur.execute("drop table staged_leads, known_leads, new_leads")
    return Imported(list_id, added, count - added - updated, updated)


async def _add(conn: AsyncConnection[Any], cur: AsyncCursor[Any], given: dict[str, Any]) -> int:
    """Add those who are not in the list, each the person whom it is known to be; return how many.

    Names are written last, so that nobody who learns one waits for a whole import, and behind the
    locks of people, as whoever merges them does.  Who is who is read again where a merge took one
    of these people meanwhile.
    """
    await cur.execute(_FIND_NEW, given, prepare=False)
    await cur.execute("analyze new_leads")
    for _ in range(MOST_TRIES):
        await cur.execute(_FIND_PEOPLE, given, prepare=False)
        await cur.execute(_ADD_PEOPLE, given, prepare=False)
        await cur.execute(_LOCK_PEOPLE, given, prepare=False)
        await cur.execute(_ADD_NAMES, given, prepare=False)
        await cur.execute(_FIND_PEOPLE, given, prepare=False)  # who lost a race is the other's
        try:
            async with conn.transaction():
                await cur.execute(_ADD, given, prepare=False)
                return cur.rowcount
        except ForeignKeyViolation:
            continue
    raise RuntimeError("the people of an import were merged at every try")


async def list_leads(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    list_name: str,
    *,
    after: str = "",
    limit: int = 100,
) -> list[Lead]:
    """Return up to `limit` people of a list in the order of their identities, which an index has.

    `after` is the identity at the end of the page before.
    """
    async with conn.cursor(row_factory=class_row(Lead)) as cur:
        await cur.execute(
            _LIST,
            {
                "organization_id": organization_id,
                "list_name": list_name,
                "after": after,
                "limit": limit,
            },
        )
        return await cur.fetchall()


@dataclass(frozen=True, slots=True)
class FoundLead:
    """A person of one list."""

    id: UUID
    identity: str
    name: str
    company: str | None
    profile_url: str | None
    campaigns: list[str]
    list: str


async def find_leads(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    who: UUID | Identity,
    *,
    campaign_id: UUID | None = None,
) -> list[FoundLead]:
    """Return the leads that are this person, one for each list that has it."""
    names: list[str] = []
    if isinstance(who, Identity):
        names = [name for name in (who.key, who.public_identifier, who.provider_id) if name]
    async with conn.cursor(row_factory=class_row(FoundLead)) as cursor:
        await cursor.execute(
            """
            select p.id, p.identity, concat_ws(' ', p.first_name, p.last_name) as name, p.company,
                   l.name as list, p.profile_url,
                   array(select c.name from campaign_executions e
                           join campaigns c on c.organization_id = e.organization_id
                                           and c.id = e.campaign_id
                          where e.organization_id = p.organization_id and e.lead_id = p.id
                            and c.list_id = p.list_id
                          order by c.id) as campaigns
              from leads p
              join lead_lists l on l.organization_id = p.organization_id and l.id = p.list_id
             where p.organization_id = %(organization_id)s
               and (p.id = %(id)s or p.identity = any(%(names)s)
                    or p.person_id in (select n.person_id from person_names n
                                        where n.organization_id = %(organization_id)s
                                          and n.name = any(%(names)s)))
               and (%(campaign_id)s::uuid is null or exists (
                    select from campaign_executions e
                     where e.organization_id = p.organization_id
                       and e.campaign_id = %(campaign_id)s and e.lead_id = p.id))
             order by p.id
            """,
            {
                "organization_id": organization_id,
                "campaign_id": campaign_id,
                "id": who if isinstance(who, UUID) else None,
                "names": names,
            },
        )
        return await cursor.fetchall()


async def _stage(
    cur: AsyncCursor[Any],
    rows: Iterable[LeadRow],
    columns: set[str],
    progress: Callable[[int], None] | None,
) -> int:
    """Copy `rows` to the staging table, note their `columns`; return how many there were."""
    rest = iter(rows)
    count = 0
    while (first := next(rest, None)) is not None:
        async with cur.copy(_COPY) as copy:
            for row in chain([first], islice(rest, BATCH - 1)):
                columns.update(row.fields)
                await copy.write_row(_staged(row))
                count += 1
        if progress is not None:
            progress(count)
    return count


def _staged(row: LeadRow) -> tuple[str | int | UUID | None, ...]:
    who = row.identity
    return (
        who.provider_id or who.key,
        uuid7(),
        who.key,
        who.public_identifier,
        who.provider_id,
        row.first_name,
        row.last_name,
        row.company,
        row.job_title,
        row.email,
        who.url,
        json.dumps(dict(row.fields), ensure_ascii=False) if row.fields else "{}",
        row.row_number,
        None if row.email is None else email_key(row.email),
        None if row.company is None else company_key(row.company),
    )


_COLUMNS = (
    "id, identity, public_identifier, provider_id, first_name, last_name, company, job_title,"
    " email, profile_url, fields, row_number"
)
_STORED = f"{_COLUMNS}, email_key, company_key"

# `person` is the provider id where the row or another row of the same identity has one.
_STAGE = """
create temporary table staged_leads (
  person text, id uuid, identity text, public_identifier text, provider_id text, first_name text,
  last_name text, company text, job_title text, email text, profile_url text, fields jsonb,
  row_number integer, email_key text, company_key text
) on commit drop;
create temporary table known_leads (person text, lead_id uuid) on commit drop;
create temporary table new_leads (id uuid, name text, slug text, person_id uuid) on commit drop;
"""

_COPY = f"copy staged_leads (person, {_STORED}) from stdin"

_MAKE_LIST = """
insert into lead_lists (organization_id, id, name, created_at) values (%s, %s, %s, %s)
on conflict (organization_id, name) do nothing
"""

_ADD_COLUMNS = """
update lead_lists
   set columns = array(select unnest(columns) union select unnest(%(columns)s::text[]) order by 1)
 where organization_id = %(organization_id)s and id = %(list_id)s
   and not columns @> %(columns)s::text[]
"""

_LOCK_LIST = """
select id from lead_lists where organization_id = %s and name = %s
for no key update  -- adding a lead elsewhere, which only refers to the list, need not wait
"""

_JOIN_NAMES = """
update staged_leads s set provider_id = named.provider_id, person = named.provider_id
from (
  select distinct on (identity) identity, provider_id from staged_leads
  where provider_id <> identity
  order by identity, row_number
) named
where s.identity = named.identity and s.provider_id is null
"""

# Who of the file is in the list, by any name known of either.  Slugs and provider ids cannot be
# mistaken for each other, so one hash join over all names does.
_FIND_KNOWN = """
insert into known_leads (person, lead_id)
with known as materialized (
  select id, identity, public_identifier, provider_id from leads
  where organization_id = %(organization_id)s and list_id = %(list_id)s
), known_names as (
  select id, identity as name from known
  union select id, public_identifier from known where public_identifier is not null
  union select id, provider_id from known where provider_id is not null
), staged_names as (
  select person, identity as name from staged_leads
  union all select person, person from staged_leads where person <> identity
)
select distinct on (s.person) s.person, k.id
from staged_names s join known_names k using (name)
order by s.person, k.id
"""

# The names that were resolved with the provider are better than the file's.
_UPDATE = """
update leads l set
  public_identifier = coalesce(l.public_identifier, new.public_identifier),
  provider_id = coalesce(l.provider_id, new.provider_id),
  first_name = coalesce(new.first_name, l.first_name),
  last_name = coalesce(new.last_name, l.last_name),
  company = coalesce(new.company, l.company),
  job_title = coalesce(new.job_title, l.job_title),
  email = coalesce(new.email, l.email),
  email_key = coalesce(new.email_key, l.email_key),
  company_key = coalesce(new.company_key, l.company_key),
  fields = l.fields || new.fields
from (
  select distinct on (k.lead_id) k.lead_id, s.*
  from known_leads k join staged_leads s using (person)
  order by k.lead_id, s.row_number
) new
where l.organization_id = %(organization_id)s and l.id = new.lead_id
  and (
    l.public_identifier is null and new.public_identifier is not null
    or l.provider_id is null and new.provider_id is not null
    or new.first_name <> coalesce(l.first_name, '')
    or new.last_name <> coalesce(l.last_name, '')
    or new.company <> coalesce(l.company, '')
    or new.job_title <> coalesce(l.job_title, '')
    or new.email <> coalesce(l.email, '')
    or not l.fields @> new.fields
  )
"""

# Of two rows of one person the first counts.  A conflict is left only where somebody else adds
# leads at this moment, or where a file gives two provider ids to one identity.
_ADD = f"""
insert into leads (organization_id, list_id, created_at, {_STORED}, person_id)
select %(organization_id)s, %(list_id)s, %(now)s, {_STORED}, n.person_id
from new_leads n join staged_leads s using (id)
order by id
on conflict (organization_id, list_id, identity) do nothing
"""

_FIND_NEW = """
insert into new_leads (id, name, slug)
select distinct on (person) id, person, public_identifier
from staged_leads s
where not exists (select from known_leads k where k.person = s.person)
order by person, row_number
"""

# By the id, else by the public identifier; of one beside an id only the id says who it is.
_FIND_PEOPLE = """
update new_leads l set person_id = n.person_id
from person_names n
where n.organization_id = %(organization_id)s and n.name = l.name
  and l.person_id is distinct from n.person_id
"""

# Whose id nobody knows is who has the public identifier, if no id of theirs is known; else new.
_ADD_PEOPLE = """
with theirs as materialized (
  select l.id, n.person_id
  from new_leads l
  join person_names n on n.organization_id = %(organization_id)s and n.name = l.slug
  where l.person_id is null and l.slug <> l.name
    and not exists (select from person_names i
                    where i.organization_id = n.organization_id and i.person_id = n.person_id
                      and i.kind = 'id')
), joined as (
  update new_leads l set person_id = t.person_id from theirs t where l.id = t.id
), added as (
  insert into people (organization_id, id, created_at)
  select %(organization_id)s, l.id, %(now)s from new_leads l
  where l.person_id is null and not exists (select from theirs t where t.id = l.id)
  on conflict do nothing
)
update new_leads l set person_id = l.id
where l.person_id is null and not exists (select from theirs t where t.id = l.id)
"""

_LOCK_PEOPLE = """
select count(*) from (
  select from people p
  where p.organization_id = %(organization_id)s
    and p.id in (select person_id from new_leads where person_id <> id)
  order by p.id
  for key share
) locked
"""

# A public identifier beside an id is stored only where nobody has it.
_ADD_NAMES = """
insert into person_names (organization_id, name, kind, person_id, learned_at)
select distinct on (x.name) %(organization_id)s, x.name, x.kind, l.person_id, %(now)s
from new_leads l
cross join lateral (
  select l.name, case when l.name = l.slug then 'slug' else 'id' end
  union all
  select l.slug, 'slug' where l.slug <> l.name
) x(name, kind)
where (l.person_id = l.id  -- who was merged just now is found anew
       or exists (select from people p
                  where p.organization_id = %(organization_id)s and p.id = l.person_id))
  and not exists (select from person_names n
                  where n.organization_id = %(organization_id)s and n.name = x.name)
order by x.name, l.id
on conflict (organization_id, name) do nothing
"""

_LIST = f"""
select list_id, created_at, {_COLUMNS} from leads
where organization_id = %(organization_id)s and identity > %(after)s
  and list_id = (
    select id from lead_lists where organization_id = %(organization_id)s and name = %(list_name)s
  )
order by identity limit %(limit)s
"""
