"""`python -m clento_engine.interface.chaos TOLD`: the provider's process of a storm.

TOLD is JSON: seed, speed, start, accounts ([id, name, tier]).  Its people answer within hours.
"""

import json
import sys
from datetime import datetime, timedelta
from typing import Any

from clento_engine.loop import new_runner
from clento_engine.simulator.accounts import connect_account
from clento_engine.simulator.people import Chances
from clento_engine.simulator.senders import Tier
from clento_engine.simulator.server import Settings, serve
from clento_engine.simulator.world import Reliability

# A storm lasts hours of their time, not weeks: they accept and reply while it rages.
CHANCES = Chances(
    connected=0.35,
    posts=0.95,
    open_profile=0.4,
    accepts=0.6,
    accepts_median=timedelta(minutes=25),
    accepts_spread=1.0,
    accepts_least=timedelta(minutes=2),
    accepts_most=timedelta(hours=8),
    replies=0.15,
    replies_median=timedelta(minutes=30),
    replies_least=timedelta(seconds=20),
    replies_most=timedelta(hours=6),
    changed_slug=0.05,
)
RELIABILITY = Reliability(noticed_within=timedelta(hours=1), lost=0.05, duplicated=0.1)


def main(argument: str) -> int:
    """Serve until stopped; the first line on stdout is `{"url": ...}`."""
    told = json.loads(argument)
    with new_runner() as runner:
        runner.run(_serve(told))
    return 0


async def _serve(told: dict[str, Any]) -> None:
    settings = Settings(
        speed=told["speed"],
        seed=told["seed"],
        start=datetime.fromisoformat(told["start"]),
        accounts=0,
        chances=CHANCES,
        reliability=RELIABILITY,
    )
    world = settings.world()
    for account_id, name, tier in told["accounts"]:
        connect_account(world, name, Tier(tier), account_id)
    await serve(settings, world=world, on_ready=_say_ready)


def _say_ready(url: str) -> None:
    sys.stdout.write(json.dumps({"url": url}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
