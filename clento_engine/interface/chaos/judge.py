"""The judge after the storm: our books held against what really reached whom.

`settled_verdict` is pure: the simulator's ledger and our books in, findings out.  `judged` reads
the books first.  Call either when the dust has settled: every ticker has ended or has nothing due.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from clento_engine.domain.account import AccountStatus
from clento_engine.domain.action import HAPPENED, OPEN, ActionState
from clento_engine.domain.campaign import CampaignStatus
from clento_engine.domain.execution import Outcome, Status
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.schedule import is_open, parse_hours
from clento_engine.simulator.judge import first_accounts, normalised, over_cap, spent
from clento_engine.simulator.ledger import Effect, Entry, Ledger, Signal
from clento_engine.store.audit import Books, Standing, Turned, Written, books
from clento_engine.store.database import Database

GRACE = timedelta(minutes=2)  # what is on its way when something happens is nobody's fault
LONGEST_SLEEP = timedelta(days=31)  # of a lane, past its head's time: the longest window of a cap

_EFFECTS = {
    Operation.PROFILE_VISIT: Effect.VISIT,
    Operation.LIKE_POST: Effect.LIKE,
    Operation.COMMENT_POST: Effect.COMMENT,
    Operation.SEND_CONNECTION_REQUEST: Effect.INVITATION,
    Operation.SEND_FOLLOWUP: Effect.MESSAGE,
    Operation.SEND_INMAIL: Effect.INMAIL,
    Operation.WITHDRAW_REQUEST: Effect.WITHDRAW,
}
_ON_POSTS = frozenset({Effect.LIKE, Effect.COMMENT})
_TEXTS = frozenset({Effect.COMMENT, Effect.INVITATION, Effect.MESSAGE, Effect.INMAIL})
# What reconcile takes a unit of, besides the action's own, each time it looks.
_LOOKED_FROM = frozenset({Budget.PROFILE, Budget.POST_READ, Budget.LIST_READ})
_READS = frozenset({Operation.PROFILE_VISIT, Operation.PROFILE_LOOKUP})  # tell who somebody is
_NEVER = datetime.max.replace(tzinfo=UTC)
_PENDING = {Effect.INVITATION: 1, Effect.WITHDRAW: -1}  # invitations that stand open

_KINDS = (
    "duplicates",
    "lost",
    "over_cap",
    "outside_hours",
    "after_stop",
    "disagreements",
    "unknown",
    "held",
    "unresolved",
)
_LEFT_OPEN = frozenset({"held", "unresolved"})  # for people to look at: no promise is broken
Person = tuple[
    str, str
]  # the first account of the member, the provider's id of the person (or any name, where unknown)
Key = tuple[Person, Effect, str | None, str | None]  # the post; the text


@dataclass(slots=True)
class Findings:
    """What the judge found; all but `held` and `unresolved` must be zero.

    `details` says each in words, by kind.

    `walks`: of campaigns that nobody stopped; `ended`: how many of them came to an end.
    """

    duplicates: int = 0
    lost: int = 0
    over_cap: int = 0
    outside_hours: int = 0
    after_stop: int = 0  # after a reply, a suppression, a pause or a stop
    disagreements: int = 0
    unknown: int = 0
    held: int = 0
    unresolved: int = 0  # closed, for their walks were over and nobody could find out
    walks: int = 0
    ended: int = 0
    details: dict[str, list[str]] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found; what is left to people, with its reason, is no finding."""
        return not any(count for kind, count in self.counts().items() if kind not in _LEFT_OPEN)

    def counts(self) -> dict[str, int]:
        """Return how many findings there are of each kind."""
        return {kind: getattr(self, kind) for kind in _KINDS}

    def add(self, kind: str, line: str) -> None:
        """Add what somebody else found."""
        setattr(self, kind, getattr(self, kind) + 1)
        self.details.setdefault(kind, []).append(line)

    def lines(self) -> list[str]:
        """Return every finding in words, after its kind."""
        return [f"{kind}: {line}" for kind, lines in self.details.items() for line in lines]


