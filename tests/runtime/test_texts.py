"""Texts at the moment of sending: what is not meant for people is held, and nothing leaves."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from play import set_up

from clento_engine.simulator.ledger import Effect
from clento_engine.store.database import Database

START = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)
GREETING: dict[str, Any] = {
    "nodes": [
        {
            "id": "greet",
            "type": "action",
            "data": {
                "type": "send_followup",
                "config": {"customMessage": "Hello {{first_name}}, how is {{company}}?"},
            },
        }
    ],
    "edges": [],
}
CONNECTED = {slug: {"connected_for": timedelta(days=100)} for slug in ("ada", "bert")}


@pytest.mark.parametrize(
    "value", ["{company_name}", "<b>Acme</b>", "Acme &amp; Sons", "[Your Company]", "undefined"]
)
async def test_a_lead_whose_text_would_have_what_nobody_means_is_held_and_others_get_theirs(
    database: Database, value: str
) -> None:
    """Of a list that was imported before such values were left out, or was edited since."""
    play = await set_up(
        database, GREETING, start=START, slugs=["ada", "bert"], people=CONNECTED, hours="always"
    )
    async with database.connection() as conn:
        await conn.execute(
            "update leads set company = %s where public_identifier = 'ada'", (value,)
        )
    await play.run(days=5)
    leads = await play.leads()
    assert (leads["ada"]["status"], leads["bert"]["outcome"]) == ("held", "finished")
    assert [(entry.slug, entry.text) for entry in play.entries(Effect.MESSAGE)] == [
        ("bert", "Hello Bert, how is Acme?")
    ]
    assert (await play.verdict()).is_clean
