"""What options may say: durations, zones, hours, limits, dates.  A wrong value is a usage error."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from clento_engine.domain.operation import Budget
from clento_engine.domain.reach import masked
from clento_engine.domain.schedule import is_fixed_offset, time_zone

T = TypeVar("T")

WINDOWS = ("hour", "day", "week", "month")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"(?:\d{1,9}[smhdw])+", re.ASCII)
_LONGEST = timedelta(days=3650)
_LARGEST_CAP = 1_000_000


@dataclass(frozen=True, slots=True)
class LimitChange:
    """One cap to be changed; `cap` None lifts it."""

    budget: Budget
    window: str
    cap: int | None


class Value(click.ParamType[Any]):
    """An option's value, read by a function that raises ValueError with what is wrong."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        """Call it `name` in the help."""
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Read a value, unless it is a default that was read already."""
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def duration(text: str) -> timedelta:
    """Read 30s, 15m, 2h, 10d, 1w, or several in a row: 1h30m."""
    if not _DURATION.fullmatch(text.strip()):
        raise ValueError(f"{text!r} is no duration: write a number and a unit: 30s, 15m, 2h, 10d")
    parts = re.findall(r"(\d+)([smhdw])", text)
    try:
        total = sum((timedelta(**{_UNITS[unit]: int(n)}) for n, unit in parts), timedelta(0))
    except OverflowError:
        total = timedelta.max
    if total > _LONGEST:
        raise ValueError(f"{text!r} is longer than ten years")
    return total


def lasting(text: str) -> timedelta:
    """Read a duration that is not nothing."""
    found = duration(text)
    if not found:
        raise ValueError(f"{text!r} is no time at all: write at least 1s")
    return found


def zone(text: str) -> str:
    """Read the name of a time zone."""
    time_zone(text)
    return text


def zone_warnings(name: str | None) -> list[str]:
    """Say what a zone that is no place means for working hours."""
    if name is None or not is_fixed_offset(name):
        return []
    turned = ", and its sign is turned round: Etc/GMT+5 is five hours behind"
    what = f"{name} is a fixed offset, no place: hours read in it ignore summer time"
    what += turned if name.startswith("Etc/GMT") else ""
    return [f"{what}; write a place, such as Europe/Berlin, unless it is meant"]


def url(text: str) -> str:
    """Read the address of a webhook."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, None
    is_plain = text.isprintable() and " " not in text  # no control signs, and what can be stored
    if parts is None or not host or parts.scheme not in ("http", "https") or not is_plain:
        raise ValueError(f"{masked(text)!r} is no web address: write https://host/path")
    return text


def limit(text: str) -> LimitChange:
    """Read invitation.day=15, or invitation.week=none for no cap."""
    found = re.fullmatch(r"([a-z_]+)\.([a-z]+)=(\w+)", text.strip(), re.ASCII)
    if found is None:
        raise ValueError(f"{text!r}: write it as invitation.day=15, or =none for no cap")
    name, window, cap = found.groups()
    names = [budget.value for budget in Budget if budget is not Budget.NONE]
    if name not in names:
        raise ValueError(f"there is no limit {name!r}: {', '.join(names)}")
    if window not in WINDOWS:
        raise ValueError(f"there is no window {window!r}: {', '.join(WINDOWS)}")
    if cap == "none":
        return LimitChange(Budget(name), window, None)
    if not cap.isdecimal() or int(cap) > _LARGEST_CAP:
        raise ValueError(f"{cap!r} is no cap: write a number up to {_LARGEST_CAP:,}, or none")
    return LimitChange(Budget(name), window, int(cap))


def mapped(text: str) -> tuple[str, str]:
    """Read field=column."""
    field, equals, column = text.partition("=")
    if not equals or not field.strip() or not column.strip():
        raise ValueError(f"{text!r}: write it as profile_url=COLUMN")
    return field.strip(), column.strip()


def beginning(text: str) -> date | datetime:
    """Read 2026-01-31, or an instant such as 2026-01-31T09:00:00+01:00."""
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text.strip(), re.ASCII):
            return date.fromisoformat(text.strip())
        return datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(
            f"{text!r} is no date: write 2026-01-31, or 2026-01-31T09:00:00+01:00"
        ) from None


def instant(text: str) -> datetime:
    """Read an instant with its offset."""
    at = beginning(text)
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise ValueError(f"{text!r} has no offset: write 2026-01-31T09:00:00+01:00")
    return at.astimezone(UTC)


def a_day(text: str) -> int | None:
    """Read a number of leads a day; `auto` is None."""
    if text.strip().lower() == "auto":
        return None
    if not text.strip().isdecimal() or not 1 <= int(text) <= _LARGEST_CAP:
        raise ValueError(f"{text!r}: write a number from 1 up, or auto")
    return int(text)


def listening(text: str) -> tuple[str, int]:
    """Read HOST:PORT."""
    host, _, port = text.strip().rpartition(":")
    if not host or not port.isdecimal() or not 0 <= int(port) <= 65535:  # noqa: PLR2004
        raise ValueError(f"{text!r}: write it as 127.0.0.1:8080")
    return host.strip("[]"), int(port)


def name(text: str) -> str:
    """Read a name: any words on one line."""
    if not text.strip() or not text.isprintable():
        raise ValueError("a name is needed, on one line")
    return text.strip()


NAME = Value("text", name)
DURATION = Value("duration", duration)
LASTING = Value("duration", lasting)
ZONE = Value("zone", zone)
URL = Value("url", url)
LIMIT = Value("limit", limit)
MAPPED = Value("field=column", mapped)
BEGINNING = Value("date", beginning)
INSTANT = Value("instant", instant)
A_DAY = Value("n|auto", a_day)
LISTENING = Value("host:port", listening)
