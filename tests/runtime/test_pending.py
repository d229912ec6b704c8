"""Pending invitations are counted by the sweep: warned of at 400, and none is sent from 500 on."""

from datetime import timedelta

import pytest
from builders import Conn
from test_sweep import MINUTE, Scene, set_scene

from clento_engine.domain import execution as ex
from clento_engine.domain.failure import Scope
from clento_engine.domain.limits import MOST_PENDING, PENDING_WARNED
from clento_engine.domain.operation import Budget, Operation
from clento_engine.provider.port import Invitation as Pending
from clento_engine.provider.port import Page
from clento_engine.runtime import sweep as sweeping
from clento_engine.runtime.sweep import COUNTED_AGAIN, LEAST, ROUND, sweep
from clento_engine.simulator.faults import FaultKind
from clento_engine.simulator.senders import Invitation
from clento_engine.store import troubles
from clento_engine.store.database import Database
from clento_engine.store.pending import FULL, counted, crowded

PAGES = timedelta(minutes=15)  # long enough for five pages, one list each 75 seconds at most


@pytest.fixture
async def scene(conn: Conn, database: Database) -> Scene:
    """Return a sender whose first lead is to be invited, and whose lists were never read."""
    scene = await set_scene(conn, database, inviting=True)
    await scene.stage.stand(Operation.SEND_CONNECTION_REQUEST, at=scene.clock())
    return scene


def fill(scene: Scene, most: int) -> None:
    """Let so many invitations of the sender's be pending."""
    pending = scene.sender.member.pending
    pending.clear()
    for number in range(most):
        id_ = f"{7_000_000 + number}"
        person = scene.simulated.person(f"stranger-{number}")
        pending[id_] = Invitation(id=id_, person=person, note=None, at=scene.shared())


async def count(scene: Scene) -> list[int]:
    """Sweep until a round is over; return what was counted."""
    end = scene.clock() + PAGES
    while scene.clock() < end:
        await sweep(scene.world)
        scene.wait(MINUTE)
    rows = await scene.stage.rows("select counted from pending_invitations")
    return [row["counted"] for row in rows]


async def held_back(scene: Scene) -> tuple[object, object]:
    rows = await scene.stage.rows(
        "select blocked_until, blocked_reason from rate_limits"
        " where account_id = %s and operation = 'invitation'",
        scene.stage.account,
    )
    return rows[0]["blocked_until"], rows[0]["blocked_reason"]


async def lists_used(scene: Scene) -> int:
    used = await scene.stage.value(
        "select coalesce(sum(used), 0) from rate_counters where operation = %s", Budget.LIST_READ
    )
    return int(used)


async def invited(scene: Scene) -> int:
    """Claim what is due; return how many are invitations."""
    scene.stage.now = scene.clock()
    taken = await scene.stage.claim()
    return sum(item.run.operation is Operation.SEND_CONNECTION_REQUEST for item in taken)


@pytest.mark.parametrize(
    ("pending", "expected", "pages"), [(0, 0, 1), (100, 100, 1), (399, 399, 4)]
)
async def test_invitations_are_counted_page_by_page_each_for_a_unit(
    scene: Scene, pending: int, expected: int, pages: int
) -> None:
    fill(scene, pending)
    assert await count(scene) == [expected]
    assert await lists_used(scene) == 1 + pages  # the relations, and the pages
    assert await held_back(scene) == (None, None)
    assert ROUND.shortest - PAGES <= await scene.gap() <= ROUND.longest
    assert await crowded(scene.stage.conn, scene.stage.organization_id) == []


async def test_with_five_hundred_pending_no_invitation_is_sent(scene: Scene) -> None:
    fill(scene, 613)
    assert await count(scene) == [MOST_PENDING]  # no further than it matters
    assert await lists_used(scene) == 1 + 5
    until, reason = await held_back(scene)
    assert reason == FULL
    assert until is not None
    assert await invited(scene) == 0
    found = await crowded(scene.stage.conn, scene.stage.organization_id)
    assert [(each.account_id, each.pending) for each in found] == [
        (scene.stage.account, MOST_PENDING)
    ]


