"""`clento suppression`: people never to be contacted."""

from datetime import timedelta

import click

from clento_engine.domain.lead import Rejected
from clento_engine.domain.opt_out import LONGEST_PHRASE, plain_phrase
from clento_engine.domain.suppression import Kind, suppressed_value
from clento_engine.interface.cli.failures import Refused
from clento_engine.interface.cli.output import Table, answer, moment
from clento_engine.interface.cli.session import Here, json_option, org_option, within
from clento_engine.interface.cli.values import LASTING, NAME
from clento_engine.interface.cli.waiting import settled, still_in_flight
from clento_engine.store import opt_outs
from clento_engine.store import suppressions as store
from clento_engine.store.suppressions import Recorded

_KIND = click.argument("kind", type=click.Choice([kind.value for kind in Kind]))


@click.command()
@_KIND
@click.argument("value")
@click.option("--reason", required=True, type=NAME, help="Why; shown with every walk it ends.")
@click.option("--for", "lasts", type=LASTING, help="How long, such as 90d; without it, for good.")
@click.option("--no-wait", is_flag=True, help="Do not wait for what is in flight.")
@org_option
@json_option
def add(
    kind: str,
    value: str,
    reason: str,
    lasts: timedelta | None,
    no_wait: bool,
    org: str | None,
    as_json: bool,
) -> None:
    """Leave somebody alone, in every campaign.

    A person by LinkedIn address, public identifier or provider id, as the list names them; an
    e-mail address; or everybody of a domain or company.  Their walks end, and nothing is begun for
    them any more.  Answers when the steps in flight are settled, too.

    \b
    Example:
      clento suppression add person https://www.linkedin.com/in/lea-moreau --reason "asked us to"
      clento suppression add domain acme.com --reason "a customer" --for 90d
    """
    named = _named(kind, value)

    async def work(here: Here) -> tuple[Recorded, int]:
        now = here.clock()
        recorded = await store.suppress(
            here.conn,
            here.organization_id,
            kind,
            named,
            reason,
            now,
            expires_at=None if lasts is None else now + lasts,
        )

        async def flying() -> int:
            return await store.in_flight(here.conn, here.organization_id, kind, named, here.clock())

        return recorded, await flying() if no_wait else await settled(flying)

    recorded, left = within(org, work)
    said = f"{kind} {named} is left alone" + ("" if recorded.is_new else ", as before")
    if left and not no_wait:
        raise still_in_flight(said, left)
    told = {
        "kind": kind,
        "value": named,
        "is_new": recorded.is_new,
        "ended": recorded.ended,
        "in_flight": left,
    }
    flying = f"; {left:,} actions are in flight" if left else ""
    answer(as_json, told, f"{said}: {recorded.ended:,} walks ended{flying}")


@click.command("list")
@org_option
@json_option
def list_(org: str | None, as_json: bool) -> None:
    """List whom no campaign contacts.

    \b
    Example:
      clento suppression list --json
    """
    found = within(
        org, lambda here: store.suppressions(here.conn, here.organization_id, here.clock())
    )
    rows = [
        (each.kind, each.value, each.reason, moment(each.expires_at) or "for good", each.created_at)
        for each in found
    ]
    columns = ("kind", "value", "reason", "until", "since")
    none = "nobody is left alone: `clento suppression add --help`"
    answer(as_json, found, Table(columns, rows, empty=none))


@click.command()
@_KIND
@click.argument("value")
@org_option
@json_option
def remove(kind: str, value: str, org: str | None, as_json: bool) -> None:
    """Let somebody be contacted again.

    Walks that have ended stay ended: the next campaign may contact them.

    \b
    Example:
      clento suppression remove person lea-moreau
    """
    named = _named(kind, value)
    removed = within(
        org, lambda here: store.lift_suppression(here.conn, here.organization_id, kind, named)
    )
    if not removed:
        raise Refused(f"no suppression names {kind} {named}", "`clento suppression list` shows all")
    told = {"kind": kind, "value": named}
    answer(as_json, told, f"{kind} {named} may be contacted by the next campaign")


@click.command()
@org_option
@json_option
def phrases(org: str | None, as_json: bool) -> None:
    """List by what words people opt out.

    Who writes one of them to a sender is left alone from then on, in every campaign.  A phrase of
    one word counts as a whole message, one of several words as a sentence too; polite words around
    it, capitals and punctuation do not matter.

    \b
    Example:
      clento suppression phrases --json
    """
    found = within(org, lambda here: opt_outs.list_phrases(here.conn, here.organization_id))
    rows = [(each.phrase, each.source, "yes" if each.is_in_force else "no") for each in found]
    answer(as_json, found, Table(("phrase", "source", "in force"), rows))


@click.command("add-phrase")
@click.argument("phrase")
@org_option
@json_option
def add_phrase(phrase: str, org: str | None, as_json: bool) -> None:
    """Take a phrase for an opt-out.

    \b
    Example:
      clento suppression add-phrase "no more of this"
    """
    _change_phrase(phrase, org, is_in_force=True, as_json=as_json)


@click.command("remove-phrase")
@click.argument("phrase")
@org_option
@json_option
def remove_phrase(phrase: str, org: str | None, as_json: bool) -> None:
    """Take a phrase for an opt-out no more.

    Whom it left alone before stays left alone.

    \b
    Example:
      clento suppression remove-phrase stop
    """
    _change_phrase(phrase, org, is_in_force=False, as_json=as_json)


def _change_phrase(phrase: str, org: str | None, *, is_in_force: bool, as_json: bool) -> None:
    plain = plain_phrase(phrase[: 4 * LONGEST_PHRASE])
    if not plain or len(plain) > LONGEST_PHRASE:
        fix = f"write one to {LONGEST_PHRASE} letters of words"
        raise Refused(f"{phrase[:LONGEST_PHRASE]!r} is no phrase", fix)
    changed = within(
        org,
        lambda here: opt_outs.change_phrase(
            here.conn, here.organization_id, plain, is_in_force=is_in_force
        ),
    )
    if not changed and not is_in_force:
        raise Refused(f"{plain!r} is not in force", "`clento suppression phrases` lists all")
    told = {"phrase": plain, "is_in_force": is_in_force, "is_new": changed}
    said = "opts out whoever writes it" if is_in_force else "is no opt-out any more"
    answer(as_json, told, f"{plain!r} {said}" + ("" if changed else ", as before"))


def _named(kind: str, value: str) -> str:
    """Return the value as leads are compared with it."""
    named = suppressed_value(Kind(kind), value)
    if isinstance(named, Rejected):
        raise Refused(f"{value!r}: {named.problem}", named.fix)
    return named
