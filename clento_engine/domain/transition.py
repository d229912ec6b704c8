"""What an execution becomes when something happens: the only place where a status changes."""

from datetime import datetime, timedelta

from msgspec.structs import replace

from clento_engine.domain import execution as ex
from clento_engine.domain import failure as on
from clento_engine.domain.backoff import MAX_ATTEMPTS, backoff
from clento_engine.domain.execution import (
    Decision,
    Execution,
    IllegalTransition,
    OnMissing,
    Outcome,
    Result,
    Status,
)
from clento_engine.domain.operation import Operation
from clento_engine.domain.outside import bounded_moment
from clento_engine.domain.workflow import WAITING_WINDOW, Branch, Node, Workflow

CHECK_AGAIN = timedelta(hours=1)  # a deadline's profile check that failed is never taken for a no
# An outage outlasts three attempts, and must cost no lead: after each round of attempts the lead
# rests, its account with it, before the next; only after the last round is the step given up.
ROUNDS = 3
REST = timedelta(hours=1)
ACCOUNT_REST = timedelta(minutes=5)
LONGEST_ACCOUNT_REST = timedelta(hours=2)


def decide(workflow: Workflow, run: Execution, event: ex.Event, now: datetime) -> Decision:
    """Say what `run` becomes when `event` happens at `now`, and what is to be done about it.

    Pure: the same arguments give the same answer.  `now` is timezone-aware UTC.
    Raises IllegalTransition when `event` cannot happen in this status: a defect, never a retry.
    """
    match run.status, event:
        case status, ex.Replied() if status.is_final:  # told, counted, and nothing more
            return Decision(replace(run, replied=True))
        case status, _ if status.is_final:
            return Decision(run)  # a late answer or webhook changes nothing

        # whatever the lead is doing
        case _, ex.Stopped(reason):
            return _finish(run, Status.STOPPED, Outcome.STOPPED, now, reason)
        case _, ex.Suppressed(reason):
            return _finish(run, Status.STOPPED, Outcome.SUPPRESSED, now, reason)
        case _, ex.Duplicate(reason):
            return _finish(run, Status.STOPPED, Outcome.DUPLICATE, now, reason)
        case _, ex.Overdue():
            return _finish(run, Status.COMPLETED, Outcome.EXPIRED, now, "maximal duration reached")
        case _, ex.Replied() if run.rules.stop_on_reply:
            return _finish(
                replace(run, replied=True), Status.COMPLETED, Outcome.REPLIED, now, "lead replied"
            )
        case _, ex.Replied():
            return Decision(replace(run, replied=True))
        case _, ex.OwnerWrote() if run.rules.stop_on_own_message:
            reason = "the account's owner wrote by hand"
            return _finish(run, Status.COMPLETED, Outcome.TAKEN_OVER, now, reason)
        case _, ex.OwnerWrote():
            return Decision(run)

        # acceptance: of use only while it is awaited, remembered always
        case Status.AWAITING | Status.WAITING, ex.Accepted(at) if (
            run.operation is Operation.CHECK_ACCEPTANCE
        ):
            accepted = replace(run, connected=True)
            return _leave(workflow, accepted, Branch.ACCEPTED, now, since=bounded_moment(at, now))
        case _, ex.Accepted():
            return Decision(replace(run, connected=True))

        # held for a person
        case Status.HELD, ex.Released(skip=False):
            return Decision(_stand(run, run.operation, now))
        case Status.HELD, ex.Released(skip=True):
            return _pass_over(workflow, run, now, Result.SKIPPED)

        # found out after all; or another ticker had taken the step before the lead was held
        case Status.HELD, ex.Done() | ex.ProfileRead() | ex.Absent() | ex.Failed():
            waiting = replace(run, status=Status.WAITING, next_run_at=now, reason=None)
            return decide(workflow, waiting, event, now)
        case Status.HELD, ex.Unknowable() | ex.Missing():
            return Decision(run)

        # a step's outcome
        case Status.WAITING, ex.Began() if run.operation is Operation.START:
            started = replace(run, started_at=now, expires_at=now + run.rules.max_duration)
            return _come_to(workflow, started, workflow.first, now, now)
        case Status.WAITING | Status.AWAITING, ex.ProfileRead() as profile if (
            run.operation.traits.reads_profile
        ):
            return _know(workflow, run, profile, now)
        case Status.WAITING, ex.PostsFound(posts) if run.operation is Operation.FIND_POSTS:
            if not posts:
                return _leave(workflow, run, Branch.NEXT, now, result=Result.SKIPPED)
            found = replace(run, posts=posts)
            return Decision(_stand(found, _node(workflow, run).operation, now))
        case Status.WAITING, ex.Done() if (
            run.operation.traits.writes or run.operation is Operation.WEBHOOK
        ):
            return _done(workflow, run, now)
        case Status.WAITING | Status.AWAITING, ex.Absent():  # safe to repeat, but not for ever
            return _failed(workflow, run, on.Retry("the action did not happen"), now)
        case Status.WAITING | Status.AWAITING, ex.Unknowable(reason):
            return Decision(_hold(run, reason))
        case Status.WAITING | Status.AWAITING, ex.Missing(reason):
            return _missing(workflow, run, reason, now)
        case Status.WAITING | Status.AWAITING, ex.Failed(cause):
            return _failed(workflow, run, cause, now)
        case _:
            raise IllegalTransition(f"{event!r} while {run.status} at {run.operation}")


