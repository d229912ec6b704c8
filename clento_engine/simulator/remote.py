"""A simulator in another process: its clock, its senders, its ledger."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

import httpx
from httpx_aiohttp import AiohttpTransport

from clento_engine.simulator.ledger import Ledger, load
from clento_engine.simulator.senders import Tier

PAGE = 50_000
TIME_LIMIT_S = 60.0  # an advance waits for the webhooks that it delivers


class RemoteSimulator:
    """The control routes of a served simulator, over HTTP."""

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Talk to the simulator at `url`; open nothing yet."""
        self.url = url
        self._client = httpx.AsyncClient(
            base_url=url,
            transport=AiohttpTransport() if transport is None else transport,
            timeout=TIME_LIMIT_S,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def now(self) -> datetime:
        """Return the simulator's present."""
        return datetime.fromisoformat((await self._get("/simulator/clock"))["now"])

    async def advance(self, to: datetime, linger: timedelta = timedelta(0)) -> datetime:
        """Let time go on to `to`, or to `linger` after the first webhook; the moment reached."""
        told = {"to": to.isoformat(), "linger_s": linger.total_seconds()}
        answer = await self._client.post("/simulator/advance", json=told)
        answer.raise_for_status()
        return datetime.fromisoformat(answer.json()["now"])

    async def halt(self) -> datetime:
        """Stop a running clock, so that `advance` moves it; the moment at which it stands."""
        return datetime.fromisoformat((await self._post("/simulator/clock/halt", {}))["now"])

    async def add_faults(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """Put rules into force, after those that are."""
        await self._post("/simulator/faults", {"rules": rules})

    async def clear_faults(self) -> None:
        """Put all rules out of force."""
        (await self._client.delete("/simulator/faults")).raise_for_status()

    async def faults(self) -> Mapping[str, Any]:
        """Return the rules in force, and what they did."""
        return await self._get("/simulator/faults")

    async def set_reliability(self, **settings: float | bool) -> None:
        """Change how well store and webhooks serve; see `Reliability`, with `_s` for seconds."""
        (await self._client.patch("/simulator/settings", json=settings)).raise_for_status()

    async def set_status(self, account_id: str, status: str, after_s: float | None = None) -> None:
        """Change an account's state, now or later."""
        told = {"status": status} | ({} if after_s is None else {"after_s": after_s})
        await self._post(f"/simulator/accounts/{account_id}/status", told)

    async def others_comment(self, post: str, count: int) -> None:
        """Have so many other members comment a post, which is named by its social id."""
        await self._post(f"/simulator/posts/{post}/comments", {"count": count})

    async def force(self, slug: str, **traits: Any) -> None:  # noqa: ANN401  JSON
        """Decide what a person is and does."""
        await self._post(f"/simulator/people/{slug}", traits)

    async def reply(self, slug: str, account_id: str, **how: Any) -> None:  # noqa: ANN401  JSON
        """Have a person write to an account now; `how` is as `Control.reply` says."""
        await self._post(f"/simulator/people/{slug}/reply", {"account_id": account_id, **how})

    async def write_by_hand(self, slug: str, account_id: str) -> None:
        """Have an account's owner write to a person by hand."""
        await self._post(f"/simulator/people/{slug}/by-hand", {"account_id": account_id})

    async def write_to_group(self, slug: str, account_id: str) -> None:
        """Have a person write in a group that an account is in."""
        await self._post(f"/simulator/people/{slug}/group-message", {"account_id": account_id})

    async def add_account(self, account_id: str, name: str, tier: Tier) -> None:
        """Connect a sender."""
        fields = {"id": account_id, "name": name, "tier": tier.value}
        await self._post("/simulator/accounts", fields)

    async def connect_again(self, provider_id: str, account_id: str) -> None:
        """Connect a sender, by their own provider id, under one id more."""
        await self._post("/simulator/accounts", {"id": account_id, "provider_id": provider_id})

    async def sign_in_anew(
        self, account_id: str, new_id: str, synced_after_s: float = 0, *, silent: bool = False
    ) -> None:
        """Have an account's member sign in under a new id: the old account is gone."""
        fields = {"new_id": new_id, "synced_after_s": synced_after_s, "silent": silent}
        await self._post(f"/simulator/accounts/{account_id}/sign-in-anew", fields)

    async def resync(self, account_id: str, for_s: float, *, silent: bool = False) -> None:
        """Have an account reconnected, its store empty for so long."""
        fields = {"for_s": for_s, "silent": silent}
        await self._post(f"/simulator/accounts/{account_id}/resync", fields)

    async def member(self, account_id: str) -> str:
        """Return the provider id of the LinkedIn member behind a sender."""
        answer = await self._client.get(
            f"/api/v1/accounts/{account_id}", headers={"X-API-KEY": "any"}
        )
        answer.raise_for_status()
        found: str = answer.json()["connection_params"]["im"]["id"]
        return found

    async def provider_id(self, slug: str) -> str:
        """Return the provider id of a person."""
        found: str = (await self._get(f"/simulator/people/{slug}"))["provider_id"]
        return found

    async def state(self) -> Mapping[str, Any]:
        """Return the counts of what happened so far."""
        return await self._get("/simulator/state")

    async def ledger(self) -> Ledger:
        """Fetch the whole ledger: what really reached whom, and when."""
        rows: list[Mapping[str, Any]] = []
        after = 0
        while True:
            page = await self._get(f"/simulator/ledger?after={after}&limit={PAGE}")
            rows += page["entries"]
            if page["next"] is None:
                break
            after = page["next"]
        reads = await self._get("/simulator/ledger/reads")
        signals = await self._get("/simulator/ledger/signals")
        return load(rows, reads["reads"], signals, reads["members"])

    async def _post(self, path: str, told: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = await self._client.post(path, json=told)
        answer.raise_for_status()
        found: Mapping[str, Any] = answer.json()
        return found

    async def _get(self, path: str) -> Mapping[str, Any]:
        answer = await self._client.get(path)
        answer.raise_for_status()
        found: Mapping[str, Any] = answer.json()
        return found
