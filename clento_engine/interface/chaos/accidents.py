"""What accidents are called where they are counted."""

from clento_engine.store.turmoil import HAND_EDITS

ANEW = "member signed in anew"
TWICE_CONNECTED = "member connected under a second id"
COVETED = "sender of another organisation added, and refused"
EMPTY = "store empty after a reconnect"
BEHIND = "provider's stamps behind"
BY_SLUG = "pending list by public identifier alone, or by ids again"
CROWD = "comments by others after ours"
ELSEWHERE = "tick against another provider, and refused"
SLOW = "slow connections to a receiver"
GATEWAY = "a gateway's pages for a moment, instead of every answer"
UNTOLD = "reply that no webhook tells"
STORED_LATE = "reply that reaches the store hours late"
STAMPED = "reply stamped in the future"
OWNER = "owner wrote by hand"
GROUP = "message in a group"
BY_HAND = "by hand: "
ACCIDENTS = (
    ANEW,
    TWICE_CONNECTED,
    COVETED,
    EMPTY,
    BEHIND,
    BY_SLUG,
    CROWD,
    ELSEWHERE,
    SLOW,
    GATEWAY,
    UNTOLD,
    STORED_LATE,
    STAMPED,
    OWNER,
    GROUP,
    *(BY_HAND + edit for edit in HAND_EDITS),
)
