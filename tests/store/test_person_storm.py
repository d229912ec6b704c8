"""Answers, claims, suppressions, lists and starts about the same people, drawn and all at once."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from contextlib import suppress as suppress_error
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from builders import NOW, Stage, done, report
from builders import line as path
from psycopg import AsyncConnection
from psycopg.errors import DeadlockDetected
from test_people import Conn, Row, add, begin, campaign_of

from clento_engine.domain import execution as ex
from clento_engine.domain import failure as on
from clento_engine.domain.operation import Operation
from clento_engine.domain.person import Shown
from clento_engine.store.claim import Wanted, claim
from clento_engine.store.claim_statements import MANY_LEADS
from clento_engine.store.claimed import Claimed
from clento_engine.store.errors import NobodyToContact
from clento_engine.store.people import learn
from clento_engine.store.settle import settle
from clento_engine.store.suppressions import suppress
from clento_engine.store.turn import turn

pytestmark = pytest.mark.direct

MEMBERS = range(4)
WORKERS = 5
VISITED = path(Operation.PROFILE_VISIT, Operation.SEND_FOLLOWUP, Operation.SEND_FOLLOWUP)
NOT_NOW = ex.Failed(on.Wait("not now", timedelta(seconds=1), timedelta(seconds=1)))


def slug(member: int) -> str:
    return f"member-{member}"


def provider_id(member: int) -> str:
    return f"ACoAA{member}"


@dataclass
class Storm:
    """One organisation, whose members each stand on two lists under two names."""

    random: Random
    stages: list[Stage]
    member: dict[UUID, int]
    now_s: int = 0
    tries: int = 0
    did: Counter[str] = field(default_factory=Counter)
    flying: list[Claimed] = field(default_factory=list)
    left_alone: dict[int, set[UUID]] = field(default_factory=dict)

    @property
    def organization_id(self) -> UUID:
        return self.stages[0].organization_id

    def now(self) -> Any:
        self.now_s += 1
        return NOW + timedelta(seconds=self.now_s)

    async def surely(self, once: Callable[[], Awaitable[Any]]) -> Any:
        """Do it, and again where PostgreSQL undid it, as a ticker does."""
        for _ in range(9):
            try:
                return await once()
            except DeadlockDetected:
                self.did["deadlocks"] += 1
        raise AssertionError("undone at every try")

    def answer(self, lead: UUID | None, member: int, asked: str | None) -> Shown:
        names = provider_id(member), slug(member)
        return Shown(self.organization_id, *names, lead, asked)

    async def relation(self, conn: Conn) -> None:
        shown = self.answer(None, self.random.choice(MEMBERS), None)
        await self.surely(lambda: learn(conn, [shown], self.now()))

    async def claims(self, conn: Conn) -> None:
        wanted = Wanted([self.organization_id], self.now(), self.random.randint(1, 6))
        self.flying += (await self.surely(lambda: claim(conn, wanted))).taken

    async def settles(self, conn: Conn) -> None:
        self.random.shuffle(self.flying)
        some = self.flying[: self.random.randint(1, 4)]
        del self.flying[: len(some)]
        shown, reports = [], []
        for item in some:
            member = self.member[item.run.lead_id]
            if item.intent is not None and self.random.random() < 0.2:
                reports.append(report(item, "released", NOT_NOW))
            elif item.intent is not None and item.intent.operation is Operation.PROFILE_VISIT:
                shown.append(self.answer(item.run.lead_id, member, item.intent.target))
                event = ex.ProfileRead(
                    provider_id(member), connected=True, invitation_pending=False
                )
                reports.append(done(item, event))
            else:
                reports.append(done(item))
        if shown:
            await self.surely(lambda: learn(conn, shown, self.now()))
        if self.random.random() < 0.5:
            await self.surely(lambda: settle(conn, reports, now=self.now(), actor="test"))
        else:
            await self.surely(lambda: turn(conn, reports, None, now=self.now(), actor="test"))

    async def suppresses(self, conn: Conn) -> None:
        member = self.random.choice(MEMBERS)
        if member in self.left_alone or self.random.random() < 0.8:
            return
        name = self.random.choice((slug, provider_id))(member)
        of = self.organization_id, "person", name, "asked", self.now()
        await self.surely(lambda: suppress(conn, *of))
        # a name of nobody yet is not theirs before an answer shows it
        is_known = "select from person_names where organization_id = %s and name = %s"
        if (
            await (await conn.execute(is_known, (self.organization_id, name))).fetchone()
            is not None
        ):
            self.left_alone[member] = await self._reached(conn, member)

    async def _reached(self, conn: Conn, member: int) -> set[UUID]:
        leads = [lead for lead, whose in self.member.items() if whose == member]
        cursor = await conn.execute(
            "select token from actions where person_id is not null and lead_id = any(%s)", (leads,)
        )
        return {token for (token,) in await cursor.fetchall()}

    async def imports(self, conn: Conn) -> None:
        self.did["lists"] += 1
        rows: list[Row] = [
            self.random.choice((slug(each), provider_id(each), (slug(each), provider_id(each))))
            for each in self.random.sample(MEMBERS, 3)
        ]
        name = f"list {self.did['lists']}"
        await self.surely(lambda: add(conn, self.organization_id, name, *rows))

    async def starts(self, conn: Conn) -> None:
        if self.did["started"] == 0:
            self.did["started"] = 1
            with suppress_error(NobodyToContact):  # all are left alone
                await self.surely(lambda: begin(self.stages[2], conn))

    async def work(self, conn: Conn, tries: int) -> None:
        chances = {
            self.claims: 6,
            self.settles: 6,
            self.relation: 3,
            self.imports: 1,
            self.suppresses: 2,
            self.starts: 1,
        }
        drawn = self.random.choices(list(chances), list(chances.values()), k=tries)
        for each in drawn:
            self.tries += 1
            await each(conn)


async def set_up(conn: Conn, seed: int) -> Storm:
    """Set two campaigns under way, and one that is about to be started."""
    lists = (
        [slug(each) for each in MEMBERS],
        [provider_id(each) for each in MEMBERS] + [slug(each) for each in MEMBERS[:2]],
        [slug(each) for each in MEMBERS[2:]] + [provider_id(each) for each in MEMBERS],
    )
    stages: list[Stage] = []
    for place, rows in enumerate(lists):
        stages.append(
            await campaign_of(
                conn,
                *rows,
                name=f"storm {seed} {place}",
                organization_id=stages[0].organization_id if stages else None,
                workflow=VISITED,
                start=place < 2,
                overlap=place == 2,
                stands=False,
            )
        )
    if seed % 2:  # claims and merges meet at the rows of leads, not at the campaign
        await stages[0].change("campaigns", max_concurrent_leads=MANY_LEADS)
    member = {
        lead: MEMBERS[int(name[-1])]
        for stage, rows in zip(stages, lists, strict=True)
        for lead, name in zip(stage.leads, rows, strict=True)
    }
    return Storm(Random(seed), stages, member)  # noqa: S311


async def judge(storm: Storm, conn: Conn) -> None:
    """Hold all against what must be: nobody twice or lost, and who is left alone not reached."""
    stage = storm.stages[0]
    assert await stage.rows("select * from invariants.people") == []
    assert await stage.rows("select * from actions where twin > 0") == []
    twice = (
        "select lead_id, campaign_id, node_id from actions where state = 'done'"
        " and person_id is not null and organization_id = %s"
    )
    reached = Counter(
        (storm.member[each["lead_id"]], each["campaign_id"], each["node_id"])
        for each in await stage.rows(twice, stage.organization_id)
    )
    assert {key: times for key, times in reached.items() if times > 1} == {}
    for member, before in storm.left_alone.items():
        assert await storm._reached(conn, member) <= before
    ends = await stage.rows(
        "select lead_id, outcome from campaign_executions where organization_id = %s",
        stage.organization_id,
    )
    assert {each["outcome"] for each in ends} <= {"finished", "duplicate", "suppressed"}
    outcomes = {member: Counter[str]() for member in MEMBERS}
    for each in ends:
        outcomes[storm.member[each["lead_id"]]][each["outcome"]] += 1
    for ended in outcomes.values():
        assert ended["finished"] or ended["suppressed"], outcomes


async def play(conn: Conn, dsn: str, seed: int, tries: int) -> Storm:
    """Let workers do `tries` things at once, then all that is left, and judge."""
    storm = await set_up(conn, seed)
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(await AsyncConnection.connect(dsn, autocommit=True))
            for _ in range(WORKERS)
        ]
        await asyncio.gather(*(storm.work(each, tries // WORKERS) for each in workers))
    await storm.starts(conn)
    quiet = 0
    while quiet < 3:
        storm.now_s += 120
        await storm.claims(conn)
        quiet = 0 if storm.flying else quiet + 1
        while storm.flying:
            await storm.settles(conn)
    await judge(storm, conn)
    return storm


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_happens_at_once_nobody_is_reached_twice_or_lost(
    conn: Conn, dsn: str, seed: int
) -> None:
    storm = await play(conn, dsn, seed, 100)
    assert storm.tries == 100
