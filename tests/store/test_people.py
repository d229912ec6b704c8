"""People and their names: what answers and lists teach, and two who turn out to be one."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from builders import AT_ONCE, NOW, Stage, add_sender, done, line, report
from msgspec import structs
from psycopg import AsyncConnection
from psycopg.errors import ForeignKeyViolation, UniqueViolation

from clento_engine.domain import execution as ex
from clento_engine.domain import failure as on
from clento_engine.domain.lead import Identity, LeadRow
from clento_engine.domain.operation import Operation
from clento_engine.domain.person import NameKind, Shown, kind_of
from clento_engine.domain.schedule import parse_hours
from clento_engine.domain.workflow import Workflow
from clento_engine.store.accounts import create_organization
from clento_engine.store.campaigns import create_campaign, start_campaign
from clento_engine.store.leads import Imported, import_leads
from clento_engine.store.people import known_of, learn, look
from clento_engine.store.suppressions import suppress
from clento_engine.store.turn import turn
from clento_engine.store.workflows import save_workflow

Conn = AsyncConnection[Any]
FOLLOWUP = Operation.SEND_FOLLOWUP
TWICE = line(FOLLOWUP, FOLLOWUP)
VISITED = line(Operation.PROFILE_VISIT, FOLLOWUP)
_AGAIN = on.Wait("?", timedelta(minutes=1), timedelta(minutes=1))
ID, OTHER_ID, THIRD_ID = "ACoAA1", "ACoAA2", "ACoAA3"
Row = str | tuple[str, str]  # a slug or an id, or both


def row(number: int, names: Row) -> LeadRow:
    """Return what a list says of somebody."""
    both = (names,) if isinstance(names, str) else names
    slug = next((each for each in both if kind_of(each) is NameKind.SLUG), None)
    provider_id = next((each for each in both if kind_of(each) is NameKind.ID), None)
    key = slug or provider_id or ""
    who = Identity(key, slug, provider_id, f"https://www.linkedin.com/in/{key}")
    return LeadRow(number, who, first_name="Ada")


async def add(conn: Conn, organization_id: UUID, name: str, *rows: Row) -> Imported:
    """Import a list of people by their names."""
    listed = [row(number, names) for number, names in enumerate(rows, 1)]
    return await import_leads(conn, organization_id, name, listed, NOW)


async def campaign_of(
    conn: Conn,
    *rows: Row,
    organization_id: UUID | None = None,
    senders: Sequence[UUID] = (),
    workflow: Workflow = TWICE,
    name: str = "campaign",
    overlap: bool = False,
    start: bool = True,
    stands: bool = True,
) -> Stage:
    """Start a campaign on a list of these, whose leads stand at its first node."""
    if organization_id is None:
        organization_id = await create_organization(conn, f"organisation of {name}")
    accounts = list(senders) or [await add_sender(conn, organization_id, name)]
    imported = await add(conn, organization_id, name, *rows)
    version = await save_workflow(conn, organization_id, name, {"name": name}, workflow)
    campaign_id = await create_campaign(
        conn,
        organization_id,
        name=name,
        workflow_version_id=version,
        list_id=imported.list_id,
        senders=accounts,
        hours=parse_hours("always"),
        pace=AT_ONCE,
        overlap=overlap,
    )
    cursor = await conn.execute(
        "select id from leads where list_id = %s order by row_number", (imported.list_id,)
    )
    leads = [lead for (lead,) in await cursor.fetchall()]
    stage = Stage(conn, organization_id, campaign_id, accounts, leads, workflow)
    if start:
        await begin(stage, conn)
        if stands:
            await stage.stand(FOLLOWUP)
    return stage


async def begin(stage: Stage, conn: Conn) -> int:
    """Start the campaign of a stage."""
    [found] = await stage.rows(
        "select workflow_version_id from campaigns where id = %s", stage.campaign_id
    )
    return await start_campaign(
        conn,
        stage.organization_id,
        stage.campaign_id,
        stage.workflow,
        workflow_version_id=found["workflow_version_id"],
        pace=AT_ONCE,
        start_at=NOW,
        now=NOW,
    )


def shown(
    stage: Stage, lead: int | None, asked: str | None, provider_id: str, slug: str | None = None
) -> Shown:
    """Return what an answer showed, asked of a lead by a name; or of a relation, of nobody."""
    lead_id = None if lead is None else stage.leads[lead]
    return Shown(stage.organization_id, provider_id, slug, lead_id, asked)


async def tell(
    stage: Stage, lead: int | None, asked: str | None, provider_id: str, slug: str | None = None
) -> int:
    """Learn one answer."""
    return await learn(stage.conn, [shown(stage, lead, asked, provider_id, slug)], NOW)


async def people_of(stage: Stage) -> list[UUID]:
    """Return whose the leads of the stage are, in their order."""
    found = await stage.rows("select id, person_id from leads")
    people = {each["id"]: each["person_id"] for each in found}
    return [people[lead] for lead in stage.leads]


async def names(stage: Stage) -> dict[str, UUID]:
    """Return every name with its person."""
    found = await stage.rows("select name, person_id from person_names order by name")
    return {each["name"]: each["person_id"] for each in found}


async def outcomes(stage: Stage) -> list[str | None]:
    """Return how the walks of the stage's leads ended, in their order."""
    return [(await stage.run(lead))["outcome"] for lead in stage.leads]


