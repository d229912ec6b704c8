"""Pages of lists, and the cursors between them."""

from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterable
from typing import Any, TypeVar

from clento_engine.simulator.asgi import Answer, Request
from clento_engine.simulator.faults import LOOPING_CURSOR
from clento_engine.simulator.payloads import Json
from clento_engine.simulator.refusal import Refusal

T = TypeVar("T")


def list_answer(
    name: str,
    items: Iterable[Json],
    cursor: str | None,
    **more: Any,  # noqa: ANN401  # JSON
) -> Answer:
    """Return the answer that is one page of a list."""
    return Answer({"object": name, "items": list(items), "cursor": cursor, **more})


def page_of(
    request: Request, items: list[T], *, default: int, most: int
) -> tuple[list[T], str | None]:
    """Return one page and the cursor of the next; the cursor is how many were shown."""
    limit = page_limit(request, default=default, most=most)
    start = cursor_of(request) or 0
    end = start + limit
    return items[start:end], encoded_cursor(end) if end < len(items) else None


def page_limit(request: Request, *, default: int, most: int) -> int:
    """Return how many a page is to hold."""
    raw = request.query.get("limit")
    if raw is None:
        return default
    if not raw.isdecimal() or int(raw) < 1:
        raise Refusal("invalid_parameters", "limit must be a positive number.")
    if int(raw) > most:
        raise Refusal("limit_too_high", f"limit is at most {most}.")
    return int(raw)


def cursor_of(request: Request) -> int | None:
    """Return the number in the cursor, if one is given."""
    raw = request.query.get("cursor")
    if not raw or raw == LOOPING_CURSOR:
        return None
    try:
        return int(b64decode(raw, validate=True))
    except (NotBase64, ValueError) as error:
        raise Refusal("invalid_parameters", "Not a cursor of ours.") from error


def encoded_cursor(number: int) -> str:
    """Return a number as a cursor."""
    return b64encode(str(number).encode()).decode()
