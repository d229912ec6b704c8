"""Working hours: the rule "what the clock on the wall shows", against our exact instants."""

import pickle
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clento_engine.domain import schedule
from clento_engine.domain.schedule import (
    DEFAULT_HOURS,
    Window,
    WorkingHours,
    closes_at,
    is_fixed_offset,
    is_open,
    opens_at,
    parse_hours,
)

MICROSECOND = timedelta(microseconds=1)

unhurried = settings(deadline=None)  # the first use of a zone or of holidays reads files

ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # half an hour of daylight saving
    "Pacific/Apia",  # had no 30 December 2011
    "America/Havana",  # the clock jumps at midnight
    "America/Sao_Paulo",  # the clock went back at midnight, until 2019
    "Asia/Kathmandu",  # 5:45 before UTC
    "Pacific/Kiritimati",  # 14 hours before UTC
    "Etc/GMT+12",
    "UTC",
]
CHANGES = [
    datetime(2026, 3, 29, 1, tzinfo=UTC),  # Berlin
    datetime(2026, 10, 25, 1, tzinfo=UTC),
    datetime(2026, 3, 8, 7, tzinfo=UTC),  # New York
    datetime(2026, 11, 1, 6, tzinfo=UTC),
    datetime(2026, 4, 4, 15, tzinfo=UTC),  # Lord Howe
    datetime(2026, 10, 3, 15, 30, tzinfo=UTC),
    datetime(2011, 12, 30, 10, tzinfo=UTC),  # Apia
    datetime(2026, 3, 8, 5, tzinfo=UTC),  # Havana
    datetime(2026, 11, 1, 5, tzinfo=UTC),
    datetime(2018, 2, 18, 2, tzinfo=UTC),  # Sao Paulo
    datetime(2018, 11, 4, 3, tzinfo=UTC),
]


@st.composite
def windows_of_a_day(draw: st.DrawFn) -> tuple[Window, ...]:
    """Up to three windows, some of which meet, often between 00:00 and 04:00."""
    edge = st.integers(0, 24 * 60) | st.integers(0, 4 * 60) | st.sampled_from([0, 1440])
    edges = sorted(draw(st.lists(edge, max_size=6)))
    pairs = zip(edges[::2], edges[1::2], strict=False)
    return tuple(Window(start, end) for start, end in pairs if start < end)


def timed_hours(zone: st.SearchStrategy[str | None]) -> st.SearchStrategy[WorkingHours]:
    week = st.tuples(*[windows_of_a_day()] * 7).filter(any)
    holidays = st.sampled_from([None, None, "DE", "DE-BY", "US"])
    return st.builds(WorkingHours, windows=week, zone=zone, holidays=holidays)


some_zone = st.sampled_from(ZONES)
some_hours = timed_hours(st.none() | some_zone) | st.just(WorkingHours(always=True))
some_instant = st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    datetime(2036, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
) | st.builds(
    lambda change, by: change + by,
    st.sampled_from(CHANGES),
    st.timedeltas(timedelta(days=-2), timedelta(days=2)),
)


def clock_shows_a_window(hours: WorkingHours, at: datetime, zone: str) -> bool:
    """The rule itself, with nothing computed ahead."""
    if hours.always:
        return True
    local = at.astimezone(ZoneInfo(hours.zone or zone))
    if hours.holidays and local.date() in schedule._holidays(hours.holidays, local.year):
        return False
    minute = local.hour * 60 + local.minute
    return any(start <= minute < end for start, end in hours.windows[local.weekday()])


@unhurried
@given(some_hours, some_instant, some_zone)
def test_open_means_that_the_clock_on_the_wall_shows_a_window(
    hours: WorkingHours, at: datetime, zone: str
) -> None:
    assert is_open(hours, at, zone) == clock_shows_a_window(hours, at, zone)


@unhurried
@given(some_hours, some_instant, some_zone, st.floats(0, 1))
def test_opening_is_the_first_open_instant_from_then_on(
    hours: WorkingHours, at: datetime, zone: str, share: float
) -> None:
    opening = opens_at(hours, at, zone)
    assert opening.tzinfo is UTC
    assert opening >= at
    assert clock_shows_a_window(hours, opening, zone)
    assert opens_at(hours, opening, zone) == opening
    if opening > at:
        between = at + (opening - at - MICROSECOND) * share
        assert not clock_shows_a_window(hours, between, zone)
        assert not clock_shows_a_window(hours, opening - MICROSECOND, zone)


