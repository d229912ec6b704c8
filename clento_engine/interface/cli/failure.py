"""A failure as it is shown: what, and what to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass

from clento_engine.domain.finding import Finding

FAILED = 1


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure as it is shown; `status` is the process's."""

    error: str
    fix: str | None = None
    findings: Sequence[Finding] = ()
    status: int = FAILED
    usage: str | None = None
