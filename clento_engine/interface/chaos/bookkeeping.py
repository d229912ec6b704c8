"""Whether our books are true: what they say is done, counted, heard and taken over."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime

from clento_engine.domain.action import HAPPENED, ActionState
from clento_engine.domain.execution import Outcome
from clento_engine.domain.operation import Budget
from clento_engine.interface.chaos.evidence import Evidence, Key, Person, acted, named, walk
from clento_engine.simulator.judge import spent
from clento_engine.simulator.ledger import Effect
from clento_engine.store.audit import Written

# What reconcile takes a unit of, besides the action's own, each time it looks.
_LOOKED_FROM = frozenset({Budget.PROFILE, Budget.POST_READ, Budget.LIST_READ})


def landed_and_not_written(evidence: Evidence) -> Iterator[str]:
    """Say what reached somebody and is not, or may not be, in our books."""
    for entry, action in evidence.pairs:
        if action is None:
            yield f"{named(entry)}: landed, and no action of ours is left for it"
        elif action.state not in HAPPENED:
            yield f"{named(entry)}: landed, and our action is {action.state}"


def written_and_not_landed(evidence: Evidence) -> Iterator[str]:
    """Say what is done in our books and never reached anybody."""
    for key, actions in evidence.written.items():
        entries = evidence.landed.get(key, [])
        unexplained = [
            action
            for action in actions
            if action.state == ActionState.DONE and not _is_explained(evidence, key, action)
        ]
        for action in unexplained[len(entries) :]:
            yield f"{acted(action)}: done in our books, and it never landed"


def _is_explained(evidence: Evidence, key: Key, action: Written) -> bool:
    """Whether `done` needs no landing of its own: what was wanted is so without it."""
    person, effect, *_ = key
    run = evidence.executions[action.campaign_id, action.lead_id]
    match effect:
        case Effect.VISIT:  # nothing can be asked: one too few is better than one too many
            return action.checks > 0
        case Effect.LIKE:  # a second like of one post is no second like
            return bool(evidence.landed.get(key))
        case Effect.WITHDRAW:
            return not _is_pending(evidence, person, action.settled_at or evidence.now)
        case Effect.INVITATION:  # reconcile found them connected, or invited by another walk
            return action.checks > 0 and (
                run.connected_at is not None
                or _is_pending(evidence, person, action.settled_at or evidence.now)
            )
        case Effect.COMMENT | Effect.MESSAGE | Effect.INMAIL:
            return False


def _is_pending(evidence: Evidence, person: Person, at: datetime) -> bool:
    """Whether an invitation of the person stood open at `at`."""
    turns = evidence.invitations.get(person, ())
    return sum(change for when, change in turns if when <= at + evidence.grace) > 0


def miscounted(evidence: Evidence) -> Iterator[str]:
    """Say which counters do not hold the units that the actions took.

    What was given back counts no more.  Reconcile takes a unit for each look that LinkedIn
    counts, which no action carries: it may be more there, by as many as it looked.  Sweeps read
    lists for no action at all.
    """
    units: dict[tuple[str, str, datetime], int] = defaultdict(int)
    looks: dict[str, int] = defaultdict(int)
    for action in evidence.books.actions:
        looks[action.account] += action.checks
        if action.state != ActionState.RELEASED:
            for budget in action.budgets:
                units[action.account, budget, action.bucket_at] += 1
    used: dict[tuple[str, str, datetime], int] = defaultdict(int)
    for row in evidence.books.counters:
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


def uncounted(evidence: Evidence) -> Iterator[str]:
    """Say of which reads LinkedIn saw more than the counters hold units."""
    used: dict[tuple[str, str], int] = defaultdict(int)
    for row in evidence.books.counters:
        used[row.account, row.budget] += row.used
    for (account, budget), times in spent(evidence.ledger).items():
        if budget in _LOOKED_FROM and len(times) > used[account, budget]:
            yield (
                f"{account}: LinkedIn saw {len(times)} of {budget}, the counters hold"
                f" {used[account, budget]} units"
            )


def unheard(evidence: Evidence) -> Iterator[str]:
    """Say whether webhooks lie in the inbox that nobody has applied."""
    if evidence.books.waiting_webhooks:
        yield f"{evidence.books.waiting_webhooks} webhooks were stored and never applied"


def taken_over(evidence: Evidence) -> Iterator[str]:
    """Say which walks ended because an owner wrote by hand, where none did.

    It would be what the engine wrote itself that was taken for the owner's.
    """
    written = {evidence.whom(signal) for signal in evidence.ledger.by_hand}
    for run in evidence.books.executions:
        if run.outcome == Outcome.TAKEN_OVER and evidence.person_of(run) not in written:
            yield f"{walk(run)}: taken over, and nobody wrote by hand"