def _done(workflow: Workflow, run: Execution, now: datetime) -> Decision:
    node = _node(workflow, run)
    match run.operation:
        case Operation.LIKE_POST | Operation.COMMENT_POST if len(run.posts) > 1:
            return Decision(_stand(replace(run, posts=run.posts[1:]), run.operation, now))
        case Operation.SEND_CONNECTION_REQUEST if node.branches and run.connected:
            return _leave(
                workflow, run, Branch.ACCEPTED, now
            )  # accepted before we knew it was sent
        case Operation.SEND_CONNECTION_REQUEST if node.branches:
            return Decision(_await(run, now + _window(node)))
        case Operation.WEBHOOK:
            left = _leave(workflow, run, Branch.NEXT, now)
            return replace(left, effects=(ex.Notify(node.id), *left.effects))
        case _:
            return _leave(workflow, run, Branch.NEXT, now)


def _know(workflow: Workflow, run: Execution, seen: ex.ProfileRead, now: datetime) -> Decision:
    """Go on with what a profile showed: after a visit, a lookup, or the check of acceptance."""
    known = replace(run, provider_id=seen.provider_id, connected=seen.connected)
    match run.operation:
        case Operation.PROFILE_LOOKUP if run.node_id is not None:
            return Decision(_arrive(workflow, known, now))
        case Operation.SEND_CONNECTION_REQUEST:  # reconcile found the invitation, or its success
            return _done(workflow, known, now)
        case Operation.CHECK_ACCEPTANCE if seen.connected:
            return _leave(workflow, known, Branch.ACCEPTED, now)
        case Operation.CHECK_ACCEPTANCE if (
            seen.invitation_pending and run.deadline_at is not None and now < run.deadline_at
        ):
            return Decision(_await(known, run.deadline_at))
        case Operation.CHECK_ACCEPTANCE:
            return _leave(workflow, known, Branch.NOT_ACCEPTED, now)
        case _:
            return _leave(workflow, known, Branch.NEXT, now)


