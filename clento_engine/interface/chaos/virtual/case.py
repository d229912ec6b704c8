"""What is played: a seed, and how much of everything."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from clento_engine.interface.chaos.storm import FAMILIES as OF_STORMS

# One member listed by slug and by id; people whom two campaigns of an organisation list.
NAMES, OVERLAP = "names", "overlap"
# Not "elsewhere": another provider is another process's.
FAMILIES = (*(family for family in OF_STORMS if family != "elsewhere"), NAMES, OVERLAP)
DAYS, LEADS = 30, 8
CHOSEN = 0.75  # of the families in a seed: what one accident hides, another seed shows


@dataclass(frozen=True, slots=True)
class Case:
    """What decides a play: the same case, the same play, to the byte.

    `leads`: of each of the three campaigns; `chosen`: families of accidents, None as the seed has
    it.
    """

    seed: int
    days: int = DAYS
    leads: int = LEADS
    chosen: frozenset[str] | None = None

    @property
    def families(self) -> frozenset[str]:
        """The families of accidents that happen."""
        if self.chosen is not None:
            return self.chosen
        share = ((name, drawn(self.seed, "family", name).random()) for name in FAMILIES)
        return frozenset(name for name, drew in share if drew < CHOSEN)

    def to_json(self) -> dict[str, Any]:
        """Return it as `read_case` reads it."""
        chosen = None if self.chosen is None else sorted(self.chosen)
        return {"seed": self.seed, "days": self.days, "leads": self.leads, "chosen": chosen}

    @property
    def lasts(self) -> timedelta:
        """How long it goes on, before the dust settles."""
        return timedelta(days=self.days)


def read_case(row: Mapping[str, Any]) -> Case:
    """Read a case from its JSON."""
    chosen = row["chosen"]
    families = None if chosen is None else frozenset(map(str, chosen))
    return Case(int(row["seed"]), int(row["days"]), int(row["leads"]), families)


def drawn(*name: object) -> random.Random:
    """Return a source of chance that its name alone decides."""
    return random.Random("/".join(map(str, name)))  # noqa: S311  no secret
