"""What happens in a play, of which family, and how often in a month."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from clento_engine.domain.limits import LEASE
from clento_engine.interface.chaos import member_faults, operators, people, provider_faults
from clento_engine.interface.chaos.proxy import REFUSED, DatabaseCut, ProviderCut
from clento_engine.interface.chaos.storm import ALWAYS
from clento_engine.interface.chaos.system import PASSING, Shaken
from clento_engine.interface.chaos.virtual.case import Case, drawn
from clento_engine.interface.chaos.virtual.process import Moment, Process
from clento_engine.interface.chaos.virtual.tickers import JUMPED, Tickers
from clento_engine.store.mortal import Death
from clento_engine.store.turmoil import HAND_EDITS

MONTH_S = 30 * 86_400.0
SOON = 40  # exchanges within which a death comes
LONGEST_REFUSAL_S = 43_200.0
KILLED = "ticker killed"
AT_ONCE = "two ticks at once"

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Played(Shaken):
    """What accidents happen to in a play: with the tickers of our own process."""

    tickers: Tickers

    def victim(self) -> Process | None:
        """Choose a process that lives."""
        living = self.tickers.living()
        return self.chance.choice(living) if living else None


Happening = Callable[[Played], Awaitable[None]]


async def kill(played: Played) -> None:
    """Have a ticker die soon, before an exchange or after it."""
    if (victim := played.victim()) is not None:
        number = len(victim.places) + played.chance.randint(1, SOON)
        victim.death = Death(number, effect=played.chance.random() < 0.5)  # noqa: PLR2004


async def stall(played: Played) -> None:
    """Stop a ticker at its next transaction or request, for longer than its lease."""
    if (victim := played.victim()) is not None:
        shortly_s = LEASE.total_seconds() * played.chance.uniform(1.1, 2.6)
        as_a_machine_sleeps_s = played.chance.uniform(3600, 86_400)
        lasts_s = played.chance.choice((shortly_s, as_a_machine_sleeps_s))
        victim.stall = (lasts_s, played.chance.choice(list(Moment)))


async def at_once(played: Played) -> None:
    """Have all tickers look for work at one moment."""
    played.tickers.wake_all()
    played.done.faults[AT_ONCE] += 1


async def jump_clock(played: Played) -> None:
    """Set a ticker's clock two hours off, while it runs or before it begins."""
    by_s = played.chance.choice((-7200.0, 7200.0))
    victim = played.victim()
    if victim is None or played.chance.random() < 0.5:  # noqa: PLR2004
        played.tickers.next_jump_s = by_s
    else:
        victim.jump_s = by_s
        played.done.faults[JUMPED] += 1


async def cut_database(played: Played, kind: DatabaseCut) -> None:
    """Cut a connection at the next exchange that fits."""
    if (victim := played.victim()) is not None:
        victim.cut = kind


async def cut_provider(played: Played, kind: ProviderCut) -> None:
    """Have it happen to the next request."""
    if (victim := played.victim()) is not None:
        victim.lost = kind


async def refuse(played: Played) -> None:
    """Have the provider refuse connections for a while."""
    loop = asyncio.get_running_loop()
    played.tickers.weather.refusing_until = loop.time() + played.chance.uniform(
        10, LONGEST_REFUSAL_S
    )
    played.done.faults[REFUSED] += 1


async def happen(case: Case, played: Played) -> None:
    """Do all of it, each at its own moments, until the days are over.

    Each kind draws from a source of its own: without one of them, the others stay as they were.
    """
    families = case.families | {ALWAYS}
    async with asyncio.TaskGroup() as group:
        for number, (family, what, count) in enumerate(_kinds()):
            if family in families:
                name = getattr(what, "func", what).__name__
                chance = drawn(case.seed, "accident", family, number, name)
                own = replace(played, chance=chance)
                group.create_task(_now_and_then(case, own, what, MONTH_S / count))


async def _now_and_then(case: Case, played: Played, what: Happening, gap_s: float) -> None:
    loop, until = asyncio.get_running_loop(), case.lasts.total_seconds()
    at = gap_s * played.chance.uniform(0, 1)
    while at < until:
        await asyncio.sleep(at - loop.time())
        try:
            await what(played)
        except PASSING as error:
            log.info("an accident met another", extra={"reason": str(error)})
        at = max(at, loop.time()) + gap_s * played.chance.uniform(0.5, 1.5)


def _kinds() -> Sequence[tuple[str, Happening, float]]:
    """Return what is done, of which family, and how often in a month."""
    return (
        ("tickers", kill, 16),
        ("tickers", stall, 16),
        ("tickers", at_once, 20),
        ("clocks", jump_clock, 4),
        *(("database", partial(cut_database, kind=kind), 6) for kind in DatabaseCut),
        *(("provider", partial(cut_provider, kind=kind), 5) for kind in ProviderCut),
        ("provider", refuse, 6),
        ("provider", provider_faults.gateway_s_moment, 4),
        ("answers", provider_faults.wrong, 60),
        ("webhooks", provider_faults.stranger, 6),
        ("members", member_faults.sign_in_anew, 3),
        ("members", member_faults.connect_twice, 2),
        ("members", member_faults.covet, 4),
        ("stores", provider_faults.empty, 4),
        ("stores", provider_faults.fall_behind, 4),
        ("stores", provider_faults.name_by_slug, 4),
        ("people", member_faults.account_status, 3),
        ("people", people.new_slug, 4),
        ("people", provider_faults.lag, 12),
        ("people", people.reply, 5),
        *(
            ("people", partial(people.strange_reply, kind=kind, how=how), 2)
            for kind, how in people.STRANGE_REPLIES.items()
        ),
        ("people", people.write_by_hand, 2),
        ("people", people.write_to_group, 3),
        ("people", people.crowd, 4),
        ("operators", operators.pause, 6),
        ("operators", operators.stop, 0.3),
        ("operators", operators.suppress, 3),
        *(("hands", partial(operators.edit, edit=edit), 2) for edit in HAND_EDITS),
        (ALWAYS, operators.repair, 60),
    )
