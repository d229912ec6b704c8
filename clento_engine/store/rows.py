"""How an execution is read from its row and written back."""

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

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


def rules(stop_on_reply: bool, on_missing: str, max_duration: timedelta) -> Rules:
    """Read a campaign's rules from its columns."""
    return Rules(stop_on_reply, OnMissing(on_missing), max_duration)


def recordset(rows: Iterable[Mapping[str, Any]]) -> str:
    """Write rows as the JSON that `json_to_recordset` reads: a whole batch is one parameter."""
    return json.dumps(list(rows), default=str)
