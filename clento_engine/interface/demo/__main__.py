"""`python -m clento_engine.interface.demo ROLE`: one ticker process of the demo.

ROLE is the JSON of a `Role`.  Exit status 0: the campaign ended; 3: its days were over first.
"""

import asyncio
import contextlib
import gc
import json
import logging
import sys
from datetime import datetime
from uuid import UUID

from clento_engine.interface.demo.ticker import Role, run_ticker

DAYS_OVER = 3


def main(argument: str) -> int:
    """Run the ticker that `argument` describes."""
    told = json.loads(argument)
    role = Role(
        database_url=told["database_url"],
        simulator_url=told["simulator_url"],
        listen_port=told["listen_port"],
        organization_id=UUID(told["organization_id"]),
        campaign_id=UUID(told["campaign_id"]),
        notices_url=told["notices_url"],
        until=datetime.fromisoformat(told["until"]),
    )
    logging.basicConfig(level=logging.WARNING)
    # A twentieth of the demo's time went into looking for cycles among what lives to the end.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    factory = None
    with contextlib.suppress(ImportError):  # uvloop knows no Windows
        import uvloop  # noqa: PLC0415

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return 0 if runner.run(run_ticker(role)) else DAYS_OVER


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
