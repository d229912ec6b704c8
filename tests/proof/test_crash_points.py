"""Killed at every exchange with the outside, once and twice in a row: nobody twice, nobody lost.

The places to die at are found by running: the n-th exchange is one as long as a process gets
there.  So new code is covered by itself, as soon as a scenario comes through it.
"""

import os
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from itertools import count

import pytest
from builders import edge, line, workflow
from scenes import Outcome, Played, Scenario, Scene, scene
from tally import Deaths, Note

from clento_engine.domain.account import Tier
from clento_engine.domain.operation import Operation as Op
from clento_engine.domain.workflow import Branch, Node
from clento_engine.simulator.accounts import set_status
from clento_engine.simulator.ledger import Effect
from clento_engine.simulator.messages import Kind
from clento_engine.simulator.messaging import open_chat, write
from clento_engine.simulator.senders import Status
from clento_engine.simulator.world import World as Simulated
from clento_engine.store.mortal import Death

HOUR = timedelta(hours=1)
CONNECTED = {"connected_for": timedelta(days=100)}
MOST = 5000  # exchanges of one life: more is a life that does not end
SHOWN = 8  # failures told in full

# Every pair of deaths takes a quarter of an hour: `make proof`.  Else each different state that
# a first death leaves is met by one more death, all over the life of the second process.
EVERY_PAIR = "CLENTO_EVERY_PAIR_OF_DEATHS" in os.environ
PARTS, STRIDE = 1, 17
# Where an answer is lost, the short form dies from just before that request on: a process that died
# earlier left what it leaves in the play whose answers all come, and there dies at each exchange.
# The longest of the plays takes half a minute, and on a busy machine ten times that.
pytestmark = pytest.mark.timeout(3600 if EVERY_PAIR else 600)

_asked = workflow(
    [
        Node(
            "n0",
            Op.SEND_CONNECTION_REQUEST,
            edges=(
                edge("n1", branch=Branch.ACCEPTED),
                edge("n2", timedelta(hours=3), Branch.NOT_ACCEPTED),
            ),
        ),
        Node("n1", Op.SEND_FOLLOWUP, text="Thank you"),
        Node("n2", Op.WITHDRAW_REQUEST),
    ]
)
_noted = workflow(
    [
        Node(
            "n0",
            Op.SEND_CONNECTION_REQUEST,
            text="Hello",
            edges=(
                edge("n1", branch=Branch.ACCEPTED),
                edge(None, timedelta(hours=3), Branch.NOT_ACCEPTED),
            ),
        ),
        Node("n1", Op.SEND_FOLLOWUP, text="Hello"),
    ]
)
_ACCEPTED = {"accepts_after": HOUR, "noticed_after": 0.1}
_REPLIED = CONNECTED | {"replies_after": HOUR, "replies_to_message": 1}


def signed_out(simulated: Simulated) -> None:
    """Sign the account out half a minute after the start, and in again an hour later."""
    (account,) = simulated.accounts.values()
    for after, status in ((HOUR / 120, Status.CREDENTIALS), (HOUR, Status.OK)):
        simulated.plan(
            account,
            simulated.clock() + after,
            lambda status=status: set_status(simulated, account, status),  # type: ignore[misc]
        )


def in_touch(simulated: Simulated) -> None:
    """Let the account have a chat: one that shows none at all is believed a day later only."""
    (account,) = simulated.accounts.values()
    tie = simulated.tie(account, simulated.person("somebody"))
    chat = open_chat(simulated, account, tie, is_inmail=False)
    write(simulated, chat, "Good morning", Kind.MESSAGE, from_us=False)


