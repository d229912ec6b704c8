"""Choosing, among what waits under the claim's locks, the steps that run now."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from msgspec import Struct, json
from uuid_utils.compat import uuid4

from clento_engine.domain import execution as ex
from clento_engine.domain.account import Tier
from clento_engine.domain.execution import Execution, Rules
from clento_engine.domain.intent import Intent, Person, intent
from clento_engine.domain.limits import (
    DAY,
    HOUR,
    MONTH,
    WEEK,
    Caps,
    Spacing,
    bucket_at,
    carried_per_day,
    effective,
    ramp,
    spacing_after,
)
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.report import Basis, Ticket
from clento_engine.domain.schedule import WorkingHours, closes_at, opens_at, parse_hours
from clento_engine.domain.workflow import Node, Workflow
from clento_engine.store.rows import execution, rules

# until a lane is looked at again whose head is locked, or whose campaign has its most in flight
AGAIN = timedelta(seconds=5)
NO_LOOK = timedelta(hours=1)  # until an InMail that needs a profile retrieval looks for one again

log = logging.getLogger(__name__)

T = TypeVar("T")

LaneKey = tuple[UUID, UUID, UUID, str]  # organisation, campaign, account, operation
AccountKey = tuple[UUID, UUID]
BudgetKey = tuple[UUID, UUID, str]


class Sender(Struct, frozen=True):
    """The account that acts, as the provider and the templates know it.

    `heard_at`: when a webhook told anything of it, about a minute exact; None: never.
    """

    account_id: UUID
    unipile_account_id: str
    tier: Tier
    provider_id: str | None
    troubled: bool  # errors or throttles are counted against the account or its budget
    heard_at: datetime | None = None


class Claimed(Struct, frozen=True):
    """One step that is ours: an intent to act on before `act_before`, or an event to settle.

    `replied_at`: when the person wrote, of which the event tells.
    """

    organization_id: UUID
    run: Execution
    node: Node | None
    sender: Sender
    act_before: datetime
    basis: Basis
    intent: Intent | None = None
    ticket: Ticket | None = None
    event: ex.Event | None = None
    replied_at: datetime | None = None


@dataclass(slots=True)
class Purse:
    """What a budget of an account may still give, and what it gave to this claim."""

    allowance: int
    frees_at: datetime | None = None  # when the next unit is free, once it is spent
    free_at: datetime | None = None  # when the gap after what was taken now is over
    spent: int = 0


@dataclass(slots=True)
class Account:
    """An account's own gap: `free_at` once something was taken now."""

    free_at: datetime | None = None


@dataclass(slots=True)
class Crowd:
    """A campaign's leads in flight, and when its next one may begin once one began now."""

    flying: int = 0
    next_start: datetime | None = None


class Terms(Struct, frozen=True):
    """What is the same for every step of a lane in one claim."""

    sender: Sender
    rules: Rules
    columns: tuple[str, ...]
    act_before: datetime
    account_gap: timedelta
    budget_gap: timedelta


class Unreadable(ValueError):
    """A stored value that cannot be what was written: `str` names the place, not the value."""


def _readable(what: str, read: Callable[[str], T], value: str) -> T:
    try:
        return read(value)
    except (ValueError, LookupError, OSError) as error:  # ZoneInfo opens files
        raise Unreadable(f"{what} cannot be read: put it right, then lift the hold") from error