@unhurried
@given(some_hours, some_instant, some_zone, st.floats(0, 1))
def test_closing_is_the_first_closed_instant_after_the_opening(
    hours: WorkingHours, at: datetime, zone: str, share: float
) -> None:
    closing = closes_at(hours, at, zone)
    if closing is None:
        assert hours.never_closes
        return
    opening = opens_at(hours, at, zone)
    assert at <= opening < closing
    assert not clock_shows_a_window(hours, closing, zone)
    assert clock_shows_a_window(hours, closing - MICROSECOND, zone)
    between = opening + (closing - opening - MICROSECOND) * share
    assert clock_shows_a_window(hours, between, zone)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def spans(hours: str, zone: str, after: str, count: int) -> list[tuple[datetime, datetime]]:
    """The next openings with their closings."""
    at, found, read = utc(after), [], parse_hours(hours)
    for _ in range(count):
        opening = opens_at(read, at, zone)
        closing = closes_at(read, opening, zone)
        assert closing is not None
        found.append((opening, closing))
        at = closing
    return found


def test_office_hours_follow_the_clock_across_the_berlin_spring() -> None:
    assert spans("Mon,Fri 09:00-18:00", "Europe/Berlin", "2026-03-27", 2) == [
        (utc("2026-03-27T08:00"), utc("2026-03-27T17:00")),
        (utc("2026-03-30T07:00"), utc("2026-03-30T16:00")),
    ]


def test_a_window_that_starts_in_the_berlin_spring_gap_opens_when_the_gap_ends() -> None:
    assert spans("Sun 02:30-04:00", "Europe/Berlin", "2026-03-28", 1) == [
        (utc("2026-03-29T01:00"), utc("2026-03-29T02:00"))
    ]


def test_a_window_that_ends_in_the_berlin_spring_gap_closes_when_the_gap_starts() -> None:
    assert spans("Sun 01:00-02:30", "Europe/Berlin", "2026-03-28", 1) == [
        (utc("2026-03-29T00:00"), utc("2026-03-29T01:00"))
    ]


def test_a_window_that_vanishes_in_the_berlin_spring_gap_is_passed_over() -> None:
    assert spans("Sun 02:00-03:00", "Europe/Berlin", "2026-03-28", 1) == [
        (utc("2026-04-05T00:00"), utc("2026-04-05T01:00"))
    ]


def test_what_the_clock_shows_twice_in_the_berlin_autumn_is_open_twice() -> None:
    assert spans("Sun 01:00-02:30", "Europe/Berlin", "2026-10-24", 2) == [
        (utc("2026-10-24T23:00"), utc("2026-10-25T00:30")),
        (utc("2026-10-25T01:00"), utc("2026-10-25T01:30")),
    ]


def test_the_new_york_spring_gap_delays_an_opening() -> None:
    assert spans("Sun 02:30-05:00", "America/New_York", "2026-03-07T12:00", 1) == [
        (utc("2026-03-08T07:00"), utc("2026-03-08T09:00"))
    ]


def test_the_hour_that_new_york_repeats_in_autumn_makes_one_window_of_two_hours() -> None:
    assert spans("Sun 01:00-02:00", "America/New_York", "2026-10-31T12:00", 1) == [
        (utc("2026-11-01T05:00"), utc("2026-11-01T07:00"))
    ]


def test_lord_howe_leaves_out_half_an_hour_in_spring() -> None:
    assert spans("Sun 02:15-03:00", "Australia/Lord_Howe", "2026-10-02T20:00", 1) == [
        (utc("2026-10-03T15:30"), utc("2026-10-03T16:00"))
    ]


def test_lord_howe_repeats_half_an_hour_in_autumn() -> None:
    assert spans("Sun 01:00-01:45", "Australia/Lord_Howe", "2026-04-03T20:00", 2) == [
        (utc("2026-04-04T14:00"), utc("2026-04-04T14:45")),
        (utc("2026-04-04T15:00"), utc("2026-04-04T15:15")),
    ]


