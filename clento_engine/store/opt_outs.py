"""The phrases by which people ask an organisation to be left alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from clento_engine.domain.opt_out import DEFAULT_PHRASES


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase; `source`: one of everybody's ("default"), or the organisation's ("own")."""

    phrase: str
    source: str
    is_in_force: bool


async def opt_out_phrases(conn: AsyncConnection[Any], organization_id: UUID) -> frozenset[str]:
    """Return the phrases in force, as `domain.opt_out` compares them."""
    return frozenset(
        each.phrase for each in await list_phrases(conn, organization_id) if each.is_in_force
    )


async def list_phrases(conn: AsyncConnection[Any], organization_id: UUID) -> Sequence[Phrase]:
    """List every phrase, those taken out as well, by the alphabet."""
    cursor = await conn.execute(
        "select phrase, is_in_force from opt_out_phrases where organization_id = %s",
        (organization_id,),
    )
    changed: dict[str, bool] = dict(await cursor.fetchall())
    return [
        Phrase(phrase, "default" if phrase in DEFAULT_PHRASES else "own", changed.get(phrase, True))
        for phrase in sorted(DEFAULT_PHRASES | changed.keys())
    ]


async def change_phrase(
    conn: AsyncConnection[Any], organization_id: UUID, phrase: str, *, is_in_force: bool
) -> bool:
    """Put a phrase in force or take it out; False when it was so already."""
    is_default = phrase in DEFAULT_PHRASES
    if is_in_force == is_default:  # as it is without a row
        cursor = await conn.execute(
            "delete from opt_out_phrases where organization_id = %s and phrase = %s",
            (organization_id, phrase),
        )
        return cursor.rowcount > 0
    cursor = await conn.execute(
        "insert into opt_out_phrases (organization_id, phrase, is_in_force) values (%s, %s, %s)"
        " on conflict do nothing",
        (organization_id, phrase, is_in_force),
    )
    return cursor.rowcount > 0
