"""People and their names: what answers teach, and two rows that turn out to be one person.

A name belongs to one person, and every lead points at its person.  What an answer shows is learned
before its step is settled, while the open action still keeps that walk from every claim.  A name
that is somebody else's merges the two at once: all pointers move and the losing row is deleted, so
that a foreign key refuses whatever still means it.

Locks are taken in the order of `settle`, people last: campaigns (a start among them would enrol
whom we do not see), open actions, executions, lanes, people.  Whoever merges writes every living
row of the person, so that a claim that looked before finds its rows changed and passes them over.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from clento_engine.domain import execution as ex
from clento_engine.domain.person import (
    Change,
    Merged,
    Moved,
    Named,
    Owner,
    Shown,
    Walking,
    ahead_of,
    goes_on_in,
    kind_of,
    learned,
)
from clento_engine.domain.report import Report
from clento_engine.store.ids import uuid7
from clento_engine.store.inbox import BEFORE
from clento_engine.store.literals import DRAFT, HAPPENED, OPEN, RECEIVED, UNFINISHED, post_of
from clento_engine.store.rows import recordset
from clento_engine.store.settle import apply
from clento_engine.store.walking import LIVING, WALKING, walking

log = logging.getLogger(__name__)

MOST_TRIES = 20  # of one change, whose people others merge at this moment

# What is new and nobody else's is added at once, in one statement a batch; returned are the places
# of answers that say more than that.  People are locked before a name of theirs is written, as
# whoever merges them does, and the names are inserted in order: two who learn the same wait for
# each other, never in a circle.  Of somebody who was merged meanwhile nothing is added.
_LEARN = """
with shown as materialized (
    select r.*, l.person_id,
           exists (select from person_names n
                    where n.organization_id = l.organization_id and n.person_id = l.person_id
                      and n.kind = 'id') as has_id
      from json_to_recordset(%(shown)s) as r(place int, organization_id uuid, lead_id uuid,
           provider_id text, slug text)
      join leads l on l.organization_id = r.organization_id and l.id = r.lead_id),
known as materialized (
    select s.*, i.person_id as id_person, g.person_id as slug_person
      from shown s
      left join person_names i on i.organization_id = s.organization_id and i.name = s.provider_id
      left join person_names g on g.organization_id = s.organization_id and g.name = s.slug),
unknown as materialized (
    select k.organization_id, x.name, x.kind, k.person_id
      from known k
     cross join lateral (
           select k.provider_id, 'id' where k.id_person is null and not k.has_id
            union all
           select k.slug, 'slug' where k.slug is not null and k.slug_person is null
              and (k.id_person = k.person_id or (k.id_person is null and not k.has_id))
           ) x(name, kind)),
locked as materialized (
    select p.organization_id, p.id from people p
     where (p.organization_id, p.id) in (select organization_id, person_id from unknown)
     order by p.organization_id, p.id
       for key share),
added as (
    insert into person_names (organization_id, name, kind, person_id, learned_at)
    select distinct on (u.organization_id, u.name)
           u.organization_id, u.name, u.kind, u.person_id, %(now)s
      from unknown u
      join locked p on p.organization_id = u.organization_id and p.id = u.person_id
     order by u.organization_id, u.name, u.person_id
        on conflict (organization_id, name) do nothing
    returning organization_id, name, person_id)
select k.place
  from known k
  left join added i on i.organization_id = k.organization_id and i.name = k.provider_id
  left join added g on g.organization_id = k.organization_id and g.name = k.slug
 where coalesce(k.id_person, i.person_id) is distinct from k.person_id
    or (k.slug is not null and coalesce(k.slug_person, g.person_id) is distinct from k.person_id)
"""

# Who has the names that answers showed, and whether an id of the lead's person is known.
_LOOK = """
select r.place, i.person_id, g.person_id, h.has_id
  from json_to_recordset(%(shown)s) as r(place int, organization_id uuid, person_id uuid,
       provider_id text, slug text)
  left join person_names i on i.organization_id = r.organization_id and i.name = r.provider_id
  left join person_names g on g.organization_id = r.organization_id and g.name = r.slug
 cross join lateral (
       select exists (select from person_names n
                       where n.organization_id = r.organization_id
                         and n.person_id = r.person_id and n.kind = 'id') as has_id) h
