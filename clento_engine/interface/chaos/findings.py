"""What the judge found, counted and in words."""

from dataclasses import dataclass, field

_KINDS = (
    "duplicates",
    "lost",
    "over_cap",
    "outside_hours",
    "after_stop",
    "disagreements",
    "unknown",
    "held",
    "unresolved",
)
_LEFT_OPEN = frozenset({"held", "unresolved"})  # for people to look at: no promise is broken


@dataclass(slots=True)
class Findings:
    """What the judge found; all but `held` and `unresolved` must be zero.

    `details` says each in words, by kind.

    `walks`: of campaigns that nobody stopped; `ended`: how many of them came to an end.
    """

    duplicates: int = 0
    lost: int = 0
    over_cap: int = 0
    outside_hours: int = 0
    after_stop: int = 0  # after a reply, a suppression, a pause or a stop
    disagreements: int = 0
    unknown: int = 0
    held: int = 0
    unresolved: int = 0  # closed, for their walks were over and nobody could find out
    walks: int = 0
    ended: int = 0
    details: dict[str, list[str]] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found; what is left to people, with its reason, is no finding."""
        return not any(count for kind, count in self.counts().items() if kind not in _LEFT_OPEN)

    def counts(self) -> dict[str, int]:
        """Return how many findings there are of each kind."""
        return {kind: getattr(self, kind) for kind in _KINDS}

    def add(self, kind: str, line: str) -> None:
        """Add what somebody else found."""
        setattr(self, kind, getattr(self, kind) + 1)
        self.details.setdefault(kind, []).append(line)

    def lines(self) -> list[str]:
        """Return every finding in words, after its kind."""
        return [f"{kind}: {line}" for kind, lines in self.details.items() for line in lines]
