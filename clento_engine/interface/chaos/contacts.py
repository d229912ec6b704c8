"""Whether what reached people was allowed: once, within caps and hours, and not after a stop."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from clento_engine.domain.action import HAPPENED
from clento_engine.domain.operation import Budget
from clento_engine.domain.schedule import is_open, parse_hours
from clento_engine.interface.chaos.evidence import Evidence, Key, named
from clento_engine.simulator.judge import over_cap as excesses
from clento_engine.simulator.ledger import Effect, Entry
from clento_engine.store.audit import Turned


def duplicates(evidence: Evidence) -> Iterator[str]:
    """Say what landed more often on one person than nodes of campaigns asked for.

    A person is the member whom it reached, by whatever account and under whatever name: two leads
    of a campaign that are one person are asked for once.
    """
    landed: dict[Key, list[Entry]] = defaultdict(list)
    for entry in evidence.ledger.entries:
        if entry.operation is not Effect.VISIT:
            landed[_once(evidence.entry_key(entry), entry.target)].append(entry)
    nodes: dict[Key, set[tuple[UUID, str]]] = defaultdict(set)
    for key, actions in evidence.written.items():
        nodes[_once(key, None)].update(
            (each.campaign_id, each.node_id) for each in actions if each.state in HAPPENED
        )
    for key, entries in landed.items():
        most = max(1, len(nodes[key]))
        for entry in entries[most:]:
            yield f"{named(entry)}: {len(entries)} times, {most} asked for"
    yield from _in_two_campaigns(evidence)


def _in_two_campaigns(evidence: Evidence) -> Iterator[str]:
    """Say who was contacted by two campaigns of one organisation, which all began at once.

    A visit is no contact: the first one tells who somebody is.
    """
    campaigns: dict[tuple[UUID, str], set[UUID]] = defaultdict(set)
    for entry, action in evidence.pairs:
        if action is not None and entry.operation is not Effect.VISIT:
            run = evidence.executions[action.campaign_id, action.lead_id]
            campaigns[run.organization_id, entry.provider_id].add(run.campaign_id)
    for (organization_id, person), found in campaigns.items():
        if len(found) > 1:
            yield f"{person}: contacted by {len(found)} campaigns of {organization_id}"


def over_cap(evidence: Evidence) -> Iterator[str]:
    """Say which sliding window held more than its cap."""
    caps: dict[str, dict[Budget, dict[str, int]]] = defaultdict(dict)
    for row in evidence.books.caps:
        numbers = {"hour": row.hour, "day": row.day, "week": row.week, "month": row.month}
        caps[row.account][Budget(row.budget)] = {
            window: cap for window, cap in numbers.items() if cap is not None
        }
    for excess in excesses(evidence.ledger, lambda account: caps[account]):
        yield (
            f"{excess.account}: {excess.count} of {excess.budget} in one {excess.window} until"
            f" {excess.at}, its cap is {excess.cap}"
        )


def outside_hours(evidence: Evidence) -> Iterator[str]:
    """Say what landed while none of the campaigns it can be of was open."""
    said = {run.working_hours for run in evidence.books.executions}
    hours = {text: parse_hours(text) for text in said}
    for entry, action in evidence.pairs:
        runs = evidence.runs_of(entry, action)
        moments = (entry.at, entry.at - evidence.grace)
        if runs and not any(
            is_open(hours[run.working_hours], at, run.zone) for run in runs for at in moments
        ):
            yield f"{named(entry)}: outside {runs[0].working_hours} ({runs[0].zone})"


def after_stop(evidence: Evidence) -> Iterator[str]:
    """Say what reached a person after their reply, suppression, or their campaign's stop."""
    told = {
        entry.seq: reason
        for entry, reason in _too_late(
            evidence,
        )
    }
    for entry in evidence.ledger.entries:
        if entry.seq in told:
            yield f"{named(entry)}: {told[entry.seq]}"


def _too_late(evidence: Evidence) -> Iterator[tuple[Entry, str]]:
    turns: dict[UUID, list[Turned]] = defaultdict(list)
    for turn in evidence.books.turns:
        turns[turn.campaign_id].append(turn)
    for entry, action in evidence.pairs:
        begun = entry.at if action is None else action.intended_at
        for run in evidence.runs_of(entry, action):
            replied_at = evidence.heard_at(run)
            if _is_after(begun, replied_at, evidence.grace):
                yield entry, f"begun at {begun}, the reply was known at {replied_at}"
            if action is not None and _is_after(begun, run.finished_at, evidence.grace):
                yield entry, f"begun at {begun}, the lead's walk was over at {run.finished_at}"
            since = min(
                (
                    evidence.suppressed[run.organization_id, name]
                    for name in run.names
                    if (run.organization_id, name) in evidence.suppressed
                ),
                default=None,
            )
            if _is_after(begun, since, evidence.grace):
                yield entry, f"begun at {begun}, suppressed at {since}"
        if action is not None and _is_idle(evidence, turns[action.campaign_id], begun):
            yield entry, f"begun at {begun}, when its campaign did not run"


def _is_idle(evidence: Evidence, turns: Sequence[Turned], at: datetime) -> bool:
    """Whether a campaign was paused or stopped at `at`, for at least the grace on each side."""
    since: datetime | None = None
    for turn in turns:
        if turn.kind != "CampaignResumed":
            since = since or turn.at
        elif since is not None:
            if since + evidence.grace < at < turn.at - evidence.grace:
                return True
            since = None
    return _is_after(at, since, evidence.grace)


def _once(key: Key, target: str | None) -> Key:
    """Return what may land once for each node that asks for it: an invitation whatever its note."""
    (_, who), effect, post, text = key
    person = "anybody", who
    match effect:
        case Effect.INVITATION:
            return person, effect, None, None
        case Effect.WITHDRAW:  # each of its own invitation
            return person, effect, target, None
        case _:
            return person, effect, post, text


def _is_after(at: datetime, since: datetime | None, grace: timedelta) -> bool:
    return since is not None and at - grace > since
