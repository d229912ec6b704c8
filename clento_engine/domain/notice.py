"""What an organisation's webhooks can be told besides the steps of webhook nodes."""

from enum import StrEnum


class Notice(StrEnum):
    """What happened to a lead; an endpoint is told of what it was registered for."""

    REPLIED = "replied"  # once for each message of theirs
    TAKEN_OVER = "taken_over"  # the account's owner wrote by hand, which ended the walk
    OPTED_OUT = "opted_out"  # they asked to be left alone

    @property
    def event(self) -> str:
        """The payload's name for it."""
        return f"lead.{self.value}"
