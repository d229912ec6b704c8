"""What is wrong with a workflow: said so that whoever drew it can put it right."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from enum import StrEnum


class Severity(StrEnum):
    """What a finding keeps from happening."""

    ERROR = "error"  # the campaign cannot start
    UNREADY = "unready"  # a node cannot run: no start, unless the operator lets it be passed
    WARNING = "warning"  # it runs, though perhaps not as meant


class Allowance(StrEnum):
    """What the operator takes as it is at one node: there it is no mistake."""

    TEXT = "text"  # pieces of a text that other tools would fill, tags, gaps
    SAVED_TEXT = "saved_text"  # the text that stands beside an AI which is switched on
    SHORT_WINDOW = "short_window"  # less than a day for acceptance


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem of a workflow: where it is, what is wrong, and what to do about it.

    `node_id` is None for what belongs to no node; a finding on an edge names the edge's source.
    `field` is a path in the saved document, except where only the campaign can tell.  What the
    operator may allow at this node instead is `allowance`.
    """

    node_id: str | None
    field: str
    problem: str
    fix: str
    severity: Severity
    subject: str | None = None  # what is missing, by its id: a webhook
    allowance: Allowance | None = None

    def __str__(self) -> str:
        """Say it on one line, for people."""
        where = self.field if self.node_id is None else f"{self.node_id}, {self.field}"
        return f"{self.severity}: {where}: {self.problem}; {self.fix}"


@dataclass(slots=True)
class Report:
    """Findings being collected, in the order they are met."""

    findings: list[Finding] = field(default_factory=list)

    def error(
        self,
        node_id: str | None,
        where: str,
        problem: str,
        fix: str,
        allowance: Allowance | None = None,
        *,
        allowed: Collection[Allowance] = (),
    ) -> None:
        """Note what keeps the campaign from starting; a warning where it is allowed."""
        self._note(node_id, where, problem, fix, Severity.ERROR, allowance, allowed)

    def unready(
        self,
        node_id: str,
        where: str,
        problem: str,
        fix: str,
        allowance: Allowance | None = None,
        *,
        allowed: Collection[Allowance] = (),
    ) -> None:
        """Note what keeps a node from running; a warning where it is allowed."""
        self._note(node_id, where, problem, fix, Severity.UNREADY, allowance, allowed)

    def warn(self, node_id: str | None, where: str, problem: str, fix: str) -> None:
        """Note what may not be meant."""
        self.findings.append(Finding(node_id, where, problem, fix, Severity.WARNING))

    def _note(
        self,
        node_id: str | None,
        where: str,
        problem: str,
        fix: str,
        severity: Severity,
        allowance: Allowance | None,
        allowed: Collection[Allowance],
    ) -> None:
        found = Finding(node_id, where, problem, fix, severity, allowance=allowance)
        self.findings.append(as_allowed(found) if allowance in allowed else found)


def as_allowed(finding: Finding) -> Finding:
    """Return what remains to be said of a problem that the operator allows."""
    problem, fix = f"{finding.problem}; it is allowed", "nothing is to be done, if it is meant"
    return replace(finding, problem=problem, fix=fix, severity=Severity.WARNING, allowance=None)
