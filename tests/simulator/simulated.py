"""A simulator in the test's own process, and how tests talk to it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import httpx

from clento_engine.simulator.accounts import connect_account
from clento_engine.simulator.app import create_app
from clento_engine.simulator.clock import DrivenClock
from clento_engine.simulator.people import Chances
from clento_engine.simulator.scheduler import Advance, advance
from clento_engine.simulator.senders import Account, Tier
from clento_engine.simulator.world import START, Reliability, World

# Nobody is odd unless a test says so
PLAIN = Chances(
    missing=0,
    locked=0,
    connected=0,
    open_profile=0,
    accepts=0,
    replies=0,
    takes_inmail=1,
    changed_slug=0,
)
RELIABLE = Reliability(lost=0, duplicated=0, null_ids=0)

Json = dict[str, Any]


@dataclass(slots=True)
class Receiver:
    """Stands for the engine's webhook endpoint; answers with `statuses` in turn, then 200."""

    bodies: list[tuple[datetime, Json]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    statuses: list[int | None] = field(default_factory=list)
    clock: DrivenClock = field(default_factory=lambda: DrivenClock(START))

    async def __call__(self, _url: str, headers: Mapping[str, str], body: bytes) -> int | None:
        self.bodies.append((self.clock(), json.loads(body)))
        self.headers.append(headers)
        return self.statuses.pop(0) if self.statuses else 200

    def events(self, name: str) -> list[Json]:
        return [body for _, body in self.bodies if body.get("event") == name]


class Bench:
    """A world with one sender, its HTTP, and a receiver of its webhooks."""

    def __init__(
        self,
        chances: Chances = PLAIN,
        reliability: Reliability = RELIABLE,
        tier: Tier = Tier.PREMIUM,
        seed: int = 7,
    ) -> None:
        self.clock = DrivenClock(START)
        self.receiver = Receiver(clock=self.clock)
        self.world = World(
            seed=seed,
            clock=self.clock,
            chances=chances,
            reliability=reliability,
            deliver=self.receiver,
        )
        self.sender: Account = connect_account(self.world, tier=tier)
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(self.world)),
            base_url="http://simulator",
            headers={"x-api-key": "key"},
        )

    async def get(self, path: str, **query: Any) -> httpx.Response:
        return await self.http.get(f"/api/v1{path}", params={"account_id": self.sender.id} | query)

    async def post(self, path: str, **fields: Any) -> httpx.Response:
        body = {"account_id": self.sender.id} | fields
        return await self.http.post(f"/api/v1{path}", json=body)

    async def delete(self, path: str) -> httpx.Response:
        return await self.http.delete(f"/api/v1{path}", params={"account_id": self.sender.id})

    async def invite(self, slug: str, note: str | None = None) -> httpx.Response:
        fields = {"provider_id": self.provider_id(slug)} | ({"message": note} if note else {})
        return await self.post("/users/invite", **fields)

    async def start_chat(self, slug: str, text: str, **parts: str) -> httpx.Response:
        fields = {
            "account_id": self.sender.id,
            "attendees_ids": self.provider_id(slug),
            "text": text,
        } | parts
        return await self.multipart("/chats", fields)

    async def multipart(self, path: str, fields: Mapping[str, str]) -> httpx.Response:
        files = [(name, (None, value)) for name, value in fields.items()]
        return await self.http.post(f"/api/v1{path}", files=files)

    async def force(self, slug: str, **fields: Any) -> Json:
        answer = await self.http.post(f"/simulator/people/{slug}", json=fields)
        assert answer.status_code == 200, answer.text
        forced: Json = answer.json()
        return forced

    async def connect(self, slug: str) -> None:
        await self.force(slug, connected_to=[self.sender.id])

    async def listen(self, source: str, **fields: Any) -> None:
        answer = await self.http.post(
            "/api/v1/webhooks",
            json={"source": source, "request_url": "http://engine/hook"} | fields,
        )
        assert answer.status_code == 201, answer.text

    async def faults(self, *rules: Json) -> None:
        answer = await self.http.post("/simulator/faults", json={"rules": rules})
        assert answer.status_code == 200, answer.text

    async def pass_time(self, span: timedelta) -> list[Advance]:
        """Let so much time pass, however many webhooks stop it on the way."""
        until = self.clock() + span
        stops = [await advance(self.world, until)]
        while stops[-1].now < until:
            stops.append(await advance(self.world, until))
        return stops

    def provider_id(self, slug: str) -> str:
        return self.world.person(slug).provider_id

    @property
    def landed(self) -> list[tuple[str, str]]:
        return [(entry.operation.value, entry.slug) for entry in self.world.ledger.entries]


def kind_of(answer: httpx.Response) -> str:
    """Return the type of a refusal, without its `errors/`."""
    kind: str = answer.json()["type"]
    return kind.removeprefix("errors/")
