"""Who wrote a message of the account: this engine, or the account's owner by hand.

What the engine wrote must never be taken for the owner's: it would end walks for nothing.  Where
that cannot be excluded, the message is the engine's, or waits until it can be told.
"""

import hashlib
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from enum import Enum, auto

from msgspec import Struct

from clento_engine.domain.action import ActionState
from clento_engine.domain.template import collapsed

# Around a step whose answer named no message: one of ours, of a text that the provider changed.
AROUND = timedelta(minutes=15)
LONGEST_TEXT = 20_000


class Author(Enum):
    """Whose words they are; UNCLEAR: not to be told while a step is under way."""

    ENGINE = auto()
    OWNER = auto()
    UNCLEAR = auto()


class Written(Struct, frozen=True):
    """A message, note or InMail of the ledger, whatever became of it.

    `reference`: the provider's id of it, where it is known; `settled_at` None: it is under way;
    `is_invitation`: the text is the note, None if it had none.
    """

    reference: str | None
    text: str | None
    state: ActionState
    intended_at: datetime
    settled_at: datetime | None
    is_invitation: bool = False


def digest(text: str) -> str:
    """Return what two texts share that are the same but for white space."""
    return hashlib.sha256(collapsed(text[:LONGEST_TEXT]).encode(errors="replace")).hexdigest()


def may_echo(ledger: Collection[Written]) -> bool:
    """Whether a message to somebody who was not connected may be an invitation's note.

    The provider posts it as the first message of the chat, in what words it likes.  Only where the
    ledger has an invitation, and that one without a note, it cannot be.
    """
    invitations = [each for each in ledger if each.is_invitation]
    return not invitations or any(each.text for each in invitations)


def author(
    ids: Collection[str], text_digest: str, sent_at: datetime, ledger: Iterable[Written]
) -> Author:
    """Say who wrote the message known by `ids`; `ledger` is all that was written to the person.

    By whatever campaign, and whatever became of it: a text that was to be sent is the engine's.
    """
    known = list(ledger)
    if any(each.reference in ids or digest(each.text or "") == text_digest for each in known):
        return Author.ENGINE
    if any(each.settled_at is None for each in known):
        return Author.UNCLEAR
    is_near = any(
        each.settled_at is not None
        and each.state is ActionState.DONE
        and each.reference is None
        and each.intended_at - AROUND <= sent_at <= each.settled_at + AROUND
        for each in known
    )
    return Author.ENGINE if is_near else Author.OWNER
