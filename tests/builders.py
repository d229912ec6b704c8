"""Organisations, senders, people and started campaigns for tests, in a line each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from uuid_utils.compat import uuid7

from clento_engine.domain import execution as ex
from clento_engine.domain.account import Tier
from clento_engine.domain.action import ActionState
from clento_engine.domain.campaign import Pace
from clento_engine.domain.execution import OnMissing
from clento_engine.domain.intent import Intent
from clento_engine.domain.limits import Caps, Spacing
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.report import Learned, Report
from clento_engine.domain.schedule import parse_hours
from clento_engine.domain.suppression import company_key
from clento_engine.domain.workflow import Branch, Edge, Node, Workflow
from clento_engine.store.accounts import NOT_LOOKED_UP, add_account, create_organization
from clento_engine.store.campaigns import create_campaign, start_campaign
from clento_engine.store.claim import Wanted, claim
from clento_engine.store.claimed import Claimed
from clento_engine.store.moves import recount
from clento_engine.store.settle import Settled
from clento_engine.store.turn import turn
from clento_engine.store.workflows import save_workflow

Conn = AsyncConnection[Any]

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)  # a Monday
DAY = timedelta(days=1)
AT_ONCE = Pace(lead_processing_delay=timedelta(0), leads_per_day=1_000_000)
NO_GAP = Spacing()


def edge(target: str | None, delay: timedelta = timedelta(0), branch: Branch = Branch.NEXT) -> Edge:
    """Make an edge."""
    return Edge(target, delay, branch)


def line(*operations: Operation, delay: timedelta = timedelta(0), text: str = "Hello") -> Workflow:
    """Make a path of nodes `n0`, `n1`, … one after the other."""
    last = len(operations) - 1
    return workflow(
        Node(
            f"n{place}",
            operation,
            text=text if operation in _WRITTEN else "",
            edges=() if place == last else (edge(f"n{place + 1}", delay),),
            webhook_url="https://hooks.example/x" if operation is Operation.WEBHOOK else None,
        )
        for place, operation in enumerate(operations)
    )


_WRITTEN = (Operation.COMMENT_POST, Operation.SEND_FOLLOWUP, Operation.SEND_INMAIL)


def workflow(nodes: Iterable[Node]) -> Workflow:
    """Make a workflow that begins with the first of `nodes`."""
    by_id = {node.id: node for node in nodes}
    return Workflow(next(iter(by_id)), by_id)


VISIT = line(Operation.PROFILE_VISIT)


@dataclass(slots=True)
class Stage:
    """A started campaign and what belongs to it; `now` is the test's clock."""

    conn: Conn
    organization_id: UUID
    campaign_id: UUID
    accounts: list[UUID]
    leads: list[UUID]
    workflow: Workflow
    now: datetime = NOW
    settled: list[Settled] = field(default_factory=list)

    @property
    def account(self) -> UUID:
        """The first sender."""
        return self.accounts[0]

    async def claim(self, slots: int = 100, conn: Conn | None = None) -> list[Claimed]:
        """Claim now."""
        wanted = Wanted([self.organization_id], self.now, slots)
        return (await claim(conn or self.conn, wanted)).taken

    async def settle(self, *reports: Report, conn: Conn | None = None) -> Settled:
        """Settle now."""
        turned = await turn(conn or self.conn, reports, None, now=self.now, actor="test")
        done = turned.settled
        self.settled.append(done)
        return done

    async def walk(self, steps: int = 1, slots: int = 100) -> list[Claimed]:
        """Claim and settle as done so many times; return all that was claimed."""
        taken: list[Claimed] = []
        for _ in range(steps):
            batch = await self.claim(slots)
            taken += batch
            await self.settle(*(done(item) for item in batch))
        return taken

    async def event(self, event: ex.Event, lead: UUID | None = None) -> Settled:
        """Let something happen to a lead."""
        return await self.settle(self.heard(event, lead))

    def heard(
        self, event: ex.Event, lead: UUID | None = None, learned: Learned | None = None
    ) -> Report:
        """Return the report of something that happened to a lead."""
        ids = (self.organization_id, self.campaign_id, lead or self.leads[0], self.account)
        return Report.of_news(*ids, event, learned)

    async def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Ask the database."""
        cursor = self.conn.cursor(row_factory=dict_row)
        await cursor.execute(query.encode(), values)
        return await cursor.fetchall()

    async def value(self, query: str, *values: object) -> Any:
        """Ask the database for one value."""
        row = (await self.rows(query, *values))[0]
        return next(iter(row.values()))

    async def run(self, lead: UUID | None = None) -> dict[str, Any]:
        """Return a lead's execution."""
        rows = await self.rows(
            "select * from campaign_executions where campaign_id = %s and lead_id = %s",
            self.campaign_id,
            lead or self.leads[0],
        )
        return rows[0]

    async def lane(self, operation: Operation, account: UUID | None = None) -> dict[str, Any]:
        """Return a lane of the campaign."""
        rows = await self.rows(
            "select * from lanes where campaign_id = %s and account_id = %s and operation = %s",
            self.campaign_id,
            account or self.account,
            operation.value,
        )
        return rows[0]

    async def used(self, budget: Budget, account: UUID | None = None) -> int:
        """Return the units counted for a budget, ever."""
        return int(
            await self.value(
                "select coalesce(sum(used), 0)::int from rate_counters"
                " where account_id = %s and operation = %s",
                account or self.account,
                budget.value,
            )
        )

    async def change(self, table: str, **values: object) -> None:
        """Set columns of a table's every row in the organisation."""
        columns = ", ".join(f"{name} = %s" for name in values)
        await self.conn.execute(
            f"update {table} set {columns} where organization_id = %s".encode(),
            [*values.values(), self.organization_id],
        )

    async def cap(self, budget: Budget, caps: Caps, account: UUID | None = None) -> None:
        """Set the caps of a budget, waking nobody."""
        await self.conn.execute(
            "update rate_limits set per_hour = %s, per_day = %s, per_week = %s, per_month = %s"
            " where account_id = %s and operation = %s",
            (caps.hour, caps.day, caps.week, caps.month, account or self.account, budget.value),
        )

    async def stand(
        self,
        operation: Operation,
        node_id: str = "n0",
        *,
        at: datetime | None = None,
        leads: Sequence[UUID] | None = None,
        **values: object,
    ) -> None:
        """Put leads at a node, waiting in the lane of `operation` from `at`, and wake the lane."""
        at = at or self.now
        values = {
            "status": "waiting",
            "provider_id": "ACoAAX",
            "started_at": self.now,
            "expires_at": self.now + 30 * DAY,
        } | values
        columns = "".join(f", {name} = %s" for name in values)
        await self.conn.execute(
            "update campaign_executions set node_id = %s, operation = %s, next_run_at = %s"
            f"{columns} where campaign_id = %s and lead_id = any(%s)".encode(),
            [
                node_id,
                operation.value,
                at,
                *values.values(),
                self.campaign_id,
                list(leads or self.leads),
            ],
        )
        await self.conn.execute(
            "update lanes set ready_at = least(ready_at, %s)"
            " where campaign_id = %s and operation = %s",
            (at, self.campaign_id, operation.value),
        )
        await recount(self.conn)  # nobody counted how they came there


