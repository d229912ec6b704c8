"""The system under test: what a storm shakes, and what was done to it."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from clento_engine.interface.chaos.gateway import Gateway
from clento_engine.interface.chaos.processes import Fleet
from clento_engine.interface.chaos.proxy import DatabaseProxy, ProviderProxy
from clento_engine.interface.chaos.stage import Sender, Stage
from clento_engine.runtime.world import World
from clento_engine.simulator.remote import RemoteSimulator
from clento_engine.store.audit import Turned
from clento_engine.store.database import Busy, Database, Lost, Undone
from clento_engine.store.errors import DatabaseUnavailable
from clento_engine.store.turmoil import Troubled, acted_upon

PASSING = (Lost, DatabaseUnavailable, httpx.HTTPError, *Busy, *Undone)
"""Errors that the storm's own doing brings on whoever acts for it, and that pass."""


@dataclass(slots=True)
class Done:
    """What was done to the engine."""

    kills: int = 0
    stalls: int = 0
    db_crashes: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    # a person, by an organisation's name for them, and from when on it is to leave them alone
    suppressed: dict[tuple[UUID, str], datetime] = field(default_factory=dict)
    # from when on campaigns were not to run (it was answered), or might again (it was asked for)
    turns: list[Turned] = field(default_factory=list)
    # leads whose moment a hand changed: no history tells of it until they go on
    moved: set[UUID] = field(default_factory=set)
    # what was to be refused and was not, in words
    allowed: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Shaken:
    """What accidents happen to, and what was done to it: of any storm.

    `stretch`: how many seconds of the loop's time a second is that an accident waits.
    """

    stage: Stage
    world: World  # not through the proxies: the operator's
    simulator: RemoteSimulator
    gateway: Gateway
    rules: Iterator[Mapping[str, Any]]
    chance: random.Random
    stretch: float = 1.0
    done: Done = field(default_factory=Done)
    # the id under which each sender is connected now, where it is not the first
    unipile_ids: dict[UUID, str] = field(default_factory=dict)
    is_by_slug: bool = False

    @property
    def database(self) -> Database:
        """The operator's way to the database."""
        return self.world.database

    async def wait(self, least_s: float, most_s: float) -> None:
        """Let a drawn while pass."""
        await asyncio.sleep(self.chance.uniform(least_s, most_s) * self.stretch)

    def unipile_id(self, sender: Sender) -> str:
        """Return the id under which a sender is connected now."""
        return self.unipile_ids.get(sender.id, sender.unipile_id)

    def new_id(self, sender: Sender) -> str:
        """Return an id that no account has had."""
        return f"{sender.unipile_id}_{self.chance.getrandbits(32):x}"

    def any_organization(self) -> UUID:
        """Choose an organisation, by how many senders it has."""
        return self.chance.choice(self.stage.senders).organization_id

    async def leads(self, most: int, organization_id: UUID | None = None) -> Sequence[Troubled]:
        """Return people with an action in flight, or due next."""
        async with self.database.connection() as conn:
            return await acted_upon(conn, organization_id or self.any_organization(), most)


@dataclass(slots=True, kw_only=True)
class System(Shaken):
    """The storm of real processes: everything that is shaken."""

    elsewhere: str  # another simulator, which has accounts of the same ids
    fleet: Fleet
    provider_proxy: ProviderProxy
    database_proxy: DatabaseProxy
    data_dir: Path  # of the database server
    speed: float