async def is_sound(stage: Stage) -> bool:
    """Whether who is who is as it must be."""
    assert await stage.rows("select * from invariants.people") == []
    return True


# --- names ---------------------------------------------------------------------------------------


async def test_an_answer_teaches_an_id_and_a_slug_and_again_writes_nothing(conn: Conn) -> None:
    stage = await campaign_of(conn, "ada", OTHER_ID)
    ada, bert = await people_of(stage)
    answers = [shown(stage, 0, "ada", ID, "ada"), shown(stage, 1, OTHER_ID, OTHER_ID, "bert")]
    assert await learn(conn, answers, NOW) == 0
    assert await names(stage) == {ID: ada, "ada": ada, OTHER_ID: bert, "bert": bert}
    kinds = await stage.rows(
        "select kind, count(*)::int as n from person_names group by 1 order by 1"
    )
    assert kinds == [{"kind": "id", "n": 2}, {"kind": "slug", "n": 2}]
    async with conn.transaction():
        assert await learn(conn, [*answers, shown(stage, None, None, ID, "ada")], NOW) == 0
        assert await stage.value("select pg_current_xact_id_if_assigned()") is None


async def test_answers_of_one_batch_that_show_one_name_make_one_person(conn: Conn) -> None:
    stage = await campaign_of(conn, "ada", "ada-moss", "a-moss")
    batch = [
        shown(stage, n, slug, ID, "a-moss") for n, slug in enumerate(("ada", "ada-moss", "a-moss"))
    ]
    assert await learn(conn, batch, NOW) == 2
    [person] = set(await people_of(stage))
    assert set((await names(stage)).values()) == {person}
    assert await is_sound(stage)


async def test_a_relation_in_a_list_joins_two_names_and_makes_nobody(conn: Conn) -> None:
    stage = await campaign_of(conn, "ada", ID, "bert")
    relations = [
        shown(stage, None, None, ID, "ada"),
        shown(stage, None, None, OTHER_ID, "bert"),
        shown(stage, None, None, THIRD_ID, "cleo"),
    ]
    unknown = await known_of(conn, stage.organization_id, relations)
    assert unknown == relations[:2]
    assert await learn(conn, relations, NOW) == 1
    ada, same, bert = await people_of(stage)
    assert ada == same
    assert await names(stage) == {ID: ada, "ada": ada, OTHER_ID: bert, "bert": bert}
    assert await known_of(conn, stage.organization_id, relations) == []
    assert await stage.value("select count(*) from people") == 2