async def judged(
    database: Database,
    ledger: Ledger,
    *,
    now: datetime,
    grace: timedelta = GRACE,
    suppressed: Mapping[str, datetime] | None = None,
    turns: Sequence[Turned] | None = None,
) -> Findings:
    """Read our books and judge them; see `settled_verdict`.

    `turns`: when pauses and stops were answered, and resumes asked for.  The books have only when
    they were asked for, and the promise holds from the answer on.
    """
    kept = await books(database)
    if turns is not None:
        kept = replace(kept, turns=turns)
    return settled_verdict(ledger, kept, now=now, grace=grace, suppressed=suppressed)


def settled_verdict(
    ledger: Ledger,
    kept: Books,
    *,
    now: datetime,
    grace: timedelta = GRACE,
    suppressed: Mapping[str, datetime] | None = None,
) -> Findings:
    """Hold our books against the ledger of what really happened.

    Hours, zones and caps are those in the books.  `now`: the engine's time; what was due before it
    should have run.  `grace`: how much the clocks of those involved may differ, and how long what
    was on its way may take.  `suppressed`: from when on a person (by any name) was to be left
    alone.  A member is one sender, under whatever ids of Unipile's: named by the first of them.
    """
    bench = _Bench(ledger, kept, now, grace, suppressed or {})
    told = {
        "duplicates": list(bench.duplicates()),
        "lost": list(bench.lost()),
        "over_cap": list(bench.over_cap()),
        "outside_hours": list(bench.outside_hours()),
        "after_stop": list(bench.after_stop()),
        "disagreements": [
            *bench.landed_and_not_written(),
            *bench.written_and_not_landed(),
            *bench.miscounted(),
            *bench.uncounted(),
            *kept.miscounted,
            *bench.unheard(),
            *bench.taken_over(),
        ],
        "unknown": list(bench.unknown()),
        "held": list(bench.held()),
        "unresolved": list(bench.unresolved()),
    }
    walks = [run for run in kept.executions if run.campaign_status != CampaignStatus.STOPPED]
    return Findings(
        **{kind: len(lines) for kind, lines in told.items()},
        walks=len(walks),
        ended=sum(run.outcome is not None for run in walks),
        details={kind: lines for kind, lines in told.items() if lines},
    )


