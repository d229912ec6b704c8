"""Only Unipile's own words judge: gateways, lost accounts, and runs of refusals."""

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from play import Play
from test_accidents import MESSAGE, PEOPLE, START, line, play_of

from clento_engine.simulator.faults import FaultKind, Rule
from clento_engine.simulator.ledger import Effect
from clento_engine.store.database import Database

MANY = [f"person-{number}" for number in range(40)]
INVITE = line(("send_connection_request", {"customMessage": "Hello {{first_name}}"}))
VISIT = line(("profile_visit", {}))
guard = pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])


def gateway(play: Play, status: int, *, until: timedelta | None = None, route: str = "*") -> None:
    """Have a gateway answer for Unipile, for so long from the start."""
    play.simulated.faults.set([Rule(FaultKind.GATEWAY_PAGE, route, status=status)])
    if until is not None:
        play.simulated.agenda.plan(START + until, play.simulated.faults.clear)


def asked(play: Play, since: Counter[tuple[str, int]] | None = None) -> int:
    """Count the requests that reached the simulator, or a gateway before it."""
    counts = play.simulated.requests.counts
    return sum(counts.values()) - sum((since or Counter()).values())


async def outcomes(play: Play) -> Counter[str | None]:
    return Counter(row["outcome"] for row in (await play.leads()).values())


@pytest.mark.parametrize("status", [403, 404, 401, 402, 502, 200])
@pytest.mark.parametrize("document", [INVITE, MESSAGE], ids=["invitation", "message"])
async def test_nobody_ends_by_a_gateway_s_page(
    database: Database, document: Mapping[str, Any], status: int
) -> None:
    play = await play_of(database, document)
    gateway(play, status, until=timedelta(minutes=1))
    await play.run(days=0.0005)
    assert await outcomes(play) == {None: len(PEOPLE)}
    [account] = await play.rows("select status from connected_accounts")
    assert account["status"] == "active"

    await play.run(days=20)
    effect = Effect.MESSAGE if document is MESSAGE else Effect.INVITATION
    reached = Counter(entry.slug for entry in play.entries(effect))
    assert reached == dict.fromkeys(PEOPLE if document is MESSAGE else reached, 1)
