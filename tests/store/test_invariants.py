"""What holds after any sequence of what may happen to a campaign."""

import random
from datetime import timedelta
from typing import Any

import pytest
from builders import Stage, done, good_answer, report, set_stage, workflow
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from clento_engine.domain import execution as ex
from clento_engine.domain import failure as on
from clento_engine.domain.account import PausedBy
from clento_engine.domain.action import ActionState
from clento_engine.domain.campaign import Pace
from clento_engine.domain.limits import LEASE, Caps
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.report import Learned, Report
from clento_engine.domain.workflow import Branch, Edge, Node
from clento_engine.store.accounts import pause_account, resume_account
from clento_engine.store.campaigns import pause_campaign, resume_campaign
from clento_engine.store.claimed import Claimed
from clento_engine.store.doubtful import Doubtful, take_doubtful
from clento_engine.store.errors import CannotDo
from clento_engine.store.moves import miscounted

Conn = AsyncConnection[TupleRow]
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

GRAPH = workflow(
    [
        Node("visit", Operation.PROFILE_VISIT, edges=(Edge("like", MINUTE),)),
        Node("like", Operation.LIKE_POST, posts=2, edges=(Edge("ask", timedelta(0)),)),
        Node(
            "ask",
            Operation.SEND_CONNECTION_REQUEST,
            text="Hello {{first_name}}",
            edges=(
                Edge("write", HOUR, Branch.ACCEPTED),
                Edge("withdraw", DAY, Branch.NOT_ACCEPTED),
            ),
        ),
        Node("write", Operation.SEND_FOLLOWUP, text="Hello", edges=(Edge("end", timedelta(0)),)),
        Node("withdraw", Operation.WITHDRAW_REQUEST, edges=(Edge("end", MINUTE),)),
        Node("end", Operation.WEBHOOK, webhook_url="https://hooks.example/x"),
    ]
)

LEDGER = """
select coalesce(l.account_id, n.account_id), coalesce(l.budget, n.operation),
       coalesce(l.bucket_at, n.bucket_at), l.units, n.used
  from (select account_id, budget, bucket_at, count(*) as units
          from actions cross join unnest(budgets) budget
         where state <> 'released' group by 1, 2, 3) l
  full join (select * from rate_counters where used > 0) n
    on n.account_id = l.account_id and n.operation = l.budget and n.bucket_at = l.bucket_at
 where l.units is distinct from n.used
"""

LOST = """
select * from campaign_executions
 where outcome is null and status <> 'held' and next_run_at is null
    or status = 'held' and reason is null
"""

OPEN_TWICE = """
select lead_id from actions where state in ('intended', 'unknown') group by 1 having count(*) > 1
"""

SENT_TWICE = """
select lead_id, node_id, target from actions
 where state = 'done' and operation in ('like_post', 'send_connection_request', 'send_followup')
 group by 1, 2, 3 having count(*) > 1
"""

# A lane where somebody waits, with nothing of theirs in flight, must know when to look; and never
# later than a day after the head is due, since that is the longest that caps let it sleep.
ASLEEP = """
select l.operation, l.ready_at, h.next_run_at
  from lanes l
  join lateral (
       select e.next_run_at from campaign_executions e
        where e.campaign_id = l.campaign_id and e.account_id = l.account_id
          and e.operation = l.operation and e.outcome is null and e.next_run_at is not null
          and not exists (select 1 from actions x where x.campaign_id = e.campaign_id
                             and x.lead_id = e.lead_id and x.state in ('intended', 'unknown'))
        order by e.next_run_at limit 1) h on true
 where l.ready_at is null or l.ready_at > greatest(h.next_run_at, %s) + interval '1 day'
"""

ACTIVE = """
select l.operation from lanes l join connected_accounts a on a.id = l.account_id
  join campaigns c on c.id = l.campaign_id
 where l.active <> (a.status = 'active' and c.status = 'running')
"""


