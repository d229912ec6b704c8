"""Reading a list page by page: what was not read to its end never passes for all there is."""

from collections.abc import Awaitable, Callable

import pytest

from clento_engine.domain.failure import Failure, Pause, Retry
from clento_engine.provider.port import Page
from clento_engine.runtime.pages import MOST_PAGES, every_page

Answer = Page[str] | Failure


def served(
    answers: dict[str | None, Answer],
) -> tuple[list[str | None], Callable[[str | None], Awaitable[Answer]]]:
    asked: list[str | None] = []

    async def read(cursor: str | None) -> Answer:
        asked.append(cursor)
        return answers[cursor]

    return asked, read


async def test_every_page_is_read_by_the_cursor_of_the_one_before() -> None:
    asked, read = served({None: Page(("a", "b"), "2"), "2": Page((), "3"), "3": Page(("c",), None)})
    assert await every_page(read) == ("a", "b", "c")
    assert asked == [None, "2", "3"]


async def test_cursors_in_a_circle_do_not_pass_for_a_whole_list() -> None:
    asked, read = served({None: Page(("a",), "2"), "2": Page(("b",), "3"), "3": Page((), "2")})
    assert await every_page(read) == Retry("answer not understood: a list without end")
    assert asked == [None, "2", "3"]


async def test_a_list_without_end_does_not_pass_for_a_whole_one() -> None:
    asked = 0

    async def endless(_cursor: str | None) -> Answer:
        nonlocal asked
        asked += 1
        return Page(("a",), f"cursor {asked}")

    assert isinstance(await every_page(endless), Retry)
    assert asked == MOST_PAGES


@pytest.mark.parametrize("failure", [Retry("late"), Pause("signed out")])
async def test_a_refusal_on_a_later_page_is_the_answer(failure: Failure) -> None:
    _, read = served({None: Page(("a",), "2"), "2": failure})
    assert await every_page(read) == failure


@pytest.mark.parametrize(("first", "left"), [("2", True), (None, False)])
async def test_a_list_of_which_a_page_was_read_has_left(first: str | None, left: bool) -> None:
    refused = Retry("no connection", left=False)
    pages: dict[str | None, Answer] = (
        {None: refused} if first is None else {None: Page((), first), first: refused}
    )
    _, read = served(pages)
    assert await every_page(read) == Retry("no connection", left=left)
