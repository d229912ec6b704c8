"""How an execution is read from its row and written back."""

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.json import encode

from clento_engine.domain.execution import Execution, OnMissing, Outcome, Rules, Status
from clento_engine.domain.operation import Operation

EXECUTION = (
    "e.campaign_id, e.lead_id, e.status, e.node_id, e.operation, e.next_run_at, e.attempt,"
    " e.posts, e.relooked, e.provider_id, e.connected, e.replied, e.started_at, e.expires_at,"
    " e.deadline_at, e.outcome, e.reason, e.finished_at"
)
"""The columns that `execution` reads, in a query that calls the table `e`."""


def execution(row: Mapping[str, Any], rules: Rules) -> Execution:
    """Read an execution from a row that holds the columns EXECUTION."""
    return Execution(
        campaign_id=row["campaign_id"],
        lead_id=row["lead_id"],
        rules=rules,
        status=Status(row["status"]),
        node_id=row["node_id"],
        operation=Operation(row["operation"]),
        next_run_at=row["next_run_at"],
        attempt=row["attempt"],
        posts=tuple(row["posts"] or ()),
        relooked=row["relooked"],
        provider_id=row["provider_id"],
        connected=row["connected"],
        replied=row["replied"],
        started_at=row["started_at"],
        expires_at=row["expires_at"],
        deadline_at=row["deadline_at"],
        outcome=None if row["outcome"] is None else Outcome(row["outcome"]),
        reason=row["reason"],
        finished_at=row["finished_at"],
    )


RULES = "c.stop_on_reply, c.on_missing, c.max_duration, c.stop_on_own_message"
"""The columns that `rules` reads, in a query that calls the campaigns `c`."""


def rules(row: Mapping[str, Any]) -> Rules:
    """Read a campaign's rules from a row that holds the columns RULES."""
    return Rules(
        row["stop_on_reply"],
        OnMissing(row["on_missing"]),
        row["max_duration"],
        row["stop_on_own_message"],
    )


def recordset(rows: Iterable[Mapping[str, Any]]) -> str:
    """Write rows as the JSON that `json_to_recordset` reads: a whole batch is one parameter.

    What PostgreSQL cannot hold as text (NUL, half a surrogate pair) is replaced: the provider's
    names come from other people, and one of them must not cost a batch its outcomes.
    """
    listed = list(rows)
    try:
        written = encode(listed)
    except UnicodeEncodeError:
        written = b"\\u0000"  # half a surrogate pair
    if b"\\u0000" in written:
        written = encode(_storable(listed))
    return written.decode()


def _storable(value: Any) -> Any:  # noqa: ANN401  JSON
    match value:
        case str():
            whole = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            return whole.replace("\0", "\N{REPLACEMENT CHARACTER}")
        case dict():
            return {key: _storable(each) for key, each in value.items()}
        case list() | tuple():
            return [_storable(each) for each in value]
        case _:
            return value
