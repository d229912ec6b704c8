"""Learning the names that answers show, before anything is decided on what they say."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec.structs import replace

from clento_engine.domain.person import Shown
from clento_engine.domain.report import Report
from clento_engine.runtime.world import World, surely
from clento_engine.store.apart import held_apart, is_of_a_report
from clento_engine.store.database import Conn
from clento_engine.store.people import known_of, learn, look


async def look_up(conn: Conn, reports: list[Report], now: datetime) -> list[Report]:
    """Return the reports with the names that nobody has, for the settle to write.

    What says more, that two people are one or that a name was given on, is learned at once.
    """
    places = [place for place, report in enumerate(reports) if report.shown is not None]
    if not places:
        return reports
    shown = [each.shown for each in reports if each.shown is not None]
    new, unclear = await look(conn, shown)
    if unclear:
        return await learn_first(conn, reports, now)
    found = list(reports)
    for place, names in zip(places, new, strict=True):
        found[place] = replace(reports[place], new_names=names)
    return found


async def learn_first(conn: Conn, reports: list[Report], now: datetime) -> list[Report]:
    """Learn what the answers behind `reports` showed; return the reports to settle.

    Where the names of one cannot be stored its lead is held: without them it may be contacted as
    somebody else.
    """
    shown = [each.shown for each in reports if each.shown is not None]
    try:
        await surely(lambda: learn(conn, shown, now))
    except Exception as error:
        if not is_of_a_report(error):
            raise
    else:
        return [_learned(report) for report in reports]
    return [await _learn_apart(conn, each, now) for each in reports]


def _learned(report: Report) -> Report:
    return report if report.shown is None else replace(report, shown=None, new_names=())


async def _learn_apart(conn: Conn, report: Report, now: datetime) -> Report:
    if (shown := report.shown) is None:
        return report
    try:
        await surely(lambda: learn(conn, [shown], now))
    except Exception as error:
        if not is_of_a_report(error):
            raise
        return held_apart(report, error)
    return _learned(report)


async def learn_shown(world: World, shown: Sequence[Shown]) -> None:
    """Learn what one answer showed."""

    async def once() -> None:
        async with world.database.connection() as conn:
            await learn(conn, shown, world.clock())

    await surely(once)


async def learn_relations(world: World, organization_id: UUID, relations: Sequence[Shown]) -> None:
    """Learn the names of those relations who are people of ours; most are not."""
    async with world.database.connection() as conn:
        unknown = await known_of(conn, organization_id, relations)
    if unknown:
        await learn_shown(world, unknown)
