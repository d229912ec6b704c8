"""Lists of which each page is a read that LinkedIn sees: read to their end by whoever pays."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from clento_engine.domain.failure import Fail, Failure, Pause, Retry, Skip, Wait
from clento_engine.provider.port import Page

T = TypeVar("T")

MOST_PAGES = 100


async def every_page(
    read: Callable[[str | None], Awaitable[Page[T] | Failure]],
) -> tuple[T, ...] | Failure:
    """Read page after page, each by the cursor of the one before; Retry if the list has no end.

    What was read so far never passes for all there is: absence is taken as proof.
    """
    found: list[T] = []
    cursors: set[str] = set()
    cursor: str | None = None
    for _ in range(MOST_PAGES):
        page = await read(cursor)
        if isinstance(page, Retry) and cursors:  # the provider saw us ask for the first page
            return replace(page, left=True)
        if isinstance(page, Retry | Wait | Skip | Fail | Pause):
            return page
        found += page.items
        cursor = page.cursor
        if cursor is None:
            return tuple(found)
        if cursor in cursors:
            break
        cursors.add(cursor)
    return Retry("answer not understood: a list without end")
