"""Workflow versions: immutable once saved, so each process reads a version once."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from clento_engine.domain.limits import carried_per_day
from clento_engine.domain.workflow import Workflow, from_json, to_json
from clento_engine.store.errors import NotFound, Noun
from clento_engine.store.ids import uuid7

log = logging.getLogger(__name__)

_MOST_KEPT = 1000
_kept: dict[UUID, Workflow] = {}


@dataclass(frozen=True, slots=True)
class SavedWorkflow:
    """A version of a workflow as the editor saved it."""

    name: str
    version: int
    document: object


async def load_workflows(
    conn: AsyncConnection[Any], versions: Iterable[tuple[UUID, UUID]]
) -> dict[UUID, Workflow]:
    """Return the compiled workflows of (organization_id, version_id) pairs, by version id.

    One that somebody edited so that it cannot be read has no nodes: whoever walks it is held.
    """
    wanted = set(versions)
    if len(_kept) > _MOST_KEPT:
        _kept.clear()
    missing = [(organization, version) for organization, version in wanted if version not in _kept]
    if missing:
        cursor = await conn.execute(
            "select id, compiled from workflow_versions"
            " where organization_id = any(%s) and id = any(%s)",
            ([organization for organization, _ in missing], [version for _, version in missing]),
        )
        for version_id, compiled in await cursor.fetchall():
            _kept[version_id] = _read(version_id, compiled)
    return {version: _kept[version] for _, version in wanted}


def _read(version_id: UUID, compiled: Any) -> Workflow:  # noqa: ANN401  JSON
    try:
        workflow = from_json(compiled)
        carried_per_day(workflow, {}, 7)  # raises for a cycle
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        log.error(  # noqa: TRY400  the reason of each lead says the rest
            "workflow cannot be read",
            extra={"version_id": str(version_id), "error": type(error).__name__, "alert": True},
        )
        return Workflow(first="", nodes={})
    return workflow


async def version(
    conn: AsyncConnection[Any], organization_id: UUID, version_id: UUID
) -> SavedWorkflow:
    """Return a version of a workflow.  Raises NotFound."""
    async with conn.cursor(row_factory=class_row(SavedWorkflow)) as cursor:
        await cursor.execute(
            "select name, version, document from workflow_versions"
            " where organization_id = %s and id = %s",
            (organization_id, version_id),
        )
        found = await cursor.fetchone()
    if found is None:
        raise NotFound(Noun.WORKFLOW_VERSION, str(version_id))
    return found


async def save_workflow(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    name: str,
    document: object,
    workflow: Workflow,
) -> UUID:
    """Save a workflow as the next version under its name; return the version's id.

    The same workflow saved again is the same version.
    """
    compiled = to_json(workflow)
    async with conn.transaction():
        # two saves at once would take the same number
        await conn.execute(
            "select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"{organization_id}/{name}",)
        )
        cursor = await conn.execute(
            "select id, version, document = %s and compiled = %s from workflow_versions"
            " where organization_id = %s and name = %s order by version desc limit 1",
            (Jsonb(document), Jsonb(compiled), organization_id, name),
        )
        last = await cursor.fetchone()
        if last is not None and last[2]:
            found: UUID = last[0]
            return found
        version_id = uuid7()
        await conn.execute(
            "insert into workflow_versions (organization_id, id, name, version, document, compiled)"
            " values (%s, %s, %s, %s, %s, %s)",
            (
                organization_id,
                version_id,
                name,
                1 if last is None else last[1] + 1,
                Jsonb(document),
                Jsonb(compiled),
            ),
        )
    return version_id
