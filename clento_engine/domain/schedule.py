"""When an account may act: working hours in a zone, as exact instants of UTC.

The rule is one sentence: an instant is inside working hours when a clock on the wall of that zone
shows a weekday and time of a window, on a day that is no holiday.  Daylight saving follows from it:

- spring: a window that starts inside the hour that is left out opens when the clock has jumped, and
  a window that lies wholly inside it does not open that day;
- autumn: what the clock shows twice is inside twice.  09:00-18:00 never notices; 01:00-02:30 on the
  night when 03:00 becomes 02:00 again is open, closed for half an hour, and open for another half.

Windows are half-open: at 09:00:00 open, at 18:00:00 closed.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple, Self
from zoneinfo import ZoneInfo, available_timezones

DAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
LOOK_AHEAD_DAYS = 400  # more than a year: every holiday and daylight-saving change is seen once

_FULL_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_DAY_MINUTES = 24 * 60
_HOURS_OF_DAY = 24


class Window(NamedTuple):
    """From `start_min` up to, not including, `end_min`; both in minutes after midnight."""

    start_min: int
    end_min: int

    def __str__(self) -> str:
        return f"{_clock_text(self.start_min)}-{_clock_text(self.end_min)}"


class Span(NamedTuple):
    """An open stretch of time, in UTC: from `start` up to, not including, `end`."""

    start: datetime
    end: datetime


NO_WINDOWS: tuple[tuple[Window, ...], ...] = ((),) * 7


@dataclass(frozen=True, slots=True)
class WorkingHours:
    """The windows of each weekday, Monday first, each day's in order and apart.

    `zone` None reads them in the sender's zone.  `holidays` closes the public holidays of a
    country or one of its parts ("DE", "DE-BY").  `always` is open at any time, and has neither
    windows nor holidays.  Raises ValueError for windows that contradict each other or never open;
    zone and holidays are checked where text or JSON comes in, and when first used.
    """

    windows: tuple[tuple[Window, ...], ...] = NO_WINDOWS
    zone: str | None = None
    holidays: str | None = None
    always: bool = False
    never_closes: bool = field(init=False, repr=False, compare=False)
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_windows(self.windows)
        if self.always and any(self.windows):
            raise ValueError("'always' has no windows: leave out one or the other")
        if self.always and self.holidays:
            raise ValueError(
                f"'always' has no holidays: write Mon-Sun 00:00-24:00; holidays {self.holidays}"
            )
        if not self.always and not any(self.windows):
            raise ValueError("no window at all: write 'Mon-Fri 09:00-18:00' or 'always'")
        never_closes = self.always or (not self.holidays and all(map(_is_whole_day, self.windows)))
        object.__setattr__(self, "never_closes", never_closes)
        # Hours are a cache key at each claim, so their hash is taken once.  Of numbers only: the
        # hash of text differs between processes, and this one may travel in a pickle.
        object.__setattr__(self, "_hash", hash((self.windows, self.always)))

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        """Write the hours as `parse_hours` reads them."""
        parts = ["always"] if self.always else list(_windows_text(self.windows))
        if self.zone:
            parts.append(f"zone {self.zone}")
        if self.holidays:
            parts.append(f"holidays {self.holidays}")
        return "; ".join(parts)

    @property
    def open_days(self) -> int:
        """How many days of a week have a window: 1 to 7."""
        return 7 if self.always else sum(1 for windows in self.windows if windows)

    def to_json(self) -> dict[str, object]:
        """Return plain data that `from_json` reads: weekdays without windows are left out."""
        return {
            "always": self.always,
            "windows": {
                name: [str(window) for window in windows]
                for name, windows in zip(DAY_NAMES, self.windows, strict=True)
                if windows
            },
            "zone": self.zone,
            "holidays": self.holidays,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Self:
        """Read what `to_json` wrote, or a person did.

        Raises ValueError that names the field, what is wrong with it and how to write it.
        """
        if unknown := sorted(set(data) - {"always", "windows", "zone", "holidays"}):
            raise ValueError(f"unknown field {unknown[0]!r}: use always, windows, zone, holidays")
        match data.get("always", False):
            case bool(always):
                pass
            case other:
                raise ValueError(f"always is {other!r}: write true or false")
        match data.get("windows") or {}:
            case Mapping() as given:
                by_day = _windows_by_day(given)
            case other:
                raise ValueError(f'windows are {other!r}: write {{"Mon": ["09:00-18:00"]}}')
        hours = cls(
            windows=tuple(by_day.get(day, ()) for day in range(7)),
            zone=_text_or_none(data, "zone"),
            holidays=_text_or_none(data, "holidays"),
            always=always,
        )
        return hours.checked()

    def checked(self) -> Self:
        """Return the hours themselves; raises ValueError for an unknown zone or holiday code."""
        if self.zone:
            time_zone(self.zone)
        if self.holidays:
            _holidays(self.holidays, 2026)  # any year: the code is what is checked
        return self


@lru_cache(maxsize=4096)  # hours are immutable, and the same few texts are read at each claim
def parse_hours(text: str) -> WorkingHours:
    """Read hours as people write them.

    "Mon-Fri 09:00-18:00", "Mon-Thu 08:30-12:00,13:00-17:30; Fri 09:00-14:00", "Mon,Wed 9:00-12:00",
    "Sun-Thu 09:00-17:00", "always"; and after another semicolon "zone Europe/Berlin" or "holidays
    DE-BY".  Raises ValueError that names the part that is wrong and how to write it.
    """
    by_day: dict[int, tuple[Window, ...]] = {}
    always = False
    named: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.replace("–", "-").split(";"))):
        head, _, rest = part.partition(" ")
        match head.lower():
            case "always" if not rest:
                always = True
            case "zone" | "holidays" as key:
                if key in named or not rest.strip():
                    raise ValueError(f"{part!r}: name one {key}, once, such as {_EXAMPLES[key]}")
                named[key] = rest.strip()
            case _:
                days, windows = _part(part)
                for day in days:
                    if day in by_day:
                        raise ValueError(
                            f"{part!r} names {DAY_NAMES[day]} again: write all windows of a day in "
                            f"one part, such as {DAY_NAMES[day]} 09:00-12:00,13:00-18:00"
                        )
                    by_day[day] = windows
    return WorkingHours(
        windows=tuple(by_day.get(day, ()) for day in range(7)),
        zone=named.get("zone"),
        holidays=named.get("holidays"),
        always=always,
    ).checked()


def opens_at(hours: WorkingHours, at: datetime, zone: str) -> datetime:
    """Return the first instant from `at` on that is inside hours, in UTC.

    `at` is aware; `zone` is the sender's, for hours that name none.  Raises ValueError for an
    unknown zone, and when nothing opens within 400 days.
    """
    at = _utc(at)
    if hours.never_closes:
        return at
    for start, end in _spans_from(hours, hours.zone or zone, at.toordinal()):
        if at < end:
            return max(at, start)
    raise ValueError(f"nothing opens within {LOOK_AHEAD_DAYS} days: {hours}")


def closes_at(hours: WorkingHours, at: datetime, zone: str) -> datetime | None:
    """Return the end of the window that contains `at`, or of the next one when closed at `at`.

    Always after `at`; windows that meet, such as at midnight, are one.  None for hours that never
    close.  Raises as `opens_at` does.
    """
    if hours.never_closes:
        return None
    opening = opens_at(hours, at, zone)
    # asked again for the opening's own day: there a span is known to its very end
    spans = _spans_from(hours, hours.zone or zone, opening.toordinal())
    return next(end for _, end in spans if opening < end)


def is_open(hours: WorkingHours, at: datetime, zone: str) -> bool:
    """Whether `at` is inside working hours.  Raises as `opens_at` does."""
    return opens_at(hours, at, zone) == at


@lru_cache(maxsize=8192)
def _spans_from(hours: WorkingHours, zone: str, ordinal: int) -> tuple[Span, ...]:
    """Return the open spans of a UTC day to their very ends, then the first one after that day.

    By UTC day and not by local day, so that a call needs no zone arithmetic once this is cached.
    Of the span after the day, only the start is final.
    """
    midnight_after = _midnight(ordinal + 1)
    spans: list[Span] = []
    for day in range(ordinal, ordinal + LOOK_AHEAD_DAYS + 1):
        for start, end in _spans_of_day(hours, zone, day):
            if (
                spans and spans[-1].end == start
            ):  # cut by midnight of UTC only, or windows that meet
                spans[-1] = Span(spans[-1].start, end)
            else:
                spans.append(Span(start, end))
        if spans and spans[-1].start >= midnight_after:
            break
    return tuple(spans)


@lru_cache(maxsize=8192)
def _spans_of_day(hours: WorkingHours, zone: str, ordinal: int) -> tuple[Span, ...]:
    """Return what is open of one UTC day, cut at its midnights, in order."""
    spans = []
    for start, end, offset in _offsets_of_day(zone, ordinal):
        # as long as the offset stays, the clock on the wall runs evenly: windows shift by it
        for local in range((start + offset).toordinal(), (end + offset).toordinal() + 1):
            midnight = _midnight(local) - offset
            for window in _windows_on(hours, local):
                opens = max(start, midnight + timedelta(minutes=window.start_min))
                closes = min(end, midnight + timedelta(minutes=window.end_min))
                if opens < closes:
                    spans.append(Span(opens, closes))
    return tuple(spans)


def _windows_on(hours: WorkingHours, ordinal: int) -> tuple[Window, ...]:
    """Return the windows of a local day: none on a holiday."""
    day = date.fromordinal(ordinal)
    if hours.holidays and day in _holidays(hours.holidays, day.year):
        return ()
    return hours.windows[day.weekday()]


@lru_cache(maxsize=8192)
def _offsets_of_day(zone: str, ordinal: int) -> tuple[tuple[datetime, datetime, timedelta], ...]:
    """Cut a UTC day where the zone's offset changes: (start, end, offset), in order.

    zoneinfo does not tell its changes, so the day is asked hour by hour, and an hour in which the
    offset changes by halves, down to the second: changes are at whole seconds, hours apart.
    """
    info = time_zone(zone)

    def offset(at: datetime) -> timedelta:
        return at.astimezone(info).utcoffset() or timedelta(0)

    start = cut = _midnight(ordinal)
    pieces = []
    for hour in range(_HOURS_OF_DAY):
        low, high = start + timedelta(hours=hour), start + timedelta(hours=hour + 1)
        before = offset(low)
        if before == offset(high):
            continue
        while high - low > timedelta(seconds=1):
            middle = low + (high - low) // timedelta(seconds=2) * timedelta(seconds=1)
            low, high = (middle, high) if offset(middle) == before else (low, middle)
        pieces.append((cut, high, before))
        cut = high
    end = start + timedelta(days=1)
    if cut < end:
        pieces.append((cut, end, offset(cut)))
    return tuple(pieces)


# What each host has as its own, and what stands for no place at all; copies of all zones, some of
# them with leap seconds, lie below the two folders.
_HOSTS_OWN = re.compile(r"(?:localtime|posixrules|factory)|(?:posix|right)/.*", re.IGNORECASE)
_FIXED = frozenset(
    {"EST", "GMT", "GMT+0", "GMT-0", "GMT0", "Greenwich", "HST", "MST", "UCT", "UTC", "Universal"}
    | {"Zulu"}
)


@lru_cache(maxsize=1024)
def time_zone(name: str) -> ZoneInfo:
    """Return the zone of a place.

    Raises ValueError, with what to write, for a name that nobody knows and for one that means
    another zone on each host, or none: hours read in it would be no promise.
    """
    if _HOSTS_OWN.fullmatch(name):
        raise ValueError(
            f"time zone {name!r} is no place's: it means what a host has there, or nothing; write "
            "a name of the IANA list, such as Europe/Berlin"
        )
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; not a name at all; a folder, such as Europe
        close = get_close_matches(name, available_timezones(), n=1, cutoff=0.5)
        fix = close[0] if close else "Europe/Berlin"
        raise ValueError(
            f"unknown time zone {name!r}: write a name of the IANA list, such as {fix}"
        ) from None


def is_fixed_offset(zone: str) -> bool:
    """Whether a zone is an offset by name, no place: nobody's clock there is put forward."""
    return zone in _FIXED or zone.startswith("Etc/")


