"""Answers that are bombs, have no end, or name things that cannot be: bounded, and not believed."""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from gzip import compress
from typing import Any

import httpx
import pytest
from test_unipile_sockets import GET, POST, Connection, serving
from unipile_calls import READS, SENDS, T0, Ask
from unipile_samples import ACCOUNT_ID, DSN, MESSAGE, PROFILE, RELATION, TOKEN, Stub, listed, sample

from clento_engine.domain.failure import Means, OutcomeUnknown, Retry, Skip
from clento_engine.provider import bodies, decode, port
from clento_engine.provider.bodies import MB, Refused, Room, read_body
from clento_engine.provider.unipile import UnipileClient

SMALL = 64 * 1024
BOMB = compress(b'{"object":"UserProfile","x":"' + b"0" * 64 * MB, 9)
SOON = timedelta(milliseconds=300)


async def pieces(data: bytes, size: int = 1 << 14) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def read(
    data: bytes, encoding: str = "", *, longest: int = MB, room: Room | None = None
) -> bytearray:
    with (room or Room(longest)).share() as share:
        return await read_body(pieces(data), encoding, longest=longest, share=share)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


# -- one body


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("", bytes),
        ("identity", bytes),
        ("gzip", compress),
        ("X-GZIP", compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
    ],
)
async def test_a_body_is_read_however_it_is_packed(encoding: str, pack: Any) -> None:
    data = bytes(range(256)) * 2_000
    assert await read(pack(data), encoding) == data


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "gzip,br"])
async def test_a_packing_that_nobody_asked_for_is_refused(encoding: str) -> None:
    with pytest.raises(Refused):
        await read(compress(b"{}"), encoding)


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (b"0" * (MB + 1), ""),
        (compress(b"0" * (MB + 1)), "gzip"),
        (zlib.compress(b"0" * 64 * MB), "deflate"),
        # a file name without end in the header: bytes come, and nothing comes out
        (b"\x1f\x8b\x08\x08\0\0\0\0\0\x03" + b"n" * 2 * MB, "gzip"),
        (b"\0\0\0\xff\xff" * (MB // 4), "deflate"),  # blocks of no bytes
        (compress(b"{}")[:-1], "gzip"),
        (b"{}", "gzip"),
    ],
    ids=["plain", "gzip", "deflate", "endless header", "empty blocks", "cut short", "not packed"],
)
async def test_what_is_too_long_or_damaged_is_refused(data: bytes, encoding: str) -> None:
    room = Room(2 * MB)
    with pytest.raises(Refused):
        await read(data, encoding, room=room)
    assert room._free == 2 * MB


@pytest.mark.parametrize("body", [b"[" + b"{}," * MB + b"{}]", b'{"a":[' + b"[" * MB, b"0," * MB])
async def test_a_body_of_too_many_values_is_refused_before_they_are_read(body: bytes) -> None:
    with pytest.raises(Refused):
        bodies.require_few_values(body)


# -- all of them


async def test_who_finds_no_room_waits_for_it() -> None:
    room = Room(100)
    first, second = room.share(), room.share()
    await first.take(80)
    waiting = asyncio.create_task(second.take(30))
    await asyncio.sleep(0)
    assert not waiting.done()
    room.give_back(first)
    await waiting
    assert second.held == 30


async def test_who_gives_up_waiting_leaves_the_room_to_the_next() -> None:
    room = Room(100)
    first, second, third = room.share(), room.share(), room.share()
    await first.take(80)
    waiting = asyncio.create_task(second.take(30))
    behind = asyncio.create_task(third.take(20))
    await asyncio.sleep(0)
    waiting.cancel()
    await behind
    assert (second.held, third.held) == (0, 20)


async def test_readers_that_all_wait_for_each_other_go_on_but_one() -> None:
    room = Room(100)
    shares = [room.share() for _ in range(4)]
    for share in shares:
        await share.take(25)

    async def more(share: bodies.Share) -> bool:
        try:
            with share:
                await share.take(25)
        except Refused:
            return False
        return True

    async with asyncio.timeout(5):
        answers = await asyncio.gather(*map(more, shares))
    assert answers.count(False) >= 1
    assert answers.count(True) >= 2
    assert room._free == 100


# -- what a client makes of it