class _Bench:
    """The ledger and the books, each entry beside the action it came from."""

    def __init__(
        self,
        ledger: Ledger,
        kept: Books,
        now: datetime,
        grace: timedelta,
        suppressed: Mapping[str, datetime],
    ) -> None:
        self._first = first_accounts(ledger)
        self._ledger = ledger
        kept = self._books = self._by_member(kept)
        self._now = now
        self._grace = grace
        self._suppressed = suppressed
        self._executions = {(each.campaign_id, each.lead_id): each for each in kept.executions}
        # whatever we call a person, the provider's id is who they are
        self._ids: dict[str, str] = {}
        for entry in ledger.entries:
            self._ids[entry.slug] = self._ids[entry.provider_id] = entry.provider_id
        self._known: dict[Person, list[Standing]] = defaultdict(list)
        for each in kept.executions:
            self._known[self._person(each)].append(each)
        self._invitations: dict[Person, list[tuple[datetime, int]]] = defaultdict(list)
        for entry in ledger.entries:
            if change := _PENDING.get(entry.operation):
                self._invitations[self._whom(entry)].append((entry.at, change))
        for signal in ledger.acceptances:
            self._invitations[self._whom(signal)].append((signal.at, -1))
        # By a webhook that was answered, once we knew whom it means; what a read showed may have
        # been lost on its way, and with it whoever had asked.  Where replies stop nothing, they are
        # none here.
        self._replied: dict[Person, datetime] = {}
        known_since = self._known_since()
        for reply in ledger.replies:
            person = self._whom(reply)
            stops = all(run.stop_on_reply for run in self._known.get(person, ()))
            if reply.told_at is not None and stops:
                heard_at = max(reply.told_at, known_since.get(person, reply.told_at))
                self._replied[person] = min(heard_at, self._replied.get(person, heard_at))
        self._landed: dict[Key, list[Entry]] = defaultdict(list)
        for entry in sorted(ledger.entries, key=lambda entry: entry.at):
            self._landed[self._entry_key(entry)].append(entry)
        self._written: dict[Key, list[Written]] = defaultdict(list)
        for action in kept.actions:
            key = self._action_key(action)
            if key is not None:
                self._written[key].append(action)
        self._pairs = list(self._paired())

    def _by_member(self, kept: Books) -> Books:
        """Return the books with each account named by the first of its member."""
        first = self._first
        return replace(
            kept,
            actions=[replace(row, account=first(row.account)) for row in kept.actions],
            executions=[replace(row, account=first(row.account)) for row in kept.executions],
            counters=[replace(row, account=first(row.account)) for row in kept.counters],
            caps=[replace(row, account=first(row.account)) for row in kept.caps],
        )

    def _whom(self, one: Entry | Signal) -> Person:
        return self._first(one.account), one.provider_id

    def _entry_key(self, entry: Entry) -> Key:
        effect = entry.operation
        target = entry.target if effect in _ON_POSTS else None
        text = normalised(entry.text or "") if effect in _TEXTS else None
        return self._whom(entry), effect, target, text

    def _known_since(self) -> Mapping[Person, datetime]:
        """Return when a profile told us the id by which webhooks call a person; not who was listed.

        A profile that was read, and whose answer was lost, told us nothing.
        """
        since: dict[Person, datetime] = {}
        for action in self._books.actions:
            run = self._executions[action.campaign_id, action.lead_id]
            if Operation(action.operation) in _READS and not run.is_listed:
                is_told = action.state == ActionState.DONE and action.checks == 0
                at = action.settled_at if is_told and action.settled_at else _NEVER
                person = self._person(run)
                since[person] = min(at, since.get(person, at))
        return since

    def _person(self, run: Standing) -> Person:
        ids = (self._ids[name] for name in run.names if name in self._ids)
        return run.account, next(ids, run.names[0] if run.names else str(run.lead_id))

    def _action_key(self, action: Written) -> Key | None:
        effect = _EFFECTS.get(Operation(action.operation))
        if effect is None:
            return None
        person = self._person(self._executions[action.campaign_id, action.lead_id])
        target = action.target if effect in _ON_POSTS else None
        text = normalised(action.text or "") if effect in _TEXTS else None
        return person, effect, target, text

    def _paired(self) -> Iterator[tuple[Entry, Written | None]]:
        """Give each entry its action: what is done first, then what may be, then the rest."""
        order: dict[str, int] = {
            ActionState.DONE: 0,
            ActionState.UNKNOWN: 1,
            ActionState.INTENDED: 1,
            ActionState.UNRESOLVED: 1,
        }
        for key, entries in self._landed.items():
            actions = sorted(self._written[key], key=lambda each: order.get(each.state, 2))
            for place, entry in enumerate(entries):
                yield entry, actions[place] if place < len(actions) else None

    # --- what reached people

    def duplicates(self) -> Iterator[str]:
        """Say what landed more often on one person than nodes of the workflow asked for."""
        landed: dict[Key, list[Entry]] = defaultdict(list)
        for entry in self._ledger.entries:
            if entry.operation is not Effect.VISIT:
                landed[_once(self._entry_key(entry), entry.target)].append(entry)
        nodes: dict[Key, set[tuple[UUID, UUID, str]]] = defaultdict(set)
        for key, actions in self._written.items():
            nodes[_once(key, None)].update(
                (each.campaign_id, each.lead_id, each.node_id)
                for each in actions
                if each.state in HAPPENED
            )
        for key, entries in landed.items():
            most = max(1, len(nodes[key]))
            for entry in entries[most:]:
                yield f"{_named(entry)}: {len(entries)} times, {most} asked for"

    def over_cap(self) -> Iterator[str]:
        """Say which sliding window held more than its cap."""
        caps: dict[str, dict[Budget, dict[str, int]]] = defaultdict(dict)
        for row in self._books.caps:
            numbers = {"hour": row.hour, "day": row.day, "week": row.week, "month": row.month}
            caps[row.account][Budget(row.budget)] = {
                window: cap for window, cap in numbers.items() if cap is not None
            }
        for excess in over_cap(self._ledger, lambda account: caps[account]):
            yield (
                f"{excess.account}: {excess.count} of {excess.budget} in one {excess.window} until"
                f" {excess.at}, its cap is {excess.cap}"
            )

    def outside_hours(self) -> Iterator[str]:
        """Say what landed while none of the campaigns it can be of was open."""
        said = {run.working_hours for run in self._books.executions}
        hours = {text: parse_hours(text) for text in said}
        for entry, action in self._pairs:
            runs = self._runs_of(entry, action)
            moments = (entry.at, entry.at - self._grace)
            if runs and not any(
                is_open(hours[run.working_hours], at, run.zone) for run in runs for at in moments
            ):
                yield f"{_named(entry)}: outside {runs[0].working_hours} ({runs[0].zone})"

    def after_stop(self) -> Iterator[str]:
        """Say what reached a person after their reply, suppression, or their campaign's stop."""
        told = {entry.seq: reason for entry, reason in self._too_late()}
        for entry in self._ledger.entries:
            if entry.seq in told:
                yield f"{_named(entry)}: {told[entry.seq]}"

    def _too_late(self) -> Iterator[tuple[Entry, str]]:
        turns: dict[UUID, list[Turned]] = defaultdict(list)
        for turn in self._books.turns:
            turns[turn.campaign_id].append(turn)
        for entry, action in self._pairs:
            begun = entry.at if action is None else action.intended_at
            replied_at = self._replied.get(self._whom(entry))
            if _is_after(begun, replied_at, self._grace):
                yield entry, f"begun at {begun}, the reply was known at {replied_at}"
            for run in self._runs_of(entry, action):
                if action is not None and _is_after(begun, run.finished_at, self._grace):
                    yield entry, f"begun at {begun}, the lead's walk was over at {run.finished_at}"
                since = min(
                    (self._suppressed[name] for name in run.names if name in self._suppressed),
                    default=None,
                )
                if _is_after(begun, since, self._grace):
                    yield entry, f"begun at {begun}, suppressed at {since}"
            if action is not None and self._is_idle(turns[action.campaign_id], begun):
                yield entry, f"begun at {begun}, when its campaign did not run"

    def _is_idle(self, turns: Sequence[Turned], at: datetime) -> bool:
        """Whether a campaign was paused or stopped at `at`, for at least the grace on each side."""
        since: datetime | None = None
        for turn in turns:
            if turn.kind != "CampaignResumed":
                since = since or turn.at
            elif since is not None:
                if since + self._grace < at < turn.at - self._grace:
                    return True
                since = None
        return _is_after(at, since, self._grace)

    def _runs_of(self, entry: Entry, action: Written | None) -> Sequence[Standing]:
        """Return the walks that an entry can be of: one, where its action is known."""
        if action is not None:
            return [self._executions[action.campaign_id, action.lead_id]]
        return self._known.get(self._whom(entry), [])

    # --- what became of the leads

    def lost(self) -> Iterator[str]:
        """Say which leads are neither final nor have a wake-up that comes."""
        heads: dict[tuple[UUID, str, str], datetime] = {}
        for run in self._books.executions:
            if run.next_run_at is not None and run.check_at is None:
                lane = (run.campaign_id, run.account, run.operation)
                heads[lane] = min(run.next_run_at, heads.get(lane, run.next_run_at))
        for run in self._books.executions:
            if run.outcome is None and run.status != Status.HELD.value:
                head = heads.get((run.campaign_id, run.account, run.operation))
                reason = self._never_wakes(run, head)
                if reason is not None:
                    yield f"{_walk(run)}: {reason}"

    def _never_wakes(self, run: Standing, head: datetime | None) -> str | None:
        match run.campaign_status:
            case CampaignStatus.STOPPED:
                return None  # its leads stay where they are, for good
            case CampaignStatus.COMPLETED | CampaignStatus.DRAFT:
                return f"the campaign is {run.campaign_status}"
            case _:
                pass
        if run.next_sweep_at is None:
            return "its account is never swept"
        if run.check_at is not None:
            return None  # reconcile comes: whether it came in time, `unknown` says
        if run.next_run_at is None:
            return "it has no next run"
        if run.lane_ready_at is None:
            return "its lane sleeps for ever"
        runs = run.campaign_status == CampaignStatus.RUNNING and (
            run.account_status == AccountStatus.ACTIVE
        )
        if run.lane_active is not runs:
            return f"its lane is {'active' if run.lane_active else 'not active'}"
        if runs and run.lane_ready_at < self._now - self._grace:
            return f"its lane was due at {run.lane_ready_at}, and nobody came"
        if head is not None and run.lane_ready_at > max(self._now, head) + LONGEST_SLEEP:
            return f"its lane sleeps until {run.lane_ready_at}, its head is due at {head}"
        return None

    def unknown(self) -> Iterator[str]:
        """Say which actions are still open, but for those a lead is held for."""
        for action in self._books.actions:
            if action.state in OPEN:
                run = self._executions[action.campaign_id, action.lead_id]
                if run.status != Status.HELD.value:
                    yield f"{_acted(action)}: {action.state} since {action.intended_at}"

    def held(self) -> Iterator[str]:
        """Say which leads wait for a person, and why."""
        for run in self._books.executions:
            if run.status == Status.HELD.value:
                yield f"{_walk(run)}: {run.reason}"

    def unresolved(self) -> Iterator[str]:
        """Say which actions were closed without anybody knowing whether they happened."""
        for action in self._books.actions:
            if action.state == ActionState.UNRESOLVED:
                yield f"{_acted(action)}: nobody knows, since {action.intended_at}"

    # --- whether the books are true

    def landed_and_not_written(self) -> Iterator[str]:
        """Say what reached somebody and is not, or may not be, in our books."""
        for entry, action in self._pairs:
            if action is None:
                yield f"{_named(entry)}: landed, and no action of ours is left for it"
            elif action.state not in HAPPENED:
                yield f"{_named(entry)}: landed, and our action is {action.state}"

    def written_and_not_landed(self) -> Iterator[str]:
        """Say what is done in our books and never reached anybody."""
        for key, actions in self._written.items():
            entries = self._landed.get(key, [])
            unexplained = [
                action
                for action in actions
                if action.state == ActionState.DONE and not self._is_explained(key, action)
            ]
            for action in unexplained[len(entries) :]:
                yield f"{_acted(action)}: done in our books, and it never landed"

    def _is_explained(self, key: Key, action: Written) -> bool:
        """Whether `done` needs no landing of its own: what was wanted is so without it."""
        person, effect, *_ = key
        run = self._executions[action.campaign_id, action.lead_id]
        match effect:
            case Effect.VISIT:  # nothing can be asked: one too few is better than one too many
                return action.checks > 0
            case Effect.LIKE:  # a second like of one post is no second like
                return bool(self._landed.get(key))
            case Effect.WITHDRAW:
                return not self._is_pending(person, action.settled_at or self._now)
            case Effect.INVITATION:  # reconcile found them connected, or invited by another walk
                return action.checks > 0 and (
                    run.connected_at is not None
                    or self._is_pending(person, action.settled_at or self._now)
                )
            case Effect.COMMENT | Effect.MESSAGE | Effect.INMAIL:
                return False

    def _is_pending(self, person: Person, at: datetime) -> bool:
        """Whether an invitation of the person stood open at `at`."""
        turns = self._invitations.get(person, ())
        return sum(change for when, change in turns if when <= at + self._grace) > 0

    def miscounted(self) -> Iterator[str]:
        """Say which counters do not hold the units that the actions took.

        What was given back counts no more.  Reconcile takes a unit for each look that LinkedIn
        counts, which no action carries: it may be more there, by as many as it looked.  Sweeps read
        lists for no action at all.
        """
        units: dict[tuple[str, str, datetime], int] = defaultdict(int)
        looks: dict[str, int] = defaultdict(int)
        for action in self._books.actions:
            looks[action.account] += action.checks
            if action.state != ActionState.RELEASED:
                for budget in action.budgets:
                    units[action.account, budget, action.bucket_at] += 1
        used: dict[tuple[str, str, datetime], int] = defaultdict(int)
        for row in self._books.counters:
            used[row.account, row.budget, row.bucket_at] += row.used
        more: dict[str, int] = defaultdict(int)
        for key in sorted(units.keys() | used.keys()):
            account, budget, bucket_at = key
            difference = used.get(key, 0) - units.get(key, 0)
            if budget in _LOOKED_FROM and difference > 0:
                more[account] += difference if budget != Budget.LIST_READ else 0
            elif difference:
                yield (
                    f"{account}: {used.get(key, 0)} units of {budget} counted in the bucket"
                    f" {bucket_at}, {units.get(key, 0)} taken"
                )
        for account, count in more.items():
            if count > looks[account]:
                yield (
                    f"{account}: {count} units of reads counted besides the actions',"
                    f" reconcile looked {looks[account]} times"
                )

    def uncounted(self) -> Iterator[str]:
        """Say of which reads LinkedIn saw more than the counters hold units."""
        used: dict[tuple[str, str], int] = defaultdict(int)
        for row in self._books.counters:
            used[row.account, row.budget] += row.used
        for (account, budget), times in spent(self._ledger).items():
            if budget in _LOOKED_FROM and len(times) > used[account, budget]:
                yield (
                    f"{account}: LinkedIn saw {len(times)} of {budget}, the counters hold"
                    f" {used[account, budget]} units"
                )

    def unheard(self) -> Iterator[str]:
        """Say whether webhooks lie in the inbox that nobody has applied."""
        if self._books.waiting_webhooks:
            yield f"{self._books.waiting_webhooks} webhooks were stored and never applied"

    def taken_over(self) -> Iterator[str]:
        """Say which walks ended because an owner wrote by hand, where none did.

        It would be what the engine wrote itself that was taken for the owner's.
        """
        written = {self._whom(signal) for signal in self._ledger.by_hand}
        for run in self._books.executions:
            if run.outcome == Outcome.TAKEN_OVER and self._person(run) not in written:
                yield f"{_walk(run)}: taken over, and nobody wrote by hand"


def _once(key: Key, target: str | None) -> Key:
    """Return what may land once for each node that asks for it: an invitation whatever its note."""
    person, effect, post, text = key
    match effect:
        case Effect.INVITATION:
            return person, effect, None, None
        case Effect.WITHDRAW:  # each of its own invitation
            return person, effect, target, None
        case _:
            return person, effect, post, text


def _is_after(at: datetime, since: datetime | None, grace: timedelta) -> bool:
    return since is not None and at - grace > since


def _named(entry: Entry) -> str:
    return f"{entry.account} {entry.operation} {entry.slug} at {entry.at}"


def _acted(action: Written) -> str:
    return f"{action.account} {action.operation} of lead {action.lead_id} ({action.node_id})"


def _walk(run: Standing) -> str:
    name = run.names[-1] if run.names else str(run.lead_id)
    return f"{run.account} {name}, {run.status} at {run.operation}"
