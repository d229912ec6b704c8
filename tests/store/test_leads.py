"""An import brings in every person once, or nobody."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from uuid_utils.compat import uuid7

from clento_engine.domain.lead import Identity, LeadRow, identity
from clento_engine.store.leads import BATCH, Imported, import_leads, list_leads

Conn = AsyncConnection[TupleRow]
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@pytest.fixture
async def organization(conn: Conn) -> UUID:
    return await add_organization(conn, "Brumelle")


async def add_organization(conn: Conn, name: str) -> UUID:
    organization_id = uuid7()
    await conn.execute(
        "insert into organizations (id, name) values (%s, %s)", (organization_id, name)
    )
    return organization_id


def row(number: int, address: str | None = None, **values: Any) -> LeadRow:
    who = identity(address or f"https://www.linkedin.com/in/lead-{number}")
    assert isinstance(who, Identity)
    return LeadRow(number, who, **values)


def both(number: int, slug: str, provider_id: str) -> LeadRow:
    by_slug, by_id = identity(f"in/{slug}"), identity(provider_id)
    assert isinstance(by_slug, Identity)
    assert isinstance(by_id, Identity)
    return LeadRow(number, by_slug.known_also_as(by_id))


def counts(imported: Imported) -> tuple[int, int, int]:
    return imported.added, imported.unchanged, imported.updated


async def test_an_import_makes_the_list_and_keeps_every_value(
    conn: Conn, organization: UUID
) -> None:
    people = [
        row(
            1,
            "https://www.linkedin.com/in/L%C3%A9a-Moreau",
            first_name="Léa",
            last_name='O"Bran\\nagh\t',
            company="Brumelle, Inc.",
            job_title="CTO",
            email="lea@example.com",
            fields={"notes": 'one\n"two"\\', "city": "大阪"},
        ),
        row(2, "ACoAAB1"),
    ]
    imported = await import_leads(conn, organization, "Spring", people, NOW)
    assert counts(imported) == (2, 0, 0)
    by_id, lea = await list_leads(conn, organization, "Spring")
    assert (lea.list_id, lea.row_number, lea.created_at) == (imported.list_id, 1, NOW)
    assert (lea.identity, lea.public_identifier, lea.provider_id) == (
        "léa-moreau",
        "léa-moreau",
        None,
    )
    assert lea.profile_url == "https://www.linkedin.com/in/l%C3%A9a-moreau"
    assert (lea.first_name, lea.last_name) == ("Léa", 'O"Bran\\nagh\t')
    assert (lea.company, lea.job_title, lea.email) == ("Brumelle, Inc.", "CTO", "lea@example.com")
    assert lea.fields == {"notes": 'one\n"two"\\', "city": "大阪"}
    assert lea.id.version == 7
    assert (by_id.identity, by_id.public_identifier, by_id.provider_id) == (
        "ACoAAB1",
        None,
        "ACoAAB1",
    )
    assert (by_id.first_name, by_id.email, by_id.fields) == (None, None, {})


async def test_the_same_file_again_adds_nobody(conn: Conn, organization: UUID) -> None:
    people = [row(number, first_name="Léa") for number in range(1, 11)]
    first = await import_leads(conn, organization, "Spring", people, NOW)
    before = await list_leads(conn, organization, "Spring")
    again = await import_leads(
        conn, organization, "Spring", [*people, row(11)], NOW + timedelta(days=1)
    )
    assert counts(again) == (1, 10, 0)
    assert again.list_id == first.list_id
    after = await list_leads(conn, organization, "Spring")
    assert [lead for lead in after if lead.row_number <= 10] == before


async def test_without_update_a_new_value_changes_nothing(conn: Conn, organization: UUID) -> None:
    await import_leads(conn, organization, "Spring", [row(1, company="Brumelle")], NOW)
    again = await import_leads(conn, organization, "Spring", [row(1, company="Tarvok")], NOW)
    assert counts(again) == (0, 1, 0)
    (lead,) = await list_leads(conn, organization, "Spring")
    assert lead.company == "Brumelle"


async def test_update_takes_what_the_row_gives_and_erases_nothing(
    conn: Conn, organization: UUID
) -> None:
    people = [
        row(1, first_name="Léa", company="Brumelle", fields={"city": "Lyon", "size": "10"}),
        row(2, first_name="Hugo", fields={"city": "Köln"}),
        row(3),
    ]
    await import_leads(conn, organization, "Spring", people, NOW)
    changed = [
        row(4, "in/lead-1", company="Tarvok", email="lea@example.com", fields={"size": "11"}),
        row(5, "in/lead-2", first_name="Hugo", fields={"city": "Köln"}),
        row(6, "in/lead-3", job_title="CTO"),
        row(7),
    ]
    again = await import_leads(conn, organization, "Spring", changed, NOW, update=True)
    assert counts(again) == (1, 1, 2)
    lea, hugo, third, _ = await list_leads(conn, organization, "Spring")
    assert (lea.first_name, lea.company, lea.email) == ("Léa", "Tarvok", "lea@example.com")
    assert lea.fields == {"city": "Lyon", "size": "11"}
    assert lea.row_number == 1
    assert (hugo.first_name, hugo.fields) == ("Hugo", {"city": "Köln"})
    assert third.job_title == "CTO"
    once_more = await import_leads(conn, organization, "Spring", changed, NOW, update=True)
    assert counts(once_more) == (0, 4, 0)


async def test_a_person_named_twice_in_one_import_is_one_lead(
    conn: Conn, organization: UUID
) -> None:
    people = [
        row(1, "in/lea-moreau", first_name="first"),
        row(2, "in/lea-moreau", first_name="second"),
        both(3, "hugo-legoff", "ACoAAB1"),
        row(4, "ACoAAB1"),
        both(5, "lea-moreau", "ACoAAB2"),
        row(6, "ACoAAB2"),
    ]
    assert counts(await import_leads(conn, organization, "Spring", people, NOW)) == (2, 4, 0)
    hugo, lea = await list_leads(conn, organization, "Spring")
    assert (hugo.identity, hugo.provider_id) == ("hugo-legoff", "ACoAAB1")
    assert (lea.identity, lea.provider_id) == ("lea-moreau", "ACoAAB2")
    assert lea.first_name == "first"
    for update in (False, True):
        again = await import_leads(conn, organization, "Spring", people, NOW, update=update)
        assert counts(again) == (0, 6, 0)


async def test_a_known_person_takes_no_second_lead_by_another_row(
    conn: Conn, organization: UUID
) -> None:
    await import_leads(conn, organization, "Spring", [row(1, "in/lea-moreau")], NOW)
    people = [both(1, "lea-moreau", "ACoAAB1"), row(2, "ACoAAB1"), both(3, "lea-m", "ACoAAB1")]
    assert counts(await import_leads(conn, organization, "Spring", people, NOW)) == (0, 3, 0)
    again = await import_leads(conn, organization, "Spring", people, NOW, update=True)
    assert counts(again) == (0, 2, 1)
    (lea,) = await list_leads(conn, organization, "Spring")
    assert (lea.identity, lea.provider_id) == ("lea-moreau", "ACoAAB1")


async def test_two_provider_ids_for_one_address_are_one_lead(
    conn: Conn, organization: UUID
) -> None:
    people = [both(1, "lea-moreau", "ACoAAB1"), both(2, "lea-moreau", "ACoAAB2")]
    assert counts(await import_leads(conn, organization, "Spring", people, NOW)) == (1, 1, 0)
    assert counts(await import_leads(conn, organization, "Spring", people, NOW)) == (0, 2, 0)


async def test_a_person_known_by_any_other_name_is_not_added(
    conn: Conn, organization: UUID
) -> None:
    await import_leads(
        conn, organization, "Spring", [both(1, "lea-moreau", "ACoAAB1"), row(2, "ACoAAB2")], NOW
    )
    await conn.execute(  # as when the engine has looked the person up
        "update leads set public_identifier = 'hugo-legoff' where identity = 'ACoAAB2'"
    )
    people = [row(1, "ACoAAB1"), row(2, "in/hugo-legoff"), both(3, "lea-m", "ACoAAB1")]
    assert counts(await import_leads(conn, organization, "Spring", people, NOW)) == (0, 3, 0)


async def test_lists_and_organizations_do_not_meet(conn: Conn, organization: UUID) -> None:
    other = await add_organization(conn, "Tarvok")
    first = await import_leads(conn, organization, "Spring", [row(1)], NOW)
    for owner, name in ((organization, "Autumn"), (other, "Spring")):
        imported = await import_leads(conn, owner, name, [row(1)], NOW, update=True)
        assert counts(imported) == (1, 0, 0)
        assert imported.list_id != first.list_id
    assert len(await list_leads(conn, other, "Spring")) == 1
    assert await list_leads(conn, other, "Autumn") == []


async def test_a_row_that_cannot_be_read_leaves_nothing_behind(
    conn: Conn, organization: UUID
) -> None:
    def broken() -> Iterator[LeadRow]:
        for number in range(1, BATCH + 10):
            yield row(number)
        raise OSError("the file ends here")

    with pytest.raises(OSError, match="ends here"):
        await import_leads(conn, organization, "Spring", broken(), NOW)
    cursor = await conn.execute("select (select count(*) from lead_lists), count(*) from leads")
    assert await cursor.fetchone() == (0, 0)
    assert counts(await import_leads(conn, organization, "Spring", [row(1)], NOW)) == (1, 0, 0)


async def test_an_import_is_part_of_the_callers_transaction(conn: Conn, organization: UUID) -> None:
    async with conn.transaction(force_rollback=True):
        await import_leads(conn, organization, "Spring", [row(1)], NOW)
        assert counts(await import_leads(conn, organization, "Spring", [row(2)], NOW)) == (1, 0, 0)
    assert await list_leads(conn, organization, "Spring") == []


async def test_an_import_of_nobody_makes_an_empty_list(conn: Conn, organization: UUID) -> None:
    heard: list[int] = []
    imported = await import_leads(conn, organization, "Spring", [], NOW, progress=heard.append)
    assert counts(imported) == (0, 0, 0)
    assert heard == []


async def test_progress_is_heard_while_rows_are_read(conn: Conn, organization: UUID) -> None:
    heard: list[int] = []
    people = (row(number) for number in range(1, 2 * BATCH + 2))
    imported = await import_leads(conn, organization, "Spring", people, NOW, progress=heard.append)
    assert imported.added == 2 * BATCH + 1
    assert heard == [BATCH, 2 * BATCH, 2 * BATCH + 1]


@pytest.mark.direct
async def test_two_imports_of_one_file_at_once_add_everybody_once(
    conn: Conn, dsn: str, organization: UUID
) -> None:
    people = [row(number) for number in range(1, 201)]
    async with (
        await AsyncConnection.connect(dsn, autocommit=True) as second,
        await AsyncConnection.connect(dsn, autocommit=True) as watcher,
    ):
        async with conn.transaction():
            first = await import_leads(conn, organization, "Spring", people, NOW)
            # the other file holds the same people the other way round, and one more
            task = asyncio.create_task(
                import_leads(second, organization, "Spring", [row(201), *people[::-1]], NOW)
            )
            await until_waiting(watcher, second.info.backend_pid)
            assert not task.done()
        assert counts(first) == (200, 0, 0)
        assert counts(await task) == (1, 200, 0)
    assert len(await list_leads(conn, organization, "Spring", limit=500)) == 201


@pytest.mark.direct
async def test_an_import_waits_for_another_longer_than_other_locks_may_take(
    conn: Conn, dsn: str, organization: UUID
) -> None:
    async with (
        await AsyncConnection.connect(dsn, autocommit=True) as second,
        await AsyncConnection.connect(dsn, autocommit=True) as watcher,
    ):
        await second.execute("set lock_timeout = '1ms'")
        async with conn.transaction():
            await import_leads(conn, organization, "Spring", [row(1)], NOW)
            task = asyncio.create_task(import_leads(second, organization, "Spring", [row(1)], NOW))
            await until_waiting(watcher, second.info.backend_pid)
        assert counts(await task) == (0, 1, 0)
        cursor = await second.execute("show lock_timeout")
        assert await cursor.fetchone() == ("1ms",)


async def until_waiting(watcher: Conn, pid: int) -> None:
    """Return once the backend waits for a lock."""
    async with asyncio.timeout(30):
        while True:
            cursor = await watcher.execute(
                "select from pg_stat_activity where pid = %s and wait_event_type = 'Lock'", (pid,)
            )
            if await cursor.fetchone() is not None:
                return


async def test_a_list_is_read_page_by_page(conn: Conn, organization: UUID) -> None:
    people = [replace(row(number), row_number=1000 - number) for number in range(100, 125)]
    await import_leads(conn, organization, "Spring", people, NOW)
    seen: list[str] = []
    while page := await list_leads(
        conn, organization, "Spring", after=seen[-1] if seen else "", limit=10
    ):
        seen += [lead.identity for lead in page]
    assert seen == [f"lead-{number}" for number in range(100, 125)]
    assert await list_leads(conn, organization, "Summer") == []
