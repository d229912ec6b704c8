"""The outbox: notices of webhook nodes, posted to the customer until they arrive.

At least once: a notice whose answer was lost is posted again, with the same `webhook-id`.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx

from clento_engine.domain.reach import PUBLIC, Reach
from clento_engine.runtime.asking import MayGoOn, always
from clento_engine.runtime.egress import guarded_client, refusal
from clento_engine.runtime.world import World
from clento_engine.store.outbox import Delivery, delivered, not_delivered, take_deliveries

TIME_LIMIT_S = 10.0  # from the call to the head of the answer
# Gaps between tries, the schedule that the Standard Webhooks specification suggests, shortened.
GAPS = tuple(
    timedelta(seconds=seconds) for seconds in (5, 60, 300, 1800, 7200, 18000, 36000, 50400)
)
AT_ONCE = 20
MOST = 100
# longer than it takes to try those taken: else another process would try the slow ones as well
LEASE = timedelta(minutes=2)

log = logging.getLogger(__name__)


@asynccontextmanager
async def posting(reach: Reach = PUBLIC, *, redirect: str | None = None) -> AsyncIterator["Outbox"]:
    """Lend an outbox with a client of its own, which connects to what `reach` allows only."""
    async with guarded_client(reach) as client:
        yield Outbox(client, redirect=redirect)


class Outbox:
    """Posts notices.  `redirect` sends every one of them to that URL instead of its own."""

    def __init__(self, client: httpx.AsyncClient, *, redirect: str | None = None) -> None:
        """Use `client`, which the caller closes."""
        self._client = client
        self._redirect = redirect

    async def deliver(self, world: World, *, most: int = MOST, may_go_on: MayGoOn = always) -> int:
        """Post every notice that is due; return how many were tried.

        Those that can be posted at once are taken, and the next while `may_go_on`.
        """
        tried = 0
        while tried < most and may_go_on():
            wanted = min(AT_ONCE, most - tried)
            async with world.database.connection() as conn:
                due = await take_deliveries(conn, now=world.clock(), lease=LEASE, most=wanted)
            posted = (self._post(world, each) for each in due)
            # all of them are tried and written before an error of one is told
            for end in await asyncio.gather(*posted, return_exceptions=True):
                if isinstance(end, BaseException):
                    raise end
            tried += len(due)
            if len(due) < wanted:
                break
        return tried

    async def _post(self, world: World, delivery: Delivery) -> None:
        reason = await self._refusal(world, delivery)
        now = world.clock()
        async with world.database.connection() as conn:
            if reason is None:
                await delivered(conn, delivery, now)
                return
            gap = GAPS[delivery.attempt - 1] if delivery.attempt <= len(GAPS) else None
            again_at = None if gap is None else now + gap
            await not_delivered(conn, delivery, reason, again_at=again_at, now=now)
        log.warning(
            "webhook not delivered",
            extra={
                "delivery_id": str(delivery.id),
                "reason": reason,
                "attempt": delivery.attempt,
                "last": gap is None,
            },
        )

    async def _refusal(self, world: World, delivery: Delivery) -> str | None:
        """Post a notice; return None when it arrived, else why not."""
        headers = {
            "content-type": "application/json",
            "webhook-id": str(delivery.id),
            "webhook-timestamp": str(int(world.clock().timestamp())),
        }
        try:
            # httpx's own limits begin anew with every byte; and only the answer's head is read
            async with (
                asyncio.timeout(TIME_LIMIT_S),
                self._client.stream(
                    "POST",
                    self._redirect or delivery.url,
                    content=json.dumps(delivery.payload),
                    headers=headers,
                    timeout=TIME_LIMIT_S,
                    follow_redirects=False,
                ) as answer,
            ):
                return None if answer.is_success else f"HTTP {answer.status_code}"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this notice's alone
            refused = refusal(error)
            return type(error).__name__ if refused is None else str(refused.strerror)
