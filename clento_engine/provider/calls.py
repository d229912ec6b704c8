"""How a call is made: reads with patience, lists to their end, writes once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from time import perf_counter
from traceback import format_tb
from typing import TypeVar

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt
from tenacity.wait import wait_exponential, wait_random

from clento_engine.domain.failure import Failure, OutcomeUnknown, Retry
from clento_engine.provider import answers, bodies, decode
from clento_engine.provider.answers import Call, Refusal, Silence
from clento_engine.provider.decode import Json, NotUnderstood
from clento_engine.provider.encode import Content
from clento_engine.provider.exchange import Exchange, Reply, Success
from clento_engine.provider.port import Page, Sent

log = logging.getLogger(__name__)

T = TypeVar("T")

READ_ATTEMPTS = 3
MAX_PAGES = 100
LIST_LIMITS = 3  # time limits of a request that all pages of a list may take


class Calls:
    """Makes calls by an exchange."""

    def __init__(
        self, exchange: Exchange, *, read_attempts: int, pause: Callable[[float], Awaitable[None]]
    ) -> None:
        """`pause` waits some seconds between the attempts of a read."""
        self.exchange = exchange
        self._patience = AsyncRetrying(
            stop=stop_after_attempt(read_attempts),
            wait=wait_exponential(multiplier=1, max=4) + wait_random(0, 0.5),
            retry=retry_if_result(_is_transient),
            retry_error_callback=_last_reply,
            sleep=pause,
        )

    async def read(
        self,
        call: Call,
        path: str,
        query: Mapping[str, str],
        read: Callable[[Json], T],
        share: bodies.Share | None = None,
    ) -> T | Failure:
        """Ask, again and again while nothing but transport is in the way.

        What LinkedIn sees is asked once: the engine pays a unit for each time, so it asks again.
        `share`: of the room for bodies, where this one is kept for longer.
        """
        arrived = False

        async def ask() -> Reply:
            nonlocal arrived
            reply = await self.exchange.ask(call, path, query, share=share)
            arrived |= not isinstance(reply, Silence) or reply.left
            return reply

        # A copy, as tenacity's own decorator makes: the object holds the state of one call.
        reply: Reply = await self._patience.copy()(ask)
        if isinstance(reply, Silence) and arrived:  # the provider saw one of the attempts
            reply = replace(reply, left=True)
        return wanted(call, reply, read)

    async def pages(
        self,
        call: Call,
        path: str,
        query: Mapping[str, str],
        item: Callable[[Json], T],
        *,
        until: Callable[[T], bool] | None = None,
    ) -> Page[T] | Failure:
        """Read a list of Unipile's store through the page with an item that fits `until`.

        To its end if there is none, and then without a cursor; Retry if it has no end.  Lists that
        LinkedIn sees are read by their callers: each page has its price.
        """
        found: list[T] = []
        cursors: set[str] = set()
        asked = dict(query)
        ends = perf_counter() + LIST_LIMITS * self.exchange.limit_s
        with self.exchange.room.share() as share:  # what was read is kept till all of it is
            for _ in range(MAX_PAGES):
                page = await self.read(call, path, asked, partial(decode.page, item), share)
                if isinstance(page, Retry) and cursors:  # the provider saw us ask for the first one
                    return replace(page, left=True)
                if not isinstance(page, Page):
                    return page
                found += page.items
                if page.cursor is None or (until is not None and any(map(until, page.items))):
                    return Page(tuple(found), page.cursor)
                if page.cursor in cursors or share.held > bodies.LONGEST_LIST:
                    break
                try:
                    async with asyncio.timeout(self.exchange.limit_s):
                        await share.take(len(page.items) * bodies.ITEM)
                except (bodies.Refused, TimeoutError):
                    return Retry("no room for more answers")
                if perf_counter() > ends:  # others wait for its room
                    return Retry("the list took too long")
                cursors.add(page.cursor)
                asked["cursor"] = page.cursor
        # What was read so far must not pass for all there is: absence is taken as proof.
        return Retry("answer not understood: a list without end")

    async def all(
        self, call: Call, path: str, query: Mapping[str, str], item: Callable[[Json], T]
    ) -> tuple[T, ...] | Failure:
        """Read a list of Unipile's store to its end; Retry if it has none."""
        pages = await self.pages(call, path, query, item)
        return pages.items if isinstance(pages, Page) else pages

    async def write(
        self,
        call: Call,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        content: Content | None = None,
        reference: str | None = None,
    ) -> Sent | Failure:
        """Ask once.  Unipile's 2xx is sent, whatever else its body holds.

        Unless it is an answer to something else: then nobody knows what became of the write.
        """
        reply = await self.exchange.ask(call, path, query, content=content)
        if isinstance(reply, Success):
            if answers.is_of_another_call(call, decode.kind(reply.body)):
                raise OutcomeUnknown(str(NotUnderstood("it answers another question")))
            try:
                if reply.flaw is not None:
                    raise NotUnderstood(reply.flaw)  # noqa: TRY301  as what decoding raises
                return decode.sent(reply.body if isinstance(reply.body, dict) else {}, reference)
            except NotUnderstood as error:
                raise OutcomeUnknown(str(error)) from None
        return answers.already(reply) or answers.failure(reply)


def wanted(call: Call, reply: Reply, read: Callable[[Json], T]) -> T | Failure:
    """Read the value that was asked for, or say what it means that there is none."""
    if not isinstance(reply, Success):
        return answers.failure(reply)
    try:
        if reply.flaw is not None:
            raise NotUnderstood(reply.flaw)  # noqa: TRY301  as all below
        if answers.is_of_another_call(call, decode.kind(reply.body)):
            raise NotUnderstood("it answers another question")  # noqa: TRY301
        return read(decode.understood(reply.body))
    except (NotUnderstood, ArithmeticError, LookupError, TypeError, ValueError) as error:
        if not isinstance(error, NotUnderstood):  # a defect of ours, and no reason to stop
            log.error(  # noqa: TRY400  its text may hold what somebody wrote
                "answer not understood",
                extra={
                    "route": call.value,
                    "error": type(error).__name__,
                    "trace": "".join(format_tb(error.__traceback__)),
                    "alert": True,
                },
            )
            error = NotUnderstood(type(error).__name__)
        if call.is_write:  # it happened, and what it brought is lost
            raise OutcomeUnknown(str(error)) from None
        return Retry(str(error))


def _is_transient(reply: Reply) -> bool:
    """Whether asking again at once may help: transport errors and 5xx that mean Retry.

    Not for a read that LinkedIn may have seen: the engine asks again, with a unit for each time.
    """
    if isinstance(reply, Success):
        return False
    if reply.call.is_counted and not (isinstance(reply, Silence) and not reply.left):
        return False
    if isinstance(reply, Refusal) and not httpx.codes.is_server_error(reply.status):
        return False
    return isinstance(answers.failure(reply), Retry)


def _last_reply(state: RetryCallState) -> Reply:
    if state.outcome is None:
        raise RuntimeError("tenacity gave up before the first attempt")
    reply: Reply = state.outcome.result()
    return reply