SCENARIOS = (
    Scenario("visit", line(Op.PROFILE_VISIT), (Effect.VISIT,), route="GET /users/{identifier}"),
    Scenario("like", line(Op.LIKE_POST), (Effect.LIKE,), route="POST /posts/reaction"),
    Scenario(
        "comment",
        line(Op.COMMENT_POST, Op.COMMENT_POST, delay=timedelta(minutes=5)),
        (Effect.COMMENT, Effect.COMMENT),
        until=Op.COMMENT_POST,
        node="n1",  # the first is what the account's list is known by
        route="POST /posts/{id}/comments",
    ),
    Scenario(
        "invitation",
        line(Op.SEND_CONNECTION_REQUEST),
        (Effect.INVITATION,),
        until=Op.SEND_CONNECTION_REQUEST,
        route="POST /users/invite",
    ),
    Scenario(
        "invitation with a note",
        workflow([Node("n0", Op.SEND_CONNECTION_REQUEST, text="Hello")]),
        (Effect.INVITATION,),
        until=Op.SEND_CONNECTION_REQUEST,
        route="POST /users/invite",
    ),
    Scenario(
        "acceptance by webhook",
        _asked,
        (Effect.INVITATION, Effect.MESSAGE),
        until=Op.CHECK_ACCEPTANCE,
        tempers=_ACCEPTED,
    ),
    Scenario(
        "acceptance by sweep",
        _asked,
        (Effect.INVITATION, Effect.MESSAGE),
        until=Op.CHECK_ACCEPTANCE,
        tempers=_ACCEPTED,
        webhooks=False,
    ),
    Scenario(
        "deadline, then withdrawal",
        _asked,
        (Effect.INVITATION, Effect.WITHDRAW),
        until=Op.CHECK_ACCEPTANCE,
        route="DELETE /users/invite/sent/{id}",
    ),
    Scenario(
        "first message",
        line(Op.SEND_FOLLOWUP),
        (Effect.MESSAGE,),
        until=Op.SEND_FOLLOWUP,
        route="POST /chats",
        tempers=CONNECTED,
        plan=in_touch,
    ),
    Scenario(
        "message in a chat",
        workflow(
            [
                Node("n0", Op.SEND_FOLLOWUP, text="Hello", edges=(edge("n1"),)),
                Node("n1", Op.SEND_FOLLOWUP, text="Hello again"),
            ]
        ),
        (Effect.MESSAGE, Effect.MESSAGE),
        until=Op.SEND_FOLLOWUP,
        route="POST /chats/{id}/messages",
        tempers=CONNECTED,
    ),
    Scenario(
        "InMail",
        line(Op.SEND_INMAIL),
        (Effect.INMAIL,),
        until=Op.SEND_INMAIL,
        route="POST /chats",
        plan=in_touch,
    ),
    Scenario(
        "InMail of Sales Navigator",
        line(Op.SEND_INMAIL),
        (Effect.INMAIL,),
        until=Op.SEND_INMAIL,
        route="POST /chats",
        tier=Tier.SALES_NAVIGATOR,
        plan=in_touch,
    ),
    Scenario("webhook notice", line(Op.WEBHOOK, Op.WEBHOOK), ()),
    Scenario(
        "reply by webhook",
        line(Op.SEND_FOLLOWUP, Op.SEND_FOLLOWUP, delay=3 * HOUR),
        (Effect.MESSAGE,),
        ends="replied",
        until=Op.SEND_FOLLOWUP,
        tempers=_REPLIED,
    ),
    Scenario(
        "reply by sweep",
        line(Op.SEND_FOLLOWUP, Op.SEND_FOLLOWUP, delay=timedelta(days=2)),
        (Effect.MESSAGE,),
        ends="replied",
        until=Op.SEND_FOLLOWUP,
        tempers=_REPLIED,
        webhooks=False,
    ),
    Scenario(
        "reply before reconcile",
        line(Op.SEND_FOLLOWUP, Op.SEND_FOLLOWUP, delay=3 * HOUR),
        (Effect.MESSAGE,),
        ends="replied",
        until=Op.SEND_FOLLOWUP,
        route="POST /chats",
        outcomes=(Outcome.LANDED,),
        tempers=_REPLIED | {"replies_after": timedelta(minutes=3)},
    ),
    Scenario(
        "acceptance before reconcile",
        _asked,
        (Effect.INVITATION, Effect.MESSAGE),
        until=Op.SEND_CONNECTION_REQUEST,
        route="POST /users/invite",
        outcomes=(Outcome.LANDED,),
        tempers=_ACCEPTED | {"accepts_after": timedelta(seconds=30), "noticed_after": 0},
    ),
    Scenario(
        "message in the words of the note",
        _noted,
        (Effect.INVITATION, Effect.MESSAGE),
        until=Op.CHECK_ACCEPTANCE,
        route="POST /chats",
        outcomes=(Outcome.LANDED, Outcome.VANISHED),
        tempers=_ACCEPTED,
    ),
    Scenario(
        "signed out and in again",
        line(Op.SEND_FOLLOWUP),
        (Effect.MESSAGE,),
        until=Op.SEND_FOLLOWUP,
        tempers=CONNECTED,
        plan=signed_out,
    ),
    Scenario(
        "two accounts at once",
        line(Op.SEND_FOLLOWUP),
        (Effect.MESSAGE,),
        until=Op.SEND_FOLLOWUP,
        tempers=CONNECTED,
        leads=2,
    ),
)