"""

_OWNER = """
       (select jsonb_build_object('person_id', o.person_id, 'has_id', exists (
                   select from person_names n
                    where n.organization_id = o.organization_id and n.person_id = o.person_id
                      and n.kind = 'id'))
          from {owner} where {whose})"""
_OF_NAME = "o.organization_id = %(organization_id)s and o.name = {name}"
_OWNERS = f"""
select {
    _OWNER.format(
        owner="leads o", whose="o.organization_id = %(organization_id)s and o.id = %(lead_id)s"
    )
},
{_OWNER.format(owner="person_names o", whose=_OF_NAME.format(name="%(provider_id)s"))},
{_OWNER.format(owner="person_names o", whose=_OF_NAME.format(name="%(slug)s"))}
"""

# The walks of some people, by key, in whatever state: a contact of one that is over may be written
# at this moment as well.
_WALKS = """
select e.campaign_id, e.lead_id
  from leads l
  join campaigns c on c.organization_id = l.organization_id and c.list_id = l.list_id
  join campaign_executions e on e.organization_id = l.organization_id and e.campaign_id = c.id
                            and e.lead_id = l.id
 where l.organization_id = %(organization_id)s and l.person_id = any(%(people)s)
"""

_LOCKS = (
    # a start that is under way has its campaign, which is a draft as others see it
    f"""
    select from campaigns c
     where c.organization_id = %(organization_id)s
       and (c.status = {DRAFT} or c.status in {UNFINISHED})
       and c.list_id in (select list_id from leads where organization_id = %(organization_id)s
                            and person_id = any(%(people)s))
     order by c.id
       for share
    """,
    f"""
    select from actions a
     where a.organization_id = %(organization_id)s
       and (a.campaign_id, a.lead_id) in ({_WALKS}) and a.state in {OPEN}
     order by a.campaign_id, a.lead_id
       for no key update
    """,
    f"""
    select from campaign_executions e
     where e.organization_id = %(organization_id)s
       and (e.campaign_id, e.lead_id) in ({_WALKS})
     order by e.campaign_id, e.lead_id
       for no key update
    """,
)

_LOCK_PEOPLE = """
select id from people where organization_id = %(organization_id)s and id = any(%(people)s)
 order by id
   for update
"""

# What is to be seen again under all locks as it was before the last.
_SEEN = f"""
select (select array_agg(w order by w.campaign_id, w.lead_id) from ({_WALKS}) w)::text,
       (select array_agg(a.token order by a.token) from actions a
         where a.organization_id = %(organization_id)s
           and (a.campaign_id, a.lead_id) in ({_WALKS}) and a.state in {OPEN})::text,
       (select array_agg(l.id order by l.id) from leads l
         where l.organization_id = %(organization_id)s and l.person_id = any(%(people)s))::text
"""

_LIVING = f"""
select {WALKING}, e.account_id, e.connected, e.replied,
       exists (select from actions x
                where x.organization_id = e.organization_id and x.campaign_id = e.campaign_id
                  and x.lead_id = e.lead_id and x.state in {OPEN}) as is_acting,
       (select max(k.replied_at) from contacts k
         where k.organization_id = e.organization_id and k.person_id = any(%(people)s)
           and k.account_id = e.account_id) as replied_at,
       (select min(k.connected_at) from contacts k
         where k.organization_id = e.organization_id and k.person_id = any(%(people)s)
           and k.account_id = e.account_id) as connected_at
  from leads l {LIVING}
 where l.organization_id = %(organization_id)s and l.person_id = any(%(people)s)
"""

_OF = "organization_id = %(organization_id)s and person_id = %(loser)s"
_IS_THEIRS = f"""
  a.organization_id = %(organization_id)s and a.lead_id = any(%(leads)s)
   and a.operation in {RECEIVED}"""
_OTHERS = f"""
             from actions b
            where b.organization_id = a.organization_id and b.campaign_id = a.campaign_id
              and b.person_id = {{person}} and b.node_id = a.node_id
              and {post_of("b")} = {post_of("a")}
              and b.state in {HAPPENED} and b.operation in {RECEIVED}"""
# Where both had been reached already, history stays true: the loser's are told apart by `twin`.
_MOVE_ACTIONS = f"""
update actions a set person_id = %(winner)s,
       twin = a.twin + coalesce((select max(b.twin) + 1{_OTHERS.format(person="%(winner)s")}), 0)
 where {_IS_THEIRS} and {{which}}