def test_the_friday_that_apia_skipped_in_2011_is_passed_over() -> None:
    assert spans("Fri 09:00-18:00", "Pacific/Apia", "2011-12-27", 1) == [
        (utc("2012-01-05T19:00"), utc("2012-01-06T04:00"))
    ]


def test_thursday_meets_saturday_where_apia_skipped_the_friday_between() -> None:
    assert spans("Thu 12:00-24:00; Sat 00:00-12:00", "Pacific/Apia", "2011-12-29", 1) == [
        (utc("2011-12-29T22:00"), utc("2011-12-30T22:00"))
    ]


def test_a_window_is_open_at_its_start_and_closed_at_its_end() -> None:
    monday = utc("2026-03-02T09:00")
    assert is_open(DEFAULT_HOURS, monday, "UTC")
    assert not is_open(DEFAULT_HOURS, monday - MICROSECOND, "UTC")
    assert is_open(DEFAULT_HOURS, monday + timedelta(hours=9) - MICROSECOND, "UTC")
    assert not is_open(DEFAULT_HOURS, monday + timedelta(hours=9), "UTC")


def test_friday_evening_waits_for_monday_morning() -> None:
    assert opens_at(DEFAULT_HOURS, utc("2026-03-06T18:00"), "UTC") == utc("2026-03-09T09:00")


def test_a_closed_instant_closes_with_the_next_window() -> None:
    assert closes_at(DEFAULT_HOURS, utc("2026-03-06T18:00"), "UTC") == utc("2026-03-09T18:00")


def test_a_zone_of_the_hours_comes_before_that_of_the_sender() -> None:
    hours = parse_hours("Mon 09:00-18:00; zone Asia/Tokyo")
    assert opens_at(hours, utc("2026-03-01T00:00"), "Europe/Berlin") == utc("2026-03-02T00:00")


def test_holidays_of_a_part_of_a_country_are_passed_over_there_only() -> None:
    epiphany = utc("2026-01-06T10:00")  # a Tuesday; kept in Bavaria
    bavaria = parse_hours("Mon-Fri 09:00-18:00; holidays DE-BY")
    germany = parse_hours("Mon-Fri 09:00-18:00; holidays DE")
    assert opens_at(bavaria, epiphany, "Europe/Berlin") == utc("2026-01-07T08:00")
    assert is_open(germany, epiphany, "Europe/Berlin")


def test_a_holiday_is_one_of_the_local_day() -> None:
    hours = parse_hours("Mon-Sun 00:00-24:00; holidays US")
    assert spans(str(hours), "America/Los_Angeles", "2026-07-03T12:00", 1) == [
        (utc("2026-07-05T07:00"), utc("2026-09-07T07:00"))  # from Independence Day to Labor Day
    ]


def test_hours_that_cover_the_week_never_close() -> None:
    whole = parse_hours("Mon-Sun 00:00-12:00,12:00-24:00")
    for hours in (whole, parse_hours("always")):
        assert closes_at(hours, utc("2026-03-06T18:00"), "UTC") is None
        assert opens_at(hours, utc("2026-03-06T18:00"), "UTC") == utc("2026-03-06T18:00")


def test_windows_that_meet_at_midnight_close_once() -> None:
    assert spans("Mon 20:00-24:00; Tue 00:00-02:00", "Europe/Berlin", "2026-03-01", 1) == [
        (utc("2026-03-02T19:00"), utc("2026-03-03T01:00"))
    ]


def test_hours_that_do_not_open_for_400_days_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class EveryDay:
        def __contains__(self, day: date) -> bool:
            return True

    monkeypatch.setattr(schedule, "_holidays", lambda code, year: EveryDay())
    hours = WorkingHours(windows=DEFAULT_HOURS.windows, holidays="ZZ")
    for ask in (opens_at, closes_at, is_open):
        with pytest.raises(ValueError, match=r"nothing opens within 400 days: Mon-Fri .* ZZ"):
            ask(hours, utc("2026-03-02T10:00"), "UTC")


@pytest.mark.parametrize("zone", ["Europe/Berln", "Europe", "../etc/passwd", "", "\0"])
def test_an_unknown_zone_is_refused_with_a_fix(zone: str) -> None:
    with pytest.raises(ValueError, match=r"unknown time zone .*IANA list, such as \w+/\w+"):
        opens_at(DEFAULT_HOURS, utc("2026-03-02T10:00"), zone)


