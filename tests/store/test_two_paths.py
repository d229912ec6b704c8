"""The two ways to settle a batch leave the same database.

The optimistic path decides on the rows as the claim read them, and writes where they are still
those; the locked path decides on the rows as they are.  Both are run on the same database, each
undone again, and every row is compared.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import timedelta

import pytest
from builders import Stage, begun, done, line, report, set_stage
from msgspec.structs import replace
from psycopg import AsyncConnection, Rollback
from psycopg.rows import TupleRow
from test_invariants import DAY, GRAPH, MINUTE, Fate, check

from clento_engine.domain import execution as ex
from clento_engine.domain import failure as on
from clento_engine.domain.campaign import Pace
from clento_engine.domain.limits import Caps
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.report import Learned, Report
from clento_engine.store.claimed import Claimed
from clento_engine.store.guessed import guess
from clento_engine.store.settle import Settled, settle
from clento_engine.store.turn import turn

Conn = AsyncConnection[TupleRow]
Rows = defaultdict[str, Counter[str]]

NOTIFYING = line(Operation.SEND_FOLLOWUP, Operation.WEBHOOK)

# What each path names for itself.  The words of a history stand in `events` or with the action,
# and are compared as the view tells them.
OWN_NAMES = {
    "actions": "- array['number', 'kind', 'result', 'entered', 'detail']",
    "webhook_deliveries": "- 'id' #- '{payload,id}'",
}
_PLACE = "row_number() over (partition by organization_id, subject_id order by id)"
COMPARED = [
    (
        "history",
        f"(to_jsonb(h) - 'id' || jsonb_build_object('place', {_PLACE}))::text",
        "history h",
    ),
    # a transaction counts in any shard that is free: what all of them add up to is the same
    (
        "campaign_moves",
        "(to_jsonb(m) - array['shard', 'leads'])::text || sum(leads)",
        "campaign_moves m group by to_jsonb(m) - array['shard', 'leads']",
    ),
]


async def everything(stage: Stage) -> Rows:
    """Read every row of the database, by table."""
    tables = await stage.rows(
        "select tablename as name from pg_tables where schemaname = 'clento'"
        " and tablename not in ('events', 'campaign_moves') order by 1"
    )
    each = [f"select '{name}', {row} from {source}" for name, row, source in COMPARED] + [
        f"select '{name}', (to_jsonb(t) {OWN_NAMES.get(name, '')})::text from {name} t"
        for name in (table["name"] for table in tables)
    ]
    cursor = await stage.conn.execute(" union all ".join(each).encode())
    rows = Rows(Counter)
    for name, row in await cursor.fetchall():
        rows[name][row] += 1
    return rows


async def optimistic(stage: Stage, reports: Sequence[Report]) -> Settled:
    return (await turn(stage.conn, reports, None, now=stage.now, actor="ticker")).settled


async def locked(stage: Stage, reports: Sequence[Report]) -> Settled:
    return await settle(stage.conn, reports, now=stage.now, actor="ticker")


async def compare(stage: Stage, reports: Sequence[Report]) -> Settled:
    """Settle both ways, each undone; what they did and left must be the same.

    But for this: the locked path locks stale leads, too, and so must wake their lanes, for a claim
    may have passed over them.  The optimistic one leaves them alone.
    """
    stale = [report for report in reports if await is_stale(stage, report)]
    done_by: list[tuple[Settled, Rows]] = []
    async with stage.conn.transaction():  # around both, so that `now()` is the same
        for path in (locked, optimistic):
            async with stage.conn.transaction():
                settled = await path(stage, reports)
                await locked(stage, stale)  # wakes their lanes, and nothing else
                done_by.append((settled, await everything(stage)))
                raise Rollback
    (settled, rows), (guessed, rows_guessed) = done_by
    differences = {
        name: (rows[name] - rows_guessed[name], rows_guessed[name] - rows[name])
        for name in rows | rows_guessed
        if rows[name] != rows_guessed[name]
    }
    assert differences == {}  # only by the locked path, only by the optimistic one
    assert summary(guessed) == summary(settled)
    return settled


async def is_stale(stage: Stage, report: Report) -> bool:
    if report.ticket is None:
        return False
    is_ours = "select 1 from actions where lead_id = %s and token = %s and settled_at is null"
    return not await stage.rows(is_ours, report.lead_id, report.ticket.token)


def summary(settled: Settled) -> tuple[int, int, int, list[str]]:
    outcomes = sorted(map(repr, settled.outcomes))
    return settled.applied, settled.stale, settled.finished, outcomes


class ComparedFate(Fate):
    """A fate whose every batch is settled both ways; `met` counts what the batches held."""

    def __init__(self, stage: Stage, seed: int) -> None:
        super().__init__(stage, seed)
        self.met: Counter[str] = Counter()

    async def something(self) -> None:
        """Let a batch be claimed and settled, and anything else happen in between."""
        await self.claims()
        if not self.flying:
            await self.time_passes()
        if self.random.random() < 0.4:
            await super().something()
        if self.flying:
            await self.settles()

    async def settles(self) -> None:
        self.random.shuffle(self.flying)
        most = self.random.randint(2, 8)
        some, self.flying = self.flying[:most], self.flying[most:]
        reports = [self.outcome(item) for item in some]
        for each in reports:
            if self.random.random() < 0.15:
                await self.changes(each)
        guesses, others = guess(reports, self.stage.now)
        self.met["guessed"] += len(guesses)
        self.met["locked"] += len(others)
        for one in guesses:
            self.met["changed"] += await self.is_changed(one.report)
        self.met["stale"] += (await compare(self.stage, reports)).stale
        await optimistic(self.stage, reports)

    def outcome(self, item: Claimed) -> Report:
        told = super().outcome(item)
        if self.random.random() < 0.3:
            told = replace(told, learned=self.learned())
        if told.ticket is not None and self.random.random() < 0.3:
            told = replace(told, reference="made", reason="for people")
        if told.ticket is not None and self.random.random() < 0.05:
            told = replace(told, hold_budget_until=self.stage.now + DAY)
        return told

    def learned(self) -> Learned:
        moments = [None, self.stage.now - MINUTE, self.stage.now + MINUTE]
        return Learned(
            provider_id=self.random.choice([None, "ACoAAX"]),
            chat_id=self.random.choice([None, "chat", ""]),
            invitation_id=self.random.choice([None, "invitation"]),
            connected_at=self.random.choice(moments),
            replied_at=self.random.choice(moments),
        )

    async def changes(self, of: Report) -> None:
        """Let something happen between a claim and its outcome: to the lead, or to its token."""
        heard: list[ex.Event] = [ex.Accepted(self.stage.now), ex.Replied(), ex.Stopped("?")]
        match self.random.choice(["hears", "hears", "is touched", "is taken over"]):
            case "hears":
                await self.stage.event(self.random.choice(heard), of.lead_id)
            case "is touched":
                await self.touch(of)
            case _:
                await self.take_over(of)

    async def touch(self, of: Report) -> None:
        """Let the row of its lead be another version that says the same."""
        await self.stage.conn.execute(
            "update campaign_executions set reason = reason where lead_id = %s", (of.lead_id,)
        )

    async def take_over(self, of: Report) -> None:
        await self.stage.conn.execute(
            "update actions set token = gen_random_uuid() where lead_id = %s", (of.lead_id,)
        )

    async def is_changed(self, of: Report) -> bool:
        assert of.basis is not None
        version = await self.stage.value(
            "select xmin::text from campaign_executions where campaign_id = %s and lead_id = %s",
            of.campaign_id,
            of.lead_id,
        )
        return bool(version != str(of.basis.row_version))


async def test_both_paths_tell_the_same_of_what_changed_and_what_was_taken_over(
    conn: Conn,
) -> None:
    stage = await begun(conn, NOTIFYING, Operation.SEND_FOLLOWUP, leads=6, stop_on_reply=False)
    same, changed, touched, ended, taken_over, refused = await stage.claim()
    fate = ComparedFate(stage, 0)
    await stage.event(ex.Replied(), changed.run.lead_id)
    await fate.touch(done(touched))
    await stage.event(ex.Stopped("by hand"), ended.run.lead_id)
    await fate.take_over(done(taken_over))
    skipped = report(refused, "refused", ex.Failed(on.Skip("not there")), reason="not there")
    learned = Learned(chat_id="chat", replied_at=stage.now + MINUTE)
    batch = (same, changed, touched, ended, taken_over)
    reports = [done(item, reference="made", learned=learned) for item in batch]
    settled = await compare(stage, [*reports, skipped])
    assert (settled.applied, settled.stale) == (5, 1)


@pytest.mark.parametrize("seed", range(3))
async def test_the_optimistic_path_leaves_what_the_locked_path_leaves(
    conn: Conn, seed: int
) -> None:
    stage = await set_stage(
        conn,
        GRAPH,
        leads=24,
        senders=2,
        pace=Pace(lead_processing_delay=timedelta(0), leads_per_day=20),
        stop_on_reply=seed % 4 != 0,
        fields={"first_name": "Ada" if seed % 2 else None},
    )
    if seed % 3 == 0:
        await stage.cap(Budget.NOTE, Caps(month=3))
    if seed % 2:
        await stage.change("connected_accounts", spacing_shortest=MINUTE, spacing_longest=MINUTE)
    fate = ComparedFate(stage, seed)
    for _ in range(30):
        await fate.something()
    await check(stage)
    assert fate.met["guessed"] > fate.met["changed"]
