"""The provider that the settings name, for the commands that ask it.

A room of its own because the HTTP client takes as long to import as the rest of a command, and
most commands ask nobody.
"""

import asyncio

from clento_engine.config import Settings, simulated
from clento_engine.interface.cli.failures import Refused
from clento_engine.provider.exchange import CONNECT_TIMEOUT, READ_TIMEOUT, normalise_dsn
from clento_engine.provider.unipile import UnipileClient
from clento_engine.runtime.clock import MOST_SKEW, Clock, speed_of
from clento_engine.runtime.workspace import Workspace


def workspace(settings: Settings, *, is_simulated: bool | None = None) -> Workspace | None:
    """Return the provider that UNIPILE_DSN names; None when it is not set.

    Asks whether it is a simulator, unless that is known.
    """
    if settings.unipile_dsn is None:
        return None
    try:
        dsn = normalise_dsn(settings.unipile_dsn)
    except ValueError as error:
        raise _unreadable(error) from None
    return Workspace(dsn, simulated(settings) if is_simulated is None else is_simulated)


def unipile(settings: Settings, clock: Clock, *, in_real_time: bool = False) -> UnipileClient:
    """Return Unipile's client; on a simulator's faster clock it waits so much less long.

    A lease is measured by the clock and a request's time limit in real seconds: the first must
    outlast the second, or what was given up as lost would still be sent.  `in_real_time`: there is
    no lease.
    """
    speed = 1.0 if in_real_time else max(speed_of(clock), 1.0)
    try:
        return UnipileClient(
            *settings.unipile(),
            connect_timeout=CONNECT_TIMEOUT / speed,
            read_timeout=READ_TIMEOUT / speed,
            pause=lambda seconds: asyncio.sleep(seconds / speed),
            clock=clock,
            tolerance=MOST_SKEW * max(speed_of(clock), 1.0),
        )
    except ValueError as error:
        raise _unreadable(error) from None


def _unreadable(error: ValueError) -> Refused:
    problem, _, fix = str(error).partition("; ")
    return Refused(problem, fix or "see Unipile's dashboard")
