"""What is said of a database that is not the one it was, and what to do about it."""

from clento_engine.domain.restore import Cause
from clento_engine.interface.cli.output import moment
from clento_engine.store.stamp import Quarantine

QUARANTINED = 4  # the status of a tick that may do nothing

FIX = (
    "if it was restored, or its standby promoted: end the tickers of every older copy, then run"
    " `clento db restored`; if it is a copy, give it a provider of its own (docs/restore.md)"
)

_SEEN = {
    Cause.SERVER: "it is on another server than it was",
    Cause.DATABASE: "it is another database than it was",
    Cause.TABLES: "its tables were made anew, as a restore makes them",
    Cause.TIMELINE: "its server was promoted, or recovered from a backup",
    Cause.LEDGER: "its ledger lacks an action that a host knows was committed",
    Cause.WORDS: "the provider shows a message in a node's words that its ledger lacks",
}


def quarantine_line(quarantine: Quarantine) -> str:
    """Say that nothing is sent from the database, why, and what to do."""
    return (
        f"the database is quarantined since {moment(quarantine.at)}, nothing is sent:"
        f" {_SEEN[quarantine.cause]}; {FIX}"
    )
