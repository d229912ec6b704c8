"""What a claim gives, and how its rows become the typed values that `domain/picking.py` judges.

What somebody edited so that it cannot be read becomes an `Unreadable` here, and stays a value: it
holds its own lane or lead, and no other.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from msgspec import Struct, json

from clento_engine.domain import execution as ex
from clento_engine.domain.account import Sender, Tier
from clento_engine.domain.campaign import Pace
from clento_engine.domain.execution import Execution
from clento_engine.domain.intent import Intent, Person
from clento_engine.domain.lane import Lane, Spaced, Warmup
from clento_engine.domain.limits import Caps, Spacing
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.person import goes_on_in
from clento_engine.domain.picking import Head, Queue, Step, Unreadable, unreadable
from clento_engine.domain.report import Basis, Ticket
from clento_engine.domain.schedule import parse_hours, time_zone
from clento_engine.domain.workflow import Node, Workflow
from clento_engine.store.rows import execution, rules
from clento_engine.store.walking import ahead_in

T = TypeVar("T")

Row = Mapping[str, Any]


class Claimed(Struct, frozen=True):
    """One step that is ours: an intent to act on before `act_before`, or an event to settle.

    `person_id`: whom it is about, and `names`, those that the list and an answer gave them;
    `replied_at`: when the person wrote, of which the event tells.  `is_doubtful`: it may have been
    done before a restore, so that it is asked about and not acted on.
    """

    organization_id: UUID
    run: Execution
    node: Node | None
    sender: Sender
    act_before: datetime
    basis: Basis
    intent: Intent | None = None
    ticket: Ticket | None = None
    event: ex.Event | None = None
    replied_at: datetime | None = None
    person_id: UUID | None = None
    names: tuple[str | None, ...] = ()
    is_doubtful: bool = False


def claimed(step: Step, token: UUID, bucket: datetime) -> Claimed:
    """Make a picked step ours: its action is written with the `token` and counted in `bucket`."""
    head, run = step.head, step.head.run
    basis = Basis(run, head.workflow, head.row_version)
    ours = (step.lane.key[0], run, step.node, step.lane.sender, step.act_before, basis)
    if not isinstance(step.next, Intent):
        return Claimed(*ours, event=step.next, replied_at=head.wrote_at)
    assert step.node is not None  # noqa: S101  an intent is of a node
    assert not isinstance(head.person, Unreadable)  # noqa: S101  such a head gives an event
    ticket = Ticket(token, step.node.id, run.operation, step.next.budgets, bucket)
    names = (head.person.public_identifier, head.person.provider_id, run.provider_id)
    return Claimed(
        *ours,
        intent=step.next,
        ticket=ticket,
        person_id=head.person_id,
        names=names,
        is_doubtful=step.is_doubtful,
    )


def read_lane(row: Row) -> Lane | Unreadable:
    """Read a row of the claim's lock."""
    organization_id, account_id = row["organization_id"], row["account_id"]
    campaign_id, operation = row["campaign_id"], Operation(row["operation"])
    zone = _read("the sender's time zone", time_zone, row["time_zone"])
    hours = _read("the campaign's `working_hours`", parse_hours, row["working_hours"])
    if isinstance(zone, Unreadable):
        return zone
    if isinstance(hours, Unreadable):
        return hours
    return Lane(
        key=(organization_id, campaign_id, account_id, operation),
        account=(organization_id, account_id),
        campaign=(organization_id, campaign_id),
        budget=(organization_id, account_id, Budget(row["budget"])),
        operation=operation,
        sender=Sender(
            account_id,
            row["unipile_account_id"],
            Tier(row["tier"]),
            row["provider_id"],
            row["troubled"],
            row["heard_at"],
        ),
        zone=row["time_zone"],
        hours=hours,
        warmup=Warmup(row["warmup_days"], row["warmup_started_at"]),
        caps=Caps(row["per_hour"], row["per_day"], row["per_week"], row["per_month"]),
        account_spaced=Spaced(
            Spacing(row["account_shortest"], row["account_longest"]),
            row["account_free_at"],
            row["account_blocked_until"],
        ),
        budget_spaced=Spaced(
            Spacing(row["spacing_shortest"], row["spacing_longest"]),
            row["next_free_at"],
            row["blocked_until"],
        ),
        pace=Pace(
            row["max_concurrent_leads"],
            row["lead_processing_delay"],
            row["leads_per_day"],
        ),
        next_start_at=row["next_start_at"],
        rules=rules(row),
        workflow_version_id=row["workflow_version_id"],
        inmail_subject=row["inmail_subject"],
        columns=tuple(row["columns"]),
        take=row["take"],
        comes_first=row["comes_first"],
    )