# --- merges --------------------------------------------------------------------------------------


async def contact(stage: Stage, lead: int, **values: object) -> None:
    """Let the account know something of a lead's person."""
    columns = ", ".join(values)
    await stage.conn.execute(
        f"insert into contacts (organization_id, account_id, person_id, {columns})"
        f" select organization_id, %s, person_id{', %s' * len(values)} from leads"
        " where id = %s".encode(),
        [stage.account, *values.values(), stage.leads[lead]],
    )


async def test_all_that_two_had_is_the_one_persons(conn: Conn) -> None:
    stage = await campaign_of(conn, "ada", ID)
    loser, winner = await people_of(stage)
    early, late = NOW - timedelta(days=2), NOW - timedelta(days=1)
    await contact(stage, 0, provider_id=ID, chat_id="chat", connected_at=early, replied_at=early)
    await contact(stage, 1, invitation_id="invitation", connected_at=late, replied_at=late)

    assert await tell(stage, 0, "ada", ID, "ada") == 1

    assert await people_of(stage) == [winner, winner]
    assert await names(stage) == {ID: winner, "ada": winner}
    [known] = await stage.rows("select * from contacts")
    assert known == {
        "organization_id": stage.organization_id,
        "account_id": stage.account,
        "person_id": winner,
        "provider_id": ID,
        "chat_id": "chat",
        "invitation_id": "invitation",
        "connected_at": early,
        "replied_at": late,
    }
    [merge] = await stage.rows("select * from person_merges")
    assert (merge["loser_id"], merge["winner_id"]) == (loser, winner)
    assert (merge["names"], merge["leads"]) == (["ada"], [stage.leads[0]])
    assert merge["shown"] == {"asked": "ada", "provider_id": ID, "slug": "ada"}
    assert await stage.rows("select id from people") == [{"id": winner}]
    assert await is_sound(stage)


async def test_no_lead_is_who_was_merged(conn: Conn) -> None:
    stage = await campaign_of(conn, "ada", ID)
    loser, _ = await people_of(stage)
    await tell(stage, 0, "ada", ID, "ada")
    with pytest.raises(ForeignKeyViolation):
        await conn.execute("update leads set person_id = %s", (loser,))
    await conn.execute(
        "insert into person_names values (%s, 'x', 'slug', %s, now())",
        (stage.organization_id, loser),
    )
    [wrong] = await stage.rows("select person_id, problem from invariants.people")
    assert wrong == {"person_id": loser, "problem": "a name of nobody"}


async def test_one_name_that_two_steps_of_a_turn_show_makes_one_person(conn: Conn) -> None:
    """Nobody had it when they were looked up: each would write it, and none is told twice."""
    stage = await campaign_of(conn, "ada", "bert", workflow=VISITED, stands=False)
    await stage.stand(Operation.PROFILE_VISIT)
    people = await people_of(stage)
    steps = {each.run.lead_id: each for each in await stage.claim()}
    assert len(steps) == 2
    reports = []
    for number, slug in enumerate(("ada", "bert")):
        each = replace(shown(stage, number, slug, ID, slug), person_id=people[number])
        step = steps[stage.leads[number]]
        seen = done(step, ex.ProfileRead(ID), shown=each, recovering=False)
        reports.append(structs.replace(seen, new_names=(ID,)))
    turned = await turn(conn, reports, None, now=NOW, actor="test")
    assert (turned.settled.applied, turned.settled.stale) == (2, 0)
    assert await names(stage) == dict.fromkeys((ID, "ada", "bert"), (await people_of(stage))[0])
    reads = await stage.rows("select kind from history where kind = 'ProfileRead'")
    assert len(reads) == 2
    assert sorted(map(str, await outcomes(stage))) == ["None", "duplicate"]
    assert await is_sound(stage)


