"""What became of the leads: who is lost, whose action is open, who waits for people."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

from clento_engine.domain.account import AccountStatus
from clento_engine.domain.action import OPEN, ActionState
from clento_engine.domain.campaign import CampaignStatus
from clento_engine.domain.execution import Status
from clento_engine.interface.chaos.evidence import Evidence, acted, walk
from clento_engine.store.audit import Standing

LONGEST_SLEEP = timedelta(days=31)  # of a lane, past its head's time: the longest window of a cap


def lost(evidence: Evidence) -> Iterator[str]:
    """Say which leads are neither final nor have a wake-up that comes."""
    heads: dict[tuple[UUID, str, str], datetime] = {}
    for run in evidence.books.executions:
        if run.next_run_at is not None and run.check_at is None:
            lane = (run.campaign_id, run.account, run.operation)
            heads[lane] = min(run.next_run_at, heads.get(lane, run.next_run_at))
    for run in evidence.books.executions:
        if run.outcome is None and run.status != Status.HELD.value:
            head = heads.get((run.campaign_id, run.account, run.operation))
            reason = _never_wakes(evidence, run, head)
            if reason is not None:
                yield f"{walk(run)}: {reason}"


def _never_wakes(evidence: Evidence, run: Standing, head: datetime | None) -> str | None:
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
    if runs and run.lane_ready_at < evidence.now - evidence.grace:
        return f"its lane was due at {run.lane_ready_at}, and nobody came"
    if head is not None and run.lane_ready_at > max(evidence.now, head) + LONGEST_SLEEP:
        return f"its lane sleeps until {run.lane_ready_at}, its head is due at {head}"
    return None


def unknown(evidence: Evidence) -> Iterator[str]:
    """Say which actions are still open, but for those a lead is held for."""
    for action in evidence.books.actions:
        if action.state in OPEN:
            run = evidence.executions[action.campaign_id, action.lead_id]
            if run.status != Status.HELD.value:
                yield f"{acted(action)}: {action.state} since {action.intended_at}"


def held(evidence: Evidence) -> Iterator[str]:
    """Say which leads wait for a person, and why."""
    for run in evidence.books.executions:
        if run.status == Status.HELD.value:
            yield f"{walk(run)}: {run.reason}"


def unresolved(evidence: Evidence) -> Iterator[str]:
    """Say which actions were closed without anybody knowing whether they happened."""
    for action in evidence.books.actions:
        if action.state == ActionState.UNRESOLVED:
            yield f"{acted(action)}: nobody knows, since {action.intended_at}"
