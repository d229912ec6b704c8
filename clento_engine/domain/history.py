"""Events as they are recorded, and read back for replay."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any, get_args

from clento_engine.domain.execution import Event
from clento_engine.domain.failure import Fail, Means, Pause, Retry, Scope, Skip, Wait

_EVENTS = {kind.__name__: kind for kind in get_args(Event)}
_FAILURES = {kind.__name__: kind for kind in (Retry, Wait, Skip, Fail, Pause)}
_WORDS = {"scope": Scope, "means": Means}
_FIELDS = {
    kind: tuple((field.name, field.default) for field in fields(kind))
    for kind in (*_EVENTS.values(), *_FAILURES.values())
}


def recorded(event: Event) -> tuple[str, dict[str, Any]]:
    """Return the event's kind, and as JSON values its fields that are not as they usually are.

    A default is part of what was recorded: with another, old events would read differently.
    """
    return type(event).__name__, _plain(event)


def recalled(kind: str, detail: Mapping[str, Any]) -> Event:
    """Return the event that `recorded` wrote.  KeyError when the kind is not an event's."""
    values = {name: _read(name, value) for name, value in detail.items()}
    event: Event = _EVENTS[kind](**values)
    return event


def _plain(value: object) -> dict[str, Any]:
    return {
        name: _plain_value(told)
        for name, usual in _FIELDS[type(value)]
        if (told := getattr(value, name)) != usual
    }


def _plain_value(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if type(value) in _FIELDS:
        return {"failure": type(value).__name__, **_plain(value)}
    return list(value) if isinstance(value, tuple) else value


def _read(name: str, value: Any) -> Any:  # noqa: ANN401  JSON
    if isinstance(value, Mapping):
        cause = {key: _read(key, item) for key, item in value.items() if key != "failure"}
        return _FAILURES[value["failure"]](**cause)
    if name == "at":
        return datetime.fromisoformat(value)
    if name in ("delay", "longest"):
        return timedelta(seconds=value)
    if name in _WORDS:
        return _WORDS[name](value)
    return tuple(value) if isinstance(value, list) else value
