"""The simulator's ledger and our books, each entry beside the action it came from."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from clento_engine.domain.action import ActionState
from clento_engine.domain.operation import Operation
from clento_engine.simulator.judge import first_accounts, normalised
from clento_engine.simulator.ledger import Effect, Entry, Ledger, Signal
from clento_engine.store.audit import Books, Standing, Written

Person = tuple[str, str]
"""The first account of the member; the provider's id of the person, or any name where unknown."""
Named = tuple[UUID, str]
"""The organisation, and a name that it has for a person."""
Key = tuple[Person, Effect, str | None, str | None]  # the post; the text

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
_READS = frozenset({Operation.PROFILE_VISIT, Operation.PROFILE_LOOKUP})  # tell who somebody is
_NEVER = datetime.max.replace(tzinfo=UTC)
_PENDING = {Effect.INVITATION: 1, Effect.WITHDRAW: -1}  # invitations that stand open


class Evidence:
    """What really happened and what we wrote of it, by the same names of people and members."""

    def __init__(
        self,
        ledger: Ledger,
        kept: Books,
        now: datetime,
        grace: timedelta,
        suppressed: Mapping[Named, datetime],
    ) -> None:
        self._first = first_accounts(ledger)
        self.ledger = ledger
        kept = self.books = self._by_member(kept)
        self.now = now
        self.grace = grace
        self.suppressed = suppressed
        self.executions = {(each.campaign_id, each.lead_id): each for each in kept.executions}
        # whatever we call a person, the provider's id is who they are
        self._ids: dict[str, str] = {}
        for entry in ledger.entries:
            self._ids[entry.slug] = self._ids[entry.provider_id] = entry.provider_id
        self.known: dict[Person, list[Standing]] = defaultdict(list)
        for each in kept.executions:
            self.known[self.person_of(each)].append(each)
        self.invitations: dict[Person, list[tuple[datetime, int]]] = defaultdict(list)
        for entry in ledger.entries:
            if change := _PENDING.get(entry.operation):
                self.invitations[self.whom(entry)].append((entry.at, change))
        for signal in ledger.acceptances:
            self.invitations[self.whom(signal)].append((signal.at, -1))
        self._replies: dict[Person, list[datetime]] = defaultdict(list)
        for reply in ledger.replies:
            if reply.told_at is not None:
                self._replies[self.whom(reply)].append(reply.told_at)
        self._read_at = self._profiles_read_at()
        self.landed: dict[Key, list[Entry]] = defaultdict(list)
        for entry in sorted(ledger.entries, key=lambda entry: entry.at):
            self.landed[self.entry_key(entry)].append(entry)
        self.written: dict[Key, list[Written]] = defaultdict(list)
        for action in kept.actions:
            key = self._action_key(action)
            if key is not None:
                self.written[key].append(action)
        self.pairs = list(self._paired())

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

    def whom(self, one: Entry | Signal) -> Person:
        return self._first(one.account), one.provider_id

    def entry_key(self, entry: Entry) -> Key:
        effect = entry.operation
        target = entry.target if effect in _ON_POSTS else None
        text = normalised(entry.text or "") if effect in _TEXTS else None
        return self.whom(entry), effect, target, text

    def heard_at(self, run: Standing) -> datetime | None:
        """Return when a reply was known that ends a walk; None where there was no such one.

        By a webhook that was answered, once we knew whom it means; what a read showed may have been
        lost on its way, and with it whoever had asked.  Where replies stop nothing, they are none.
        """
        person = self.person_of(run)
        replies = self._replies.get(person)
        walks = self.known.get(person, [run])
        if replies is None or not all(walk.stop_on_reply for walk in walks):
            return None
        known = (self._read_at.get((walk.campaign_id, walk.lead_id)) for walk in walks)
        known_since = min((at for at in known if at is not None), default=min(replies))
        return max(min(replies), known_since)

    def _profiles_read_at(self) -> Mapping[tuple[UUID, UUID], datetime]:
        """Return when a profile told us the id by which webhooks call a walk's person.

        Not of who was listed by it.  A profile that was read, and whose answer was lost, told
        nothing.
        """
        read_at: dict[tuple[UUID, UUID], datetime] = {}
        for action in self.books.actions:
            walk = action.campaign_id, action.lead_id
            if Operation(action.operation) in _READS and not self.executions[walk].is_listed:
                is_told = action.state == ActionState.DONE and action.checks == 0
                at = action.settled_at if is_told and action.settled_at else _NEVER
                read_at[walk] = min(at, read_at.get(walk, at))
        return read_at

    def person_of(self, run: Standing) -> Person:
        ids = (self._ids[name] for name in run.names if name in self._ids)
        return run.account, next(ids, run.names[0] if run.names else str(run.lead_id))

    def _action_key(self, action: Written) -> Key | None:
        effect = _EFFECTS.get(Operation(action.operation))
        if effect is None:
            return None
        person = self.person_of(self.executions[action.campaign_id, action.lead_id])
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
        for key, entries in self.landed.items():
            actions = sorted(self.written[key], key=lambda each: order.get(each.state, 2))
            for place, entry in enumerate(entries):
                yield entry, actions[place] if place < len(actions) else None

    def runs_of(self, entry: Entry, action: Written | None) -> Sequence[Standing]:
        """Return the walks that an entry can be of: one, where its action is known."""
        if action is not None:
            return [self.executions[action.campaign_id, action.lead_id]]
        return self.known.get(self.whom(entry), [])


def named(entry: Entry) -> str:
    return f"{entry.account} {entry.operation} {entry.slug} at {entry.at}"


def acted(action: Written) -> str:
    return f"{action.account} {action.operation} of lead {action.lead_id} ({action.node_id})"


def walk(run: Standing) -> str:
    name = run.names[-1] if run.names else str(run.lead_id)
    return f"{run.account} {name}, {run.status} at {run.operation}"