async def add_leads(
    conn: Conn,
    organization_id: UUID,
    count: int,
    *,
    name: str = "list",
    fields: Mapping[str, object] | None = None,
) -> tuple[UUID, list[UUID]]:
    """Add a list of people `person-1` … ; return its id and theirs in order."""
    list_id = uuid7()
    await conn.execute(
        "insert into lead_lists (organization_id, id, name) values (%s, %s, %s)",
        (organization_id, list_id, name),
    )
    values = {"first_name": "Ada", "last_name": "Moss", "company": "Acme", **(fields or {})}
    if values["company"] is not None:
        values["company_key"] = company_key(str(values["company"]))
    names = ", ".join(values)
    cursor = await conn.execute(
        "with made as materialized ("
        "  select %s::uuid as organization_id, gen_random_uuid() as id, n, 'person-' || n as name"
        "    from generate_series(1, %s) n),"
        " known as materialized ("
        "  select m.*, coalesce(k.person_id, m.id) as person_id from made m"
        "    left join person_names k using (organization_id, name)),"
        " people as (insert into people (organization_id, id)"
        "  select organization_id, id from known where person_id = id),"
        " names as (insert into person_names (organization_id, name, kind, person_id, learned_at)"
        "  select organization_id, name, 'slug', id, now() from known where person_id = id)"
        " insert into leads (organization_id, id, list_id, identity, public_identifier, email,"
        f" email_key, row_number, person_id, {names})"
        " select organization_id, id, %s, name, name, name || '@mail.example',"
        " name || '@mail.example', n, person_id"
        f"{', %s' * len(values)} from known"
        " returning id, row_number".encode(),
        [organization_id, count, list_id, *values.values()],
    )
    found = sorted((row[1], row[0]) for row in await cursor.fetchall())
    return list_id, [lead_id for _, lead_id in found]


def member_of(unipile_account_id: str) -> str:
    """Return the LinkedIn member behind an account that `add_sender` made."""
    return unipile_account_id.replace("unipile-", "member-", 1)


