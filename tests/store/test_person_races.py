"""Who is who, two at once: merges against all that reads or writes people, staged, then drawn."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from builders import NOW, Stage, done
from psycopg import AsyncConnection
from test_people import (
    FOLLOWUP,
    ID,
    OTHER_ID,
    Conn,
    add,
    begin,
    campaign_of,
    is_sound,
    names,
    outcomes,
    people_of,
    shown,
    tell,
)
from test_races import Connect, waiting, while_open

from clento_engine.domain import execution as ex
from clento_engine.domain.person import Shown
from clento_engine.domain.picking import AGAIN
from clento_engine.store import claim as claiming
from clento_engine.store.claim_statements import MANY_LEADS, READ_HEADS
from clento_engine.store.people import learn
from clento_engine.store.suppressions import suppress

pytestmark = pytest.mark.direct  # it watches sessions from beside


@pytest.fixture
async def connect(dsn: str) -> AsyncIterator[Connect]:
    async with AsyncExitStack() as stack:

        async def connect() -> Conn:
            conn = await AsyncConnection.connect(dsn, autocommit=True)
            return await stack.enter_async_context(conn)

        yield connect


def same(stage: Stage, lead: int = 0, slug: str = "ada") -> list[Shown]:
    """Return the answer that tells that a slug is of who has the id."""
    return [shown(stage, lead, slug, ID, slug)]


async def is_one(stage: Stage) -> bool:
    """Whether all leads are one person's, and of their walks one goes on at most."""
    assert len(set(await people_of(stage))) == 1
    return await is_sound(stage)


async def serve_side_by_side(stage: Stage) -> None:
    """Let no claim lock the campaign for itself alone, for which a merge waits."""
    await stage.change("campaigns", max_concurrent_leads=MANY_LEADS)
    await stage.conn.execute("update lanes set ready_at = null where operation = 'start'")


# --- a claim -------------------------------------------------------------------------------------

PAUSE = 15  # the advisory lock at which a claim stops between its snapshot and its locks


@pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])
async def test_a_claim_that_looked_before_a_merge_begins_nothing_for_who_was_merged(
    conn: Conn, connect: Connect, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    looks = "'-infinity'::timestamptz as due_at"
    stops = f"(select '-infinity'::timestamptz from pg_advisory_xact_lock({PAUSE})) as due_at"
    statement = READ_HEADS.replace(looks, stops)
    if not is_on:
        statement = statement.replace("and e.xmin = h.row_version", "")
    assert statement.count("h.row_version") == is_on
    assert stops in statement
    monkeypatch.setattr(claiming, "READ_HEADS", statement)
    stage = await campaign_of(conn, "ada", ID)
    await serve_side_by_side(stage)
    one, two = await connect(), await connect()
    await one.execute("select pg_advisory_lock(%s)", (PAUSE,))
    claimed = await waiting(conn, two, stage.claim(conn=two))
    assert await tell(stage, 0, "ada", ID, "ada") == 1
    await one.execute("select pg_advisory_unlock(%s)", (PAUSE,))
    taken = await claimed
    assert (taken == []) is is_on
    wrong = await stage.rows("select problem from invariants.people")
    assert (wrong == []) is is_on
    if is_on:
        monkeypatch.undo()
        stage.now += AGAIN
        [item] = await stage.claim()
        await stage.settle(done(item))
        assert sorted(map(str, await outcomes(stage))) == ["None", "duplicate"]
        assert await is_one(stage)


async def test_a_merge_waits_for_a_claim_and_sees_what_it_began(
    conn: Conn, connect: Connect
) -> None:
    stage = await campaign_of(conn, "ada", ID)
    one, two = await connect(), await connect()
    async with while_open(one, stage.claim(conn=one)) as [taken]:
        merging = await waiting(conn, two, learn(two, same(stage), NOW))
    assert await merging == 1
    assert await outcomes(stage) == [None, None]  # each has an action that is open
    await stage.settle(*(done(item) for item in taken))
    await stage.walk(3)
    assert sorted(map(str, await outcomes(stage))) == ["duplicate", "finished"]
    assert await is_one(stage)


async def test_a_claim_passes_over_who_is_being_merged(conn: Conn, connect: Connect) -> None:
    stage = await campaign_of(conn, "ada", ID, "bert")
    await serve_side_by_side(stage)
    one, two = await connect(), await connect()
    async with while_open(one, learn(one, same(stage), NOW)):
        [item] = await stage.claim(conn=two)
    assert item.run.lead_id == stage.leads[2]
    stage.now += AGAIN
    [item] = await stage.claim()
    await stage.settle(done(item))
    assert await is_sound(stage)


# --- a settle ------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_first", [True, False], ids=["settle first", "merge first"])
async def test_a_merge_and_a_settle_wait_for_each_other(
    conn: Conn, connect: Connect, is_first: bool
) -> None:
    stage = await campaign_of(conn, "ada", ID)
    items = await stage.claim()
    one, two = await connect(), await connect()
    works: list[Callable[[Conn], Coroutine[Any, Any, Any]]] = [
        lambda conn: stage.settle(*(done(item) for item in items), conn=conn),
        lambda conn: learn(conn, same(stage), NOW),
    ]
    first, second = works if is_first else works[::-1]
    async with while_open(one, first(one)):
        task = await waiting(conn, two, second(two))
    await task
    await stage.walk(3)
    assert sorted(map(str, await outcomes(stage))) == ["duplicate", "finished"]
    twins = await stage.rows("select node_id, twin from actions order by 1, 2")
    assert [tuple(each.values()) for each in twins] == [("n0", 0), ("n0", 1), ("n1", 0)]
    assert await is_one(stage)


# --- another merge -------------------------------------------------------------------------------


async def test_two_answers_about_one_pair_merge_it_once(conn: Conn, connect: Connect) -> None:
    stage = await campaign_of(conn, "ada", ID)
    one, two = await connect(), await connect()
    relation = [shown(stage, None, None, ID, "ada")]
    async with while_open(one, learn(one, same(stage), NOW)) as [merges]:
        other = await waiting(conn, two, learn(two, relation, NOW))
    assert (merges, await other) == (1, 0)
    assert sorted(map(str, await outcomes(stage))) == ["None", "duplicate"]
    assert await is_one(stage)


async def test_three_who_are_one_are_merged_by_two_at_once(conn: Conn, connect: Connect) -> None:
    stage = await campaign_of(conn, "ada", "bert", ID)
    one, two = await connect(), await connect()
    async with while_open(one, learn(one, [shown(stage, 0, "ada", OTHER_ID, "bert")], NOW)):
        other = await waiting(conn, two, learn(two, same(stage, 1, "bert"), NOW))
    # two ids are joined by no slug: the second lead is who has the other id, its slug with it
    await other
    ada, bert, known = await people_of(stage)
    assert ada != bert
    assert bert == known
    assert await names(stage) == {"ada": ada, OTHER_ID: ada, "bert": known, ID: known}
    assert await is_sound(stage)


async def test_a_name_that_is_learned_of_who_is_being_merged_is_the_ones_who_is_left(
    conn: Conn, connect: Connect
) -> None:
    stage = await campaign_of(conn, "ada", ID, "ada")
    other = await campaign_of(
        conn, "ada", organization_id=stage.organization_id, name="other", overlap=True
    )
    one, two = await connect(), await connect()
    async with while_open(one, learn(one, same(stage), NOW)):
        learning = await waiting(
            conn, two, learn(two, [shown(other, 0, "ada", ID, "ada-moss")], NOW)
        )
    await learning
    [person] = set(await people_of(stage))
    assert set((await names(stage)).values()) == {person}
    assert set(await names(stage)) == {ID, "ada", "ada-moss"}


# --- a suppression -------------------------------------------------------------------------------


@pytest.mark.parametrize("is_first", [True, False], ids=["suppression first", "merge first"])
@pytest.mark.parametrize("walks", [True, False], ids=["walks", "does not walk"])
async def test_who_is_suppressed_under_one_name_gets_nothing_under_the_other(
    conn: Conn, connect: Connect, is_first: bool, walks: bool
) -> None:
    stage = await campaign_of(conn, ID)
    other = await campaign_of(
        conn,
        "ada",
        organization_id=stage.organization_id,
        senders=stage.accounts,
        name="other",
        start=walks,
    )
    one, two = await connect(), await connect()
    works: list[Callable[[Conn], Coroutine[Any, Any, Any]]] = [
        lambda conn: suppress(conn, stage.organization_id, "person", "ada", "asked", NOW),
        lambda conn: learn(conn, [shown(other, 0, "ada", ID, "ada")], NOW),
    ]
    first, second = works if is_first else works[::-1]
    async with while_open(one, first(one)):
        task = await waiting(conn, two, second(two))
    await task
    if not is_first:  # nothing more is begun once it is committed
        assert await outcomes(stage) == ["suppressed"]
    stage.now += timedelta(minutes=5)
    taken = await stage.claim()
    assert all(isinstance(item.event, ex.Suppressed) for item in taken)
    await stage.settle(*(done(item) for item in taken))
    assert await outcomes(stage) == ["suppressed"]
    assert await stage.value("select count(*) from actions") == 0
    assert await is_sound(stage)


# --- a start -------------------------------------------------------------------------------------


async def test_a_merge_waits_for_a_start_and_ends_one_of_what_it_enrolled(
    conn: Conn, connect: Connect
) -> None:
    stage = await campaign_of(conn, "ada", ID, start=False)
    one, two = await connect(), await connect()
    async with while_open(one, begin(stage, one)) as [enrolled]:
        merging = await waiting(conn, two, learn(two, same(stage), NOW))
    assert (enrolled, await merging) == (2, 1)
    assert sorted(map(str, await outcomes(stage))) == ["None", "duplicate"]
    assert await is_one(stage)


async def test_a_start_waits_for_a_merge_and_enrolls_one(conn: Conn, connect: Connect) -> None:
    stage = await campaign_of(conn, "ada", ID, start=False)
    one, two = await connect(), await connect()
    async with while_open(one, learn(one, same(stage), NOW)):
        starting = await waiting(conn, two, begin(stage, two))
    assert await starting == 1
    assert await is_one(stage)


async def test_of_two_starts_at_once_with_one_person_one_walk_goes_on(
    conn: Conn, connect: Connect
) -> None:
    """Neither sees whom the other enrolls: the claim does."""
    stage = await campaign_of(conn, "ada", start=False)
    other = await campaign_of(
        conn, "ada", organization_id=stage.organization_id, name="other", start=False
    )
    one, two = await connect(), await connect()
    async with while_open(one, begin(stage, one)):
        assert await begin(other, two) == 1
    for each in (stage, other):
        await each.stand(FOLLOWUP)
    await stage.walk(4)
    ends = [*await outcomes(stage), *await outcomes(other)]
    assert sorted(map(str, ends)) == ["duplicate", "finished"]
    assert await is_sound(stage)


# --- a list --------------------------------------------------------------------------------------


async def test_a_list_whose_people_are_being_merged_is_of_who_is_left(
    conn: Conn, connect: Connect
) -> None:
    stage = await campaign_of(conn, "ada", ID)
    one, two = await connect(), await connect()
    async with while_open(one, learn(one, same(stage), NOW)):
        importing = await waiting(
            conn, two, add(two, stage.organization_id, "late", "ada", "bert", ("cleo", ID))
        )
    assert (await importing).added == 3
    [person] = set(await people_of(stage))
    found = await stage.rows("select identity, person_id = %s as same from leads", person)
    assert {each["identity"] for each in found if each["same"]} == {"ada", ID, "cleo"}
    assert await is_sound(stage)


async def test_a_merge_waits_for_a_list_and_takes_its_leads_along(
    conn: Conn, connect: Connect
) -> None:
    stage = await campaign_of(conn, "ada", ID)
    one, two = await connect(), await connect()
    async with while_open(one, add(one, stage.organization_id, "late", "ada")):
        merging = await waiting(conn, two, learn(two, same(stage), NOW))
    assert await merging == 1
    assert await stage.value("select count(distinct person_id) from leads") == 1
    assert await is_one(stage)
