"""Turns what is asked for into the paths, queries and bodies of Unipile's API v1."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from secrets import token_hex
from urllib.parse import quote, unquote

from clento_engine.provider.decode import clean


@dataclass(frozen=True, slots=True)
class Content:
    """The body of a request."""

    type: str
    data: bytes = field(repr=False)


def page_of(account: str, cursor: str | None) -> dict[str, str]:
    """Ask for a hundred of a list, the most that every list of LinkedIn's gives.  [oas]"""
    query = {"account_id": account, "limit": "100"}
    return query if cursor is None else {**query, "cursor": cursor}


def segment(text: str) -> str:
    """Percent-encode a path segment once, even if it came encoded; `urn:li:…` keeps its colons."""
    bare = clean(unquote(text))
    if bare in ("", ".", ".."):  # would be another route
        raise ValueError(f"{text!r} is no identifier")
    return quote(bare, safe=":")


def timestamp(instant: datetime) -> str:
    """Write an instant as Unipile wants it: without milliseconds and Z it answers 400."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def json_content(fields: Mapping[str, object]) -> Content:
    return Content("application/json", json.dumps(fields).encode())


def multipart(**fields: str) -> Content:
    """Write form fields as multipart, which Unipile wants for messages even without files."""
    boundary = token_hex(16)  # random, so that no text can hold it
    lines = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{clean(value)}\r\n'
        for name, value in fields.items()
    ]
    data = f"{''.join(lines)}--{boundary}--\r\n".encode()
    return Content(f"multipart/form-data; boundary={boundary}", data)