@lru_cache(maxsize=1024)
def _holidays(code: str, year: int) -> frozenset[date]:
    import holidays  # noqa: PLC0415 - slow to import, and most hours name none

    country, _, part = code.partition("-")
    try:
        return frozenset(holidays.country_holidays(country, subdiv=part or None, years=year))
    except NotImplementedError:
        raise ValueError(
            f"unknown holidays {code!r}: write a country's code or one with a part of it, "
            "such as DE or DE-BY"
        ) from None


def _midnight(ordinal: int) -> datetime:
    return datetime.fromordinal(ordinal).replace(tzinfo=UTC)


def _utc(at: datetime) -> datetime:
    if at.tzinfo is UTC:
        return at
    if at.tzinfo is None:
        raise ValueError(f"{at} has no zone: pass an aware instant, in UTC")
    return at.astimezone(UTC)


# --- reading and writing text


_EXAMPLES = {"zone": "zone Europe/Berlin", "holidays": "holidays DE-BY"}


def _part(part: str) -> tuple[list[int], tuple[Window, ...]]:
    """Read "Mon-Thu 08:30-12:00,13:00-17:30": days, and the windows that all of them have."""
    found = re.fullmatch(r"([^\d]+?)\s*(\d.*)", part)
    if found is None:
        raise ValueError(f"{part!r} is not days and times: write it as Mon-Fri 09:00-18:00")
    days: list[int] = []
    for some in found[1].rstrip(" ,:").split(","):
        first, dash, last = some.partition("-")
        if dash:  # Sun-Thu goes round the end of the week
            start, end = _day(first), _day(last)
            days.extend((start + further) % 7 for further in range((end - start) % 7 + 1))
        else:
            days.append(_day(first))
    return days, _ordered(_window(text) for text in found[2].split(","))