"""
_SETTLED = "a.number is not null"
_UNSETTLED = f"a.state in {OPEN} and a.campaign_id in (select campaign_id from ({_WALKS}) w)"
# A lead that moves may leave twins without a first behind it, or be one: no second is written
# beside what is the first.
_NUMBER_ANEW = f"""
update actions a set twin = 0
 where a.organization_id = %(organization_id)s
   and a.lead_id in (select id from leads where organization_id = %(organization_id)s
                        and person_id = any(%(people)s))
   and a.operation in {RECEIVED} and a.state in {HAPPENED} and a.twin > 0 and {{which}}
   and not exists (select{_OTHERS.format(person="a.person_id")} and b.twin < a.twin)
"""
_NUMBER_FIRST = tuple(_NUMBER_ANEW.format(which=which) for which in (_SETTLED, _UNSETTLED))
_MOVE_LEADS = (
    _MOVE_ACTIONS.format(which=_SETTLED),
    _MOVE_ACTIONS.format(which=_UNSETTLED),
    """
    update leads set person_id = %(winner)s
     where organization_id = %(organization_id)s and id = any(%(leads)s)
    """,
)
_MERGE = (
    f"update person_names set person_id = %(winner)s where {_OF}",
    f"""
    insert into contacts as k (organization_id, account_id, person_id, provider_id, chat_id,
                               invitation_id, connected_at, replied_at)
    select organization_id, account_id, %(winner)s, provider_id, chat_id, invitation_id,
           connected_at, replied_at
      from contacts where {_OF}
        on conflict (organization_id, account_id, person_id) do update
       set provider_id = coalesce(k.provider_id, excluded.provider_id),
           chat_id = coalesce(k.chat_id, excluded.chat_id),
           invitation_id = coalesce(k.invitation_id, excluded.invitation_id),
           connected_at = least(k.connected_at, excluded.connected_at),
           replied_at = greatest(k.replied_at, excluded.replied_at)
    """,
    f"delete from contacts where {_OF}",
    "delete from people where organization_id = %(organization_id)s and id = %(loser)s",
)
# Even where nothing of it changes: a claim that looked before must find it changed.
_TOUCH = f"""
update campaign_executions e set attempt = e.attempt
 where e.organization_id = %(organization_id)s
   and (e.campaign_id, e.lead_id) in ({_WALKS}) and e.outcome is null
"""
_TELL = f"""
insert into person_merges (organization_id, loser_id, winner_id, at, shown, names, leads)
select %(organization_id)s, %(loser)s, %(winner)s, %(now)s, %(shown)s,
       array(select name from person_names where {_OF} order by name),
       %(leads)s