async def test_without_the_count_an_account_with_five_hundred_pending_invites(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard switched off: what the test before holds is not held by chance."""

    async def none(*_: object) -> None: ...

    monkeypatch.setattr(sweeping, "pending", none)
    fill(scene, 613)
    assert await count(scene) == []
    assert await invited(scene) == 1


async def test_invitations_go_on_when_the_next_count_finds_room(scene: Scene) -> None:
    fill(scene, MOST_PENDING)
    await count(scene)
    assert await invited(scene) == 0  # its lane sleeps until the block would be over
    fill(scene, 90)
    scene.wait(ROUND.longest)  # once warned of, each round counts
    assert await count(scene) == [90]
    assert await held_back(scene) == (None, None)
    assert await invited(scene) == 1


async def test_a_block_of_the_provider_is_not_lifted_by_a_count(scene: Scene) -> None:
    until = scene.clock() + timedelta(days=1)
    await scene.stage.conn.execute(
        "update rate_limits set blocked_until = %s, blocked_reason = 'throttled'"
        " where operation = 'invitation'",
        (until,),
    )
    fill(scene, 3)
    await count(scene)
    assert await held_back(scene) == (until, "throttled")


@pytest.mark.parametrize("is_full_first", [True, False])
async def test_a_count_that_finds_room_lifts_no_word_of_the_provider(
    scene: Scene, is_full_first: bool
) -> None:
    account = scene.stage.organization_id, scene.stage.account
    weekly = ex.Throttle(Scope.BUDGET, "the weekly limit", timedelta(days=7), timedelta(days=7))
    conn, budget = scene.stage.conn, Budget.INVITATION.value
    fill(scene, MOST_PENDING)
    if is_full_first:  # an invitation that was under way hears it
        await count(scene)
    until = scene.clock() + timedelta(days=7)
    await troubles._hold_back(conn, account, budget, weekly, scene.clock())
    if not is_full_first:
        await count(scene)
    assert await held_back(scene) == (until, "the weekly limit")
    fill(scene, 90)
    scene.wait(ROUND.longest)
    assert await count(scene) == [90]
    assert await held_back(scene) == (until, "the weekly limit")


async def test_a_count_that_comes_late_changes_nothing(scene: Scene) -> None:
    fill(scene, MOST_PENDING)
    await count(scene)
    before = await held_back(scene)
    old = scene.clock() - timedelta(hours=1)
    await counted(scene.stage.conn, scene.stage.organization_id, scene.stage.account, 3, old)
    rows = await scene.stage.rows("select counted from pending_invitations")
    assert rows == [{"counted": MOST_PENDING}]
    assert await held_back(scene) == before


async def test_an_empty_page_that_names_another_is_no_end(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def sent(_account: str, *, cursor: str | None = None) -> Page[Pending]:
        return Page((), "onward") if cursor else Page((Pending("1", None, None),), "next")

    monkeypatch.setattr(scene.world.provider, "sent_invitations", sent)
    assert await count(scene) == [None]
    assert "no end" in (await scene.account())["sweep_failure"]


async def test_a_warning_comes_at_four_hundred(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    fill(scene, PENDING_WARNED)
    assert await count(scene) == [PENDING_WARNED]
    assert "many invitations are pending" in caplog.text
    assert await held_back(scene) == (None, None)
    found = await crowded(scene.stage.conn, scene.stage.organization_id)
    assert [each.pending for each in found] == [PENDING_WARNED]
    assert await invited(scene) == 1


async def test_few_are_counted_once_a_day(scene: Scene) -> None:
    fill(scene, 10)
    await count(scene)
    fill(scene, 20)
    scene.wait(ROUND.longest)
    assert ROUND.longest + PAGES < COUNTED_AGAIN
    assert await count(scene) == [10]
    scene.wait(COUNTED_AGAIN)
    assert await count(scene) == [20]


async def test_who_invites_nobody_is_not_counted(scene: Scene) -> None:
    await scene.stage.conn.execute("delete from lanes where operation = 'send_connection_request'")
    fill(scene, 613)
    assert await count(scene) == []
    assert await lists_used(scene) == 1


async def test_a_page_of_any_length_is_a_count(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than a column holds would break the sweep off, each time again."""
    many = tuple(Pending(f"{number}", None, None) for number in range(40_000))

    async def sent(_account: str, *, cursor: str | None = None) -> Page[Pending]:
        return Page(many, cursor)

    monkeypatch.setattr(scene.world.provider, "sent_invitations", sent)
    assert await count(scene) == [MOST_PENDING]
    assert (await scene.account())["sweep_failure"] is None


async def test_a_count_that_died_goes_on_where_it_was(scene: Scene) -> None:
    fill(scene, 350)
    await sweep(scene.world)
    for _ in range(3):
        scene.wait(2 * MINUTE)
        await sweep(scene.world)
    assert await lists_used(scene) == 1 + 3
    rows = await scene.stage.rows("select so_far, counted from pending_invitations")
    assert rows == [{"so_far": 300, "counted": None}]
    scene.wait(timedelta(minutes=30))  # the process had died
    assert await count(scene) == [350]
    assert await lists_used(scene) == 1 + 4


async def test_a_list_that_goes_in_circles_fills_no_account(scene: Scene) -> None:
    fill(scene, 150)
    scene.fail(FaultKind.LOOPING_CURSOR, "GET /users/invite/sent")
    assert await count(scene) == [None]
    assert await held_back(scene) == (None, None)
    assert (await scene.account())["sweep_failure"] is not None
    assert await lists_used(scene) == 1 + 2  # and hours later again
    assert await scene.gap() > LEAST - PAGES
