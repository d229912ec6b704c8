"""The simulator as a process of its own, over real sockets."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

READY_WITHIN_S = 30


@asynccontextmanager
async def process(*options: str) -> AsyncGenerator[httpx.AsyncClient]:
    """Start a simulator, give a client of it, and see it end well."""
    run = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "clento_engine.simulator", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert run.stdout is not None
    try:
        ready = await asyncio.wait_for(run.stdout.readline(), READY_WITHIN_S)
        url = json.loads(ready)["url"]
        headers = {"x-api-key": "key"}
        async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as http:
            yield http
    finally:
        if run.returncode is None:
            run.terminate()
        _, errors = await run.communicate()
    assert (run.returncode, errors) == (0, b"")


@asynccontextmanager
async def receiver(told: asyncio.Queue[tuple[dict[str, str], Any]]) -> AsyncGenerator[str]:
    """Listen for webhooks on a real socket."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {key.lower(): value for key, _, value in (h.partition(": ") for h in head[1:])}
        body = await reader.readexactly(int(headers["content-length"]))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        await told.put((headers, json.loads(body)))

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"http://{host}:{port}/hook"


async def test_a_process_says_where_it_listens_and_tells_its_webhooks() -> None:
    told: asyncio.Queue[tuple[dict[str, str], Any]] = asyncio.Queue()
    start = "2026-03-02T09:00:00+01:00"
    async with process("--start", start, "--accounts", "2") as http, receiver(told) as url:
        clock = (await http.get("/simulator/clock")).json()
        assert clock["now"] == "2026-03-02T08:00:00.000000Z"
        accounts = (await http.get("/api/v1/accounts")).json()["items"]
        assert len(accounts) == 2
        hook = {
            "source": "account_status",
            "request_url": url,
            "headers": [{"key": "Unipile-Auth", "value": "secret"}],
        }
        await http.post("/api/v1/webhooks", json=hook)
        status = f"/simulator/accounts/{accounts[0]['id']}/status"
        await http.post(status, json={"status": "CREDENTIALS", "after_s": 60})
        to = {"to": "2026-03-02T09:00:00Z"}
        came = (await http.post("/simulator/advance", json=to)).json()
        assert (came["now"], came["delivered"]) == ("2026-03-02T08:01:00.000000Z", 1)
        headers, body = told.get_nowait()
        assert headers["unipile-auth"] == "secret"
        assert "content-type" not in headers
        assert body["AccountStatus"]["message"] == "CREDENTIALS"


async def test_a_process_can_drop_a_connection_and_serve_the_next() -> None:
    async with process() as http:
        rule = {"kind": "reset", "route": "GET /accounts", "times": 1}
        await http.post("/simulator/faults", json={"rules": [rule]})
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await http.get("/api/v1/accounts")
        assert (await http.get("/api/v1/accounts")).status_code == 200


async def test_a_process_given_a_key_takes_no_other() -> None:
    async with process("--api-key", "right") as http:
        assert (await http.get("/api/v1/accounts")).status_code == 401
        right = await http.get("/api/v1/accounts", headers={"x-api-key": "right"})
        assert right.status_code == 200


async def test_a_running_process_moves_on_by_itself() -> None:
    told: asyncio.Queue[tuple[dict[str, str], Any]] = asyncio.Queue()
    async with process("--speed", "3600") as http, receiver(told) as url:
        [account] = (await http.get("/api/v1/accounts")).json()["items"]
        await http.post("/api/v1/webhooks", json={"source": "account_status", "request_url": url})
        status = f"/simulator/accounts/{account['id']}/status"
        await http.post(status, json={"status": "ERROR", "after_s": 300})
        _, body = await asyncio.wait_for(told.get(), READY_WITHIN_S)
        assert body["AccountStatus"]["message"] == "ERROR"
        to = {"to": "2030-01-01T00:00:00Z"}
        assert (await http.post("/simulator/advance", json=to)).status_code == 400
