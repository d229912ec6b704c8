"""Replaying what is stored: every walk's history held against its row."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from clento_engine.domain.execution import Execution
from clento_engine.domain.replay import Difference, Recorded, replay
from clento_engine.store.campaigns import ENROLLED
from clento_engine.store.rows import EXECUTION, RULES, execution, rules
from clento_engine.store.workflows import load_workflows

BATCH = 500  # walks read at once, with their histories


@dataclass(frozen=True, slots=True)
class Differing:
    """A walk whose history does not explain its row, and where that shows first."""

    campaign_id: UUID
    campaign: str
    lead_id: UUID
    lead: str
    difference: Difference


@dataclass(slots=True)
class Replayed:
    """What was replayed; `lines` counts the history's."""

    walks: int = 0
    lines: int = 0
    differing: list[Differing] = field(default_factory=list)


# One statement, so one snapshot: tickers may go on, a row and its history are of the same moment.
_WALKS = f"""
select e.organization_id, e.workflow_version_id, c.name as campaign, p.identity as lead,
       c.start_at, {RULES}, {EXECUTION}, h.history
  from campaign_executions e
  join campaigns c on c.organization_id = e.organization_id and c.id = e.campaign_id
  join leads p on p.organization_id = e.organization_id and p.id = e.lead_id
 cross join lateral (
       select coalesce(json_agg(json_build_object(
                'number', v.id, 'at', v.at, 'kind', v.kind, 'detail', v.detail,
                'node_id', v.node_id, 'result', v.result, 'entered', v.entered)
                order by v.id), '[]') as history
         from history v
        where v.organization_id = e.organization_id and v.subject_id = e.lead_id
          and v.campaign_id = e.campaign_id) h
 where e.organization_id = %(organization_id)s
   and (%(campaign_id)s::uuid is null or e.campaign_id = %(campaign_id)s)
   and (%(leads)s::uuid[] is null or e.lead_id = any(%(leads)s))
   and (e.campaign_id, e.lead_id) > (%(campaign_after)s, %(lead_after)s)
 order by e.campaign_id, e.lead_id
 limit %(most)s
"""


async def replay_walks(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    *,
    campaign_id: UUID | None = None,
    leads: Sequence[UUID] | None = None,
) -> Replayed:
    """Replay the walks of a campaign, of leads, or of both; without either, of the organisation."""
    replayed = Replayed()
    async for rows in _batches(conn, organization_id, campaign_id, leads):
        versions = await load_workflows(
            conn, {(row["organization_id"], row["workflow_version_id"]) for row in rows}
        )
        for row in rows:
            history = [_recorded(line) for line in row["history"]]
            last = execution(row, rules(row))
            workflow = versions[row["workflow_version_id"]]
            difference = replay(workflow, _first(row, last), history, last)
            replayed.walks += 1
            replayed.lines += len(history)
            if difference is not None:
                found = (row["campaign_id"], row["campaign"], row["lead_id"], row["lead"])
                replayed.differing.append(Differing(*found, difference))
    return replayed


async def _batches(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    campaign_id: UUID | None,
    leads: Sequence[UUID] | None,
) -> AsyncIterator[list[dict[str, Any]]]:
    campaign_after = lead_after = UUID(int=0)
    while True:
        async with conn.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(
                _WALKS,
                {
                    "organization_id": organization_id,
                    "campaign_id": campaign_id,
                    "leads": None if leads is None else list(leads),
                    "campaign_after": campaign_after,
                    "lead_after": lead_after,
                    "most": BATCH,
                },
            )
            rows = await cursor.fetchall()
        if rows:
            yield rows
        if len(rows) < BATCH:
            return
        campaign_after, lead_after = rows[-1]["campaign_id"], rows[-1]["lead_id"]


def _first(row: Mapping[str, Any], last: Execution) -> Execution:
    """Return the execution as it was enrolled, by the campaign's start and the history's word."""
    told: Mapping[str, Any] = next(
        (line["detail"] for line in row["history"] if line["kind"] == ENROLLED), {}
    )
    return Execution(
        last.campaign_id,
        last.lead_id,
        last.rules,
        next_run_at=row["start_at"],
        provider_id=told.get("provider_id"),
        connected=told.get("connected", False),
        replied=told.get("replied", False),
    )


def _recorded(line: Mapping[str, Any]) -> Recorded:
    return Recorded(**{**line, "at": datetime.fromisoformat(line["at"])})