READY = "select operation from lanes where active and ready_at <= %s"


async def check(stage: Stage) -> None:
    assert await stage.rows(LEDGER) == []
    assert await stage.rows(LOST) == []
    assert await stage.rows(OPEN_TWICE) == []
    assert await stage.rows(SENT_TWICE) == []
    assert await stage.rows(ASLEEP, stage.now) == []
    assert await stage.rows(ACTIVE) == []
    assert await miscounted(stage.conn) == []


class Fate:
    """Lets things happen to a campaign, the same for the same seed."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage = stage
        self.random = random.Random(seed)  # noqa: S311  no secret
        self.flying: list[Claimed] = []
        self.doubtful: list[Doubtful] = []

    async def something(self) -> None:
        """Let one thing happen."""
        await self.random.choice(
            [self.claims] * 5
            + [self.settles] * 6
            + [self.time_passes] * 3
            + [self.dies, self.reconciles, self.finds_out, self.finds_out]
            + [self.hears, self.hears, self.releases, self.pauses, self.resumes, self.resumes]
        )()

    async def claims(self) -> None:
        taken = await self.stage.claim(self.random.randint(1, 5))
        self.flying += taken
        if not taken:  # or a ticker would spin
            assert await self.stage.rows(READY, self.stage.now) == []

    async def settles(self) -> None:
        self.random.shuffle(self.flying)
        some, self.flying = self.flying[:3], self.flying[3:]
        await self.stage.settle(*(self.outcome(item) for item in some))

    def outcome(self, item: Claimed) -> Report:
        if item.intent is None:
            return done(item)
        at = self.stage.now
        retry = ex.Failed(on.Retry("no answer"))
        connected = self.random.random() < 0.3
        seen = ex.ProfileRead("ACoAAX", connected=connected, invitation_pending=False)
        reads = isinstance(good_answer(item.intent), ex.ProfileRead)
        good = done(item, seen if reads else None, learned=Learned(chat_id="chat"))
        scope = self.random.choice(list(on.Scope))
        return self.random.choice(
            [
                *[good] * 12,
                report(item, "refused", retry),
                report(item, "released", ex.Failed(on.Retry("refused", left=False))),
                report(item, "released", ex.Failed(on.Wait("given back", MINUTE, MINUTE))),
                report(item, "refused", ex.Failed(on.Wait("throttled", HOUR, DAY, scope))),
                report(item, "refused", ex.Failed(on.Skip("not there"))),
                report(item, "refused", ex.Failed(on.Skip("invited", on.Means.INVITED))),
                report(item, "refused", ex.Failed(on.Fail("wrong id", on.Means.WRONG_ID))),
                report(item, "refused", ex.Failed(on.Pause("signed out"))),
                report(item, "unknown", None, check_at=at + MINUTE, errors=1),
            ]
        )

    async def dies(self) -> None:
        """A ticker dies with what it has in flight."""
        self.flying = []

    async def reconciles(self) -> None:
        self.doubtful += await take_doubtful(
            self.stage.conn, now=self.stage.now, lease=LEASE, most=3
        )

    async def finds_out(self) -> None:
        found, self.doubtful = self.doubtful, []
        await self.stage.settle(*(self.answer(action) for action in found))

    def answer(self, action: Doubtful) -> Report:
        operation = action.ticket.operation
        later = self.stage.now + HOUR
        answers: list[tuple[str, ex.Event | None]] = [("unknown", None)]
        if operation.traits.writes:
            answers += [("done", ex.Done()), ("unknown", ex.Unknowable("nobody can tell"))]
        if operation is not Operation.PROFILE_VISIT:
            answers += [("absent", ex.Absent())]
        state, event = self.random.choice(answers)
        return Report.of_question(
            action.organization_id,
            action.campaign_id,
            action.lead_id,
            action.account_id,
            action.ticket,
            ActionState(state),
            event,
            check_at=later if state == "unknown" else None,
        )

    async def time_passes(self) -> None:
        self.stage.now += self.random.choice([timedelta(seconds=1), MINUTE, HOUR, 6 * HOUR])

    async def hears(self) -> None:
        at = self.stage.now
        events: list[ex.Event] = [ex.Accepted(at), ex.Accepted(at), ex.Replied(), ex.Stopped("?")]
        lead = self.random.choice(self.stage.leads)
        await self.stage.event(self.random.choice(events), lead)

    async def releases(self) -> None:
        held = await self.stage.rows(
            "select lead_id from campaign_executions where status = 'held'"
        )
        for row in held:
            await self.stage.event(ex.Released(skip=self.random.random() < 0.5), row["lead_id"])

    async def pauses(self) -> None:
        if self.random.random() < 0.5:
            await self.of_campaign(pause_campaign)
        else:
            account = self.random.choice(self.stage.accounts)
            await pause_account(
                self.stage.conn,
                self.stage.organization_id,
                account,
                by=self.random.choice(list(PausedBy)),
                reason="?",
                now=self.stage.now,
            )

    async def resumes(self) -> None:
        await self.of_campaign(resume_campaign)
        for account in self.stage.accounts:
            await resume_account(
                self.stage.conn,
                self.stage.organization_id,
                account,
                by=PausedBy.OPERATOR,
                now=self.stage.now,
            )

    async def of_campaign(self, change: Any) -> None:
        stage = self.stage
        try:
            await change(stage.conn, stage.organization_id, stage.campaign_id, now=stage.now)
        except CannotDo:
            return


async def all_goes_well(stage: Stage) -> None:
    """Let everything go well from here on, waking only when something says so; all must end."""
    rows: list[dict[str, Any]] = []
    for _ in range(2000):
        rows = await stage.rows(
            "select (select min(ready_at) from lanes where active) as lane,"
            " (select min(check_at) from actions where state in ('intended', 'unknown')) as action,"
            " (select count(*) from campaign_executions where outcome is null) as left,"
            " (select array_agg(lead_id) from campaign_executions where status = 'held') as held"
        )
        if rows[0]["left"] == 0:
            return
        for lead in rows[0]["held"] or []:
            await stage.event(ex.Released(skip=True), lead)
        times = [at for at in (rows[0]["lane"], rows[0]["action"]) if at is not None]
        assert times or rows[0]["held"], "leads are left, and nothing will ever wake them"
        stage.now = max([stage.now, *([min(times)] if times else [])])
        taken = await take_doubtful(stage.conn, now=stage.now, lease=LEASE, most=100)
        await stage.settle(
            *(
                Report.of_question(
                    each.organization_id,
                    each.campaign_id,
                    each.lead_id,
                    each.account_id,
                    each.ticket,
                    ActionState.ABSENT,
                    ex.Absent(),
                )
                for each in taken
            )
        )
        await stage.walk()
    raise AssertionError(f"{rows[0]['left']} leads never ended")


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_nothing_is_lost_doubled_or_miscounted(
    conn: Conn, seed: int
) -> None:
    stage = await set_stage(
        conn,
        GRAPH,
        leads=8,
        senders=2,
        pace=Pace(lead_processing_delay=timedelta(seconds=30 * (seed % 2)), leads_per_day=6),
        hours="always" if seed % 3 else "Mon-Fri 08:00-18:00",
        stop_on_reply=seed % 4 != 0,
        fields={"first_name": "Ada" if seed % 2 else None},
    )
    await stage.cap(Budget.PROFILE, Caps(hour=4, day=20))
    await stage.cap(Budget.NOTE, Caps(month=3))
    if seed % 2:
        await stage.change("connected_accounts", spacing_shortest=MINUTE, spacing_longest=MINUTE)
    fate = Fate(stage, seed)
    for _ in range(120):
        await fate.something()
        await check(stage)
    await fate.resumes()
    await all_goes_well(stage)
    await check(stage)
