"""`clento simulator`: a Unipile of invented people, on this machine only."""

from datetime import datetime

import click

from clento_engine.config import read_settings
from clento_engine.interface.cli.failures import Refused
from clento_engine.interface.cli.output import answer
from clento_engine.interface.cli.session import json_option, run
from clento_engine.interface.cli.values import INSTANT
from clento_engine.simulator.server import NotLoopback, Settings, serve
from clento_engine.simulator.world import START


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="A loopback address.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0: any free one.")
@click.option(
    "--speed",
    type=click.FloatRange(0, 1_000_000),
    default=1.0,
    show_default=True,
    help="How many times as fast as real time; 0: time is moved by requests.",
)
@click.option("--seed", type=int, default=7, show_default=True, help="Who the people are.")
@click.option(
    "--start", type=INSTANT, default=START, show_default=START.isoformat(), help="When it begins."
)
@click.option(
    "--accounts",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="How many senders there are.",
)
@json_option
def serve_(
    host: str, port: int, speed: float, seed: int, start: datetime, accounts: int, as_json: bool
) -> None:
    """Serve a simulated Unipile on this machine.

    Until Ctrl-C.  Prints its URL and the exports that make every other command use it: they then
    live by its clock, so that at --speed 600 a working day takes a minute.

    \b
    Example:
      clento simulator serve --speed 600
    """
    settings = Settings(
        host=host, port=port, speed=speed, seed=seed, start=start, accounts=accounts
    )
    world = settings.world()

    def ready(url: str) -> None:
        ids = list(world.accounts)
        told = {"url": url, "unipile_dsn": url, "unipile_access_token": "any", "accounts": ids}
        shown = ", ".join(ids[:10]) + (", …" if len(ids) > 10 else "")  # noqa: PLR2004
        answer(
            as_json,
            told,
            f"a simulated Unipile listens at {url}; account ids: {shown}",
            f"export UNIPILE_DSN={url} UNIPILE_ACCESS_TOKEN=any",
        )

    try:
        run(serve(settings, world=world, on_ready=ready), read_settings())
    except (NotLoopback, OSError) as error:
        raise Refused(str(error), "choose another --host or --port") from None
