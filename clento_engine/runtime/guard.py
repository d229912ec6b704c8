"""The provider that this process talks to must be the one that the database is bound to.

Another one knows nothing of what was done, and may know the same accounts by the same ids: asked
what became of an action, it would say "nothing", and people would be written to again.
"""

import asyncio
import logging
import time
from datetime import timedelta
from weakref import WeakKeyDictionary, WeakSet

from clento_engine.domain.failure import Fail, Pause, Retry, Skip, Wait
from clento_engine.provider.port import Provider
from clento_engine.runtime.clock import speed_of
from clento_engine.runtime.errors import ClockSkew, NotAsked, UnknownProvider, WrongProvider
from clento_engine.runtime.workspace import Workspace
from clento_engine.runtime.world import World
from clento_engine.store.database import Conn, Database
from clento_engine.store.installation import binding, stamp, witnesses

CHECKED_S = 1.0  # for how long a process believes what it read, of real time
# After a move no account is looked up before every process has read of it; of real time.
NOTICED = timedelta(seconds=10 * CHECKED_S)
MOST_SKEW = timedelta(seconds=60)  # between our clock and the provider's
COMPARED = 3  # answers that the two are compared by
NOBODY = "nobody"  # an account that no provider has: any answer tells the time
WITNESSES = 5  # accounts asked about, at most, before an unbound database is bound

_checked: WeakKeyDictionary[Database, tuple[float, Workspace]] = WeakKeyDictionary()
_compared: WeakSet[Provider] = WeakSet()

log = logging.getLogger(__name__)


async def require_provider(world: World) -> None:
    """Raise WrongProvider unless the database is bound to the provider of `world`.

    One that is not bound yet is bound to it here, if it has accounts that act and the provider
    knows one of them as the same member; else by the first account that is looked up.  Raises
    UnknownProvider, NotAsked.  Without a workspace nothing is checked.
    """
    workspace = world.workspace
    if workspace is None:
        return
    checked_at, checked = _checked.get(world.database, (0.0, None))
    if checked == workspace and time.monotonic() - checked_at < CHECKED_S:
        return
    async with world.database.connection() as conn:
        bound = await binding(conn)
        accounts = [] if bound is not None else await witnesses(conn, WITNESSES)
    if bound is None:
        if not accounts:
            return
        await _recognise(world, workspace, accounts)
        async with world.database.transaction() as conn:
            await require_stamp(conn, world)
    else:
        _compare(Workspace(bound.dsn, bound.is_simulated), workspace)
    _checked[world.database] = (time.monotonic(), workspace)


async def require_clock(world: World) -> None:
    """Raise ClockSkew when our clock and the provider's are known to differ by over a minute.

    One that was not compared yet is, by answers that cause no LinkedIn traffic.  Times decide when
    something may be sent, and what came before what: one of the two clocks is wrong.
    """
    provider = world.provider
    if world.workspace is not None and provider not in _compared:
        _compared.add(provider)
        if provider.skew is None:  # together: they cost a tick the time of one
            await asyncio.gather(*(provider.account(NOBODY) for _ in range(COMPARED)))
    skew = provider.skew
    if skew is not None and abs(skew) > MOST_SKEW * speed_of(world.clock):
        raise ClockSkew(skew, "the provider's")


async def require_stamp(conn: Conn, world: World) -> None:
    """Bind the database to the provider of `world`, inside the caller's transaction.

    Raises WrongProvider when it is bound to another.
    """
    workspace = world.workspace
    if workspace is None:
        return
    now = world.clock()
    bound = await stamp(conn, workspace.dsn, is_simulated=workspace.is_simulated, now=now)
    _compare(Workspace(bound.dsn, bound.is_simulated), workspace)
    if bound.bound_at == now:
        log.info("database bound", extra={"dsn": bound.dsn, "is_simulated": bound.is_simulated})


def _compare(bound: Workspace, given: Workspace) -> None:
    if bound != given:
        raise WrongProvider(bound, given)


async def _recognise(world: World, workspace: Workspace, accounts: list[tuple[str, str]]) -> None:
    """Raise unless the provider knows one of the accounts as the same member."""
    for unipile_account_id, member_id in accounts:
        answer = await world.provider.account(unipile_account_id)
        match answer:
            case Pause(everyone=False) | Skip() | Fail():
                continue
            case Retry() | Wait() | Pause():
                raise NotAsked(workspace, answer.reason)
            case _ if answer.provider_id == member_id:
                return
    raise UnknownProvider(workspace, accounts[0][0])
