"""Who must be left alone is, in every campaign, from the moment it is recorded."""

import os
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from builders import NOW, VISIT, Conn, begun, set_stage
from conftest import beside

from clento_engine.domain.lead import Identity, LeadRow, identity
from clento_engine.domain.operation import Operation
from clento_engine.domain.person import Shown
from clento_engine.domain.suppression import Kind, company_key, email_key, suppressed_value
from clento_engine.store import migrate
from clento_engine.store.campaigns import pause_campaign
from clento_engine.store.database import Database
from clento_engine.store.leads import import_leads
from clento_engine.store.people import learn
from clento_engine.store.suppressions import (
    Recorded,
    lift_suppression,
    suppress,
    suppressions,
)

DAY = timedelta(days=1)

# Of each a database is made, where the server knows it: PostgreSQL's own C, and Turkish, in which
# `lower('I')` is ı, by either library.
LOCALES = {
    "C": "locale_provider libc lc_collate 'C' lc_ctype 'C'",
    "tr-TR of ICU": "locale_provider icu icu_locale 'tr-TR' lc_collate 'C' lc_ctype 'C'",
    "tr_TR of libc": "locale_provider libc lc_collate 'C' lc_ctype 'tr_TR.UTF-8'",
}


@pytest.fixture(params=LOCALES)
def local_dsn(request: pytest.FixtureRequest, server: str) -> Iterator[str]:
    """Lend the URL of a database of that locale with our schema."""
    name = f"clento_locale_{os.getpid()}"
    making = f"create database {name} template template0 encoding 'UTF8' {LOCALES[request.param]}"
    with psycopg.connect(server, autocommit=True) as conn:
        try:
            conn.execute(making.encode())
        except (psycopg.errors.FeatureNotSupported, psycopg.errors.WrongObjectType) as error:
            pytest.skip(f"this server has no {request.param}: {error}")
        try:
            migrate.upgrade(beside(server, name))
            yield beside(server, name)
        finally:
            conn.execute(f"drop database {name}".encode())


def as_compared(kind: str, text: str) -> str:
    value = suppressed_value(Kind(kind), text)
    assert isinstance(value, str)
    return value


async def written(conn: Conn, *, email: str, company: str) -> None:
    """Have the first lead say so."""
    await conn.execute(
        "update leads set email = %s, email_key = %s, company = %s, company_key = %s"
        " where identity = 'person-1'",
        (email, email_key(email), company, company_key(company)),
    )


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("person", "person-1"),
        ("email", "one@acme.example"),
        ("domain", "acme.example"),
        ("company", "Émile & Co"),
    ],
)
async def test_a_suppression_ends_the_walks_it_is_about_and_no_others(
    conn: Conn, kind: str, value: str
) -> None:
    stage = await begun(conn, VISIT, Operation.PROFILE_VISIT, leads=2)
    await written(conn, email="One@Acme.example", company="Émile & CO")
    value = as_compared(kind, value)
    recorded = await suppress(conn, stage.organization_id, kind, value, "asked us to", NOW)
    assert recorded == Recorded(is_new=True, ended=1)
    first, second = [await stage.run(lead) for lead in stage.leads]
    assert (first["outcome"], first["reason"]) == ("suppressed", f"{kind}: asked us to")
    assert second["outcome"] is None
    told = await stage.rows("select kind, actor from events where kind = 'Suppressed'")
    assert told == [{"kind": "Suppressed", "actor": "operator"}]
    assert await lift_suppression(conn, stage.organization_id, kind, value)
    assert not await lift_suppression(conn, stage.organization_id, kind, value)


SPELT = [
    ("company", "öko häuser gmbh", "ÖKO HÄUSER  GmbH"),
    ("company", "O\u0308ko Ha\u0308user GmbH", "Öko Häuser GmbH"),
    ("company", "ikea", "IKEA"),
    ("company", "IKEA", "ikea"),
    ("company", "İŞIK A.Ş.", "işık a.ş."),
    ("domain", "xn--ko-eka.example", "IDA@ÖKO.example"),
    ("domain", "ÖKO.example", "ida@xn--ko-eka.example"),
    ("email", "IDA@ikea.example", "ida@IKEA.example"),
]


async def test_a_value_in_any_spelling_ends_the_walk_whatever_the_locale(local_dsn: str) -> None:
    who = identity("person-1")
    assert isinstance(who, Identity)
    missed = []
    async with Database(local_dsn) as database, database.connection() as conn:
        for number, (kind, value, of_lead) in enumerate(SPELT):
            name = f"list {number}"
            stage = await begun(conn, VISIT, Operation.PROFILE_VISIT, name=name)
            email = None if kind == "company" else of_lead.lower()
            company = of_lead if kind == "company" else None
            lead = LeadRow(1, who, company=company, email=email)
            await import_leads(conn, stage.organization_id, name, [lead], NOW, update=True)
            named = as_compared(kind, value)
            recorded = await suppress(conn, stage.organization_id, kind, named, "?", NOW)
            if recorded.ended != 1:
                missed.append((kind, value, of_lead))
            [listed] = await suppressions(conn, stage.organization_id, NOW)
            again = as_compared(kind, listed.value.upper())
            assert await lift_suppression(conn, stage.organization_id, kind, again)
    assert missed == []


async def test_a_person_is_found_by_the_provider_id_that_the_walk_learned(conn: Conn) -> None:
    stage = await begun(conn, VISIT, Operation.PROFILE_VISIT)
    shown = Shown(stage.organization_id, "ACoAAada", None, stage.leads[0], "person-1")
    await learn(conn, [shown], NOW)
    recorded = await suppress(conn, stage.organization_id, "person", "ACoAAada", "?", NOW)
    assert recorded.ended == 1


async def test_walks_that_are_paused_or_held_end_as_well(conn: Conn) -> None:
    stage = await begun(conn, VISIT, Operation.PROFILE_VISIT)
    await pause_campaign(conn, stage.organization_id, stage.campaign_id, now=NOW)
    await stage.change("campaign_executions", status="held", next_run_at=None, reason="no city")
    await suppress(conn, stage.organization_id, "person", "person-1", "?", NOW)
    assert (await stage.run())["outcome"] == "suppressed"


async def test_another_organisation_is_left_as_it_is(conn: Conn) -> None:
    stage = await begun(conn, VISIT, Operation.PROFILE_VISIT)
    other = await set_stage(conn, VISIT, name="other")
    assert other.organization_id != stage.organization_id
    await suppress(conn, other.organization_id, "person", "person-1", "?", NOW)
    assert (await stage.run())["outcome"] is None


async def test_again_it_holds_as_long_as_the_longest_of_them(conn: Conn) -> None:
    stage = await set_stage(conn, VISIT)

    async def recorded(days: int | None) -> bool:
        expires_at = None if days is None else NOW + days * DAY
        done = await suppress(
            conn,
            stage.organization_id,
            "domain",
            "acme.example",
            "?",
            NOW,
            expires_at=expires_at,
        )
        return done.is_new

    assert [await recorded(days) for days in (2, 1, 3, None, 5)] == [True, False, True, True, False]
    [only] = await suppressions(conn, stage.organization_id, NOW + 9 * DAY)
    assert only.expires_at is None


async def test_what_is_over_is_not_listed(conn: Conn) -> None:
    stage = await set_stage(conn, VISIT)
    of = (stage.organization_id, "domain", "acme.example", "?", NOW)
    await suppress(conn, *of, expires_at=NOW + DAY)
    assert len(await suppressions(conn, stage.organization_id, NOW)) == 1
    assert await suppressions(conn, stage.organization_id, NOW + DAY) == []
