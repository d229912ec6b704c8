"""What most commands open: the database, the organisation they are about, the clock."""

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import click

from clento_engine.config import Settings, clock_for, read_settings, set_up_logging
from clento_engine.interface.cli.failures import Refused
from clento_engine.interface.cli.output import note
from clento_engine.loop import new_runner
from clento_engine.runtime.clock import Clock, system_clock
from clento_engine.runtime.errors import WrongProvider
from clento_engine.runtime.workspace import Workspace
from clento_engine.runtime.world import World
from clento_engine.store.accounts import organizations
from clento_engine.store.database import (
    Conn,
    Database,
    require_storage,
)
from clento_engine.store.installation import binding
from clento_engine.store.schema import require_schema, schema_revision
from clento_engine.store.server import embedded_server
from clento_engine.store.stamp import stamp_new

TERMINATED = 128 + signal.SIGTERM  # the status that shells give to what a signal ended
PATIENCE = timedelta(seconds=10)  # with a database that is down, while a person waits

T = TypeVar("T")
Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Here:
    """Where a command works.  `world`: to ask the provider by; None where none is set."""

    conn: Conn
    organization_id: UUID
    clock: Clock
    world: World | None = None


def json_option(command: Decorated) -> Decorated:
    """Add `--json`."""
    option = click.option(
        "--json", "as_json", is_flag=True, help="Print JSON, for machines; errors as well."
    )
    return option(command)


def org_option(command: Decorated) -> Decorated:
    """Add `--org`."""
    option = click.option(
        "--org",
        metavar="NAME",
        help="The organisation (or CLENTO_ORG); may be left out when there is one only.",
    )
    return option(command)


def within(org: str | None, work: Callable[[Here], Awaitable[T]], *, asking: bool = False) -> T:
    """Run `work` with a connection, in the organisation that `org` or the settings name.

    `asking`: it may ask the provider, if UNIPILE_DSN is set.
    """
    settings = read_settings()

    async def worked() -> T:
        async with AsyncExitStack() as opening:
            database = await opening.enter_async_context(opened(settings))
            conn = await opening.enter_async_context(database.connection())
            organization_id = await _organization(conn, org or settings.organization)
            clock = clock_for(settings)
            world = None
            if asking and settings.unipile_dsn is not None:
                from clento_engine.interface.cli import asked  # noqa: PLC0415 - see its docstring

                # no lease is under way: a question may take its time, however fast the clock runs
                client = asked.unipile(settings, clock, in_real_time=True)
                provider = await opening.enter_async_context(client)
                place = asked.workspace(settings, is_simulated=clock is not system_clock)
                world = World(database, provider, clock, workspace=place)
            return await work(Here(conn, organization_id, clock, world))

    return run(worked(), settings)


def run(work: Coroutine[Any, Any, T], settings: Settings, *, level: int = logging.WARNING) -> T:
    """Run a coroutine to its end, on uvloop where there is one; log lines go to stderr.

    SIGTERM ends it as Ctrl-C does: what was opened is closed, no server or process is left behind.
    """
    set_up_logging(settings, sys.stderr, level=level)
    with new_runner() as runner:
        try:
            return runner.run(_until_told(work))
        except asyncio.CancelledError:
            sys.exit(TERMINATED)


async def _until_told(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  a coroutine runs in one
    with suppress(NotImplementedError, RuntimeError, ValueError):  # where signals can be heard
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


@asynccontextmanager
async def opened(
    settings: Settings, *, patience: timedelta | None = None, of_any_provider: bool = False
) -> AsyncIterator[Database]:
    """Open the database that the settings name, with the schema that this version needs.

    Our own embedded server is started if need be, and an empty database in it is set up: there is
    nothing in it that an upgrade could touch.  Raises WrongProvider where UNIPILE_DSN names a
    simulator and the database is Unipile's, or the other way round: the clock would be the other's;
    and UnsafeStorage when the server may forget what it commits, unless it is trusted.
    """
    url = database_url(settings)
    async with Database(
        url,
        schema=settings.schema,
        pooler=settings.pooler,
        patience=patience or PATIENCE,
    ) as database:
        async with database.connection() as conn:
            if settings.database_url is None and await schema_revision(conn) is None:
                await asyncio.to_thread(_set_up, url, settings)
            await require_schema(conn)
            await stamp_new(conn)
            if not of_any_provider:
                await _require_kind(conn, settings)
            bound = await binding(conn)
            await require_storage(
                conn,
                is_trusted=settings.trust_storage,
                is_simulated=bound is not None and bound.is_simulated,
            )
        yield database


async def _require_kind(conn: Conn, settings: Settings) -> None:
    if settings.unipile_dsn is None or (bound := await binding(conn)) is None:
        return
    from clento_engine.interface.cli.asked import workspace  # noqa: PLC0415 - see its docstring

    given = await asyncio.to_thread(workspace, settings)
    if given is not None and given.is_simulated != bound.is_simulated:
        raise WrongProvider(Workspace(bound.dsn, bound.is_simulated), given)


def database_url(settings: Settings) -> str:
    """Return where the database is, starting the embedded server when none is named."""
    if settings.database_url is not None:
        return settings.database_url
    return embedded_server(settings.data_dir).url


def _set_up(url: str, settings: Settings) -> None:
    from clento_engine.store import migrate  # noqa: PLC0415 - Alembic is slow to import, once will do

    migrate.upgrade(url, schema=settings.schema, pooler=settings.pooler)
    note(f"a new database was set up in {settings.data_dir}")


async def _organization(conn: Conn, name: str | None) -> UUID:
    """Return the organisation of that name or id; without a name, the only one there is."""
    known = await organizations(conn)
    if not known:
        raise Refused("there is no organisation yet", "run `clento org create NAME`")
    if name is None:
        if len(known) == 1:
            return known[0][0]
        names = ", ".join(each for _, each in known)
        raise Refused("there are several organisations", f"name one with --org: {names}")
    for organization_id, each in known:
        if name in (each, str(organization_id)):
            return organization_id
    raise Refused(f"there is no organisation {name!r}", "`clento org list` shows what there is")
