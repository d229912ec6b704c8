"""`python -m clento_engine.interface.demo ROLE`: one ticker process of the demo.

ROLE is the JSON of a `Role`.  Exit status 0: the campaign ended; 3: its days were over first.
"""

import json
import logging
import sys
from datetime import datetime
from uuid import UUID

from clento_engine.interface.demo.ticker import Role, run_ticker
from clento_engine.loop import new_runner

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
    with new_runner() as runner:
        return 0 if runner.run(run_ticker(role)) else DAYS_OVER


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