PLAYS = [
    (scenario, outcome)
    for scenario in SCENARIOS
    for outcome in (scenario.outcomes if scenario.route is not None else (Outcome.ANSWERED,))
]


@pytest.mark.parametrize(("scenario", "outcome"), PLAYS, ids=str)
async def test_killed_anywhere_a_process_contacts_nobody_twice_and_loses_nobody(
    dsn: str, scenario: Scenario, outcome: Outcome, record_property: Note
) -> None:
    operations = sorted({node.operation.value for node in scenario.workflow.nodes.values()})
    deaths = Deaths(scenario.name, operations, outcome.name.lower())
    async with scene(dsn, scenario, outcome) as stage:
        undisturbed = await stage.play()
        assert not undisturbed.wrong(), "with nobody killed"
        begin = first_number(undisturbed, outcome)
        deaths.elsewhere = begin - 1
        wrong: list[str] = []
        left: set[str] = set()  # by the first to die: what is equal is followed by the same
        async for first, played in once(stage, begin):
            deaths.single += 1
            deaths.places.add(played.lives[0].places[-1])
            wrong += told(played)
            if played.left not in left:
                left.add(played.left)
                deaths.pairs += len(played.lives[-1].places)
                for second in then(first, played):
                    again = await stage.play(first, second)
                    deaths.double += 1
                    wrong += told(again)
    assert not wrong, "\n".join([f"{len(wrong)} deaths were not survived", *wrong[:SHOWN]])
    deaths.noted(record_property)


def first_number(undisturbed: Played, outcome: Outcome) -> int:
    """Return the number of the first exchange to die at, by the play in which nobody dies."""
    if EVERY_PAIR or outcome is Outcome.ANSWERED:
        return 1
    if Outcome.ANSWERED not in undisturbed.scenario.outcomes:
        return 1  # nowhere else does anybody die on the way there
    (life,) = undisturbed.lives
    return max(1, life.unanswered[0] - 1)


async def once(stage: Scene, begin: int) -> AsyncIterator[tuple[Death, Played]]:
    """Die at each exchange there is, from the one of number `begin` on."""
    # where several are under way, to die before one is not to die after the one before
    for effect in (True, False) if stage.scenario.leads > 1 else (True,):
        for number in count(begin):
            assert number < MOST, "a life without end"
            death = Death(number, effect)
            played = await stage.play(death)
            if not played.died:
                break
            yield death, played


def then(first: Death, played: Played) -> Iterator[Death]:
    """Choose where the process after the first dies, of all the places there are."""
    places = len(played.lives[-1].places)
    if EVERY_PAIR:
        yield from (Death(number) for number in range(1, places + 1))
        return
    for part in range(PARTS):  # one in each part of its life, another for each first
        begin, end = places * part // PARTS, places * (part + 1) // PARTS
        if begin < end:
            yield Death(1 + begin + first.exchange * STRIDE % (end - begin))


def told(played: Played) -> Iterator[str]:
    """Say what was wrong, and where the processes died."""
    died = [life.places[-1] for life in played.lives if life.dead]
    deaths = ", then ".join(
        f"{life.death} ({place})" for life, place in zip(played.lives, died, strict=False)
    )
    if wrong := played.wrong():
        yield f"killed {deaths}: {'; '.join(wrong)}"
