"""Webhooks: who registered for what, what they are told, and how often it is tried."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

# Attempts after the first, with growing delay; source: unipile.md section 4 (five more, delays
# undocumented)
RETRY_DELAYS = tuple(timedelta(seconds=s) for s in (10, 60, 300, 1800, 7200))
ANSWER_WITHIN_S = 30.0

# What a source tells when no events are named; source: unipile.md section 4
_STATUS_EVENTS = (
    "creation_success",
    "creation_fail",
    "deleted",
    "reconnected",
    "sync_success",
    "error",
    "credentials",
    "permissions",
)
EVENTS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {  # source → all, default
    "messaging": (
        (
            "message_received",
            "message_read",
            "message_reaction",
            "message_edited",
            "message_deleted",
            "message_delivered",
        ),
        ("message_received",),
    ),
    "users": (("new_relation",), ("new_relation",)),
    "account_status": ((*_STATUS_EVENTS, "connecting", "ok", "stopped"), _STATUS_EVENTS),
}

Deliver = Callable[[str, Mapping[str, str], bytes], Awaitable[int | None]]
"""Posts a body to a URL; the status of the answer, or None when none came."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A registration.  `account_ids` empty: all accounts, present and future."""

    id: str
    source: str
    url: str
    events: tuple[str, ...]
    name: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    account_ids: tuple[str, ...] = ()
    format: str = "json"
    enabled: bool = True
    data: tuple[tuple[str, str], ...] = ()  # new name, key of the payload

    def wants(self, source: str, event: str, account: str) -> bool:
        """Whether it is told of this event."""
        return (
            self.enabled
            and self.source == source
            and event in self.events
            and (not self.account_ids or account in self.account_ids)
        )

    def body(self, payload: Mapping[str, Any]) -> bytes:
        """Return the payload as this webhook wants it."""
        if self.data:
            payload = {name: payload.get(key) for name, key in self.data}
        if self.format == "form":
            return urlencode(
                {
                    key: value if isinstance(value, str) else json.dumps(value)
                    for key, value in payload.items()
                }
            ).encode()
        return json.dumps(payload).encode()


@dataclass(slots=True)
class Delivery:
    """One payload on its way to one receiver.  Stays the same through its attempts."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    on_delivered: Callable[[datetime], None] = lambda _at: None
    attempt: int = 1

    @property
    def retry_after(self) -> timedelta | None:
        """How long until the next attempt; None when there is none left."""
        return RETRY_DELAYS[self.attempt - 1] if self.attempt <= len(RETRY_DELAYS) else None


@dataclass(slots=True)
class DeliveryCounts:
    """What became of the payloads."""

    delivered: int = 0
    failed_attempts: int = 0
    dropped: int = 0
    lost: int = 0
    duplicated: int = 0


def _session() -> aiohttp.ClientSession:
    """Return a session that says no content type of its own: Unipile does not (section 4)."""
    return aiohttp.ClientSession(skip_auto_headers=("Content-Type",))


@dataclass(slots=True)
class Courier:
    """Sends by HTTP.  Opens its client at first use, so that it lives in the running loop."""

    _client: httpx.AsyncClient | None = field(default=None)

    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes) -> int | None:
        """Post `body`; the status, or None when no answer came in time."""
        if self._client is None:
            # a third of what httpx's own transport costs the demo's core
            self._client = httpx.AsyncClient(
                transport=AiohttpTransport(client=_session),
                timeout=ANSWER_WITHIN_S,
                trust_env=False,
            )
        try:
            answer = await self._client.post(url, content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL):
            return None
        return answer.status_code

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None