async def test_a_walk_with_an_action_under_way_ends_when_that_is_settled(conn: Conn) -> None:
    """Not at its next step: until then the other's may be over, and it would go on."""
    stage = await campaign_of(conn, "ada", ID)
    steps = await stage.claim()
    assert len(steps) == 2
    await tell(stage, 0, "ada", ID, "ada")
    assert await outcomes(stage) == [None, None]
    await stage.settle(*map(done, steps))
    assert sorted(map(str, await outcomes(stage))) == ["None", "duplicate"]
    assert await is_sound(stage)


async def test_of_two_walks_of_one_list_the_one_that_was_contacted_more_goes_on(conn: Conn) -> None:
    stage = await campaign_of(conn, "ada", ID)
    await stage.stand(FOLLOWUP, at=NOW + timedelta(days=1), leads=stage.leads[:1])
    await stage.walk()  # the second only
    await tell(stage, 0, "ada", ID, "ada")
    assert await outcomes(stage) == ["duplicate", None]
    stage.now += timedelta(days=2)
    await stage.walk(2)
    reached = await stage.rows("select lead_id, node_id, twin from actions order by node_id")
    assert reached == [
        {"lead_id": stage.leads[1], "node_id": node, "twin": 0} for node in ("n0", "n1")
    ]
    assert await is_sound(stage)


async def test_where_both_were_reached_history_stays_true_and_the_schema_refuses_a_third(
    conn: Conn,
) -> None:
    stage = await campaign_of(conn, "ada", ID, "bert")
    await stage.walk(2)  # nobody knows yet
    await tell(stage, 2, "bert", ID, "bert")
    await tell(stage, 0, "ada", ID, "ada")
    twins = await stage.rows("select node_id, twin from actions order by 1, 2")
    assert twins == [{"node_id": node, "twin": twin} for node in ("n0", "n1") for twin in range(3)]
    assert await is_sound(stage)
    with pytest.raises(UniqueViolation, match="actions_once"):
        await conn.execute(
            "insert into actions (organization_id, campaign_id, lead_id, account_id, node_id,"
            " operation, budgets, bucket_at, state, token, check_at, target, person_id,"
            " intended_at)"
            " select organization_id, campaign_id, lead_id, account_id, node_id, operation,"
            " budgets, bucket_at, 'intended', gen_random_uuid(), now(), target, person_id, now()"
            " from actions where twin = 0 limit 1"
        )


async def test_a_person_who_was_reached_by_one_name_is_not_reached_by_the_other(conn: Conn) -> None:
    """Told too late for the first node, in time for the second: of a walk that is over as well."""
    one = line(FOLLOWUP)
    stage = await campaign_of(conn, "ada", ID, workflow=one)
    await stage.stand(FOLLOWUP, at=NOW + timedelta(days=1), leads=stage.leads[:1])
    await stage.walk(2)
    assert await outcomes(stage) == [None, "finished"]
    await tell(stage, 0, "ada", ID, "ada")
    stage.now += timedelta(days=2)
    [item] = await stage.claim()
    assert item.intent is None
    await stage.settle(done(item))
    assert await stage.value("select count(*) from actions") == 1
    assert await is_sound(stage)


async def test_a_walk_whose_action_is_open_ends_once_that_is_settled(conn: Conn) -> None:
    stage = await campaign_of(conn, "ada", ID)
    first, second = await stage.claim()
    await tell(stage, 0, "ada", ID, "ada")
    assert await outcomes(stage) == [None, None]
    await stage.settle(done(first), done(second))
    await stage.walk(3)
    assert sorted(map(str, await outcomes(stage))) == ["duplicate", "finished"]
    found = await stage.rows("select node_id, twin from actions order by 1, 2")
    assert [tuple(each.values()) for each in found] == [("n0", 0), ("n0", 1), ("n1", 0)]
    assert await is_sound(stage)