def _day(text: str) -> int:
    name = text.strip().capitalize()
    if name in DAY_NAMES:
        return DAY_NAMES.index(name)
    if name in _FULL_NAMES:
        return _FULL_NAMES.index(name)
    raise ValueError(f"{text.strip()!r} is not a weekday: write {', '.join(DAY_NAMES)}")


def _window(text: str) -> Window:
    found = re.fullmatch(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})", text.strip(), re.ASCII)
    if found is None:
        raise ValueError(f"{text.strip()!r} is not a window: write it as 09:00-18:00")
    start_hour, start_minute, end_hour, end_minute = map(int, found.groups())
    if start_minute > 59 or end_minute > 59:  # noqa: PLR2004
        raise ValueError(f"{text.strip()!r} has a minute beyond 59: write it as 09:00-18:00")
    return Window(start_hour * 60 + start_minute, end_hour * 60 + end_minute)


def _ordered(windows: Iterable[Window]) -> tuple[Window, ...]:
    return tuple(sorted(windows))


def _is_whole_day(windows: tuple[Window, ...]) -> bool:
    return sum(window.end_min - window.start_min for window in windows) == _DAY_MINUTES


def _check_windows(days: tuple[tuple[Window, ...], ...]) -> None:
    if len(days) != len(DAY_NAMES):
        raise ValueError(f"{len(days)} weekdays: give the windows of all seven, Monday first")
    for name, windows in zip(DAY_NAMES, days, strict=True):
        for window in windows:
            if not 0 <= window.start_min <= _DAY_MINUTES or not 0 <= window.end_min <= _DAY_MINUTES:
                raise ValueError(f"{name} {window} is beyond the day: the last end is 24:00")
            if window.start_min >= window.end_min:
                fix = f"{_clock_text(window.start_min)}-24:00"
                if window.end_min:
                    fix += f", and on the next day 00:00-{_clock_text(window.end_min)}"
                raise ValueError(
                    f"{name} {window} does not end after its start: "
                    f"a window may not cross midnight; write {fix}"
                )
        for earlier, later in pairwise(windows):
            if later.start_min < earlier.end_min:
                raise ValueError(
                    f"{name} {earlier} and {later} overlap: write one window, or two in order"
                )


