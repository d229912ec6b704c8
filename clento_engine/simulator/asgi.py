"""A small HTTP door: routes in a tree, requests read lazily, answers as values.

Starlette's request, form and routing objects cost several times what the simulator itself does for
a request, and the demo makes ten thousand of them on one core.
"""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from json import JSONDecodeError, loads
from typing import Any
from urllib.parse import parse_qsl

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from clento_engine.simulator.clock import http_date
from clento_engine.simulator.payloads import encode
from clento_engine.simulator.refusal import Refusal

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

JSON_TYPE = b"application/json; charset=utf-8"


@dataclass(slots=True)
class Answer:
    """What is answered; `body` is JSON unless it is bytes."""

    body: Mapping[str, Any] | bytes
    status: int = 200
    content_type: bytes = JSON_TYPE
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Request:
    """One request."""

    def __init__(self, scope: Scope, body: bytes) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.body = body
        self._scope = scope

    @cached_property
    def query(self) -> dict[str, str]:
        """The query's values, the last of each name."""
        raw: bytes = self._scope["query_string"]
        return dict(parse_qsl(raw.decode(), keep_blank_values=True)) if raw else {}

    def header(self, name: bytes) -> bytes | None:
        """Return a header by its lower-case name."""
        headers: list[tuple[bytes, bytes]] = self._scope["headers"]
        return next((value for key, value in headers if key == name), None)

    @cached_property
    def is_multipart(self) -> bool:
        """Whether the body is multipart/form-data."""
        return (self.header(b"content-type") or b"").startswith(b"multipart/form-data")

    @cached_property
    def json(self) -> dict[str, Any]:
        """The body as a JSON object."""
        try:
            value = loads(self.body)
        except (JSONDecodeError, UnicodeDecodeError) as error:
            raise Refusal("malformed_request", "The body is not JSON.") from error
        if not isinstance(value, dict):
            raise Refusal("invalid_parameters", "The body must be an object.")
        return value

    @cached_property
    def form(self) -> dict[str, list[str]]:
        """The text parts of a multipart body, by name; files are left out."""
        if not self.is_multipart:
            raise Refusal("unsupported_media_type", "This route takes multipart/form-data.")
        _, options = parse_options_header(self.header(b"content-type"))
        form = _Form()
        try:
            parser = MultipartParser(options.get(b"boundary", b""), form.callbacks())
            parser.write(self.body)
            parser.finalize()
        except MultipartParseError as error:
            raise Refusal("malformed_request", "The body is not multipart.") from error
        return form.texts

    @cached_property
    def identity(self) -> str:
        """What makes this request the same as another: a boundary of its form does not."""
        body = repr(sorted(self.form.items())) if self.is_multipart else self.body.decode("latin-1")
        return f"{self.method} {self.path}?{self._scope['query_string']!r} {body}"


@dataclass(slots=True)
class _Form:
    """Gathers the text parts while the parser calls back."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    _header: bytes = b""
    _value: bytes = b""
    _data: list[bytes] = field(default_factory=list)
    _name: str | None = None

    def callbacks(self) -> Any:  # noqa: ANN401  # the parser's own TypedDict is private
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._field,
            "on_header_value": self._add_value,
            "on_header_end": self._header_end,
            "on_part_data": self._part_data,
            "on_part_end": self._end,
        }

    def _begin(self) -> None:
        self._data.clear()
        self._name = None

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            if b"filename" not in options:
                self._name = options.get(b"name", b"").decode()
        self._header = self._value = b""

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def _end(self) -> None:
        if self._name is not None:
            text = b"".join(self._data).decode("utf-8", "replace")
            self.texts.setdefault(self._name, []).append(text)


Handler = Callable[..., Answer | Awaitable[Answer]]


@dataclass(slots=True)
class Route:
    """A method, a path with {parameters}, and who answers."""

    template: str  # "METHOD /path"
    handler: Handler


class Router:
    """Finds the route of a path, segment by segment; a literal goes before a parameter."""

    def __init__(self) -> None:
        self._tree: dict[str, Any] = {}

    def add(self, template: str, handler: Handler) -> None:
        """Add "METHOD /path/{parameter}"."""
        method, _, path = template.partition(" ")
        node = self._tree
        for segment in _segments(path):
            node = node.setdefault("*" if segment.startswith("{") else segment, {})
        node[f"\x00{method}"] = Route(template, handler)

    def find(self, method: str, path: str) -> tuple[Route, list[str]] | None:
        """Return the route and its parameters."""
        return _descend(self._tree, _segments(path), 0, f"\x00{method}", [])


def _descend(
    node: dict[str, Any], segments: list[str], depth: int, method: str, found: list[str]
) -> tuple[Route, list[str]] | None:
    if depth == len(segments):
        route: Route | None = node.get(method)
        return None if route is None else (route, found)
    segment = segments[depth]
    literal = node.get(segment)
    if literal is not None:
        result = _descend(literal, segments, depth + 1, method, found)
        if result is not None:
            return result
    parameter = node.get("*")
    if parameter is None:
        return None
    return _descend(parameter, segments, depth + 1, method, [*found, segment])


def _segments(path: str) -> list[str]:
    return [segment for segment in path.split("/") if segment]


async def read_body(receive: Receive) -> bytes:
    """Return the whole body."""
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    return body


async def write(send: Send, answer: Answer, at: datetime) -> None:
    """Send an answer, dated `at`."""
    body = answer.body if isinstance(answer.body, bytes) else encode(answer.body)
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [
                (b"content-type", answer.content_type),
                (b"content-length", str(len(body)).encode()),
                (b"date", http_date(at)),
                *answer.headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})