def _read(what: str, read: Callable[[str], T], value: str) -> T | Unreadable:
    try:
        return read(value)
    except (ValueError, LookupError, OSError):  # a zone opens files
        return Unreadable(f"{what} cannot be read: put it right, then lift the hold")


@dataclass(slots=True)
class Front:
    """The rows at the front of a lane, in the order of their time.

    `due`: those that may run; `next_at`, `locked_at`: as of a Queue; `found`: how many there were.
    """

    lane: Lane
    due: list[Row] = field(default_factory=list)
    next_at: datetime | None = None
    locked_at: datetime | None = None
    found: int = 0


def read_fronts(
    lanes: Mapping[int, Lane], rows: Iterable[Row], now: datetime, without: Collection[UUID]
) -> list[Front]:
    """Sort the heads that the claim looked at into their lanes, which are given by place.

    The leads `without` are not to be had.  Of a head that is not due its time is all that counts.
    """
    front_of = {place: Front(lane) for place, lane in lanes.items()}
    for row in rows:
        if (front := front_of.get(row["place"])) is None:
            continue  # of a lane that cannot be read
        lead_id = row["lead_id"]
        is_kept_out = without and lead_id in without
        if lead_id is None or is_kept_out or _is_unheard(front.lane, row):
            if row["due_at"] is not None:
                front.found += 1
                front.locked_at = front.locked_at or row["due_at"]
            continue
        front.found += 1
        if front.next_at is None and row["next_run_at"] <= now:
            front.due.append(row)
        elif front.next_at is None:
            front.next_at = row["next_run_at"]
    return list(front_of.values())


def _is_unheard(lane: Lane, row: Row) -> bool:
    """Whether something waits in the inbox that may end the walk."""
    return bool(row["is_unheard"] or (row["is_unheard_own"] and lane.rules.stop_on_own_message))


def read_queue(front: Front, workflows: Mapping[UUID, Workflow]) -> Queue:
    """Read the heads that are due, each with the workflow version that it walks."""
    lane, heads, last = front.lane, [], 0
    workflow = Workflow("", {})
    for row in front.due:
        version_id = row["workflow_version_id"]
        if version_id.int != last:  # mostly one: a UUID is hashed and compared in Python
            workflow, last = workflows[version_id], version_id.int
        heads.append(_read_head(row, lane, workflow))
    return Queue(lane, heads, front.next_at, front.locked_at, is_cut=front.found > lane.take)


def _read_head(row: Row, lane: Lane, workflow: Workflow) -> Head:
    run = execution(row, lane.rules)
    person = _read_person(row, run, lane.columns)
    return Head(
        run,
        row["next_run_at"],
        workflow,
        person,
        row["seen"],
        row["wrote_at"],
        row["done_to"],
        _ahead(run, row["walks"]),
        row["person_id"],
        row["absent_from"],
    )


def _ahead(run: Execution, rows: Sequence[Row] | None) -> str | None:
    """Return why the person goes on in another walk instead, if so; `rows`: all their walks."""
    found = ahead_in(rows, run.campaign_id, run.lead_id)
    return None if found is None else goes_on_in(found[1], found[0])


def _read_person(row: Row, run: Execution, columns: tuple[str, ...]) -> Person | Unreadable:
    fields: dict[str, str | None] = {}
    if run.operation.traits.sends_text:
        read = fields_of(row)
        if isinstance(read, Unreadable):
            return read
        fields = read
    return Person(
        public_identifier=row["public_identifier"],
        provider_id=row["listed_id"],
        fields=fields,
        columns=columns,
        chat_id=row["chat_id"] or None,
        invitation_id=row["invitation_id"],
        suppressed=row["suppressed"],
    )


def fields_of(row: Row) -> dict[str, str | None] | Unreadable:
    """Return what templates may say of a lead."""
    stored = _read_fields(row["fields"])
    if isinstance(stored, Unreadable):
        return stored
    return {
        **stored,
        "first_name": row["first_name"],
        "last_name": row["last_name"],
        "company": row["company"],
        "job_title": row["job_title"],
        "email": row["email"],
    }


def _read_fields(stored: str) -> dict[str, str] | Unreadable:
    try:
        fields = json.decode(stored)
    except Exception as error:  # noqa: BLE001  whatever a hand can write into a row
        return unreadable(error)
    if not isinstance(fields, dict):
        return Unreadable("the lead's `fields` are no JSON object: put them right")
    for name, value in fields.items():
        if not isinstance(value, str):
            return Unreadable(f"the lead's `fields` hold no text for {name[:40]!r}: put it right")
    return fields
