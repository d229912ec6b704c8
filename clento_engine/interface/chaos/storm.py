"""The storm itself: what happens to the engine, at moments drawn from a seed."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from clento_engine.interface.chaos import (
    engine_faults,
    member_faults,
    operators,
    people,
    provider_faults,
)
from clento_engine.interface.chaos.proxy import DatabaseCut, ProviderCut
from clento_engine.interface.chaos.system import PASSING, System
from clento_engine.store.campaigns import resume_campaign
from clento_engine.store.turmoil import HAND_EDITS

TEN_MINUTES_S = 600.0
FAMILIES = (
    "tickers",
    "clocks",
    "database",
    "provider",
    "answers",
    "webhooks",
    "people",
    "operators",
    "members",
    "stores",
    "elsewhere",
    "hands",
)
ALWAYS = "always"  # the operator who puts right what the provider stopped

Happening = Callable[[System], Awaitable[None]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Storm:
    """What is shaken, and by which families of faults."""

    system: System
    families: frozenset[str]

    async def rage(self, until: Callable[[], bool]) -> None:
        """Do all of it, each at its own pace, until told; then leave nothing stopped."""
        tasks = [
            asyncio.create_task(self._now_and_then(what, count, until))
            for family, what, count in _kinds()
            if family in self.families | {ALWAYS}
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for ticker in self.system.fleet.targets:
                engine_faults.signal_ticker(ticker, signal.SIGCONT)
            self.system.provider_proxy.disarm()
            self.system.database_proxy.disarm()
            await self.system.simulator.set_reliability(stamps_behind_s=0)
        for campaign in self.system.stage.campaigns:  # whose pause was to end a moment later
            await operators.change(self.system, resume_campaign, campaign, operators.RESUMED)

    async def _now_and_then(self, what: Happening, count: float, until: Callable[[], bool]) -> None:
        gap = TEN_MINUTES_S / count
        loop = asyncio.get_running_loop()
        due = loop.time() + gap * self.system.chance.uniform(0, 1)
        while not until():
            wait = due - loop.time()
            if wait > 0:
                await asyncio.sleep(min(wait, 0.5))
                continue
            due += gap * self.system.chance.uniform(0.5, 1.5)
            try:
                await what(self.system)
            except PASSING as error:
                log.info("the storm met itself", extra={"reason": str(error)})


def _kinds() -> Sequence[tuple[str, Happening, float]]:
    """Return what is done, of which family, and how often in ten minutes."""
    return (
        ("tickers", engine_faults.kill, 370),
        ("tickers", engine_faults.stall, 80),
        ("tickers", engine_faults.cron, 280),
        ("clocks", engine_faults.jump_clock, 30),
        ("database", engine_faults.crash_database, 19),
        *(("database", partial(engine_faults.cut_database, kind=kind), 60) for kind in DatabaseCut),
        *(
            ("provider", partial(provider_faults.cut_provider, kind=kind), 50)
            for kind in ProviderCut
        ),
        ("provider", provider_faults.refuse, 45),
        ("provider", provider_faults.stray, 90),
        ("provider", provider_faults.gateway_s_moment, 50),
        ("answers", provider_faults.wrong, 2600),
        ("members", member_faults.sign_in_anew, 70),
        ("members", member_faults.connect_twice, 70),
        ("members", member_faults.covet, 150),
        ("stores", provider_faults.empty, 40),
        ("stores", provider_faults.fall_behind, 30),
        ("stores", provider_faults.name_by_slug, 30),
        ("elsewhere", engine_faults.tick_elsewhere, 32),
        ("webhooks", provider_faults.stranger, 60),
        ("webhooks", provider_faults.slow, 45),
        ("people", member_faults.account_status, 40),
        ("people", people.new_slug, 60),
        ("people", provider_faults.lag, 30),
        ("people", people.reply, 120),
        *(
            ("people", partial(people.strange_reply, kind=kind, how=how), 50)
            for kind, how in people.STRANGE_REPLIES.items()
        ),
        ("people", people.write_by_hand, 60),
        ("people", people.write_to_group, 50),
        ("people", people.crowd, 160),
        ("operators", operators.pause, 44),
        ("operators", operators.stop, 90),
        ("operators", operators.suppress, 60),
        *(("hands", partial(operators.edit, edit=edit), 32) for edit in HAND_EDITS),
        (ALWAYS, operators.repair, 200),
    )
