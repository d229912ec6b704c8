"""One LinkedIn member connected twice keeps one member's limits: judged by what really landed.

Each accident is played twice: as it is guarded, and with the schema's guard taken away, where it
must happen.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from uuid import UUID

import httpx
import pytest
from builders import AT_ONCE, DAY, NOW, VISIT, Conn, add_sender, set_stage

from clento_engine.domain.account import Tier
from clento_engine.domain.limits import Spacing
from clento_engine.provider.unipile import UnipileClient
from clento_engine.runtime.clock import VirtualClock
from clento_engine.runtime.drive import drive
from clento_engine.runtime.outbox import Outbox
from clento_engine.runtime.world import World
from clento_engine.simulator.accounts import connect_account
from clento_engine.simulator.app import create_app
from clento_engine.simulator.clock import DrivenClock
from clento_engine.simulator.ledger import Effect
from clento_engine.simulator.people import Chances
from clento_engine.simulator.world import World as Simulated
from clento_engine.store.accounts import NOT_LOOKED_UP, add_account, create_organization
from clento_engine.store.database import Database
from clento_engine.store.lanes import set_lanes

PLAIN = Chances(missing=0, locked=0, connected=0, accepts=0, replies=0, changed_slug=0)
CAP = 12  # visits a day
GAP = Spacing(timedelta(minutes=3), timedelta(minutes=6))
LEADS = 30
# what makes one member one budget: without it two rows may act for one
GUARDS = """
alter table connected_accounts drop constraint connected_accounts_provider_accounts_fkey;
alter table connected_accounts drop constraint connected_accounts_member_check
"""


async def connected(
    conn: Conn, organization_id: UUID, unipile_id: str, *, member: str | None, guarded: bool
) -> UUID:
    """Connect a sender, and let it visit many people; without a member it is to be looked up."""
    name = unipile_id.removeprefix("unipile-")
    if member is not None:
        account_id = await add_sender(conn, organization_id, name, member=member, spacing=GAP)
    else:
        account_id = await add_account(
            conn,
            organization_id,
            unipile_account_id=unipile_id,
            name=name,
            tier=Tier.SALES_NAVIGATOR,
            time_zone="UTC",
            warmup_days=0,
            spacing=GAP,
        )
    await conn.execute(
        "update rate_limits set per_hour = null, per_day = %s, per_week = null, per_month = null,"
        " spacing_shortest = '0', spacing_longest = '0' where account_id = %s",
        (CAP, account_id),
    )
    await set_stage(
        conn,
        VISIT,
        leads=LEADS,
        senders=[account_id],
        organization_id=organization_id,
        name=f"campaign of {name} of {organization_id}",
        pace=AT_ONCE,
    )
    if not guarded:
        await conn.execute(
            "update connected_accounts set status = 'active', paused_by = null,"
            " pause_reason = null, provider_id = 'ACoAAlea' where id = %s",
            (account_id,),
        )
        await set_lanes(conn, organization_id, account_id=account_id)
    return account_id


async def a_day(database: Database, simulated: Simulated, shared: DrivenClock) -> list[datetime]:
    """Let a day pass; return when people were visited, in order."""
    clock = VirtualClock(NOW)
    transport = httpx.ASGITransport(create_app(simulated))
    provider = UnipileClient("http://simulator", "token", transport=transport)
    world = World(database, provider, clock)

    async def advance(to: datetime) -> datetime:
        shared.move(to)
        return to

    async def never() -> bool:
        return False

    async with httpx.AsyncClient() as client:
        until = NOW + DAY - timedelta(minutes=1)
        await drive(world, Outbox(client), clock, advance, until=until, is_over=never)
    return [entry.at for entry in simulated.ledger.entries if entry.operation is Effect.VISIT]


def simulated_with(shared: DrivenClock, unipile_ids: Sequence[str]) -> Simulated:
    """Return a LinkedIn in which one member is connected under each of these ids."""
    simulated = Simulated(clock=shared, chances=PLAIN)
    for unipile_id in unipile_ids:
        connect_account(simulated, id_=unipile_id, member_id="ACoAAlea")
    return simulated


def gaps(times: Sequence[datetime]) -> list[timedelta]:
    return [after - before for before, after in pairwise(times)]


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "control"])
async def test_one_unipile_account_in_two_organisations_acts_for_one(
    conn: Conn, database: Database, guarded: bool
) -> None:
    shared = DrivenClock(NOW)
    simulated = simulated_with(shared, ["unipile-lea"])
    if not guarded:
        await conn.execute(GUARDS)
    for name in ("Acme", "Beta"):
        organization_id = await create_organization(conn, name)
        await connected(conn, organization_id, "unipile-lea", member=None, guarded=guarded)
    visits = await a_day(database, simulated, shared)
    if guarded:
        assert CAP / 2 < len(visits) <= CAP
        assert min(gaps(visits)) >= GAP.shortest
        cursor = await conn.execute("select status, pause_reason from connected_accounts")
        states = sorted(await cursor.fetchall())
        assert states[0] == ("active", None)
        assert states[1][0] == "paused"
        assert NOT_LOOKED_UP not in str(states[1][1])
    else:
        assert len(visits) > CAP * 3 / 2
        assert min(gaps(visits)) < GAP.shortest


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "control"])
@pytest.mark.parametrize("same", [True, False], ids=["one organisation", "two organisations"])
async def test_one_member_under_two_unipile_ids_keeps_one_members_limits(
    conn: Conn, database: Database, same: bool, guarded: bool
) -> None:
    shared = DrivenClock(NOW)
    ids = ["unipile-lea", "unipile-lea-again"]
    simulated = simulated_with(shared, ids)
    if not guarded:
        await conn.execute(GUARDS)
    ours = await create_organization(conn, "Acme")
    theirs = ours if same else await create_organization(conn, "Beta")
    first = await connected(conn, ours, ids[0], member="ACoAAlea", guarded=True)
    await connected(conn, theirs, ids[1], member=None, guarded=guarded)
    visits = await a_day(database, simulated, shared)
    if not guarded:
        assert len(visits) > CAP * 3 / 2
        assert min(gaps(visits)) < GAP.shortest
        return
    assert CAP / 2 < len(visits) <= CAP
    assert min(gaps(visits)) >= GAP.shortest
    cursor = await conn.execute(
        "select id, unipile_account_id from connected_accounts where status = 'active'"
    )
    # one organisation's goes on under the newer id, with both campaigns; another's is refused
    assert await cursor.fetchall() == [(first, ids[1] if same else ids[0])]
    cursor = await conn.execute(
        "select count(*) filter (where active), count(*) from"
        " (select distinct campaign_id, active from lanes where account_id = %s) l",
        (first,),
    )
    assert await cursor.fetchall() == [(2, 2) if same else (1, 1)]