def _windows_by_day(given: Mapping[object, object]) -> dict[int, tuple[Window, ...]]:
    """Read {"Mon": ["09:00-12:00", "13:00-18:00"]}."""
    by_day: dict[int, tuple[Window, ...]] = {}
    for name, texts in given.items():
        day = _day(str(name))
        if day in by_day:
            raise ValueError(f"windows name {DAY_NAMES[day]} twice: write it once")
        match texts:
            case [*_]:
                by_day[day] = _ordered(_window(str(text)) for text in texts)
            case _:
                raise ValueError(f'windows of {name} are {texts!r}: write ["09:00-18:00"]')
    return by_day


def _windows_text(days: tuple[tuple[Window, ...], ...]) -> Iterable[str]:
    """Write days that follow each other with the same windows as one part."""
    first = 0
    for day in range(1, len(days) + 1):
        if day < len(days) and days[day] == days[first]:
            continue
        if days[first]:
            name = DAY_NAMES[first]
            if day - first > 1:
                name += f"-{DAY_NAMES[day - 1]}"
            yield f"{name} {','.join(map(str, days[first]))}"
        first = day


def _clock_text(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _text_or_none(data: Mapping[str, object], key: str) -> str | None:
    value = data.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{key} is {value!r}: write text, or leave it out")
    return value or None


DEFAULT_HOURS = parse_hours("Mon-Fri 09:00-18:00")  # in the sender's zone; ours, an office's
