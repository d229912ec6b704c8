"""A provider that answers at once and does nothing: what is left is the engine's own cost."""

from dataclasses import fields
from typing import Any

from clento_engine.provider.port import Profile, Sent

_ID = "ACoAA"
# An older checkout's profile has a name.
_NAME: dict[str, Any] = {each.name: "Ada" for each in fields(Profile) if "_name" in each.name}


class Noop:
    """Answers what a step may ask; a person's provider id is made of the name it was asked by."""

    skew = None  # it has no clock

    async def visit(self, account: str, identifier: str) -> Profile:  # noqa: ARG002  the port's
        """Answer that the profile was visited."""
        number = identifier.removeprefix("person-").removeprefix(_ID)
        return Profile(
            _ID + number,
            f"person-{number}",
            **_NAME,
            connected=False,
            invitation_pending=False,
        )

    async def profile(
        self,
        account: str,
        identifier: str,
        *,
        sales_navigator: bool = False,  # noqa: ARG002  the port's
    ) -> Profile:
        """Answer with the profile."""
        return await self.visit(account, identifier)

    async def invite(self, account: str, provider_id: str, note: str | None) -> Sent:  # noqa: ARG002
        """Answer that the invitation was sent."""
        return Sent(f"invitation-{provider_id}")

    async def start_chat(self, account: str, provider_id: str, text: str) -> Sent:  # noqa: ARG002
        """Answer that the message was sent, in a new chat."""
        return Sent(f"message-{provider_id}", f"chat-{provider_id}")