@pytest.mark.parametrize(
    "zone",
    [
        *("localtime", "Localtime", "posixrules", "Factory", "posix/Europe/Berlin", "posix/UTC"),
        *("right/Europe/Berlin", "Posix/Europe/Berlin"),
    ],
)
def test_a_zone_that_means_the_hosts_or_nothing_is_refused(zone: str) -> None:
    for ask in (
        lambda: opens_at(DEFAULT_HOURS, utc("2026-03-02T10:00"), zone),
        lambda: parse_hours(f"always; zone {zone}"),
        lambda: WorkingHours.from_json({"always": True, "zone": zone}),
    ):
        with pytest.raises(ValueError, match=r"no place's.*IANA list, such as Europe/Berlin"):
            ask()


def test_a_fixed_offset_is_told_from_a_place() -> None:
    fixed = ("UTC", "GMT", "EST", "MST", "HST", "Zulu", "Etc/GMT+5", "Etc/UTC", "Greenwich")
    places = ("Europe/Berlin", "Asia/Kolkata", "America/Phoenix", "EST5EDT", "CET", "Iceland")
    assert all(map(is_fixed_offset, fixed))
    assert not any(map(is_fixed_offset, places))


def test_an_instant_of_another_zone_is_the_same_instant() -> None:
    at = datetime(2026, 3, 2, 20, tzinfo=timezone(timedelta(hours=9)))
    assert opens_at(DEFAULT_HOURS, at, "UTC") == at
    assert opens_at(DEFAULT_HOURS, at, "UTC").tzinfo is UTC


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no zone"):
        opens_at(DEFAULT_HOURS, datetime(2026, 3, 2), "UTC")  # noqa: DTZ001


# --- reading and writing


def hours_at(*days: tuple[str, ...]) -> tuple[tuple[Window, ...], ...]:
    return tuple(tuple(schedule._window(text) for text in texts) for texts in days)


@pytest.mark.parametrize(
    ("text", "windows"),
    [
        ("Mon-Fri 09:00-18:00", [("09:00-18:00",)] * 5 + [()] * 2),
        (
            "Mon-Thu 08:30-12:00,13:00-17:30; Fri 09:00-14:00",
            [("08:30-12:00", "13:00-17:30")] * 4 + [("09:00-14:00",), (), ()],
        ),
        (
            "Sun-Thu 9:00 – 17:00",  # a dash and spaces as people write them
            [("09:00-17:00",)] * 4 + [(), (), ("09:00-17:00",)],
        ),
        ("monday, WED 14:00-24:00, 09:00-12:00;", None),
    ],
)
def test_hours_are_read_as_people_write_them(
    text: str, windows: list[tuple[str, ...]] | None
) -> None:
    afternoon = ("09:00-12:00", "14:00-24:00")
    expected = windows or [afternoon, (), afternoon, (), (), (), ()]
    assert parse_hours(text).windows == hours_at(*expected)


def test_always_is_read_in_any_letter_case() -> None:
    assert parse_hours(" Always ") == WorkingHours(always=True)


def test_default_hours_are_office_hours_in_the_zone_of_the_sender() -> None:
    assert str(DEFAULT_HOURS) == "Mon-Fri 09:00-18:00"
    assert DEFAULT_HOURS.zone is None
    assert DEFAULT_HOURS.open_days == 5
    assert parse_hours("always").open_days == 7


@unhurried
@given(some_hours)
@example(parse_hours("Mon,Wed,Fri 09:00-12:00; Sun 00:00-24:00; zone Asia/Tokyo; holidays DE-BY"))
def test_hours_are_read_back_from_their_text_and_their_json(hours: WorkingHours) -> None:
    assert parse_hours(str(hours)) == hours
    assert WorkingHours.from_json(hours.to_json()) == hours
    assert hash(parse_hours(str(hours))) == hash(hours)