@dataclass(slots=True, init=False)
class Lane:
    """A locked lane, with what its account, budget and campaign say about it."""

    row: Mapping[str, Any]
    key: LaneKey
    account: AccountKey
    budget: BudgetKey
    campaign: AccountKey
    hours: WorkingHours
    operation: Operation
    gate: datetime  # before then it may not run
    take: int  # how many of them, and one more
    binding: datetime | None  # what kept its next head from running, until when
    heads: list[dict[str, Any]]
    seen: int  # heads, with those that others have locked
    locked_at: datetime | None  # when the first of those is due
    passed: int  # heads taken or settled
    told: bool  # a head came back as an event, of which nothing is written down yet

    def __init__(self, row: Mapping[str, Any], now: datetime) -> None:
        """Read a row of the claim's lock.  Raises Unreadable."""
        organization_id, account_id = row["organization_id"], row["account_id"]
        self.row = row
        self.key = (organization_id, row["campaign_id"], account_id, row["operation"])
        self.account = (organization_id, account_id)
        self.budget = (organization_id, account_id, row["budget"])
        self.campaign = (organization_id, row["campaign_id"])
        _readable("the sender's time zone", ZoneInfo, row["time_zone"])
        self.hours = _readable("the campaign's `working_hours`", parse_hours, row["working_hours"])
        self.operation = Operation(row["operation"])
        self.gate = _gate(row, self.hours, self.operation, now)
        self.take = row["take"]
        self.binding = None
        self.heads = []
        self.seen = 0
        self.locked_at = None
        self.passed = 0
        self.told = False


def _gate(
    row: Mapping[str, Any], hours: WorkingHours, operation: Operation, now: datetime
) -> datetime:
    """Return the first moment from `now` on that needs no look at the counters."""
    if operation is Operation.WEBHOOK:
        return now
    closed = [row["account_blocked_until"]]
    if operation is Operation.START:
        closed.append(row["next_start_at"])
    else:
        closed += [row["account_free_at"], row["next_free_at"], row["blocked_until"]]
    free = max((at for at in closed if at is not None), default=now)
    return opens_at(hours, max(now, free), row["time_zone"])


def second_budget(lane: Lane) -> BudgetKey | None:
    """Return the other allowance that a step of the lane may spend."""
    budget = lane.operation.second_budget(Tier(lane.row["tier"]))
    return None if budget is None else (*lane.account, budget.value)


def longest_window(row: Mapping[str, Any]) -> timedelta:
    """Return the longest window in which the budget has a cap."""
    if row["per_month"] is not None:
        return MONTH
    if row["per_week"] is not None:
        return WEEK
    return DAY if row["per_day"] is not None else HOUR


def effective_caps(row: Mapping[str, Any], now: datetime) -> Caps:
    caps = Caps(row["per_hour"], row["per_day"], row["per_week"], row["per_month"])
    return ramped(row, row["budget"], caps, now)


def ramped(row: Mapping[str, Any], budget: str, caps: Caps, now: datetime) -> Caps:
    warm = ramp(row["warmup_started_at"], now, row["warmup_days"])
    seed = f"{row['unipile_account_id']}/{budget}"
    return effective(caps, ramp=warm, seed=seed, day=today(row, now))


def today(row: Mapping[str, Any], now: datetime) -> date:
    return now.astimezone(ZoneInfo(row["time_zone"])).date()


def _is_today(values: Mapping[str, Any], now: datetime) -> bool:
    try:
        return bool(values["starts_on"] == today(values, now))
    except (KeyError, ValueError, OSError):  # another sender's zone: its own lanes wait for that
        return values["starts_on"] is not None


def starts_left(
    lanes: Iterable[Lane],
    picker: "Picker",
    limits_of: Mapping[UUID, Mapping[Budget, Caps]],
) -> dict[LaneKey, int]:
    """Return how many more leads each lane may begin today."""
    left = {}
    for lane in lanes:
        row, (organization_id, campaign_id, account_id, _) = lane.row, lane.key
        begun = {  # each in its own zone: where one sender's day is over, another's is not
            sender: values["starts"] if _is_today(values, picker.now) else 0
            for (campaign, sender), values in picker.senders.items()
            if campaign == campaign_id
        }
        if row["leads_per_day"] is not None:
            left[lane.key] = max(0, row["leads_per_day"] - sum(begun.values()))
            continue
        caps = {
            budget: ramped(row, budget, numbers, picker.now)
            for budget, numbers in limits_of[account_id].items()
        }
        workflow = picker.workflows[row["workflow_version_id"]]
        carried = carried_per_day(workflow, caps, lane.hours.open_days)
        left[organization_id, campaign_id, account_id, lane.key[3]] = max(
            0, carried - begun.get(account_id, 0)
        )
    return left


