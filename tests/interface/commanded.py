"""`clento` as an operator calls it, and the documents and files that it is given."""

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
from click.testing import CliRunner
from psycopg import AsyncConnection

from clento_engine.interface.cli import cli
from clento_engine.simulator.server import Settings, serving
from clento_engine.simulator.world import World
from clento_engine.store.members import bind

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    """What a command answered."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(slots=True)
class Clento:
    """Runs commands in this process, with an environment of its own."""

    environment: dict[str, str]
    folder: Path
    runner: CliRunner = field(default_factory=CliRunner)

    def __call__(self, *words: object, status: int = 0, stdin: bytes | None = None) -> Said:
        """Run a command that ends with `status`; a traceback is never an answer."""
        root = logging.getLogger()
        before, level = root.handlers[:], root.level
        try:
            result = self.runner.invoke(
                cli,
                [str(word) for word in words],
                input=stdin,
                env={**_NONE, **self.environment},
            )
        finally:
            root.handlers[:] = before
            root.setLevel(level)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        said = Said(result.exit_code, result.stdout, result.stderr)
        assert said.status == status, said
        assert "Traceback" not in said.out + said.err
        return said

    def json(self, *words: object, status: int = 0) -> Any:
        return self(*words, "--json", status=status).json

    def file(self, name: str, content: object) -> Path:
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def leads(self, *slugs: str, name: str = "spring", columns: str = "First Name") -> None:
        rows = "".join(f"https://www.linkedin.com/in/{slug},Lea\n" for slug in slugs)
        path = self.file("leads.csv", f"LinkedIn URL,{columns}\n{rows}")
        self("leads", "import", path, "--list", name)

    def sender(self, name: str = "Lea", unipile_id: str = "acc-1") -> None:
        self(
            *("account", "add", "--unipile-id", unipile_id, "--name", name, "--tier", "premium"),
            *("--zone", "Europe/Berlin", "--established"),
        )

    def without_gaps(self) -> None:
        """Let senders do everything at once: the first sweep's reads take a turn of theirs too."""
        with psycopg.connect(self.environment["DATABASE_URL"]) as conn:
            for table in ("connected_accounts", "rate_limits"):
                conn.execute(
                    f"update {table} set spacing_shortest = '0', spacing_longest = '0'".encode()
                )

    def look_up(self, unipile_id: str = "acc-1", member: str = "ACoAAlea") -> None:
        """Let Unipile have shown which member an account is, as a sweep finds out."""

        async def bound() -> None:
            url = self.environment["DATABASE_URL"]
            async with await AsyncConnection.connect(url, autocommit=True) as conn:
                cursor = await conn.execute(
                    "select organization_id, id from connected_accounts"
                    " where unipile_account_id = %s",
                    (unipile_id,),
                )
                [account] = await cursor.fetchall()
                await bind(
                    conn,
                    *account,
                    member_id=member,
                    unipile_account_id=unipile_id,
                    created_at=None,
                    now=datetime(2026, 1, 5, tzinfo=UTC),
                )

        asyncio.run(bound())

    def draft(self, document: Json, name: str = "spring", *more: object) -> Said:
        flow = self.file("flow.json", document)
        return self(
            *("campaign", "create", name, "--workflow", flow, "--list", "spring"),
            *("--sender", "Lea", *more),
        )


# that the servers of tests need not outlive a power cut
TRUSTING = {"CLENTO_TRUST_STORAGE": "1"}

# what the environment of whoever runs the tests may hold
_NONE = TRUSTING | dict.fromkeys(
    (
        *("DATABASE_URL", "UNIPILE_DSN", "UNIPILE_ACCESS_TOKEN", "CLENTO_ORG", "CLENTO_DATA_DIR"),
        *("CLENTO_LOG_FORMAT", "CLENTO_WEBHOOK_SECRET", "CLENTO_REQUESTS_AT_ONCE"),
        *("CLENTO_WEBHOOKS_MAY_REACH", "CLENTO_SCHEMA", "CLENTO_POOLER"),
    ),
    "",
)


def action(name: str, kind: str = "profile_visit", **config: object) -> Json:
    return {"id": name, "type": "action", "data": {"type": kind, "config": config}}


def edge(source: str, target: str, delay: int = 1, unit: str = "h", **flags: object) -> Json:
    data = {"delayData": {"delay": delay, "unit": unit}} | flags
    return {"id": f"{source}-{target}", "source": source, "target": target, "data": data}


VISIT: Json = {"nodes": [action("visit")], "edges": []}
NOTIFY: Json = {
    "nodes": [action("visit"), action("told", "webhook", webhookId="crm")],
    "edges": [edge("visit", "told")],
}
GREET: Json = {
    "nodes": [action("visit"), action("greet", "send_followup", customMessage="Hi {{city}}")],
    "edges": [edge("visit", "greet")],
}
INVITE: Json = {
    "nodes": [
        action("visit"),
        action("ask", "send_connection_request", customMessage="Hi {{first_name}}"),
        action("thank", "send_followup", customMessage="Thanks, {{first_name}}"),
        action("withdraw", "withdraw_request"),
    ],
    "edges": [
        edge("visit", "ask"),
        edge("ask", "thank", 2, "h", isConditionalPath=True, isPositive=True),
        edge("ask", "withdraw", 5, "d", isConditionalPath=True, isPositive=False),
    ],
}
BROKEN: Json = {"nodes": [action("visit")], "edges": [edge("visit", "nowhere")]}


@dataclass(slots=True)
class Simulated:
    """A simulator served in a thread; its time is moved by hand."""

    url: str
    account: str
    http: httpx.Client

    def now(self) -> datetime:
        return datetime.fromisoformat(self.http.get("/simulator/clock").json()["now"])

    def next_at(self) -> datetime | None:
        at = self.http.get("/simulator/state").json()["next"]
        return None if at is None else datetime.fromisoformat(at)

    def advance(self, to: datetime) -> None:
        answer = self.http.post("/simulator/advance", json={"to": to.isoformat()})
        assert answer.status_code == 200, answer.text

    def force(self, slug: str, **traits: object) -> None:
        answer = self.http.post(f"/simulator/people/{slug}", json=traits)
        assert answer.status_code == 200, answer.text

    def fault(self, **rule: object) -> None:
        answer = self.http.post("/simulator/faults", json={"rules": [rule]})
        assert answer.status_code == 200, answer.text

    def reads(self) -> Any:
        """Return what of it LinkedIn saw read."""
        return self.http.get("/simulator/ledger/reads").json()["reads"]

    def landed(self) -> list[tuple[str, str]]:
        entries = self.http.get("/simulator/ledger").json()["entries"]
        return [(entry["operation"], entry["slug"]) for entry in entries]


@contextmanager
def simulating(world: World, settings: Settings) -> Iterator[Simulated]:
    """Serve `world` in a thread, over real sockets."""
    up = threading.Event()
    told: dict[str, Any] = {}

    async def served() -> None:
        told["stop"] = asyncio.Event()
        told["loop"] = asyncio.get_running_loop()
        async with serving(settings, world) as url:
            told["url"] = url
            up.set()
            await told["stop"].wait()

    thread = threading.Thread(target=lambda: asyncio.run(served()))
    thread.start()
    assert up.wait(30)
    try:
        with httpx.Client(base_url=told["url"], trust_env=False, timeout=30) as http:
            yield Simulated(told["url"], next(iter(world.accounts)), http)
    finally:
        told["loop"].call_soon_threadsafe(told["stop"].set)
        thread.join()
