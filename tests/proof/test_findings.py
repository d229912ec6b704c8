"""The judge over the books: each kind of finding, from books and a ledger written by hand."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest
from builders import NOW

from clento_engine.domain.operation import Budget, Operation
from clento_engine.interface.chaos.judge import settled_verdict
from clento_engine.simulator.ledger import Effect, Ledger, Read, Signal
from clento_engine.store.audit import Books, Capped, Counted, Standing, Turned, Written

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
ORGANIZATION, CAMPAIGN, LEAD = uuid4(), uuid4(), uuid4()
BUCKET = NOW

ACTION = Written(
    account="acc",
    campaign_id=CAMPAIGN,
    lead_id=LEAD,
    node_id="n0",
    operation=Operation.SEND_FOLLOWUP.value,
    state="done",
    budgets=["message"],
    bucket_at=BUCKET,
    target="ACoAAada",
    text="Hello  Ada",
    checks=0,
    check_at=None,
    intended_at=NOW,
    settled_at=NOW + MINUTE,
)
RUN = Standing(
    organization_id=ORGANIZATION,
    account="acc",
    zone="UTC",
    account_status="active",
    paused_by=None,
    next_sweep_at=NOW + HOUR,
    campaign_id=CAMPAIGN,
    campaign_status="running",
    working_hours="Mon-Fri 09:00-18:00",
    stop_on_reply=True,
    lead_id=LEAD,
    names=["ACoAAada", "ada"],
    is_listed=False,
    status="waiting",
    operation=Operation.SEND_FOLLOWUP.value,
    next_run_at=NOW + HOUR,
    outcome=None,
    reason=None,
    finished_at=None,
    connected_at=None,
    replied_at=None,
    lane_ready_at=NOW + HOUR,
    lane_active=True,
    check_at=None,
)
OVER = replace(RUN, status="completed", outcome="finished", next_run_at=None, finished_at=NOW)
USED = Counted("acc", "message", BUCKET, 1)
BOOKS = Books([ACTION], [RUN], [USED], [Capped("acc", "message", 5, 5, None, None)], [], 0, [])


def landed(
    *times: datetime, operation: Effect = Effect.MESSAGE, text: str | None = "Hello Ada"
) -> Ledger:
    ledger = Ledger()
    for at in times:
        ledger.land(
            operation,
            at=at,
            account="acc",
            provider_id="ACoAAada",
            slug="ada",
            request_seq=1,
            target="chat",
            text=text,
        )
    return ledger


def found(
    ledger: Ledger,
    books: Books = BOOKS,
    *,
    suppressed: dict[tuple[UUID, str], datetime] | None = None,
) -> dict[str, int]:
    """Return the kinds of which anything was found."""
    findings = settled_verdict(
        ledger, books, now=NOW + MINUTE, grace=timedelta(0), suppressed=suppressed
    )
    told = {kind: len(lines) for kind, lines in findings.details.items()}
    assert told == {kind: count for kind, count in findings.counts().items() if count}
    return told


def books(
    *actions: Written,
    run: Standing = RUN,
    counters: Sequence[Counted] = (USED,),
    turns: Sequence[Turned] = (),
) -> Books:
    return replace(
        BOOKS, actions=actions or [ACTION], executions=[run], counters=counters, turns=turns
    )


def test_books_that_are_true_give_no_finding() -> None:
    assert found(landed(NOW)) == {}


def test_a_status_that_adds_up_wrongly_is_found() -> None:
    wrong = replace(BOOKS, miscounted=["campaign c: done at n0: 2 counted, 1 found"])
    assert found(landed(NOW), wrong) == {"disagreements": 1}


def test_what_landed_twice_for_one_node_is_a_duplicate_that_the_books_do_not_know() -> None:
    assert found(landed(NOW, NOW + MINUTE)) == {"duplicates": 1, "disagreements": 1}


def test_two_nodes_with_one_text_may_reach_a_person_twice() -> None:
    both = books(ACTION, replace(ACTION, node_id="n1"), counters=[replace(USED, used=2)])
    assert found(landed(NOW, NOW + MINUTE), both) == {}


def test_an_invitation_is_one_whatever_its_note_says() -> None:
    invited = replace(
        ACTION, operation=Operation.SEND_CONNECTION_REQUEST.value, text=None, budgets=["message"]
    )
    ledger = landed(NOW, operation=Effect.INVITATION, text=None)
    assert found(ledger, books(invited)) == {}
    ledger.entries += landed(NOW, operation=Effect.INVITATION, text="Hello").entries
    assert found(ledger, books(invited)) == {"duplicates": 1, "disagreements": 1}


@pytest.mark.parametrize(
    "run",
    [
        replace(RUN, lane_ready_at=None),
        replace(RUN, lane_active=False),
        replace(RUN, lane_ready_at=NOW - HOUR),
        replace(RUN, lane_ready_at=NOW + timedelta(days=40)),
        replace(RUN, next_sweep_at=None),
        replace(RUN, campaign_status="completed"),
        replace(RUN, campaign_status="paused"),  # its lane is still active
    ],
    ids=["no lane", "idle lane", "overdue", "overslept", "no sweep", "completed", "paused"],
)
def test_a_lead_that_nothing_wakes_is_lost(run: Standing) -> None:
    assert found(landed(NOW), books(run=run)) == {"lost": 1}


@pytest.mark.parametrize(
    "run",
    [
        OVER,
        replace(RUN, campaign_status="stopped", lane_active=False),
        replace(RUN, campaign_status="paused", lane_active=False),
        replace(RUN, account_status="paused", paused_by="provider", lane_active=False),
        replace(RUN, lane_ready_at=None, check_at=NOW + HOUR),
    ],
    ids=["final", "stopped", "paused", "its account paused", "in flight"],
)
def test_a_lead_that_is_final_or_has_a_wake_up_is_not_lost(run: Standing) -> None:
    assert found(landed(NOW), books(run=run)) == {}


def test_a_held_lead_is_counted_with_its_reason_and_its_open_action_is_no_finding() -> None:
    held = replace(RUN, status="held", next_run_at=None, reason="no value", check_at=NOW + HOUR)
    doubtful = replace(ACTION, state="unknown", settled_at=None, check_at=NOW + HOUR)
    assert found(landed(NOW), books(doubtful, run=held)) == {"held": 1}
    assert found(landed(NOW), books(doubtful)) == {"unknown": 1}


def test_more_than_a_cap_in_a_sliding_window_is_an_excess() -> None:
    times = [NOW + MINUTE * place for place in range(6)]
    actions = [replace(ACTION, node_id=f"n{place}") for place in range(6)]
    spent = books(*actions, counters=[replace(USED, used=6)])
    assert found(landed(*times), spent) == {"over_cap": 2}  # of the hour, and of the day


def test_what_lands_outside_working_hours_is_found() -> None:
    assert found(landed(NOW + 9 * HOUR)) == {"outside_hours": 1}


def test_what_was_begun_after_the_walk_was_over_is_found() -> None:
    over = replace(OVER, finished_at=NOW - MINUTE)
    assert found(landed(NOW), books(run=over)) == {"after_stop": 1}
    assert found(landed(NOW), books(run=OVER)) == {}


def test_what_was_begun_after_a_reply_was_known_is_found_unless_replies_do_not_stop() -> None:
    ledger = landed(NOW)
    ledger.replies.append(Signal(NOW - HOUR, "acc", "ACoAAada", "ada", told_at=NOW - MINUTE))
    assert found(ledger) == {"after_stop": 1}
    assert found(ledger, books(run=replace(RUN, stop_on_reply=False))) == {}


@pytest.mark.parametrize("first", [Operation.PROFILE_VISIT, Operation.PROFILE_LOOKUP])
def test_who_replies_before_a_profile_said_who_they_are_can_be_heard_after_it(
    first: Operation,
) -> None:
    ledger = landed(NOW)
    ledger.replies.append(Signal(NOW - HOUR, "acc", "ACoAAada", "ada", told_at=NOW - HOUR))
    read = replace(ACTION, operation=first.value, node_id="n1", settled_at=NOW - MINUTE)
    later = replace(read, settled_at=NOW + MINUTE)
    listed = replace(RUN, is_listed=True)
    assert "after_stop" in found(ledger, books(read, ACTION))
    assert "after_stop" not in found(ledger, books(later, ACTION))
    assert "after_stop" not in found(ledger, books(replace(read, checks=1), ACTION))
    assert "after_stop" in found(ledger, books(later, ACTION, run=listed))


def test_what_a_read_showed_may_have_been_lost_on_its_way() -> None:
    ledger = landed(NOW)
    ledger.replies.append(Signal(NOW - HOUR, "acc", "ACoAAada", "ada", known_at=NOW - MINUTE))
    assert found(ledger) == {}


def test_what_was_begun_after_a_suppression_is_found() -> None:
    ada, bert, elsewhere = (ORGANIZATION, "ada"), (ORGANIZATION, "bert"), (uuid4(), "ada")
    assert found(landed(NOW), suppressed={ada: NOW - MINUTE}) == {"after_stop": 1}
    assert found(landed(NOW), suppressed={ada: NOW, bert: NOW - HOUR}) == {}
    assert found(landed(NOW), suppressed={elsewhere: NOW - MINUTE}) == {}


@pytest.mark.parametrize(
    ("turns", "late"),
    [
        ({"CampaignPaused": -1}, True),
        ({"CampaignStopped": -1}, True),
        ({"CampaignPaused": -1, "CampaignResumed": 1}, True),
        ({"CampaignPaused": -2, "CampaignResumed": -1}, False),
        ({"CampaignPaused": 1}, False),
    ],
)
def test_what_was_begun_while_the_campaign_did_not_run_is_found(
    turns: dict[str, int], late: bool
) -> None:
    told = [Turned(CAMPAIGN, kind, NOW + MINUTE * at) for kind, at in turns.items()]
    assert found(landed(NOW), books(turns=told)) == ({"after_stop": 1} if late else {})


@pytest.mark.parametrize("state", ["refused", "absent", "released"])
def test_what_landed_though_the_books_deny_it_is_a_disagreement(state: str) -> None:
    counted = [] if state == "released" else [USED]
    denied = books(replace(ACTION, state=state), counters=counted)
    assert found(landed(NOW), denied) == {"disagreements": 1}


def test_what_is_done_in_the_books_and_never_landed_is_a_disagreement() -> None:
    assert found(landed()) == {"disagreements": 1}
    assert found(landed(NOW, text="Something else")) == {"disagreements": 2}


def test_a_visit_that_reconcile_took_for_done_needs_no_landing() -> None:
    visit = replace(ACTION, operation=Operation.PROFILE_VISIT.value, text=None)
    assert found(landed(), books(visit)) == {"disagreements": 1}
    assert found(landed(), books(replace(visit, checks=1))) == {}


def test_a_withdrawal_needs_no_landing_where_nothing_was_pending() -> None:
    withdrawn = replace(ACTION, operation=Operation.WITHDRAW_REQUEST.value, text=None)
    assert found(landed(), books(withdrawn)) == {}
    invited = replace(ACTION, operation=Operation.SEND_CONNECTION_REQUEST.value, text=None)
    both = books(invited, withdrawn, counters=[replace(USED, used=2)])
    pending = landed(NOW, operation=Effect.INVITATION, text=None)
    assert found(pending, both) == {"disagreements": 1}
    pending.acceptances.append(Signal(NOW, "acc", "ACoAAada", "ada"))
    assert found(pending, both) == {}


def test_counters_that_do_not_hold_what_the_actions_took_are_a_disagreement() -> None:
    assert found(landed(NOW), books(counters=[])) == {"disagreements": 1}
    assert found(landed(NOW), books(counters=[replace(USED, used=2)])) == {"disagreements": 1}


@pytest.mark.parametrize(
    ("operation", "effect", "budget"),
    [
        (Operation.SEND_CONNECTION_REQUEST, Effect.INVITATION, Budget.PROFILE),
        (Operation.LIKE_POST, Effect.LIKE, Budget.POST_READ),
    ],
)
def test_reconcile_may_count_as_many_reads_as_it_looked(
    operation: Operation, effect: Effect, budget: Budget
) -> None:
    looks = Counted("acc", budget.value, BUCKET, 2)
    invited = replace(ACTION, operation=operation.value, target="chat", text=None, checks=2)
    ledger = landed(NOW, operation=effect, text=None)
    assert found(ledger, books(invited, counters=[USED, looks])) == {}
    more = replace(looks, used=3)
    assert found(ledger, books(invited, counters=[USED, more])) == {"disagreements": 1}


def test_webhooks_that_nobody_applied_are_a_disagreement() -> None:
    assert found(landed(NOW), replace(BOOKS, waiting_webhooks=2)) == {"disagreements": 1}


def test_what_a_member_did_under_two_ids_is_judged_together() -> None:
    ledger = landed(NOW, NOW + MINUTE)
    ledger.members.update({"acc": "ACoAAme", "again": "ACoAAme"})
    ledger.entries[1] = replace(ledger.entries[1], account="again", member="ACoAAme")
    assert found(ledger) == {"duplicates": 1, "disagreements": 1}
    both = books(
        replace(ACTION, account="again"),
        replace(ACTION, account="again", node_id="n1"),
        run=replace(RUN, account="again"),
        counters=[USED, replace(USED, account="again")],
    )
    assert found(ledger, both) == {}
    capped = replace(both, caps=[Capped("again", "message", 1, 5, None, None)])
    assert found(ledger, capped) == {"over_cap": 1}


def test_reads_that_linkedin_saw_and_no_counter_holds_are_a_disagreement() -> None:
    ledger = landed(NOW)
    ledger.read(Read.COMMENTS, at=NOW, account="acc")
    ledger.read(Read.INVITATIONS, at=NOW, account="acc")
    assert found(ledger) == {"disagreements": 2}
    lists, posts = replace(USED, budget="list_read"), replace(USED, budget="post_read")
    looked = books(replace(ACTION, checks=1), counters=[USED, lists, posts])
    assert found(ledger, looked) == {}


def test_walks_that_ended_are_counted_but_for_those_of_stopped_campaigns() -> None:
    stopped = replace(RUN, campaign_status="stopped", campaign_id=uuid4())
    ended = replace(OVER, lead_id=uuid4())
    kept = replace(BOOKS, executions=[RUN, stopped, ended])
    findings = settled_verdict(landed(NOW), kept, now=NOW, grace=timedelta(0))
    assert (findings.walks, findings.ended) == (2, 1)
    assert "walks" not in findings.counts()