@dataclass(slots=True)
class Picker:
    """Chooses which heads run, within every allowance at once."""

    now: datetime
    slots: int
    lease: timedelta
    request_limit: timedelta
    purses: dict[BudgetKey, Purse] = field(default_factory=dict)
    accounts: defaultdict[AccountKey, Account] = field(default_factory=lambda: defaultdict(Account))
    crowds: defaultdict[AccountKey, Crowd] = field(default_factory=lambda: defaultdict(Crowd))
    senders: dict[tuple[UUID, UUID], dict[str, Any]] = field(default_factory=dict)
    starts: dict[LaneKey, int] = field(default_factory=dict)
    workflows: dict[UUID, Workflow] = field(default_factory=dict)
    claimed: list[Claimed] = field(default_factory=list)
    began: dict[LaneKey, int] = field(default_factory=dict)
    token: UUID = field(default_factory=uuid4)

    def pick(self, lanes: Iterable[Lane]) -> None:
        """Go through the lanes and take what may run.

        First those of the organisations whose place in the rotation it is; then those nearest to a
        path's end.
        """
        for lane in sorted(lanes, key=self._order):
            taking = _Taking(self, lane)
            for head in lane.heads:
                if head["next_run_at"] > self.now or not taking.may():
                    break
                taking.take(head)
                lane.passed += 1

    def _order(self, lane: Lane) -> tuple[bool, int, int, datetime, UUID]:
        first = lane.heads[0] if lane.heads else None
        starting = lane.operation is Operation.START
        begun = self.senders.get((lane.key[1], lane.key[2])) if starting else None
        return (
            not lane.row["comes_first"],
            lane.operation.priority,
            begun["starts"] if begun is not None and _is_today(begun, self.now) else 0,
            self.now if first is None else first["next_run_at"],
            lane.key[1] if first is None else first["lead_id"],
        )

    def tomorrow(self, lane: Lane) -> datetime:
        """Return when the next day begins in the sender's zone."""
        zone = ZoneInfo(lane.row["time_zone"])
        midnight = datetime.combine(
            self.now.astimezone(zone).date() + timedelta(days=1), datetime.min.time(), zone
        )
        return max(midnight.astimezone(self.now.tzinfo), self.now + timedelta(seconds=1))

    def begin(self, lane: Lane) -> None:
        """Note that a lead of the lane begins now."""
        self.began[lane.key] = self.began.get(lane.key, 0) + 1
        self.crowds[lane.campaign].next_start = self.now + lane.row["lead_processing_delay"]
        if lane.row["leads_per_day"] is None:
            self.starts[lane.key] -= 1
            return
        for key in self.starts:  # the number is the campaign's, over all its senders
            if key[:2] == lane.key[:2]:
                self.starts[key] -= 1

    def ready_at(self, lane: Lane) -> datetime | None:
        """Return when the lane must be looked at again; None when nothing waits in it."""
        if lane.gate > self.now:
            return lane.gate
        times = []
        if rest := lane.heads[lane.passed :]:
            times.append(self._later(lane, max(rest[0]["next_run_at"], lane.binding or self.now)))
        elif lane.passed and lane.seen > lane.take:
            # it may have more than was asked for; the account's gap applies to those too
            times.append(self._later(lane, self.now))
        if lane.locked_at is not None:
            times.append(self._later(lane, max(lane.locked_at, self.now + AGAIN)))
        if lane.told:
            # should we die before the event is settled, no open action would tell of it
            times.append(self.now + self.lease)
        return min(times, default=None)

    def _later(self, lane: Lane, at: datetime) -> datetime:
        if lane.operation is Operation.WEBHOOK:
            return at
        if lane.operation is Operation.START:
            at = max(at, self.crowds[lane.campaign].next_start or at)
        elif (purse := self.purses.get(lane.budget)) is not None:
            at = max(
                at,
                self.accounts[lane.account].free_at or at,
                purse.free_at or at,
            )
        return opens_at(lane.hours, at, lane.row["time_zone"])