"""

# A name that goes to somebody else is no longer what its former owner is left alone by: their id
# is, under which they stay.
_GIVE_NAME = (
    """
    insert into suppressions as x (organization_id, kind, value, reason, expires_at, created_at)
    select x.organization_id, x.kind, i.name, x.reason, x.expires_at, x.created_at
      from person_names n
      join suppressions x on x.organization_id = n.organization_id and x.kind = 'person'
                         and x.value = n.name
     cross join lateral (
           select i.name from person_names i
            where i.organization_id = n.organization_id and i.person_id = n.person_id
              and i.kind = 'id'
            order by i.learned_at
            limit 1) i
     where n.organization_id = %(organization_id)s and n.name = %(name)s
       and n.person_id <> %(person_id)s
        on conflict (organization_id, kind, value) do update
       set expires_at = excluded.expires_at
     where x.expires_at < coalesce(excluded.expires_at, 'infinity')
    """,
    """
    delete from suppressions x using person_names n
     where n.organization_id = %(organization_id)s and n.name = %(name)s
       and n.person_id <> %(person_id)s
       and x.organization_id = n.organization_id and x.kind = 'person' and x.value = n.name
    """,
    """
    insert into person_names as n (organization_id, name, kind, person_id, learned_at)
    values (%(organization_id)s, %(name)s, %(kind)s, %(person_id)s, %(now)s)
        on conflict (organization_id, name) do update
       set person_id = excluded.person_id, learned_at = excluded.learned_at
     where n.person_id <> excluded.person_id
    """,
)


class _ChangedMeanwhile(Exception):
    """Who is who is no longer what was read before the locks were had."""


async def learn(conn: AsyncConnection[Any], shown: Sequence[Shown], now: datetime) -> int:
    """Learn the names that answers showed, before their steps are settled; return the merges.

    In autocommit: a statement a batch, and a transaction for each answer that says that two are
    one, or that a name was given on.  Runs twice harmlessly.
    """
    asked = [each for each in shown if each.lead_id is not None]
    unclear = [each for each in shown if each.lead_id is None]
    if asked:
        rows = (
            {
                "place": place,
                "organization_id": each.organization_id,
                "lead_id": each.lead_id,
                "provider_id": each.provider_id,
                "slug": each.slug,
            }
            for place, each in enumerate(asked)
        )
        cursor = await conn.execute(_LEARN, {"shown": recordset(rows), "now": now})
        unclear += [asked[place] for (place,) in await cursor.fetchall()]
    return sum([await _resolve(conn, each, now) for each in unclear])


async def look(
    conn: AsyncConnection[Any], shown: Sequence[Shown]
) -> tuple[list[tuple[str, ...]], list[Shown]]:
    """Return the names of each answer that nobody has, for whoever settles its step to write.

    And those answers that say more than that: they are to be learned before.
    """
    rows = (
        {
            "place": place,
            "organization_id": each.organization_id,
            "person_id": each.person_id,
            "provider_id": each.provider_id,
            "slug": each.slug,
        }
        for place, each in enumerate(shown)
    )
    cursor = await conn.execute(_LOOK, {"shown": recordset(rows)})
    new: list[tuple[str, ...]] = [()] * len(shown)
    unclear = []
    for place, by_id, by_slug, has_id in await cursor.fetchall():
        each = shown[place]
        is_new = by_id is None and not has_id
        if (is_new or by_id == each.person_id) and by_slug in (None, each.person_id):
            owners = zip(each.names, (by_id, by_slug), strict=False)
            new[place] = tuple(name for name, owner in owners if owner is None)
        else:
            unclear.append(each)
    return new, unclear


async def known_of(
    conn: AsyncConnection[Any], organization_id: UUID, shown: Iterable[Shown]
) -> list[Shown]:
    """Return those of `shown` that name somebody we know by one name, and not by the other too."""
    listed = list(shown)
    cursor = await conn.execute(
        "select name, person_id from person_names where organization_id = %s and name = any(%s)",
        (organization_id, [name for each in listed for name in each.names]),
    )
    person_of: dict[str, UUID] = dict(await cursor.fetchall())
    return [each for each in listed if len({person_of.get(name) for name in each.names}) > 1]


async def _resolve(conn: AsyncConnection[Any], shown: Shown, now: datetime) -> int:
    for _ in range(MOST_TRIES):
        try:
            async with conn.transaction():
                return await _change(conn, shown, now)
        except _ChangedMeanwhile:
            continue
    raise RuntimeError("who is who changed at every try")


async def _change(conn: AsyncConnection[Any], shown: Shown, now: datetime) -> int:
    """Do what an answer says of who is who, decided under the locks of all whom it is about."""
    changes, people = await _read(conn, shown)
    if not changes:
        return 0
    of: dict[str, Any] = {"organization_id": shown.organization_id, "people": people, "now": now}
    seen: tuple[Any, ...] | None = None
    if any(isinstance(each, Merged | Moved) for each in changes):
        before = await _seen(conn, of)
        for lock in _LOCKS:
            await conn.execute(lock, of)
        seen = await _seen(conn, of)
        if seen != before:  # an action begun meanwhile is not locked, and must not be waited for
            raise _ChangedMeanwhile
        await apply(conn, await _news(conn, shown, changes, of), now=now, actor="ticker")
    cursor = await conn.execute(_LOCK_PEOPLE, of)
    found = [row[0] for row in await cursor.fetchall()]
    is_as_seen = seen is None or seen[0::2] == (await _seen(conn, of))[0::2]
    if found != sorted(people) or not is_as_seen or await _read(conn, shown) != (changes, people):
        raise _ChangedMeanwhile
    return await _write(conn, shown, changes, of)


async def _read(conn: AsyncConnection[Any], shown: Shown) -> tuple[list[Change], list[UUID]]:
    """Return what is to be changed, and whom that is about, in order."""
    cursor = await conn.execute(
        _OWNERS,
        {
            "organization_id": shown.organization_id,
            "lead_id": shown.lead_id,
            "provider_id": shown.provider_id,
            "slug": shown.slug,
        },
    )
    row = await cursor.fetchone()
    owners = [
        None if each is None else Owner(UUID(each["person_id"]), each["has_id"])
        for each in row or (None, None, None)
    ]
    changes = learned(shown, *owners)
    return changes, sorted({each.person_id for each in owners if each is not None})


async def _seen(conn: AsyncConnection[Any], of: dict[str, Any]) -> tuple[Any, ...]:
    cursor = await conn.execute(_SEEN, of)
    row = await cursor.fetchone()
    return tuple(row or ())


@dataclass(slots=True)
class _Living:
    """A walk that is not over, and what its account knows of the person."""

    walking: Walking
    account_id: UUID
    is_acting: bool
    events: list[ex.Event] = field(default_factory=list)


async def _news(
    conn: AsyncConnection[Any], shown: Shown, changes: Sequence[Change], of: dict[str, Any]
) -> list[Report]:
    """Say what walks hear of it that two people are one: that one goes on, or that they wrote.

    A walk with an action under way hears it by the next claim, once that is settled.
    """
    if not any(isinstance(each, Merged) for each in changes):
        return []
    cursor = conn.cursor(row_factory=dict_row)
    await cursor.execute(_LIVING, of)
    living = [_living(row) for row in await cursor.fetchall()]
    walks = [each.walking for each in living]
    reports = []
    for each in living:
        walk = each.walking
        events = each.events
        if (ahead := ahead_of(walk, walks)) is not None:
            events = [] if each.is_acting else [ex.Duplicate(goes_on_in(ahead, walk))]
        reports += [
            Report.of_news(
                shown.organization_id, walk.campaign_id, walk.lead_id, each.account_id, event
            )
            for event in events
        ]
    return reports


def _living(row: dict[str, Any]) -> _Living:
    events: list[ex.Event] = []
    if (at := row["connected_at"]) is not None and not row["connected"]:
        events.append(ex.Accepted(at))
    began, at = row["began_at"], row["replied_at"]
    if at is not None and not row["replied"] and began is not None and at >= began - BEFORE:
        events.append(ex.Replied())
    return _Living(walking(row), row["account_id"], row["is_acting"], events)


async def _write(
    conn: AsyncConnection[Any], shown: Shown, changes: Sequence[Change], of: dict[str, Any]
) -> int:
    merges, anew = 0, None
    for change in changes:
        match change:
            case Named(name, person_id):
                given = {**of, "name": name, "kind": kind_of(name), "person_id": person_id or anew}
                for statement in _GIVE_NAME:
                    await conn.execute(statement, given)
            case Moved(person_id):
                anew = person_id or await _new_person(conn, of)
                await _move(conn, of, anew, [shown.lead_id])
            case Merged(winner, loser):
                merges += 1
                await _merge(conn, shown, winner, loser, of)
    if any(isinstance(each, Merged | Moved) for each in changes):
        everybody = {**of, "people": [*of["people"], *([anew] if anew is not None else [])]}
        for statement in (*_NUMBER_FIRST, _TOUCH):
            await conn.execute(statement, everybody)
    return merges


async def _new_person(conn: AsyncConnection[Any], of: dict[str, Any]) -> UUID:
    person_id = uuid7()
    await conn.execute(
        "insert into people (organization_id, id, created_at) values (%s, %s, %s)",
        (of["organization_id"], person_id, of["now"]),
    )
    return person_id


async def _move(
    conn: AsyncConnection[Any], of: dict[str, Any], winner: UUID, leads: Sequence[UUID | None]
) -> None:
    for statement in _MOVE_LEADS:
        await conn.execute(statement, {**of, "winner": winner, "leads": list(leads)})


async def _merge(
    conn: AsyncConnection[Any], shown: Shown, winner: UUID, loser: UUID, of: dict[str, Any]
) -> None:
    cursor = await conn.execute(
        "select id from leads where organization_id = %s and person_id = %s order by id",
        (of["organization_id"], loser),
    )
    leads = [row[0] for row in await cursor.fetchall()]
    names = {"asked": shown.asked, "provider_id": shown.provider_id, "slug": shown.slug}
    both = {**of, "winner": winner, "loser": loser, "leads": leads, "shown": Jsonb(names)}
    await conn.execute(_TELL, both)
    await _move(conn, of, winner, leads)
    for statement in _MERGE:
        await conn.execute(statement, both)
    log.info("two people are one", extra={"winner": str(winner), "loser": str(loser)})
