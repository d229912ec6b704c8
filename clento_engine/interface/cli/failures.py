"""What went wrong, in one message: what, where, and what to do about it."""

import json
import sys

import click

from clento_engine.config import BadSetting
from clento_engine.domain.execution import IllegalTransition
from clento_engine.interface.cli.database_failures import of_database
from clento_engine.interface.cli.failure import Failure
from clento_engine.interface.cli.output import (
    Unprinted,
    finding_lines,
    left_out_lines,
    plain,
    printable,
)
from clento_engine.interface.leads.source import UnreadableFile
from clento_engine.runtime.errors import (
    ClockSkew,
    NotAdded,
    NotAsked,
    NotReady,
    UnknownProvider,
    Unready,
    WrongProvider,
)
from clento_engine.store.errors import (
    AlreadyExists,
    Ambiguous,
    CannotDo,
    ChangedMeanwhile,
    NeedsSession,
    NobodyToContact,
    NotFound,
    Noun,
    StillUnknown,
    StillWalked,
    WrongState,
)

INTERRUPTED = 130  # what shells say of a program that Ctrl-C ended


class Refused(Exception):
    """A command cannot do what was asked: why, and what to do instead."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.fix = fix


_UNREADY = {
    Unready.WORKFLOW: (
        "the workflow has errors",
        "correct it in the editor, and export it again",
    ),
    Unready.CAMPAIGN: (
        "the workflow has errors: nothing was started",
        "correct what is named, and create the campaign again",
    ),
    Unready.NODES: (
        "some nodes cannot run: nothing was started",
        "do what is named, or pass these nodes over with --skip-unready",
    ),
    Unready.NO_SENDERS: ("its senders were removed", "create the campaign again, with others"),
}

# What was looked for and is not there, and how to see what there is.
_NOT_FOUND = {
    Noun.ORGANIZATION: ("no organisation {name}", "`clento org list` shows what there is"),
    Noun.ACCOUNT: ("no account {name}", "`clento account list` shows what there is"),
    Noun.MEMBER: ("no member {name}", "`clento account list` shows what there is"),
    Noun.LIST: (
        "no list {name}",
        "`clento leads lists` shows what there is, `clento leads import` makes one",
    ),
    Noun.CAMPAIGN: ("no campaign {name}", "`clento campaign list` shows what there is"),
    Noun.LEAD: ("the lead is not in this campaign", "`clento lead list` shows who is"),
    Noun.HELD_LANE: ("no lane of the campaign is held", "`clento campaign status` shows which"),
    Noun.WORKFLOW_VERSION: ("no version {name} of a workflow", "it was deleted"),
    Noun.WEBHOOK: ("no webhook {name}", "`clento webhook list` shows what there is"),
}

_ALREADY = {
    **{noun: f"the organisation has a {noun} {{name}} already" for noun in Noun},
    Noun.ORGANIZATION: "organisation {name} exists already",
    Noun.ACCOUNT: "the organisation has an account {name} already",
    Noun.MEMBER: "{name} is connected already",
    Noun.WEBHOOK: "a webhook with the id {name} is registered",
}


def explained(error: BaseException) -> Failure | None:
    """Say what an expected failure means; None for a defect."""
    match error:
        case Refused() | BadSetting() | UnreadableFile():
            return Failure(error.problem, error.fix)
        case NotReady():
            return Failure(*_UNREADY[error.unready], error.findings)
        case Ambiguous():
            ids = ", ".join(error.ids)
            return Failure(
                f"several accounts are called {error.name!r}", f"name one by its id, {ids}"
            )
        case NotFound():
            problem, fix = _NOT_FOUND[error.noun]
            return Failure(problem.format(name=repr(error.name)), fix)
        case AlreadyExists():
            return Failure(
                _ALREADY[error.noun].format(name=repr(error.name)), "choose another name"
            )
        case CannotDo():
            return _cannot(error)
        case Unprinted():
            return Failure(
                f"all was done, and the answer cannot be written: {error}",
                "see where the output goes; `clento status` and the others can be asked again",
            )
        case IllegalTransition():
            return Failure("the lead moved on in this moment", "look at it again")
        case ClockSkew():
            return Failure(str(error), "let NTP keep the clocks of all hosts, then start again")
        case WrongProvider() | UnknownProvider() | NotAsked() | NotAdded():
            return _of_provider(error)
        case click.ClickException() | click.Abort():
            return _of_command_line(error)
        case _:
            return of_database(error)


def _of_provider(error: WrongProvider | UnknownProvider | NotAsked | NotAdded) -> Failure:
    match error:
        case NotAdded(is_unknown=True):
            return Failure(error.reason, "`clento account add --help`; UNIPILE_DSN says where")
        case NotAdded():
            return Failure(f"it cannot be added: {error.reason}", "see Unipile's dashboard")
        case WrongProvider():
            return _of_another_provider(error)
        case UnknownProvider():
            return Failure(
                f"{error.given} does not know the account {error.account} as this database does:"
                " nothing was asked there, and nothing sent",
                "set UNIPILE_DSN to where your accounts are connected; if they moved there, run"
                f" `clento provider move --to {error.given.dsn}`",
            )
        case NotAsked():
            return Failure(
                f"{error.given} cannot be asked: {error.reason}",
                "see that it can be reached and UNIPILE_ACCESS_TOKEN is right, then try again",
            )


def _of_command_line(error: click.ClickException | click.Abort) -> Failure:
    match error:
        case click.UsageError():
            usage = error.ctx.get_usage() if error.ctx is not None else None
            hint = None if error.ctx is None else f"see `{error.ctx.command_path} --help`"
            return Failure(error.format_message(), hint, status=error.exit_code, usage=usage)
        case click.ClickException():
            return Failure(error.format_message(), status=error.exit_code)
        case click.Abort():
            return Failure("interrupted", status=INTERRUPTED)


def _cannot(error: CannotDo) -> Failure:
    match error:
        case WrongState(noun=Noun.CAMPAIGN, allowed=("draft",)):
            return Failure(f"the campaign is {error.state}", "only a draft can be started")
        case WrongState(noun=Noun.LEAD):
            return Failure(f"the lead is {error.state}", "only one that is held can be released")
        case WrongState():
            allowed = " or ".join(error.allowed)
            return Failure(f"the {error.noun} is {error.state}", f"it must be {allowed}")
        case NobodyToContact():
            why = left_out_lines(error.left_out)
            fix = "name another list" if why else "import leads first"
            return Failure("\n  ".join(["its list has no lead that may be contacted", *why]), fix)
        case StillWalked():
            return Failure(
                f"{error.leads:,} leads are to be walked by it",
                "let their campaigns end, or stop them",
            )
        case StillUnknown():
            return Failure(
                f"what became of {error.actions:,} of its actions is not known yet", "wait"
            )
        case NeedsSession():
            return Failure(
                f"{error.what} needs a session of its own, and DATABASE_URL leads through a pooler"
                " that lends one for a transaction at a time",
                "run it with DATABASE_URL set to the database's own address (of Supabase the"
                " direct connection), or CLENTO_POOLER=session if the pooler keeps sessions",
            )
        case ChangedMeanwhile():
            return Failure(f"the {error.noun} was changed at this moment", "look at it again")
        case _:
            return Failure(str(error))


def _of_another_provider(error: WrongProvider) -> Failure:
    bound, given = error.bound, error.given
    problem = f"this database belongs to {bound}, and UNIPILE_DSN names {given}"
    if bound.is_simulated == given.is_simulated:
        fix = f"set UNIPILE_DSN to {bound.dsn}; if your accounts moved, run"
        return Failure(problem, f"{fix} `clento provider move --to {given.dsn}`")
    if bound.is_simulated and given.dsn == bound.dsn:
        problem = f"this database belongs to {bound}, which does not answer as one"
    fix = f"set UNIPILE_DSN to {bound.dsn}, or use another database: another CLENTO_DATA_DIR"
    return Failure(problem, f"{fix}, or another DATABASE_URL")


def show(failure: Failure, *, as_json: bool) -> int:
    """Print a failure, as JSON on stdout or for people on stderr; return the exit status."""
    if as_json:
        told: dict[str, object] = {"error": failure.error, "fix": failure.fix}
        if failure.findings:
            told["findings"] = plain(failure.findings)
        click.echo(json.dumps(told, ensure_ascii=False))
        return failure.status
    lines = [failure.usage] if failure.usage else []
    lines.append(f"Error: {failure.error}")
    lines += finding_lines(failure.findings)
    if failure.fix:
        lines.append(f"  Fix: {failure.fix}")
    click.echo("\n".join(printable(line, keep="\n") for line in lines), file=sys.stderr)
    return failure.status
