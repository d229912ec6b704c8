"""`clento`: a map of nouns and verbs.  A command's module is imported when it is called.

The short helps stand here, so that `clento --help` and `clento campaign --help` import nothing; a
test holds them equal to what the commands themselves say.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple, NoReturn

import click

_STANDARD_ERROR = 2


class Command(NamedTuple):
    """Where a command is, "module:name" inside this package, and its short help."""

    place: str
    help: str


class Group(NamedTuple):
    """A noun, and its verbs."""

    help: str
    commands: Mapping[str, Command]


COMMANDS: Mapping[str, Command | Group] = {
    "demo": Command("demo:demo", "Watch a whole campaign run in a simulated LinkedIn."),
    "db": Group(
        "The database: set up, brought up to date, compared.",
        {
            "upgrade": Command(
                "db:upgrade", "Bring the database to the schema this version needs."
            ),
            "current": Command("db:current", "Show which schema the database has."),
            "check": Command("db:check", "Compare the database with what this version expects."),
            "recount": Command("db:recount", "Count anew what `clento campaign status` adds up."),
            "mend": Command("db:mend", "Make lanes right that would leave leads waiting for ever."),
            "restored": Command(
                "restored:restored", "Go on from a restored backup, or a promoted standby."
            ),
            "start": Command("server:start", "Start the embedded PostgreSQL."),
            "stop": Command("server:stop", "Stop the embedded PostgreSQL."),
        },
    ),
    "org": Group(
        "Organisations: whose campaigns they are.",
        {
            "create": Command("org:create", "Create an organisation."),
            "list": Command("org:list_", "List the organisations."),
        },
    ),
    "account": Group(
        "Senders: the LinkedIn accounts that act.",
        {
            "add": Command("account:add", "Add a sender with the limits of its tier."),
            "list": Command("account:list_", "List the senders."),
            "pause": Command("account:pause", "Stop a sender: no step of it is begun any more."),
            "resume": Command("account:resume", "Let a paused sender act again."),
            "limits": Command("account:limits", "Show what a sender may do and did, or change it."),
            "remove": Command("account:remove", "Let a sender's LinkedIn member go, for good."),
        },
    ),
    "provider": Group(
        "Which Unipile, or which simulator, the database belongs to.",
        {
            "show": Command("provider:show", "Show which provider the database belongs to."),
            "move": Command("provider:move", "Let the database belong to another Unipile."),
        },
    ),
    "webhook": Group(
        "Our outgoing webhooks: notices of workflow nodes, and of what leads do.",
        {
            "add": Command("webhook:add", "Register where notices are posted."),
            "list": Command(
                "webhook:list_", "List the registered webhooks, and what each is told of."
            ),
        },
    ),
    "leads": Group(
        "Lists of people.",
        {
            "import": Command("leads:import_", "Bring the people of a CSV file into a list."),
            "lists": Command("leads:lists", "List the lists, with how many people each has."),
        },
    ),
    "suppression": Group(
        "People never to be contacted.",
        {
            "add": Command("suppression:add", "Leave somebody alone, in every campaign."),
            "list": Command("suppression:list_", "List whom no campaign contacts."),
            "remove": Command("suppression:remove", "Let somebody be contacted again."),
            "phrases": Command("suppression:phrases", "List by what words people opt out."),
            "add-phrase": Command("suppression:add_phrase", "Take a phrase for an opt-out."),
            "remove-phrase": Command(
                "suppression:remove_phrase", "Take a phrase for an opt-out no more."
            ),
        },
    ),
    "workflow": Group(
        "Workflow files, as the editors save them.",
        {
            "validate": Command("workflow:validate", "Report every problem of a workflow file."),
            "convert": Command(
                "workflow:convert", "Rewrite what other tools left in a file's texts."
            ),
            "show": Command("workflow:show", "Draw a workflow file as a tree."),
        },
    ),
    "campaign": Group(
        "Campaigns: made, started, paused, watched.",
        {
            "create": Command("launch:create", "Create a campaign as a draft."),
            "preview": Command(
                "launch:preview", "Show the exact texts that leads would get, node by node."
            ),
            "start": Command("launch:start", "Start a draft: every lead of its list is enrolled."),
            "pause": Command("campaign:pause", "Pause a running campaign."),
            "resume": Command("campaign:resume", "Let a paused campaign go on."),
            "stop": Command("campaign:stop", "End a campaign for good."),
            "lift": Command("campaign:lift", "Let steps go on that a run of refusals holds."),
            "status": Command("campaign:status", "Show how a campaign stands."),
            "list": Command("campaign:list_", "List the campaigns."),
        },
    ),
    "lead": Group(
        "Single leads: where they stand, and why.",
        {
            "list": Command("lead:list_", "List the leads of a campaign."),
            "history": Command("lead:history", "Show everything that happened to a lead."),
            "release": Command("lead:release", "Lift the hold of a lead."),
            "replay": Command(
                "lead:replay", "Decide on a lead's recorded events again, and compare."
            ),
        },
    ),
    "status": Command("status:status", "Show who ticks, and what is wrong."),
    "tick": Command("work:tick", "Do everything that is due, then end; for cron and timers."),
    "run": Command("work:run", "Do what is due until stopped; for a service."),
    "simulator": Group(
        "A LinkedIn of invented people, to try things out.",
        {"serve": Command("simulator:serve_", "Serve a simulated Unipile on this machine.")},
    ),
    "chaos": Command("chaos:chaos", "See that nobody is contacted twice or lost, by killing it."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def __init__(self, name: str, places: Mapping[str, Command | Group], *, help: str) -> None:  # noqa: A002
        """Take the static map instead of commands."""
        settings = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
        super().__init__(name, help=help, context_settings=settings)
        self.places = places

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order of the map: the order of use."""
        return list(self.places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return a command."""
        match self.places.get(cmd_name):
            case Command(place):
                module, _, name = place.partition(":")
                command = getattr(import_module(f"{__name__}.{module}"), name)
                return command if isinstance(command, click.Command) else None
            case Group(text, commands):
                return LazyGroup(cmd_name, commands, help=text)
            case None:
                return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands by their static help."""
        rows = [(name, place.help) for name, place in self.places.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class Root(LazyGroup):
    """The whole of `clento`: every failure ends here, in one message and an honest status."""

    def main(  # type: ignore[override]  # click's own ends in the same way, unless it is told not to
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        **extra: Any,  # noqa: ANN401
    ) -> NoReturn:
        """Run a command line, then exit: 0 done, 1 failed, 2 misused, 3 done with warnings."""
        given = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        try:
            status = super().main(given, prog_name or "clento", **extra)
        except Exception as error:
            from clento_engine.interface.cli import failures  # noqa: PLC0415 - slow, rarely needed

            failure = failures.explained(error)
            if failure is None:
                raise  # a defect: whoever mends it needs the whole of it
            status = failures.show(failure, as_json="--json" in given)
        sys.exit(status if isinstance(status, int) else 0)


cli = click.version_option(package_name="clento-engine", prog_name="clento")(
    Root(
        "clento",
        COMMANDS,
        help=(
            "LinkedIn outreach campaigns on PostgreSQL alone.\n\n"
            "A first campaign, with a simulated LinkedIn:\n\n"
            "\b\n"
            "  clento simulator serve --speed 600   (in another terminal; prints two exports)\n"
            "  clento org create Acme\n"
            "  clento account add --unipile-id ID --name Lea --tier premium --zone Europe/Berlin\n"
            "  clento leads import leads.csv --list spring\n"
            "  clento campaign create spring --workflow flow.json --list spring --sender Lea\n"
            "  clento campaign start spring\n"
            "  clento run\n\n"
            "Environment: DATABASE_URL (without it a PostgreSQL of our own is started in "
            "CLENTO_DATA_DIR), UNIPILE_DSN, UNIPILE_ACCESS_TOKEN, CLENTO_ORG, CLENTO_LOG_FORMAT, "
            "CLENTO_STATE_DIR (what this host knows of the database, outside it), "
            "CLENTO_SCHEMA (where our tables stand in the database; clento), "
            "CLENTO_POOLER (transaction, prepared or session: what stands before the database, "
            "where it is not to be found out), "
            "CLENTO_WEBHOOK_SECRET, CLENTO_REQUESTS_AT_ONCE (of one ticker; 300), "
            "CLENTO_TRUST_STORAGE (1: though fsync is off), CLENTO_WEBHOOKS_MAY_REACH (hosts and "
            "networks that notices may go to though they are not public).\n\n"
            "Exit status: 0 done, 1 failed or refused, 2 misused, 3 done with warnings (`tick`, "
            "`status`), 4 the database is not the one it was (`tick`)."
        ),
    )
)


def main() -> NoReturn:
    """Run `clento`."""
    _occupy_standard_streams()
    cli.main()


def _occupy_standard_streams() -> None:
    """Give those that whoever started us has closed (`clento tick >&-`) a place that goes nowhere.

    Else the first sockets take their numbers, which the event loop never closes.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - to the end
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