def _failed(workflow: Workflow, run: Execution, cause: on.Failure, now: datetime) -> Decision:
    match cause:
        case on.Retry() if (attempt := run.attempt + 1) % MAX_ATTEMPTS:
            at = now + backoff(attempt % MAX_ATTEMPTS, f"{run.lead_id}:{run.node_id}:{attempt}")
            return Decision(replace(run, attempt=attempt, next_run_at=_in_time(run, at)))
        case on.Retry(reason) if (attempt := run.attempt + 1) < MAX_ATTEMPTS * ROUNDS:
            rest = ex.Throttle(on.Scope.ACCOUNT, reason, ACCOUNT_REST, LONGEST_ACCOUNT_REST)
            at = _in_time(run, now + REST)
            return Decision(replace(run, attempt=attempt, next_run_at=at), (rest,))
        case on.Retry() if run.operation is Operation.CHECK_ACCEPTANCE:
            return Decision(replace(run, attempt=0, next_run_at=_in_time(run, now + CHECK_AGAIN)))
        case on.Retry(reason, silence=silence) if silence:  # the provider said no word of it
            return Decision(_hold(run, reason))
        case on.Retry(reason) if run.operation.traits.is_passed_over:
            return _pass_over(workflow, run, now, Result.FAILED, reason)
        case on.Wait(scope=on.Scope.LEAD):
            return Decision(replace(run, next_run_at=_in_time(run, now + cause.delay)))
        case on.Wait():  # its account's turn never came: it keeps its place, the lane waits
            throttle = ex.Throttle(cause.scope, cause.reason, cause.delay, cause.longest)
            return Decision(replace(run, next_run_at=_in_time(run, now)), (throttle,))
        case on.Pause(reason, everyone):  # `claim` passes over a paused account
            kept = replace(run, next_run_at=_in_time(run, now))
            return Decision(kept, (ex.PauseAccount(reason, everyone),))
        case on.Skip(reason, means=on.Means.OURS):
            return Decision(_hold(run, reason))
        case on.Skip(means=means) if run.operation is Operation.SEND_CONNECTION_REQUEST and (
            means is on.Means.CONNECTED or run.connected  # accepted while we were refused
        ):
            node, known = _node(workflow, run), replace(run, connected=True)
            branch = Branch.ACCEPTED if node.branches else Branch.NEXT
            return _leave(workflow, known, branch, now, result=Result.SKIPPED)
        case on.Skip(means=on.Means.INVITED) if (
            run.operation is Operation.SEND_CONNECTION_REQUEST
            and (node := _node(workflow, run)).branches
        ):  # pending from elsewhere, or withdrawn lately: the profile tells
            asked = replace(run, deadline_at=now + _window(node))
            return Decision(_stand(asked, Operation.CHECK_ACCEPTANCE, now))
        case on.Skip(reason) if (
            run.operation is Operation.SEND_CONNECTION_REQUEST and _node(workflow, run).branches
        ):  # never invited: nothing to wait for
            return _leave(
                workflow, run, Branch.NOT_ACCEPTED, now, result=Result.SKIPPED, reason=reason
            )
        case on.Skip(reason) | on.Fail(reason) if run.operation is Operation.CHECK_ACCEPTANCE:
            # a refusal to show the profile proves no refusal to connect, but no more can be known
            return _leave(workflow, run, Branch.NOT_ACCEPTED, now, reason=reason)
        case on.Skip(reason) if run.operation.traits.on_posts and len(run.posts) > 1:
            return Decision(_stand(replace(run, posts=run.posts[1:]), run.operation, now))
        case on.Skip(reason):
            return _pass_over(workflow, run, now, Result.SKIPPED, reason)
        case on.Fail(means=on.Means.WRONG_ID) if run.operation.traits.needs_id and not run.relooked:
            anew = replace(run, provider_id=None, relooked=True)
            return Decision(_stand(anew, Operation.PROFILE_LOOKUP, now))
        case on.Retry(reason) | on.Fail(reason):
            return replace(
                _finish(run, Status.FAILED, Outcome.FAILED, now, reason), result=Result.FAILED
            )


def _missing(workflow: Workflow, run: Execution, reason: str, now: datetime) -> Decision:
    match run.rules.on_missing:
        case OnMissing.HOLD:
            return Decision(_hold(run, reason))
        case OnMissing.SKIP:
            return _pass_over(workflow, run, now, Result.SKIPPED, reason)
        case OnMissing.FAIL:
            failed = _finish(run, Status.FAILED, Outcome.FAILED, now, reason)
            return replace(failed, result=Result.FAILED)


