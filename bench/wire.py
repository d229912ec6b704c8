"""Measured in processes of their own: the engine over HTTP, and its client without the engine."""

import asyncio
import time
from datetime import timedelta
from typing import Any

import httpx

from bench.drain import drained, on_loop
from bench.peers.runner import peak_rss_mb
from bench.population import NOW
from clento_engine.provider.port import Profile
from clento_engine.provider.unipile import UnipileClient
from clento_engine.runtime.clock import SpeedClock
from clento_engine.runtime.world import World
from clento_engine.simulator.remote import RemoteSimulator
from clento_engine.simulator.senders import Tier
from clento_engine.store.database import Database

TOKEN = "bench"  # noqa: S105  the simulator takes any
OWN_TRANSPORT = "httpx"  # the name of the client whose transport is httpx's own


def client(simulator: str, transport: str) -> UnipileClient:
    """Return the product's client, or the same on httpx's own transport."""
    if transport != OWN_TRANSPORT:
        return UnipileClient(simulator, TOKEN)
    unlimited = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    return UnipileClient(simulator, TOKEN, transport=httpx.AsyncHTTPTransport(limits=unlimited))


def over_http(url: str, simulator: str, slots: int, transport: str) -> dict[str, Any]:
    """Take every step that is due, each by a request to the simulator."""
    return on_loop(_over_http(url, simulator, slots, transport))


async def _over_http(url: str, simulator: str, slots: int, transport: str) -> dict[str, Any]:
    async with (
        Database(url, max_connections=4) as database,
        client(simulator, transport) as provider,
    ):
        return await drained(World(database, provider, SpeedClock(NOW, 1.0), slots=slots))


def bare(simulator: str, requests: int, at_once: int, senders: int) -> dict[str, Any]:
    """Send the same requests with the same client, as many at once, and do nothing else."""
    return on_loop(_bare(simulator, requests, at_once, senders))


async def _bare(simulator: str, requests: int, at_once: int, senders: int) -> dict[str, Any]:
    rest = iter(range(1, requests + 1))
    done = 0

    async def one_after_another(provider: UnipileClient) -> None:
        nonlocal done
        for number in rest:
            found = await provider.visit(f"bench_{number % senders}", f"person-{number}")
            done += isinstance(found, Profile)

    async with client(simulator, "") as provider:
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(one_after_another(provider) for _ in range(at_once)))
        return {
            "steps": requests,
            "done": done,
            "seconds": time.perf_counter() - began,
            "cpu_s": time.process_time() - cpu,
            "rss_mb": peak_rss_mb(),
        }


def add_senders(simulator: str, senders: int) -> dict[str, Any]:
    """Let the simulator know the accounts of a population, and run by the same clock."""
    return on_loop(_add_senders(simulator, senders))


async def _add_senders(simulator: str, senders: int) -> dict[str, Any]:
    async with RemoteSimulator(simulator) as remote:
        for number in range(senders):
            await remote.add_account(f"bench_{number}", f"Sender {number}", Tier.SALES_NAVIGATOR)
        late = abs(await remote.now() - NOW)
    if late > timedelta(minutes=5):
        raise RuntimeError(f"the simulator's clock is {late} away")
    return {}
