"""`python -m clento_engine.simulator`: the simulator as a process of its own."""

import argparse
import json
import sys
from datetime import UTC, datetime

from clento_engine.loop import new_runner
from clento_engine.simulator.senders import Tier
from clento_engine.simulator.server import NotLoopback, Settings, serve
from clento_engine.simulator.world import START


def main(arguments: list[str] | None = None) -> int:
    """Serve until stopped; the first line on stdout is `{"url": ...}`."""
    parser = argparse.ArgumentParser(prog="clento_engine.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free one")
    parser.add_argument("--speed", type=float, default=0.0, help="0: time is moved by requests")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--start", type=_instant, default=START, help="ISO 8601 with an offset")
    parser.add_argument("--accounts", type=int, default=1)
    parser.add_argument("--tier", type=Tier, choices=list(Tier), default=Tier.PREMIUM)
    parser.add_argument("--api-key", default=None, help="default: any key will do")
    try:
        _run(Settings(**vars(parser.parse_args(arguments))))
    except (NotLoopback, OSError) as error:
        parser.exit(1, f"{error}\n")
    return 0


def _run(settings: Settings) -> None:
    with new_runner() as runner:
        runner.run(serve(settings, on_ready=_say_ready))


def _say_ready(url: str) -> None:
    sys.stdout.write(json.dumps({"url": url}) + "\n")
    sys.stdout.flush()


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise argparse.ArgumentTypeError("an instant needs its offset")
    return at.astimezone(UTC)


if __name__ == "__main__":
    sys.exit(main())
