"""Actions whose outcome is unknown: ask the provider what is true, never repeat blindly.

Found: the action is done, with its reference.  Absent: it did not happen, and the step may run
again.  What is asked and believed is in `question`.  While nothing is proved the question stays
open; after DESPAIR a person must look, or it is closed as unresolved where the walk is over.
"""

import asyncio
import logging
from dataclasses import replace
from datetime import datetime, timedelta
from traceback import format_tb

from clento_engine.domain import execution as ex
from clento_engine.domain.action import ActionState
from clento_engine.domain.failure import SILENCES_IN_A_ROW, Failure, Retry, Wait
from clento_engine.domain.limits import MONTH
from clento_engine.domain.operation import Operation
from clento_engine.domain.report import Report
from clento_engine.runtime.asking import MayGoOn, always, looking
from clento_engine.runtime.errors import ClockSkew, OutOfTime
from clento_engine.runtime.guard import require_clock, require_provider
from clento_engine.runtime.question import NotItsTurn, Question, action_report, is_gone, later
from clento_engine.runtime.witness import look_at_stamp
from clento_engine.runtime.world import World, settled
from clento_engine.store.doubtful import Doubtful, renew, take_doubtful

AT_ONCE = 20  # questions under way
GATHER_S = 0.05  # real seconds that an answer waits for others to be settled with
# While the provider or the account is out of order, or nothing is proved: a quarter of its age
# later, so that a question that stays open for days costs some twenty reads, not hundreds.
ASK_LATER, ASK_LATEST = timedelta(minutes=30), timedelta(hours=6)
DESPAIR = timedelta(days=3)
MOST_TURNS = 60  # waited for before a person is told that nobody could even be asked

log = logging.getLogger(__name__)


async def reconcile(world: World, *, most: int = 200, may_go_on: MayGoOn = always) -> int:
    """Ask about every action that is due for a question; return how many were taken for one.

    No more are taken than can be asked at once, and each is settled soon after its answer came,
    however long the others take.  When `may_go_on` says no, none is taken any more, and those
    under way are given back before their next request.  Raises WrongProvider, as
    `guard.require_provider` does: another one would say "not there"; and ClockSkew.
    """
    await require_provider(world)
    await look_at_stamp(world)
    await require_clock(world)
    under_way: dict[asyncio.Task[Report | None], Doubtful] = {}
    taken, are_more, silences = 0, True, 0
    try:
        while True:
            free = min(AT_ONCE - len(under_way), most - taken)
            if are_more and free > 0 and may_go_on():
                doubtful = await _take(world, free)
                are_more = len(doubtful) == free
                taken += len(doubtful)
                for action in doubtful:
                    asking = asyncio.create_task(_asked(world, action, may_go_on))
                    under_way[asking] = action
            if not under_way:
                return taken
            await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(under_way, timeout=GATHER_S)
            now = world.clock()
            # in the order they were taken: the same seed is to leave the same history
            answered = [asking for asking in under_way if asking.done()]
            reports = [_answer(asking, under_way.pop(asking), now) for asking in answered]
            found = [report for report in reports if report is not None]
            for report in found:
                silences = silences + report.silence if report.silence else 0
            are_more = are_more and silences < SILENCES_IN_A_ROW  # the workspace rests
            if found:
                await settled(world, found, now, "reconcile")
    finally:  # what is still asked keeps its lease, and is asked about again
        for asking in under_way:
            asking.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _take(world: World, most: int) -> list[Doubtful]:
    async with world.database.connection() as conn:
        return await take_doubtful(conn, now=world.clock(), lease=world.lease, most=most)


async def _asked(world: World, action: Doubtful, may_go_on: MayGoOn) -> Report | None:
    """Ask about one action while it is ours; None when another process has taken it over."""
    until = world.clock() + world.lease

    async def look() -> None:
        nonlocal until
        if not may_go_on():
            raise OutOfTime
        now = world.clock()
        if until - now >= world.request_limit:
            return
        async with world.database.connection() as conn:
            if not await renew(conn, action, until=now + world.lease):
                raise _TakenOver
        until = now + world.lease

    try:
        return await _ask(replace(world, provider=looking(world.provider, look)), action)
    except OutOfTime:
        reason = "asked about at the next tick: this one's time was over"
        return later(action, world.clock(), timedelta(0), reason, action.progress)
    except _TakenOver:
        log.warning("question taken over", extra={"lead_id": str(action.lead_id)})
        return None


class _TakenOver(Exception):
    """The lease of a question ended before its answer."""


def _answer(asking: asyncio.Task[Report | None], action: Doubtful, now: datetime) -> Report | None:
    """Return what was found out; None when the question is another's by now."""
    error = asking.exception()
    if error is None:
        return asking.result()
    if isinstance(error, Exception) and not isinstance(error, ClockSkew):
        return _failed_question(action, error, now)
    raise error


async def _ask(world: World, action: Doubtful) -> Report:
    operation = action.ticket.operation
    if operation is Operation.PROFILE_VISIT:
        # nothing can be asked; a visit too few is better than one too many
        return action_report(action, ActionState.DONE, ex.Done(), world.clock(), recovering=False)
    if not operation.traits.writes:
        return action_report(action, ActionState.ABSENT, ex.Absent(), world.clock())
    question = Question(world, action)
    answer = await question.ask()
    if is_gone(answer):  # or is it the account that is not there?
        answer = await question.confirmed() or answer
    if isinstance(answer, Report):
        return answer
    return _out_of_order(action, answer, world.clock())


def _failed_question(action: Doubtful, error: Exception, now: datetime) -> Report:
    """A question in which something failed that never should is asked later, but not for ever.

    After DESPAIR the lead is held; what was read so far is forgotten, should it be the cause.
    """
    name = type(error).__name__
    log.error(  # its text may hold what was sent
        "question failed",
        extra={
            "lead_id": str(action.lead_id),
            "operation": action.ticket.operation,
            "error": name,
            "trace": "".join(format_tb(error.__traceback__)),
            "alert": True,
        },
    )
    return _out_of_order(action, Retry(f"asking fails: {name}"), now)


def _out_of_order(action: Doubtful, failure: Failure, now: datetime) -> Report:
    """Nothing could be learned: ask later, and tell a person when it goes on for days."""
    age = now - action.intended_at
    wait = max(ASK_LATER, min(age / 4, ASK_LATEST))
    silence = failure.silence if isinstance(failure, Retry) else 0
    progress = action.progress.anew()
    if isinstance(failure, Wait):
        wait, progress = min(failure.delay, MONTH), action.progress
    put_off = later(action, now, wait, failure.reason, progress, silence=silence)
    if age < DESPAIR or (isinstance(failure, NotItsTurn) and action.checks < MOST_TURNS):
        return put_off
    log.warning(
        "nobody can say whether an action happened",
        extra={"lead_id": str(action.lead_id), "alert": True},
    )
    reason = f"whether {action.ticket.operation} happened cannot be found out: {failure.reason}"
    if action.is_over:  # nothing follows from it, and there is no walk to hold for a person
        return action_report(
            action, ActionState.UNRESOLVED, None, now, reason=reason, silence=silence
        )
    return action_report(
        action,
        ActionState.UNKNOWN,
        ex.Unknowable(reason),
        now,
        check_at=now + timedelta(days=1),
        silence=silence,
    )
