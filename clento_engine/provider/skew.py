"""How far our clock is ahead of the provider's, by the `Date` of its answers."""

import logging
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Self

log = logging.getLogger(__name__)

IN_AGREEMENT = 3  # answers, one after the other, before a skew is believed or given up
TOLERANCE = timedelta(seconds=5)  # more than clocks kept by NTP ever differ
# `Date` leaves fractions of a second out, and a server may send the one that it wrote a second ago
# (uvicorn and nginx do); source: RFC 9110, section 6.6.1, and the servers.
_DATE_IS_OLDER_BY = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Span:
    """From the least to the most that our clock may be ahead; both ends may be negative."""

    least: timedelta
    most: timedelta

    @classmethod
    def measured(cls, sent_at: datetime, date: datetime, read_at: datetime) -> Self | None:
        """Return what one answer leaves possible; None when our clock went backwards meanwhile.

        `sent_at` and `read_at` are our clock before the request was sent and after its answer was
        read, `date` the provider's in between.
        """
        least, most = sent_at - date - _DATE_IS_OLDER_BY, read_at - date
        return cls(least, most) if read_at >= sent_at else None

    def within(self, other: "Span") -> "Span | None":
        """Return what both leave possible; None when they contradict each other."""
        least, most = max(self.least, other.least), min(self.most, other.most)
        return Span(least, most) if least <= most else None

    def covers(self, other: "Span") -> bool:
        """Whether all that the other leaves possible is possible by this one too."""
        return self.least <= other.least and other.most <= self.most

    @property
    def certain(self) -> timedelta:
        """The skew that there is at least: the one nearest to none."""
        return max(self.least, min(self.most, timedelta()))


class Skew:
    """What the answers say together.

    Answers agree when one skew is possible by each of them.  Three in a row that agree are
    believed, narrow what was believed before, or take its place if they contradict it.  It is given
    up when each of three in a row contradicts it, and they do not agree.
    """

    def __init__(self, tolerance: timedelta = TOLERANCE) -> None:
        """Believe nothing.  A skew beyond `tolerance` is warned about when it is first believed."""
        self._tolerance = tolerance
        self._lately: deque[Span] = deque(maxlen=IN_AGREEMENT)
        self._believed: Span | None = None
        self._warned_of: timedelta | None = None

    @property
    def ahead(self) -> timedelta | None:
        """How far our clock is ahead at least, negative when behind; None if that is unknown."""
        return None if self._believed is None else self._believed.certain

    def learn(self, span: Span) -> None:
        """Take what one answer says."""
        self._lately.append(span)
        believed = self._believed
        if believed is not None and span.covers(believed):  # nearly every answer: nothing is new
            return
        if len(self._lately) < IN_AGREEMENT:
            return
        together: Span | None = span
        for one in self._lately:
            together = None if together is None else together.within(one)
        if together is not None:
            narrowed = None if believed is None else together.within(believed)
            self._believed = together if narrowed is None else narrowed
        elif believed is not None and not any(believed.within(one) for one in self._lately):
            self._believed = None
        if self._believed is not believed:
            self._warn()

    def _warn(self) -> None:
        """Warn once about a skew, and again when it has changed by more than the tolerance."""
        ahead = self.ahead
        if ahead is None or abs(ahead) <= self._tolerance:
            if self._warned_of is not None and ahead is not None:
                log.info("this host's clock agrees with the provider's again")
                self._warned_of = None
        elif self._warned_of is None or abs(ahead - self._warned_of) > self._tolerance:
            self._warned_of = ahead
            log.warning(
                "this host's clock differs from the provider's",
                extra={"skew_s": round(ahead.total_seconds(), 3), "alert": True},
            )


@lru_cache(maxsize=8)  # the answers of one second have the same
def parsed_date(date: str) -> datetime | None:
    """Read the header `Date`; None when it is no instant with a zone."""
    try:
        at = parsedate_to_datetime(date)
    except (ValueError, TypeError, OverflowError):
        return None
    return at if at.tzinfo is not None else None
