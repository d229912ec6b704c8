"""What is wrong with a workflow: said so that whoever drew it can put it right."""

from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """What a finding keeps from happening."""

    ERROR = "error"  # the campaign cannot start
    UNREADY = "unready"  # a node cannot run: no start, unless the operator lets it be passed
    WARNING = "warning"  # it runs, though perhaps not as meant


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem of a workflow: where it is, what is wrong, and what to do about it.

    `node_id` is None for what belongs to no node; a finding on an edge names the edge's source.
    `field` is a path in the saved document, except where only the campaign can tell.
    """

    node_id: str | None
    field: str
    problem: str
    fix: str
    severity: Severity
    subject: str | None = None  # what is missing, by its id: a webhook

    def __str__(self) -> str:
        """Say it on one line, for people."""
        where = self.field if self.node_id is None else f"{self.node_id}, {self.field}"
        return f"{self.severity}: {where}: {self.problem}; {self.fix}"


@dataclass(slots=True)
class Report:
    """Findings being collected, in the order they are met."""

    findings: list[Finding] = field(default_factory=list)

    def error(self, node_id: str | None, where: str, problem: str, fix: str) -> None:
        """Note what keeps the campaign from starting."""
        self.findings.append(Finding(node_id, where, problem, fix, Severity.ERROR))

    def unready(self, node_id: str, where: str, problem: str, fix: str) -> None:
        """Note what keeps a node from running."""
        self.findings.append(Finding(node_id, where, problem, fix, Severity.UNREADY))

    def warn(self, node_id: str | None, where: str, problem: str, fix: str) -> None:
        """Note what may not be meant."""
        self.findings.append(Finding(node_id, where, problem, fix, Severity.WARNING))
