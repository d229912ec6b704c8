"""Which provider it is that a process talks to."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Workspace:
    """A provider: its origin (scheme, host, port), and whether it is a simulator."""

    dsn: str
    is_simulated: bool

    def __str__(self) -> str:
        """Name it for people."""
        return f"the simulator at {self.dsn}" if self.is_simulated else f"Unipile at {self.dsn}"