async def test_who_wrote_under_one_name_is_heard_under_the_other(conn: Conn) -> None:
    stage = await campaign_of(conn, "ada", ID)
    await contact(stage, 0, replied_at=NOW)
    await tell(stage, 0, "ada", ID, "ada")
    assert sorted(map(str, await outcomes(stage))) == ["duplicate", "replied"]


# --- slugs that were given on --------------------------------------------------------------------


async def test_a_slug_that_was_given_on_takes_its_lead_along_and_nothing_else(conn: Conn) -> None:
    stage = await campaign_of(conn, ("ada", ID), OTHER_ID)
    other = await campaign_of(
        conn, ID, organization_id=stage.organization_id, name="other", overlap=True
    )
    ada, bert = await people_of(stage)
    assert await people_of(other) == [ada]
    await suppress(conn, stage.organization_id, "person", "ada", "asked", NOW + timedelta(days=1))
    await tell(stage, 0, "ada", OTHER_ID, "ada")
    assert await people_of(stage) == [bert, bert]
    assert await people_of(other) == [ada]
    assert await names(stage) == {ID: ada, OTHER_ID: bert, "ada": bert}
    alone = await stage.rows("select kind, value, reason from suppressions")
    assert alone == [{"kind": "person", "value": ID, "reason": "asked"}]
    assert await stage.value("select count(*) from person_merges") == 0
    assert await is_sound(stage)


async def test_a_lead_whose_slug_is_a_strangers_now_is_that_stranger(conn: Conn) -> None:
    stage = await campaign_of(conn, ("ada", ID))
    await stage.walk()
    [ada] = await people_of(stage)
    await tell(stage, 0, "ada", OTHER_ID, "ada")
    [stranger] = await people_of(stage)
    assert stranger != ada
    assert await names(stage) == {ID: ada, OTHER_ID: stranger, "ada": stranger}
    assert [each["person_id"] for each in await stage.rows("select * from actions")] == [stranger]
    assert await is_sound(stage)


async def test_what_one_slug_leaves_alone_stays_alone_whoever_is_asked(conn: Conn) -> None:
    """A lead is answered with a slug by which alone somebody else is known, and left alone."""
    stage = await campaign_of(conn, ("ada", ID), "bert", THIRD_ID)
    await suppress(conn, stage.organization_id, "person", "bert", "asked", NOW)
    await tell(stage, 0, "ada", OTHER_ID, "bert")
    lead, bert, _ = await people_of(stage)
    assert lead == bert
    await stage.walk()
    assert await outcomes(stage) == ["suppressed", "suppressed", None]
    assert await is_sound(stage)


async def test_a_slug_that_comes_back_to_its_former_person_is_theirs_again(conn: Conn) -> None:
    """The lead that was asked for is listed by it: that says nothing of whose it is by now."""
    stage = await campaign_of(conn, "ada", OTHER_ID)
    await tell(stage, 0, "ada", ID, "ada")
    await tell(stage, 1, OTHER_ID, OTHER_ID, "ada")
    ada, bert = await people_of(stage)
    assert (await names(stage))["ada"] == bert
    back = replace(shown(stage, 0, "ada", ID, "ada"), person_id=ada)
    assert await look(conn, [back]) == ([()], [back])
    await learn(conn, [back], NOW)
    assert (await names(stage))["ada"] == ada


async def test_of_a_slug_that_moved_only_its_own_twin_is_told_apart(conn: Conn) -> None:
    """Merged, given on and merged again: the numbers that tell twins apart have gaps by then."""
    stage = await campaign_of(conn, "ada", "bert", "cleo", OTHER_ID, "dora")
    await stage.walk(2)
    for lead, slug in enumerate(("ada", "bert", "cleo")):
        await tell(stage, lead, slug, ID, slug)
    await tell(stage, 4, "dora", OTHER_ID, "dora")
    assert len(set(await people_of(stage))) == 2
    await tell(stage, 0, "ada", THIRD_ID, "ada")  # goes on with its lead
    assert await is_sound(stage)
    assert await tell(stage, 3, OTHER_ID, ID, "dora") == 1
    assert await is_sound(stage)
    twins = await stage.rows("select person_id, count(*) as n from actions group by 1 order by 2")
    assert [each["n"] for each in twins] == [2, 8]


