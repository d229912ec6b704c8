"""One play from the first row to the verdict, in time of its own."""

import asyncio
import gc
import hashlib
import json
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta

import httpx

from clento_engine.interface.chaos import faults, operators
from clento_engine.interface.chaos.findings import Findings
from clento_engine.interface.chaos.gateway import Gateway
from clento_engine.interface.chaos.judge import judged
from clento_engine.interface.chaos.provider_faults import SECRET
from clento_engine.interface.chaos.system import PASSING
from clento_engine.interface.chaos.virtual.accidents import KILLED, Played, happen
from clento_engine.interface.chaos.virtual.case import Case, drawn
from clento_engine.interface.chaos.virtual.loop import VirtualLoop, clocked_by
from clento_engine.interface.chaos.virtual.process import Turns
from clento_engine.interface.chaos.virtual.stage import (
    CHANCES,
    START,
    cast,
    reliability,
    set_stage,
)
from clento_engine.interface.chaos.virtual.tickers import (
    BUDGET,
    COUNT,
    SKEW_S,
    Outside,
    Tickers,
)
from clento_engine.runtime.heartbeat import MENDED, mend
from clento_engine.runtime.outbox import Outbox
from clento_engine.runtime.registration import register
from clento_engine.runtime.work import work
from clento_engine.simulator.accounts import connect_account
from clento_engine.simulator.app import create_app
from clento_engine.simulator.clock import RunningClock
from clento_engine.simulator.ledger import Ledger
from clento_engine.simulator.remote import RemoteSimulator
from clento_engine.simulator.scheduler import run
from clento_engine.simulator.senders import Tier
from clento_engine.simulator.world import World as Simulated
from clento_engine.store.audit import digest_of
from clento_engine.store.campaigns import is_over, resume_campaign
from clento_engine.store.ids import made_from
from clento_engine.store.mortal import watching
from clento_engine.store.replay import replay_walks
from clento_engine.store.turmoil import unsettled

SETTLES_WITHIN = timedelta(days=12)
GRACE = timedelta(seconds=30)  # clocks differ, requests travel
LOOKED_EVERY = timedelta(hours=6)
GATEWAY = "http://gateway"
STRETCHES = (10, 120, 1800)  # seconds of an accident that waits a second in a storm