def test_hours_survive_a_pickle() -> None:
    hours = parse_hours("Mon-Fri 09:00-18:00; zone Asia/Tokyo")
    again = pickle.loads(pickle.dumps(hours))  # noqa: S301 - our own bytes
    assert again == hours
    assert hash(again) == hash(hours)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no window at all: write 'Mon-Fri 09:00-18:00' or 'always'"),
        ("hello", "'hello' is not days and times"),
        ("09:00-18:00", "'09:00-18:00' is not days and times"),
        ("Mon-Fry 09:00-18:00", "'Fry' is not a weekday: write Mon, Tue"),
        ("Mon-Tue-Wed 09:00-18:00", "'Tue-Wed' is not a weekday"),
        ("Mon 9-18", "'9-18' is not a window: write it as 09:00-18:00"),
        ("Mon 09:00-18:60", "'09:00-18:60' has a minute beyond 59"),
        ("Mon 09:00-24:01", "Mon 09:00-24:01 is beyond the day: the last end is 24:00"),
        ("Mon 18:00-09:00", "write 18:00-24:00, and on the next day 00:00-09:00$"),
        ("Mon 18:00-00:00", "may not cross midnight; write 18:00-24:00$"),
        ("Mon 09:00-09:00", "Mon 09:00-09:00 does not end after its start"),
        ("Mon 09:00-12:00,11:00-13:00", "Mon 09:00-12:00 and 11:00-13:00 overlap"),
        ("Mon 09:00-10:00; Mon 11:00-12:00", "names Mon again: write all windows of a day in one"),
        ("Mon,Mon 09:00-10:00", "names Mon again"),
        ("always; Mon 09:00-10:00", "'always' has no windows"),
        ("always; holidays DE", "write Mon-Sun 00:00-24:00; holidays DE"),
        ("Mon 09:00-10:00; zone", "'zone': name one zone, once, such as zone Europe/Berlin"),
        ("Mon 09:00-10:00; zone UTC; zone UTC", "name one zone, once"),
        ("Mon 09:00-10:00; zone Europe/Berln", "'Europe/Berln': .* such as Europe/Berlin"),
        ("Mon 09:00-10:00; holidays XX", "unknown holidays 'XX': .* such as DE or DE-BY"),
        ("Mon 09:00-10:00; holidays DE-XX", "unknown holidays 'DE-XX'"),
    ],
)
def test_hours_that_cannot_be_meant_are_refused_with_a_fix(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_hours(text)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ({}, "no window at all"),
        ({"window": {}}, "unknown field 'window': use always, windows"),
        ({"always": "yes"}, "always is 'yes': write true or false"),
        ({"windows": "Mon"}, "windows are 'Mon': write"),
        ({"windows": {"Mon": "09:00-18:00"}}, "windows of Mon are '09:00-18:00': write"),
        ({"windows": {"Mon": [9]}}, "'9' is not a window"),
        ({"windows": {"Mon": ["09:00-18:00"], "monday": []}}, "windows name Mon twice"),
        ({"windows": {"Moon": ["09:00-18:00"]}}, "'Moon' is not a weekday"),
        ({"always": True, "zone": 3}, "zone is 3: write text"),
        ({"always": True, "zone": "Mars/Base"}, "unknown time zone 'Mars/Base'"),
    ],
)
def test_json_that_cannot_be_meant_is_refused_with_a_fix(
    data: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        WorkingHours.from_json(data)


@pytest.mark.parametrize(
    "make",
    [
        lambda: WorkingHours(windows=DEFAULT_HOURS.windows[:5]),
        lambda: WorkingHours(windows=((Window(600, 660), Window(540, 600)), *[()] * 6)),
        lambda: WorkingHours(windows=((Window(-60, 60),), *[()] * 6)),
    ],
    ids=["five days", "out of order", "before midnight"],
)
def test_hours_cannot_be_built_wrong(make: Callable[[], WorkingHours]) -> None:
    with pytest.raises(ValueError, match=r"weekdays|overlap|beyond"):
        make()


@unhurried
@given(some_zone, some_instant)
def test_a_day_of_utc_is_cut_where_the_offset_changes_and_nowhere_else(
    zone: str, at: datetime
) -> None:
    pieces = schedule._offsets_of_day(zone, at.toordinal())
    assert pieces[0][0] == schedule._midnight(at.toordinal())
    assert pieces[-1][1] == pieces[0][0] + timedelta(days=1)
    info = ZoneInfo(zone)
    for start, end, offset in pieces:
        assert start.astimezone(info).utcoffset() == offset
        assert (end - MICROSECOND).astimezone(info).utcoffset() == offset
    for earlier, later in pairwise(pieces):
        assert earlier[1] == later[0]
        assert earlier[2] != later[2]
