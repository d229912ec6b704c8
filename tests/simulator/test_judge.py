"""The judge finds each kind of violation, and nothing where there is none."""

import json
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clento_engine.domain.operation import Budget
from clento_engine.simulator.judge import as_rows, crowded, judge, over_cap
from clento_engine.simulator.ledger import Effect, Ledger, Read, Signal, load
from clento_engine.simulator.world import START

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def landed(
    ledger: Ledger,
    operation: Effect,
    after: timedelta = timedelta(0),
    *,
    account: str = "acc",
    slug: str = "lea",
    target: str | None = None,
    text: str | None = None,
) -> None:
    ledger.land(
        operation,
        at=START + after,
        account=account,
        provider_id=f"ACoAA{slug}",
        slug=slug,
        request_seq=1,
        target=target,
        text=text,
    )


def test_a_proper_walk_is_clean() -> None:
    ledger = Ledger()
    landed(ledger, Effect.VISIT)
    landed(ledger, Effect.VISIT, MINUTE)
    landed(ledger, Effect.LIKE, 2 * MINUTE, target="post 1")
    landed(ledger, Effect.LIKE, 2 * MINUTE, target="post 2")
    landed(ledger, Effect.COMMENT, 3 * MINUTE, target="post 1", text="Well said")
    landed(ledger, Effect.INVITATION, 4 * MINUTE, target="1", text="Hello")
    landed(ledger, Effect.MESSAGE, 5 * MINUTE, text="Hello")
    landed(ledger, Effect.MESSAGE, 6 * MINUTE, text="Did you see this?")
    landed(ledger, Effect.MESSAGE, 6 * MINUTE, text="Hello", slug="noah")
    verdict = judge(
        ledger, caps={budget: {"hour": 3} for budget in Budget}, is_open=lambda *_: True
    )
    assert verdict.is_clean


@pytest.mark.parametrize(
    ("operation", "first", "second"),
    [
        (Effect.MESSAGE, {"text": "Caf\u00e9  au lait"}, {"text": " Cafe\u0301 au\nlait "}),
        (Effect.MESSAGE, {"text": "Hi", "target": "chat 1"}, {"text": "Hi", "target": "chat 2"}),
        (Effect.INMAIL, {"text": "Hi"}, {"text": "Hi"}),
        (Effect.INVITATION, {"text": "Hello", "target": "1"}, {"target": "2"}),
        (Effect.LIKE, {"target": "post"}, {"target": "post"}),
        (Effect.COMMENT, {"target": "p", "text": "So true"}, {"target": "p", "text": "So  true"}),
        (Effect.WITHDRAW, {"target": "1"}, {"target": "1"}),
    ],
)
def test_what_lands_twice_is_found(
    operation: Effect, first: dict[str, str], second: dict[str, str]
) -> None:
    ledger = Ledger()
    landed(ledger, operation, text=first.get("text"), target=first.get("target"))
    landed(ledger, operation, MINUTE, text=second.get("text"), target=second.get("target"))
    [duplicate] = judge(ledger).duplicates
    assert (duplicate.operation, duplicate.count, duplicate.allowed) == (operation, 2, 1)
    assert (duplicate.at, duplicate.entries) == (START + MINUTE, (1, 2))


def test_as_many_nodes_as_carry_a_text_may_send_it() -> None:
    ledger = Ledger()
    for number in range(3):
        landed(ledger, Effect.MESSAGE, number * MINUTE, text="Hello")
    assert judge(ledger, allowed={(Effect.MESSAGE, "Hello"): 3}).is_clean
    [duplicate] = judge(ledger, allowed=lambda operation, text: 2).duplicates
    assert (duplicate.count, duplicate.allowed, duplicate.at) == (3, 2, START + 2 * MINUTE)


def test_two_accounts_may_write_the_same_to_one_person() -> None:
    ledger = Ledger()
    landed(ledger, Effect.MESSAGE, text="Hello")
    landed(ledger, Effect.MESSAGE, text="Hello", account="other")
    assert judge(ledger).is_clean