log = logging.getLogger("clento_engine")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a play.

    `digest`: of the simulator's ledger and of every row of ours.  `counts`: of each accident.
    """

    case: Case
    findings: Findings
    leads: int
    actions: int
    digest: str
    counts: Mapping[str, int]
    seconds: float

    @property
    def is_clean(self) -> bool:
        """Whether every promise held."""
        return self.findings.is_clean

    @property
    def left_to_people(self) -> int:
        """How many leads, and actions of leads, only a person can tell of."""
        return self.findings.held + self.findings.unresolved


def play(case: Case, url: str) -> Verdict:
    """Play a case on an empty database of our schema at `url`, which nobody else uses."""
    began = time.perf_counter()
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)  # noqa: S101  it was made so
        before = random.getstate()
        gc.disable()  # what it finds ends at moments that nothing tells
        random.seed(f"{case.seed}/waits")  # of retries
        try:
            with clocked_by(loop), made_from(drawn(case.seed, "ids")):
                findings, leads, actions, digest, counts = runner.run(_play(case, url))
        finally:
            gc.enable()
            random.setstate(before)
    seconds = time.perf_counter() - began
    return Verdict(case, findings, leads, actions, digest, counts, seconds)


async def _play(case: Case, url: str) -> tuple[Findings, int, int, str, Mapping[str, int]]:
    async with _opened(case, url) as (outside, simulated, played, tickers):
        with _overheard(case) as overheard:
            async with asyncio.TaskGroup() as group:
                living = [group.create_task(run(simulated, 1.0))]
                living += [group.create_task(tickers.keep(number)) for number in range(COUNT)]
                await _rage(case, played)
                await _settle(case, played, tickers)
                for task in living:
                    task.cancel()
            left = await _last(played, tickers)
        findings = await _judged(played, simulated.ledger, left)
        for line in [*tickers.defects, *overheard]:
            findings.add("disagreements", line)
        counts = Counter(played.done.faults)
        counts.update(outside.counts)
        counts.update(played.gateway.done)
        counts[KILLED] += tickers.killed
        for label, count in simulated.faults.struck.items():
            counts[faults.kind_of(label)] += count
        ledger = simulated.ledger
        async with played.database.connection() as conn:
            rows = await digest_of(conn)
        seen = [json.dumps(entry.row()) for entry in ledger.entries]
        digest = hashlib.sha256("\n".join([rows, *seen]).encode()).hexdigest()
    return findings, played.stage.leads, len(ledger.entries), digest, counts


@asynccontextmanager
async def _opened(
    case: Case, url: str
) -> AsyncIterator[tuple[Outside, Simulated, Played, Tickers]]:
    loop = asyncio.get_running_loop()
    clock = RunningClock(START, 1.0, loop.time)
    chance = drawn(case.seed, "gateway")
    gateway = Gateway(range(COUNT), chance, stretch=chance.choice(STRETCHES))
    door = httpx.AsyncClient(transport=httpx.ASGITransport(gateway.app()))

    async def deliver(to: str, headers: Mapping[str, str], body: bytes) -> int | None:
        try:
            return (await door.post(to, headers=dict(headers), content=body)).status_code
        except httpx.HTTPError:
            return None

    simulated = Simulated(
        seed=case.seed,
        clock=clock,
        chances=CHANCES,
        reliability=reliability(case),
        deliver=deliver,
    )
    for account_id, name, tier in cast(case):
        connect_account(simulated, name, Tier(tier), account_id)
    provider = httpx.ASGITransport(create_app(simulated))
    async with watching(url) as witness:
        turns = Turns(drawn(case.seed, "turns"))
        notices = httpx.ASGITransport(gateway.app())
        outside = Outside(url, turns, witness, clock, provider, notices)
        tickers = Tickers(outside, case.seed, SKEW_S if "clocks" in case.families else 0.0)
        gateway.client = httpx.AsyncClient(transport=_Ports(tickers))
        if "webhooks" not in case.families:
            gateway.calm(gateway.ports)
        remote = RemoteSimulator("http://simulator", transport=provider)
        operator = outside.process(drawn(case.seed, "operator"))
        world = outside.world(operator, clock, case.seed)
        await register(world.provider, GATEWAY, SECRET)
        stage = await set_stage(case, world.database, remote, f"{GATEWAY}/notices")
        played = Played(
            stage=stage,
            world=world,
            simulator=remote,
            gateway=gateway,
            rules=faults.rules(0, drawn(case.seed, "rules")),
            chance=drawn(case.seed, "played"),
            stretch=drawn(case.seed, "stretch").choice(STRETCHES),
            tickers=tickers,
        )
        try:
            yield outside, simulated, played, tickers
        finally:
            for conn in [*outside.stock, *outside.operators]:
                await conn.close()


class _Ports(httpx.AsyncBaseTransport):
    """Takes requests to the tickers that listen."""

    def __init__(self, tickers: Tickers) -> None:
        self._tickers = tickers

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._tickers.receive(request)


async def _rage(case: Case, played: Played) -> None:
    """Let everything happen until the days are over, or all campaigns."""
    raging = asyncio.create_task(happen(case, played))
    while not raging.done() and not await _is_over(played):
        await asyncio.wait({raging}, timeout=4 * LOOKED_EVERY.total_seconds())
    raging.cancel()
    await asyncio.wait({raging})
    if not raging.cancelled():
        raging.result()


async def _is_over(played: Played) -> bool:
    async with played.database.connection() as conn:
        over = [await is_over(conn, of.organization_id, of.id) for of in played.stage.campaigns]
    return all(over)


async def _settle(case: Case, played: Played, tickers: Tickers) -> None:
    """Let nothing happen any more, and the dust settle: every lead ends, is held or parked."""
    loop = asyncio.get_running_loop()
    tickers.calm()
    played.gateway.calm(played.gateway.ports)
    await played.simulator.clear_faults()
    await played.simulator.set_reliability(stamps_behind_s=0)
    for campaign in played.stage.campaigns:
        await operators.change(played, resume_campaign, campaign, operators.RESUMED)
    until = (case.lasts + SETTLES_WITHIN).total_seconds()
    while loop.time() < until and await _left(played):
        await _put_right(played)
        await asyncio.sleep(LOOKED_EVERY.total_seconds())


async def _put_right(played: Played) -> None:
    now = played.world.clock()
    async with played.database.connection() as conn:
        for organization_id in played.stage.organizations:
            senders = len(played.stage.senders)
            await operators.put_right(conn, organization_id, most=senders, now=now)


async def _left(played: Played) -> int:
    async with played.database.connection() as conn:
        return sum([await unsettled(conn, each) for each in played.stage.organizations])


async def _last(played: Played, tickers: Tickers) -> int:
    """Do what is due still, by a ticker that nothing happens to; how many leads are at no end."""
    for process in tickers.living():
        process.die()
        await process.bury(process.witness, [])
        process.turns.go_on()
    client = httpx.AsyncClient(transport=httpx.ASGITransport(played.gateway.app()))
    await mend(played.world)
    await work(played.world, Outbox(client), BUDGET)
    return await _left(played)


async def _judged(played: Played, ledger: Ledger, left: int) -> Findings:
    findings = await judged(
        played.database,
        ledger,
        now=played.world.clock(),
        grace=GRACE,
        suppressed=played.done.suppressed,
        turns=played.done.turns,
    )
    for line in played.done.allowed:
        findings.add("disagreements", line)
    if left:
        findings.add("lost", f"{left} leads had come to no end {SETTLES_WITHIN} after the storm")
    async with played.database.connection() as conn:
        for organization_id in played.stage.organizations:
            for each in (await replay_walks(conn, organization_id)).differing:
                of_hand = each.difference.event is None and each.difference.field == "next_run_at"
                if not (of_hand and each.lead_id in played.done.moved):
                    findings.add("disagreements", f"{each.campaign} {each.lead}: {each.difference}")
    return findings


@contextmanager
def _overheard(case: Case) -> Iterator[list[str]]:
    """Hear what the engine itself calls an error: accidents explain none.

    A lane that had to be mended is one, where nobody edited any by hand.
    """
    lines: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error = record.exc_info[1] if record.exc_info else None
            is_mended = record.msg == MENDED and "hands" not in case.families
            if is_mended or (record.levelno >= logging.ERROR and not isinstance(error, PASSING)):
                lines.append(f"the engine says: {record.getMessage()} {error or ''}")

    ear = Ear()
    before, log.propagate = (log.level, log.propagate), False
    log.setLevel(logging.WARNING)
    log.addHandler(ear)
    try:
        yield lines
    finally:
        log.removeHandler(ear)
        log.setLevel(before[0])
        log.propagate = before[1]