# --- lists ---------------------------------------------------------------------------------------


async def test_a_list_finds_people_by_their_id_and_else_by_their_slug(conn: Conn) -> None:
    stage = await campaign_of(conn, "ada", ("bert", OTHER_ID))
    ada, bert = await people_of(stage)
    rows = ("ada", ("bert", OTHER_ID), OTHER_ID, "bert", "cleo")
    await add(conn, stage.organization_id, "second", *rows[:1], *rows[2:3], "cleo")
    found = await stage.rows(
        "select l.identity, l.person_id from leads l join lead_lists t on t.id = l.list_id"
        " where t.name = 'second'"
    )
    people = {each["identity"]: each["person_id"] for each in found}
    assert (people["ada"], people[OTHER_ID]) == (ada, bert)
    assert people["cleo"] not in (ada, bert)
    assert await is_sound(stage)


async def test_a_list_merges_nobody(conn: Conn) -> None:
    """It says that a slug and an id are one person, who are two as far as is known."""
    stage = await campaign_of(conn, "ada", OTHER_ID)
    ada, bert = await people_of(stage)
    await add(conn, stage.organization_id, "second", ("ada", OTHER_ID))
    assert await names(stage) == {"ada": ada, OTHER_ID: bert}
    assert await stage.value("select count(*) from person_merges") == 0


async def test_an_id_beside_the_slug_of_somebody_without_one_is_theirs(conn: Conn) -> None:
    stage = await campaign_of(conn, "ada")
    [ada] = await people_of(stage)
    await add(conn, stage.organization_id, "second", ("ada", ID), ID)
    assert await names(stage) == {"ada": ada, ID: ada}
    assert set((await names(stage)).values()) == {ada}
    assert await is_sound(stage)


async def test_two_rows_of_one_person_are_enrolled_once(conn: Conn) -> None:
    first = await campaign_of(conn, "ada", ID)
    await tell(first, 0, "ada", ID, "ada")
    stage = await campaign_of(
        conn, ID, "ada", "bert", organization_id=first.organization_id, name="other", overlap=True
    )
    assert len(stage.leads) == 3
    walks = await stage.rows(
        "select lead_id from campaign_executions where campaign_id = %s order by lead_id",
        stage.campaign_id,
    )
    assert [each["lead_id"] for each in walks] == sorted([stage.leads[0], stage.leads[2]])


# --- one that goes on ----------------------------------------------------------------------------


async def test_of_two_walks_one_goes_on_even_if_what_put_it_first_never_left(conn: Conn) -> None:
    """The older walk is told that the other, whose action is open, goes on; that never left."""
    one = await campaign_of(conn, "ada")
    two = await campaign_of(
        conn, "ada", organization_id=one.organization_id, name="two", overlap=True
    )
    await one.stand(FOLLOWUP, at=NOW + timedelta(minutes=1))
    await two.stand(FOLLOWUP, started_at=NOW + timedelta(seconds=1))
    [item] = await two.claim()
    await conn.execute("update campaigns set overlap = false")
    one.now = two.now = NOW + timedelta(minutes=2)
    [told] = await one.claim()
    assert isinstance(told.event, ex.Duplicate)
    released = report(item, "released", ex.Failed(_AGAIN))
    await two.settle(released)
    one.now = two.now = NOW + timedelta(minutes=5)
    other = await two.claim()
    await one.settle(done(told), *(done(each) for each in other))
    await one.walk(4)
    ends = [*await outcomes(one), *await outcomes(two)]
    assert sorted(map(str, ends)) == ["duplicate", "finished"]