def test_a_window_over_its_cap_is_found_wherever_it_lies() -> None:
    ledger = Ledger()
    for minutes in (50, 55, 65, 70):  # no clock hour holds more than two
        landed(ledger, Effect.INVITATION, minutes * MINUTE, slug=f"lead-{minutes}")
    [excess] = over_cap(ledger, {Budget.INVITATION: {"hour": 3, "day": 4}})
    assert (excess.account, excess.budget, excess.window) == ("acc", Budget.INVITATION, "hour")
    assert (excess.count, excess.cap, excess.at) == (4, 3, START + 70 * MINUTE)


def test_what_lies_exactly_a_window_apart_is_not_within_it() -> None:
    ledger = Ledger()
    landed(ledger, Effect.INVITATION)
    landed(ledger, Effect.INVITATION, timedelta(hours=1), slug="noah")
    assert not list(over_cap(ledger, {Budget.INVITATION: {"hour": 1}}))
    landed(ledger, Effect.INVITATION, timedelta(minutes=119, seconds=59), slug="mia")
    assert len(list(over_cap(ledger, {Budget.INVITATION: {"hour": 1}}))) == 1


def test_lookups_spend_the_same_budget_as_visits() -> None:
    ledger = Ledger()
    landed(ledger, Effect.VISIT)
    ledger.read(Read.PROFILE, at=START + MINUTE, account="acc")
    ledger.read(Read.RELATIONS, at=START + MINUTE, account="acc")
    [excess] = over_cap(ledger, {Budget.PROFILE: {"day": 1}})
    assert (excess.count, excess.at) == (2, START + MINUTE)


def test_what_a_member_does_under_two_accounts_is_judged_together() -> None:
    ledger = Ledger(members={"acc": "ACoAAme", "again": "ACoAAme", "other": "ACoAAshe"})
    for minutes, account in enumerate(("acc", "again", "again", "other")):
        landed(ledger, Effect.MESSAGE, minutes * MINUTE, account=account, text=f"{minutes}")
        ledger.read(Read.PROFILE, at=START + minutes * MINUTE, account=account)
    landed(ledger, Effect.MESSAGE, HOUR, account="again", text="0")
    ledger.replies.append(Signal(START, "acc", "ACoAAlea", "lea", START, member="ACoAAme"))
    verdict = judge(
        ledger,
        caps=lambda account: {Budget.PROFILE: {"day": {"acc": 2, "other": 1}[account]}},
        grace=10 * MINUTE,
    )
    [duplicate], [excess], [late] = verdict.duplicates, verdict.over_cap, verdict.after_reply
    assert (duplicate.account, duplicate.text, duplicate.entries) == ("acc", "0", (1, 5))
    assert (excess.account, excess.count, excess.at) == ("acc", 3, START + 2 * MINUTE)
    assert (late.entry.account, late.entry.member) == ("again", "ACoAAme")


def test_what_lies_closer_together_than_the_spacing_is_found() -> None:
    ledger = Ledger(members={"acc": "ACoAAme", "again": "ACoAAme"})
    ledger.read(Read.COMMENTS, at=START, account="acc")
    ledger.read(Read.INVITATIONS, at=START + 2 * MINUTE, account="again")
    landed(ledger, Effect.VISIT, 5 * MINUTE, account="acc")
    landed(ledger, Effect.VISIT, 5 * MINUTE, account="other")
    [found] = judge(ledger, spacing=3 * MINUTE).crowded
    assert (found.account, found.first, found.second) == (
        "acc",
        "comments_read",
        "invitations_read",
    )
    assert (found.gap, found.at) == (2 * MINUTE, START + 2 * MINUTE)
    assert judge(ledger, spacing=lambda account: 2 * MINUTE).is_clean
    assert not list(crowded(ledger, 3 * MINUTE, [Effect.VISIT, Read.COMMENTS]))