class _Taking:
    """The taking of one lane's heads: all that they share is looked up once."""

    def __init__(self, picker: Picker, lane: Lane) -> None:
        self._picker = picker
        self._lane = lane
        self._now = picker.now
        self._account = picker.accounts[lane.account]
        internal = lane.operation.is_internal  # it takes of no budget
        self._purse = Purse(0) if internal else picker.purses[lane.budget]
        self._crowd = picker.crowds[lane.campaign]
        self._version = 0  # the last head's, and its workflow
        self._workflow: Workflow | None = None
        second = second_budget(lane)
        self._second = (
            {second[2]: picker.purses[second]}
            if second is not None and second in picker.purses
            else {}
        )

    def may(self) -> bool:
        """Whether the lane's next head may run now; when not, note what it waits for."""
        lane, picker, now = self._lane, self._picker, self._now
        if picker.slots <= 0:
            lane.binding = now
        elif lane.operation is Operation.WEBHOOK:
            return True
        elif lane.operation is Operation.START:
            if (next_start := self._crowd.next_start) is not None and next_start > now:
                lane.binding = next_start
            elif picker.starts.get(lane.key, 0) <= 0:
                lane.binding = picker.tomorrow(lane)
            else:
                return True
        elif self._crowd.flying >= lane.row["max_concurrent_leads"]:
            lane.binding = now + AGAIN
        elif (free_at := self._busy_until()) is not None:
            lane.binding = free_at
        elif self._purse.allowance <= 0:
            lane.binding = self._purse.frees_at or now
        elif lane.operation is Operation.SEND_INMAIL and any(
            purse.allowance <= 0 for purse in self._second.values()
        ):
            lane.binding = now + NO_LOOK
        else:
            return True
        return False

    def _busy_until(self) -> datetime | None:
        for free_at in (self._account.free_at, self._purse.free_at):
            if free_at is not None and free_at > self._now:
                return free_at
        return None

    @cached_property
    def _terms(self) -> Terms:
        lane, row, picker = self._lane, self._lane.row, self._picker
        lease_end = self._now + picker.lease - picker.request_limit
        closing = closes_at(lane.hours, self._now, row["time_zone"])
        # the same account at the same moment draws the same gap, in every run
        seed = f"{row['unipile_account_id']}/{self._now.isoformat()}"
        return Terms(
            sender=Sender(
                row["account_id"],
                row["unipile_account_id"],
                Tier(row["tier"]),
                row["provider_id"],
                row["troubled"],
                row["heard_at"],
            ),
            rules=rules(row),
            columns=tuple(row["columns"]),
            act_before=lease_end if closing is None else min(lease_end, closing),
            account_gap=spacing_after(
                Spacing(row["account_shortest"], row["account_longest"]), seed
            ),
            budget_gap=spacing_after(
                Spacing(row["spacing_shortest"], row["spacing_longest"]), f"{seed}/{row['budget']}"
            ),
        )

    def take(self, head: dict[str, Any]) -> None:
        """Take the head: what is to be sent for it, or the event that happens instead."""
        lane, picker, terms = self._lane, self._picker, self._terms
        run = execution(head, terms.rules)
        workflow = self._workflow_of(head["workflow_version_id"])
        node = None if run.node_id is None else workflow.nodes.get(run.node_id)
        next_step = self._readable_step(head, run, node, workflow)
        claimed = (
            lane.key[0],
            run,
            node,
            terms.sender,
            terms.act_before,
            Basis(run, workflow, head["seen"]),
        )
        picker.slots -= 1
        if isinstance(next_step, Intent) and node is not None:
            ticket = Ticket(
                picker.token,
                node.id,
                run.operation,
                next_step.budgets,
                bucket_at(self._now),
            )
            self._spend(next_step)
            picker.claimed.append(Claimed(*claimed, intent=next_step, ticket=ticket))
        elif not isinstance(next_step, Intent):
            lane.told = True
            if isinstance(next_step, ex.Began):
                picker.begin(lane)
            picker.claimed.append(Claimed(*claimed, event=next_step, replied_at=head["wrote_at"]))

    def _workflow_of(self, version_id: UUID) -> Workflow:
        if self._workflow is None or self._version != version_id.int:
            self._workflow = self._picker.workflows[version_id]
            self._version = version_id.int
        return self._workflow

    def _readable_step(
        self, head: dict[str, Any], run: Execution, node: Node | None, workflow: Workflow
    ) -> Intent | ex.Event:
        """Return the step; a lead of which something cannot be read is held, and no other."""
        try:
            if not workflow.nodes:
                raise Unreadable("the saved workflow cannot be read: put it right")  # noqa: TRY301
            if node is None and run.node_id is not None:
                raise Unreadable(f"its workflow has no node {run.node_id[:80]!r}")  # noqa: TRY301
            return self._next_step(head, run, node)
        except Exception as error:  # noqa: BLE001  whatever a hand can write into a row
            name = type(error).__name__  # its text may hold what is sent
            log.warning(
                "step cannot be prepared",
                extra={"lead_id": str(run.lead_id), "error": name, "alert": True},
            )
            return ex.Unknowable(_unreadable(error))

    def _next_step(
        self, head: dict[str, Any], run: Execution, node: Node | None
    ) -> Intent | ex.Event:
        if head["wrote_at"] is not None and (run.rules.stop_on_reply or not run.replied):
            return ex.Replied()
        if node is None:
            suppressed = head["suppressed"]
            return ex.Began() if suppressed is None else ex.Suppressed(suppressed)
        notes = self._second.get(Budget.NOTE.value)
        next_step = intent(
            node,
            run,
            _person(head, run.operation, self._terms.columns),
            tier=self._terms.sender.tier,
            subject=self._lane.row["inmail_subject"],
            notes_left=notes is None or notes.allowance > 0,
            now=self._now,
        )
        if isinstance(next_step, Intent) and next_step.target in head["done_to"]:
            return ex.Done()  # it reached them: never twice, and never a poisoned claim
        return next_step

    def _spend(self, taken: Intent) -> None:
        for budget in taken.budgets:
            purse = self._second.get(budget.value, self._purse)
            purse.spent += 1
            purse.allowance -= 1
        self._crowd.flying += 1
        self._account.free_at = self._now + self._terms.account_gap
        self._purse.free_at = self._now + self._terms.budget_gap


def _unreadable(error: Exception) -> str:
    """Say why a step cannot be prepared, without a word of what a row holds."""
    if isinstance(error, Unreadable):
        return str(error)
    return f"lead, list or workflow cannot be read ({type(error).__name__}): put them right"


def _fields(stored: str) -> dict[str, str]:
    fields = json.decode(stored)
    if not isinstance(fields, dict):
        raise Unreadable("the lead's `fields` are no JSON object: put them right")
    for name, value in fields.items():
        if not isinstance(value, str):
            raise Unreadable(f"the lead's `fields` hold no text for {name[:40]!r}: put it right")
    return fields


def _person(head: Mapping[str, Any], operation: Operation, columns: tuple[str, ...]) -> Person:
    fields = {}
    if operation.traits.sends_text:
        fields = {
            **_fields(head["fields"]),
            "first_name": head["first_name"],
            "last_name": head["last_name"],
            "company": head["company"],
            "job_title": head["job_title"],
            "email": head["email"],
        }
    return Person(
        public_identifier=head["public_identifier"],
        provider_id=head["listed_id"],
        fields=fields,
        columns=columns,
        chat_id=head["chat_id"] or None,
        invitation_id=head["invitation_id"],
        suppressed=head["suppressed"],
    )