async def add_sender(
    conn: Conn,
    organization_id: UUID,
    name: str = "sender",
    *,
    time_zone: str = "UTC",
    spacing: Spacing = NO_GAP,
    tier: Tier = Tier.SALES_NAVIGATOR,
    capped: bool = False,
    member: str | None = None,
) -> UUID:
    """Add an established account; without gaps and caps unless told so."""
    account_id = await add_account(
        conn,
        organization_id,
        unipile_account_id=f"unipile-{name}",
        name=name,
        tier=tier,
        time_zone=time_zone,
        warmup_days=0,
        provider_id=member or member_of(f"unipile-{name}"),
        spacing=spacing,
    )
    if not capped:
        await conn.execute(
            "update rate_limits set per_hour = null, per_day = null, per_week = null,"
            " per_month = null, spacing_shortest = '0', spacing_longest = '0'"
            " where account_id = %s",
            (account_id,),
        )
    return account_id


async def unbind(conn: Conn, account_id: UUID) -> None:
    """Let an account be one that nobody has looked up yet, as an upgrade leaves it."""
    await conn.execute(
        "update connected_accounts set provider_id = null, status = 'paused',"
        " paused_by = 'provider', pause_reason = %s where id = %s",
        (NOT_LOOKED_UP, account_id),
    )
    await conn.execute("delete from provider_accounts where account_id = %s", (account_id,))
    await conn.execute("update lanes set active = false where account_id = %s", (account_id,))


async def set_stage(
    conn: Conn,
    workflow: Workflow = VISIT,
    *,
    leads: int = 1,
    senders: int | Sequence[UUID] = 1,
    hours: str = "always",
    pace: Pace = AT_ONCE,
    organization_id: UUID | None = None,
    name: str = "campaign",
    now: datetime = NOW,
    start_at: datetime | None = None,
    stop_on_reply: bool = True,
    stop_on_own_message: bool = True,
    on_missing: OnMissing = OnMissing.HOLD,
    max_duration: timedelta = timedelta(days=30),
    inmail_subject: str | None = "A subject",
    fields: Mapping[str, object] | None = None,
    start: bool = True,
    overlap: bool = True,
) -> Stage:
    """Make an organisation (or take one), senders, people and a campaign, started.

    The people of each campaign are the same, `person-1` …, so that they may walk in all of them
    unless `overlap` is False.
    """
    if organization_id is None:
        organization_id = await create_organization(conn, f"organisation of {name}")
    if isinstance(senders, int):
        accounts = [
            await add_sender(conn, organization_id, f"{name}-{n}") for n in range(1, senders + 1)
        ]
    else:
        accounts = list(senders)
    list_id, people = await add_leads(conn, organization_id, leads, name=name, fields=fields)
    version = await save_workflow(conn, organization_id, name, {"name": name}, workflow)
    campaign_id = await create_campaign(
        conn,
        organization_id,
        name=name,
        workflow_version_id=version,
        list_id=list_id,
        senders=accounts,
        hours=parse_hours(hours),
        stop_on_reply=stop_on_reply,
        stop_on_own_message=stop_on_own_message,
        on_missing=on_missing,
        max_duration=max_duration,
        inmail_subject=inmail_subject,
        pace=pace,
        overlap=overlap,
    )
    if start:
        await start_campaign(
            conn,
            organization_id,
            campaign_id,
            workflow,
            workflow_version_id=version,
            pace=pace,
            start_at=start_at or now,
            now=now,
        )
    return Stage(conn, organization_id, campaign_id, accounts, people, workflow, now)


async def begun(conn: Conn, workflow: Workflow, operation: Operation, **values: Any) -> Stage:
    """Set a stage whose every lead stands at the first node, waiting for `operation`."""
    stage = await set_stage(conn, workflow, **values)
    await stage.stand(operation, workflow.first)
    return stage


def report(item: Claimed, state: str | None, event: ex.Event | None, **values: Any) -> Report:
    """Return the report of a claimed step."""
    return Report.of_step(
        item.organization_id,
        item.sender.account_id,
        item.basis,
        event,
        ticket=item.ticket,
        state=ActionState(state) if state is not None and item.ticket is not None else None,
        **{"recovering": item.sender.troubled, **values},
    )


def good_answer(intent: Intent) -> ex.Event:
    """Return what a friendly provider answers."""
    match intent.operation:
        case Operation.PROFILE_LOOKUP | Operation.PROFILE_VISIT | Operation.CHECK_ACCEPTANCE:
            return ex.ProfileRead("ACoAAX", connected=False, invitation_pending=False)
        case Operation.FIND_POSTS:
            return ex.PostsFound(("post-1", "post-2"))
        case _:
            return ex.Done()


def done(item: Claimed, event: ex.Event | None = None, **values: Any) -> Report:
    """Return the report that a claimed step went well."""
    if item.intent is None:
        return report(item, None, item.event, **values)
    return report(item, "done", event or good_answer(item.intent), **values)