def test_notes_and_reads_of_posts_and_lists_have_budgets_of_their_own() -> None:
    ledger = Ledger()
    landed(ledger, Effect.INVITATION, text="Hello")
    landed(ledger, Effect.INVITATION, slug="noah")
    for kind in (Read.POSTS, Read.COMMENTS, Read.RELATIONS, Read.INVITATIONS):
        ledger.read(kind, at=START, account="acc")
    reads = {key: {"week": 0} for key in (Budget.POST_READ, Budget.LIST_READ)}
    found = {
        (one.budget, one.window, one.count)
        for one in over_cap(ledger, {Budget.NOTE: {"month": 0}} | reads)
    }
    assert found == {
        (Budget.NOTE, "month", 1),
        (Budget.POST_READ, "week", 2),
        (Budget.LIST_READ, "week", 2),
    }


def test_caps_may_differ_by_account() -> None:
    ledger = Ledger()
    landed(ledger, Effect.VISIT, account="new")
    landed(ledger, Effect.VISIT, account="old")
    found = over_cap(
        ledger, lambda account: {Budget.PROFILE: {"day": 0 if account == "new" else 9}}
    )
    assert [one.account for one in found] == ["new"]


@given(st.lists(st.integers(0, 300), max_size=60), st.integers(1, 5))
def test_the_fullest_window_is_what_counting_each_pair_gives(minutes: list[int], cap: int) -> None:
    ledger = Ledger()
    for minute in minutes:
        landed(ledger, Effect.VISIT, minute * MINUTE)
    fullest = max(
        (sum(1 for other in minutes if end - 60 < other <= end) for end in minutes), default=0
    )
    found = list(over_cap(ledger, {Budget.PROFILE: {"hour": cap}}))
    assert [one.count for one in found] == ([fullest] if fullest > cap else [])


def test_what_lands_outside_hours_is_found() -> None:
    ledger = Ledger()
    landed(ledger, Effect.VISIT)
    landed(ledger, Effect.LIKE, timedelta(hours=12), target="post")

    def is_open(account: str, at: datetime) -> bool:
        return account == "acc" and 8 <= at.hour < 18

    [untimely] = judge(ledger, is_open=is_open).outside_hours
    assert untimely.entry.operation is Effect.LIKE


def test_what_lands_after_a_reply_was_known_is_found() -> None:
    ledger = Ledger()
    landed(ledger, Effect.MESSAGE, text="Hello")
    landed(ledger, Effect.MESSAGE, 10 * MINUTE, text="Did you see this?")
    reply = Signal(START + MINUTE, "acc", "ACoAAlea", "lea")
    ledger.replies.append(reply)
    assert judge(ledger).is_clean, "nobody could know"
    reply.learn(START + 9 * MINUTE)
    [untimely] = judge(ledger).after_reply
    assert (untimely.entry.seq, untimely.since) == (2, START + 9 * MINUTE)
    assert judge(ledger, grace=MINUTE).is_clean
    landed(ledger, Effect.VISIT, timedelta(hours=1), slug="noah")
    landed(ledger, Effect.VISIT, timedelta(hours=1), account="other")
    assert len(judge(ledger).after_reply) == 1


def test_a_ledger_read_over_http_is_judged_alike() -> None:
    ledger = Ledger(members={"acc": "ACoAAme"})
    landed(ledger, Effect.MESSAGE, text="Hello")
    landed(ledger, Effect.MESSAGE, timedelta(microseconds=1), text="Hello")
    ledger.read(Read.PROFILE, at=START, account="acc")
    ledger.replies.append(Signal(START, "acc", "ACoAAlea", "lea", START))
    served = json.loads(
        json.dumps([ledger.page(0, 10), ledger.reads_page(), ledger.signals_page()])
    )
    copy = load(served[0]["entries"], served[1]["reads"], served[2], served[1]["members"])
    assert copy == ledger
    caps = {budget: {"day": 0} for budget in Budget}
    assert not judge(copy).is_clean
    assert json.dumps(as_rows(judge(copy, caps=caps, spacing=HOUR)))