def _pass_over(
    workflow: Workflow, run: Execution, now: datetime, result: Result, reason: str | None = None
) -> Decision:
    """Leave a node without its effect; one that was never invited takes the not-accepted way."""
    node = _node(workflow, run)
    branch = Branch.NOT_ACCEPTED if node.branches else Branch.NEXT
    return _leave(workflow, run, branch, now, result=result, reason=reason)


def _leave(
    workflow: Workflow,
    run: Execution,
    branch: Branch,
    now: datetime,
    *,
    since: datetime | None = None,
    result: Result = Result.DONE,
    reason: str | None = None,
) -> Decision:
    """Take the edge of `branch` out of the present node; its delay counts from `since`."""
    node = _node(workflow, run)
    edge = node.edge(branch)
    if edge is None or edge.target is None:
        outcome = {
            Branch.NEXT: Outcome.FINISHED,
            Branch.ACCEPTED: Outcome.ACCEPTED,
            Branch.NOT_ACCEPTED: Outcome.NOT_ACCEPTED,
        }[branch]
        ended = _finish(run, Status.COMPLETED, outcome, now, reason)
        return replace(ended, result=result)
    # the delay of a not-accepted edge is the waiting window, which is over: not slept again
    delay = timedelta(0) if branch is Branch.NOT_ACCEPTED else edge.delay
    at = max(now, (since or now) + delay)
    come = _come_to(workflow, replace(run, reason=reason), edge.target, at, now)
    return replace(come, result=result)


def _come_to(
    workflow: Workflow, run: Execution, node_id: str, at: datetime, now: datetime
) -> Decision:
    at_node = replace(run, node_id=node_id, posts=(), relooked=False, deadline_at=None)
    if run.expires_at is not None and at >= run.expires_at:
        # waiting out the rest could only end in the same words
        reason = "the next step would come after the maximal duration"
        return _finish(at_node, Status.COMPLETED, Outcome.EXPIRED, now, reason)
    return Decision(_arrive(workflow, at_node, at), entered=node_id)


def _arrive(workflow: Workflow, run: Execution, at: datetime) -> Execution:
    """Stand at the present node, in the lane of what it needs first."""
    operation = _node(workflow, run).operation
    if operation.traits.needs_id and run.provider_id is None:
        operation = Operation.PROFILE_LOOKUP
    elif operation.traits.on_posts and not run.posts:  # those left are kept over a second look
        operation = Operation.FIND_POSTS
    return _stand(run, operation, at)


def _stand(run: Execution, operation: Operation, at: datetime) -> Execution:
    return replace(
        run,
        status=Status.WAITING,
        operation=operation,
        next_run_at=_in_time(run, at),
        attempt=0,
        reason=None,
    )


def _await(run: Execution, deadline: datetime) -> Execution:
    return replace(
        run,
        status=Status.AWAITING,
        operation=Operation.CHECK_ACCEPTANCE,
        next_run_at=_in_time(run, deadline),
        deadline_at=deadline,
        attempt=0,
    )


def _hold(run: Execution, reason: str) -> Execution:
    return replace(run, status=Status.HELD, next_run_at=None, reason=reason)


def _finish(
    run: Execution, status: Status, outcome: Outcome, now: datetime, reason: str | None
) -> Decision:
    ended = replace(
        run,
        status=status,
        outcome=outcome,
        reason=reason,
        next_run_at=None,
        finished_at=now,
        posts=(),
    )
    return Decision(ended)


def _in_time(run: Execution, at: datetime) -> datetime:
    """Never sleep past the maximal duration: the execution wakes to hear that it is over."""
    return at if run.expires_at is None else min(at, run.expires_at)


def _window(node: Node) -> timedelta:
    edge = node.edge(Branch.NOT_ACCEPTED)
    return edge.delay if edge is not None else WAITING_WINDOW


def _node(workflow: Workflow, run: Execution) -> Node:
    if run.node_id is None:
        raise IllegalTransition(f"no node yet while {run.status} at {run.operation}")
    return workflow.nodes[run.node_id]
