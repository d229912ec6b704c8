"""Acting on one claim: what is sent when the time for it is nearly over."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import uuid4

from clento_engine.domain.account import Sender, Tier
from clento_engine.domain.execution import Execution, Failed
from clento_engine.domain.failure import Failure, Retry, Wait
from clento_engine.domain.intent import Intent
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.report import Basis, Ticket
from clento_engine.domain.workflow import Workflow
from clento_engine.provider.port import Profile, Provider, Sent
from clento_engine.runtime.act import act
from clento_engine.runtime.clock import VirtualClock
from clento_engine.store.claimed import Claimed

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
TIME_LEFT = timedelta(seconds=190)


@dataclass
class Slow:
    """A provider whose every answer takes so long."""

    clock: VirtualClock
    takes: timedelta
    written: list[str] = field(default_factory=list)
    sends: Sent | Failure = field(default_factory=lambda: Sent("m1"))

    async def profile(self, _account: str, target: str, *, sales_navigator: bool) -> Profile:
        self.clock.move_to(self.clock() + self.takes)
        return Profile(f"ACw{target}", None, connected=False, invitation_pending=False)

    async def inmail(self, *_given: object, sales_navigator: bool) -> Sent | Failure:
        self.written.append("inmail")
        return self.sends


def claimed(operation: Operation) -> Claimed:
    run = Execution(uuid4(), uuid4(), operation=operation, node_id="n0")
    return Claimed(
        uuid4(),
        run,
        None,
        Sender(uuid4(), "acc", Tier.SALES_NAVIGATOR, None, troubled=False),
        NOW + TIME_LEFT,
        Basis(run, Workflow("one", {}), 1),
        intent=Intent(operation, "ACoAAX", "Hello", "Subject", tier=Tier.SALES_NAVIGATOR),
        ticket=Ticket(uuid4(), "n0", operation, (Budget.INMAIL,), NOW),
    )


async def test_the_second_request_of_a_step_is_not_sent_when_its_time_is_over() -> None:
    clock = VirtualClock(NOW)
    provider = Slow(clock, TIME_LEFT)

    report = await act(cast("Provider", provider), claimed(Operation.SEND_INMAIL), clock)

    assert provider.written == []
    assert report.state == "refused"  # the first request was one: no unit is given back
    assert isinstance(report.event, Failed)
    assert isinstance(report.event.cause, Wait)  # costs no attempt


async def test_the_second_request_of_a_step_is_sent_in_time() -> None:
    clock = VirtualClock(NOW)
    provider = Slow(clock, TIME_LEFT - timedelta(seconds=1))

    report = await act(cast("Provider", provider), claimed(Operation.SEND_INMAIL), clock)

    assert provider.written == ["inmail"]
    assert report.state == "done"


async def test_a_connection_refused_after_the_profile_was_read_gives_no_unit_back() -> None:
    """The look-up of the person took a unit of its own, and LinkedIn saw it."""
    clock = VirtualClock(NOW)
    refused = Retry("no connection: refused", left=False)
    provider = Slow(clock, timedelta(seconds=1), sends=refused)

    report = await act(cast("Provider", provider), claimed(Operation.SEND_INMAIL), clock)

    assert report.state == "refused"
    assert report.event == Failed(Retry(refused.reason))


async def test_an_invitation_without_an_id_is_looked_for_before_it_is_withdrawn() -> None:
    """Reconcile does that, with a unit and a gap for each read; nothing is asked here."""
    clock = VirtualClock(NOW)
    provider = Slow(clock, timedelta(seconds=1))

    report = await act(cast("Provider", provider), claimed(Operation.WITHDRAW_REQUEST), clock)

    assert (report.state, report.event) == ("unknown", None)
    assert report.check_at is not None
    assert clock() == NOW
