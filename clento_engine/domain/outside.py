"""What comes from outside, bounded before anything is done with it: ids, moments, texts."""

import re
import unicodedata
from datetime import UTC, datetime
from urllib.parse import unquote

LONGEST_ID = 200  # of an account, person, chat, message, post or invitation: they stand in indexes

# No message, connection or post is older than LinkedIn.
EARLIEST = datetime(2003, 5, 5, tzinfo=UTC)

# Longer than any text that is sent, and than any name: nothing of ours reads so.
LONGEST_TEXT = 40_000

# The most combining signs in a row that a text of any language has; source: Unicode Standard Annex
# 15, section 13, "Stream-Safe Text Format".  Ordering them costs the square of their number.
LONGEST_RUN = 30

# What would end a segment of a URL's path, or that no store holds.
_NOT_IN_AN_ID = re.compile(r"[\s/\\?#\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def is_id(text: str) -> bool:
    """Whether `text` can be the id of something: put in a URL's path it names no other route."""
    if not 0 < len(text) <= LONGEST_ID:
        return False
    bare = unquote(text) if "%" in text else text
    return bare not in (".", "..") and _NOT_IN_AN_ID.search(bare) is None


def bounded_moment(stamp: datetime, now: datetime) -> datetime:
    """Return when something happened by somebody else's clock: never after `now`.

    A reply of tomorrow would be news to nobody: all that its writer says until then would be older.
    """
    return max(EARLIEST, min(stamp, now))


def normalised(text: str) -> str:
    """Return a text in NFC, in time that grows with its length alone.

    What is longer than `LONGEST_TEXT`, or has more than `LONGEST_RUN` combining signs in a row,
    comes back as it is: nobody writes so.
    """
    return text if _is_left(text) else unicodedata.normalize("NFC", text)


def decomposed(text: str, *, compatible: bool = False) -> str:
    """Return a text in NFD, or NFKD if `compatible`; as it is where `normalised` leaves it so."""
    return text if _is_left(text) else unicodedata.normalize("NFKD" if compatible else "NFD", text)


def _is_left(text: str) -> bool:
    return text.isascii() or len(text) > LONGEST_TEXT or _is_piled_up(text)


def _is_piled_up(text: str) -> bool:
    if len(text) <= LONGEST_RUN:
        return False
    run = 0
    for sign in text:
        run = run + 1 if unicodedata.combining(sign) else 0
        if run > LONGEST_RUN:
            return True
    return False
