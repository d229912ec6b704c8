"""The clock that is moved: which moments it stops at."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from play import BUSY, set_up

from clento_engine.runtime.drive import drive
from clento_engine.simulator import scheduler
from clento_engine.store.database import Database

DOCUMENT = json.loads(
    (Path(__file__).parents[1] / "domain/test_editor_samples/01_linear.json").read_text("utf-8")
)
NIGHT = datetime(2026, 1, 5, 1, 0, tzinfo=UTC)  # a Monday
TEN_MINUTES = timedelta(minutes=10)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize("late", [timedelta(minutes=2), TEN_MINUTES])
@pytest.mark.parametrize("sweeps_wait", [timedelta(0), HOUR])
async def test_what_falls_due_together_is_done_together_and_no_later_than_it_may_be(
    database: Database, late: timedelta, sweeps_wait: timedelta
) -> None:
    play = await set_up(database, DOCUMENT, start=NIGHT, slugs=["ada"], senders=2, pace=BUSY)
    own = NIGHT + TEN_MINUTES
    async with database.connection() as conn:
        for minutes, account_id in enumerate(play.accounts.values()):
            await conn.execute(
                "update connected_accounts set next_sweep_at = %s where id = %s",
                (own + timedelta(minutes=minutes), account_id),
            )
    stops: list[datetime] = []

    async def advance(to: datetime) -> datetime:
        stops.append(to)
        return (await scheduler.advance(play.simulated, to)).now

    async def never() -> bool:
        return False

    until = NIGHT + timedelta(hours=3)
    await drive(
        play.world,
        play.outbox,
        play.clock,
        advance,
        until=until,
        late=late,
        sweeps_wait=sweeps_wait,
        is_over=never,
    )
    assert stops == [own + sweeps_wait + late, until]
    swept = await play.rows("select swept_messages_until as at from connected_accounts")
    assert [row["at"] for row in swept] == [own + sweeps_wait + late] * 2