async def flood(connection: Connection, head: bytes) -> None:
    await connection.request()
    await connection.raw(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
    while True:
        await connection.raw(b"0" * SMALL)


async def endless(connection: Connection) -> None:
    await flood(connection, b"")


async def bomb(connection: Connection) -> None:
    await connection.request()
    await connection.answer(BOMB, "200 OK", "content-encoding: gzip")


async def brotli(connection: Connection) -> None:
    await connection.request()
    await connection.answer(b"\x0b\x02\x80{}\x03", "200 OK", "content-encoding: br")


HOSTILE = pytest.mark.parametrize("script", [endless, bomb, brotli])


@HOSTILE
async def test_an_answer_over_the_bound_waits_for_a_read_and_is_unknown_to_a_write(
    script: Any,
) -> None:
    async with serving(script) as (server, client):
        answer = await client.relations(ACCOUNT_ID)
        assert isinstance(answer, Retry)
        assert answer.left
        assert len(server.heads) == 1  # not again at once
        for ask in (POST, GET):
            with pytest.raises(OutcomeUnknown):
                await ask(client)


async def test_a_bomb_s_bound_holds_where_one_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without bounds the whole of it is read."""
    monkeypatch.setattr(bodies, "LONGEST_READ", 1 << 40)
    longest = 0

    def kept(body: bytes) -> None:
        nonlocal longest
        longest = len(body)

    monkeypatch.setattr(bodies, "require_few_values", kept)

    async def whole(connection: Connection) -> None:
        await connection.request()
        packed = compress(b"0" * 16 * MB)
        await connection.answer(packed, "200 OK", "content-encoding: gzip")

    async with serving(whole) as (_, client):
        await client.relations(ACCOUNT_ID)
    assert longest == 16 * MB > bodies.LONGEST_WRITE


async def test_an_answer_that_drips_ends_by_the_time_limit() -> None:
    async def drip(connection: Connection) -> None:
        await connection.request()
        await connection.raw(b"HTTP/1.1 200 OK\r\n\r\n{")
        while True:
            await connection.raw(b" ")
            await asyncio.sleep(0.05)

    async with serving(drip, patience=SOON) as (_, client), asyncio.timeout(10):
        assert isinstance(await client.relations(ACCOUNT_ID), Retry)


async def test_headers_without_end_are_no_answer() -> None:
    async def headers(connection: Connection) -> None:
        await connection.request()
        await connection.raw(b"HTTP/1.1 200 OK\r\n")
        for number in range(1_000_000):
            await connection.raw(b"x-%d: %s\r\n" % (number, b"0" * 1_000))

    async with serving(headers, patience=SOON) as (_, client), asyncio.timeout(10):
        with pytest.raises(OutcomeUnknown):
            await POST(client)


async def test_a_list_whose_pages_come_to_too_much_is_one_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bodies, "LONGEST_LIST", 100_000)
    item = {**MESSAGE, "chat_id": "chat1", "text": "0" * 40_000}
    number = 0

    def page(_request: httpx.Request) -> httpx.Response:
        nonlocal number
        number += 1
        return httpx.Response(200, json=listed(item, cursor=f"c{number}"))

    room = Room(MB)
    client = UnipileClient(DSN, TOKEN, transport=httpx.MockTransport(page), room=room)
    answer = await client.chat_messages(ACCOUNT_ID, "chat1")
    assert answer == Retry("answer not understood: a list without end")
    assert number == 3
    assert room._free == MB


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"object":' * 100_000,
        b'{"object":"UserProfile","provider_id":' + b"1" * 5_000 + b"}",
        b'{"object":"UserProfile","provider_id":1e999,"usage":NaN}',
        b'{"object":"Unheard","items":[{"timestamp":' + b"9" * 4_000 + b"}]}",
        b'{"object":"Unheard","items":{"a":1}}',
        b'{"object":"Unheard","items":[[]]}',
        b'"\\ud800"',
    ],
    ids=["deep", "deep objects", "huge number", "infinite", "huge stamp", "object", "list", "half"],
)
@pytest.mark.parametrize("ask", READS.values(), ids=READS.keys())
async def test_json_of_any_shape_is_no_crash(ask: Ask, body: bytes) -> None:
    stub = Stub(lambda _: httpx.Response(200, content=body))
    answer = await ask(stub.client)
    if isinstance(answer, Retry):
        assert answer.reason.startswith(("answer not understood", "not Unipile's own answer"))
    else:  # a comment may lack all that is documented of it
        assert isinstance(answer, port.Page)


# -- ids


BAD_IDS = ["x" * 8_192, ".", "..", "a/b", "..%2Fusers", "a?b=c", "a\0b", "\ud83d", "a b"]
IDS = {"id", "provider_id", "member_id", "chat_id", "social_id", "sender_id", "webhook_id"}


def with_id(value: Any, bad: str) -> Any:
    """Put `bad` where an answer has ids, wherever the provider documents one as required."""
    match value:
        case dict():
            return {
                k: bad if k in IDS and isinstance(v, str) else with_id(v, bad)
                for k, v in value.items()
            }
        case list():
            return [with_id(each, bad) for each in value]
        case _:
            return value


@pytest.mark.parametrize("bad", BAD_IDS, ids=range(len(BAD_IDS)))
@pytest.mark.parametrize("name", list(READS))
async def test_an_answer_with_a_bad_id_is_not_understood(name: str, bad: str) -> None:
    def poisoned(request: httpx.Request) -> httpx.Response:
        body = with_id(sample(request).json(), bad)
        return httpx.Response(200, content=json.dumps(body).encode())

    stub = Stub(poisoned)
    answer = await READS[name](stub.client)
    assert isinstance(answer, Retry), answer
    assert answer.reason.startswith("answer not understood")


@pytest.mark.parametrize("bad", BAD_IDS, ids=range(len(BAD_IDS)))
@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("invite", "invitation_id"),
        ("send_message", "message_id"),
        ("start_chat", "chat_id"),
        ("comment", "comment_id"),
    ],
)
async def test_what_became_of_a_write_is_unknown_when_its_id_is_bad(
    name: str, field: str, bad: str
) -> None:
    def poisoned(request: httpx.Request) -> httpx.Response:
        body = {**sample(request).json(), field: bad}
        return httpx.Response(200, content=json.dumps(body).encode())

    with pytest.raises(OutcomeUnknown):
        await SENDS[name](Stub(poisoned).client)


@pytest.mark.parametrize("route", sorted(decode.ROUTES))
async def test_a_member_is_not_named_like_a_route(route: str) -> None:
    stub = Stub(lambda _: httpx.Response(200, json={**PROFILE, "provider_id": route}))
    assert isinstance(await stub.client.profile(ACCOUNT_ID, "lea-example"), Retry)


async def test_without_a_look_at_ids_the_route_would_be_learned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decode, "is_id", lambda _: True)
    stub = Stub(lambda _: httpx.Response(200, json={**PROFILE, "provider_id": "../x"}))
    found = await stub.client.profile(ACCOUNT_ID, "lea-example")
    assert isinstance(found, port.Profile)
    assert found.provider_id == "../x"


@pytest.mark.parametrize("slug", [".", "a/b", "x" * 5_000, "a\nb"])
async def test_a_slug_that_cannot_be_used_is_none_and_costs_nobody_the_list(slug: str) -> None:
    stub = Stub(lambda _: httpx.Response(200, json=listed({**RELATION, "public_identifier": slug})))
    found = await stub.client.relations(ACCOUNT_ID)
    assert not isinstance(found, Retry | Skip)
    assert [one.public_identifier for one in found] == [None]  # type: ignore[union-attr]


@pytest.mark.parametrize("chat_id", [".", "..", "", "a/b", "x" * 500])
async def test_a_chat_under_an_id_that_is_none_is_gone_and_nothing_is_sent(chat_id: str) -> None:
    stub = Stub(lambda _: httpx.Response(200, json={}))
    for answer in (
        await stub.client.send_message(ACCOUNT_ID, chat_id, "Hello"),
        await stub.client.chat_messages(ACCOUNT_ID, chat_id),
    ):
        assert isinstance(answer, Skip)
        assert answer.means is Means.GONE
    assert stub.requests == []


# -- moments


@pytest.mark.parametrize(
    ("stamp", "at"),
    [
        ("2046-01-01T00:00:00.000Z", T0),
        ("0001-01-01T00:00:00.000Z", datetime(2003, 5, 5, tzinfo=UTC)),
        ("2026-10-01T00:00:00.000Z", datetime(2026, 10, 1, tzinfo=UTC)),
    ],
)
async def test_no_message_is_of_tomorrow(stamp: str, at: datetime) -> None:
    body = listed({**MESSAGE, "chat_id": "chat1", "account_id": ACCOUNT_ID, "timestamp": stamp})
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=body))
    client = UnipileClient(DSN, TOKEN, transport=transport, clock=lambda: T0)
    for found in (
        await client.messages(ACCOUNT_ID, after=T0),
        (await client.chat_messages(ACCOUNT_ID, "chat1")).items,  # type: ignore[union-attr]
    ):
        assert [one.sent_at for one in found] == [at]  # type: ignore[union-attr]
