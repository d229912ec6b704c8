"""Replay: a walk's recorded events decided on again, and the first thing that comes out otherwise.

What happens next is a function of workflow, execution, event and instant alone.  So the history
explains the row, and where it does not, one of them was changed by something else than `decide`:
another hand, a defect, or a version of the rules that decides otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args

from clento_engine.domain.execution import Event, Execution, IllegalTransition
from clento_engine.domain.history import recalled
from clento_engine.domain.transition import decide
from clento_engine.domain.workflow import Workflow

_EVENTS = frozenset(kind.__name__ for kind in get_args(Event))


@dataclass(frozen=True, slots=True)
class Recorded:
    """One line of a lead's history, as it is stored.

    `at`: the instant it was decided with; `node_id`: where the lead stood; `result`, `entered`: as
    the decision said.
    """

    number: int
    at: datetime
    kind: str
    detail: Mapping[str, Any]
    node_id: str | None = None
    result: str | None = None
    entered: str | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """Something stored that a replay does not give.

    `field` is one of the line `event` or, where that is None, of the execution.
    """

    field: str
    stored: object
    replayed: object
    event: Recorded | None = None


def replay(
    workflow: Workflow, first: Execution, history: Sequence[Recorded], last: Execution
) -> Difference | None:
    """Walk from `first` through `history`, oldest first; return the first difference, if any.

    `last` is the execution as it is stored now.  Lines that tell of something else than an event
    of the walk are passed over.
    """
    run = first
    for line in history:
        if line.kind not in _EVENTS:
            continue
        try:
            event = recalled(line.kind, line.detail)
            decision = decide(workflow, run, event, line.at)
        except IllegalTransition as impossible:
            return Difference("kind", line.kind, f"impossible: {impossible}", line)
        except (KeyError, TypeError, ValueError) as unreadable:
            return Difference("detail", line.detail, f"unreadable: {unreadable!r}", line)
        told = {"node_id": run.node_id, "result": decision.result, "entered": decision.entered}
        for name, value in told.items():
            if getattr(line, name) != value:
                return Difference(name, getattr(line, name), value, line)
        run = decision.execution
    for name in Execution.__struct_fields__:
        stored, replayed = getattr(last, name), getattr(run, name)
        if stored != replayed:
            return Difference(name, stored, replayed)
    return None
