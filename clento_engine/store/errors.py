"""What the store refuses and cannot do, each with the fields that a door needs to say it.

What people read, and what they can do about it, is worded where they read it: in the interface.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Noun(StrEnum):
    """What may be looked for by a name, or have a name already."""

    ORGANIZATION = "organization"
    ACCOUNT = "account"
    MEMBER = "member"  # of LinkedIn, by the Unipile account that was to be added
    LIST = "list"
    CAMPAIGN = "campaign"
    LEAD = "lead"  # of a campaign
    HELD_LANE = "held lane"  # of a campaign
    WORKFLOW_VERSION = "workflow version"
    WEBHOOK = "webhook"  # of workflow nodes, by the id that they name


class NotFound(Exception):
    """There is no such thing: `noun`, and the `name` that was given, a name or an id."""

    def __init__(self, noun: Noun, name: str) -> None:
        super().__init__(f"no {noun} {name!r}")
        self.noun = noun
        self.name = name


class Ambiguous(NotFound):
    """Several things have that name; `ids` tell them apart."""

    def __init__(self, noun: Noun, name: str, ids: Sequence[str]) -> None:
        super().__init__(noun, name)
        self.ids = tuple(ids)


class AlreadyExists(Exception):
    """The name, or the provider's id, is taken: `noun`, `name`."""

    def __init__(self, noun: Noun, name: str) -> None:
        super().__init__(f"there is the {noun} {name!r} already")
        self.noun = noun
        self.name = name


class CannotDo(Exception):
    """The state of things does not allow it; what is in the way says the subclass."""


class WrongState(CannotDo):
    """`noun` is in `state`, and would have to be in one of `allowed`."""

    def __init__(self, noun: Noun, state: str, allowed: Sequence[str]) -> None:
        super().__init__(f"the {noun} is {state}, not {' or '.join(allowed)}")
        self.noun = noun
        self.state = state
        self.allowed = tuple(allowed)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many leads of a list a start left out, and why.

    `repeated`: the list has the person before; `suppressed`; `rested`: contacted too lately;
    `elsewhere`: by the campaign in which the person walks.
    """

    repeated: int
    suppressed: int
    rested: int
    elsewhere: dict[str, int]


class NobodyToContact(CannotDo):
    """A campaign's list has no lead who may be contacted: why those of it are `left_out`."""

    def __init__(self, left_out: LeftOut) -> None:
        super().__init__("its list has no lead that may be contacted")
        self.left_out = left_out


class StillWalked(CannotDo):
    """Leads under way are to be walked by the account: `leads` of them."""

    def __init__(self, leads: int) -> None:
        super().__init__(f"{leads} leads are to be walked by it")
        self.leads = leads


class StillUnknown(CannotDo):
    """What became of `actions` of the account's actions is not known yet."""

    def __init__(self, actions: int) -> None:
        super().__init__(f"what became of {actions} of its actions is not known")
        self.actions = actions


class ChangedMeanwhile(CannotDo):
    """`noun` was changed in the same moment by somebody else."""

    def __init__(self, noun: Noun) -> None:
        super().__init__(f"the {noun} was changed meanwhile")
        self.noun = noun


class BadDatabaseUrl(ValueError):
    """The URL of a database cannot be read; the message says why, without its password."""


class DatabaseUnavailable(Exception):
    """The database does not answer in the time allowed, or refuses us; the message says which."""


class DatabaseUnsuitable(Exception):
    """The server or its schema is not one that this version can work with."""


class ServerTooOld(DatabaseUnsuitable):
    """PostgreSQL `found`, a major version, where `needed` or a later one is needed."""

    def __init__(self, found: int, needed: int) -> None:
        super().__init__(f"PostgreSQL {found}, not {needed} or later")
        self.found = found
        self.needed = needed


class SchemaBehind(DatabaseUnsuitable):
    """The schema is at revision `found`, None where there is none, and `needed` is newer."""

    def __init__(self, found: str | None, needed: str) -> None:
        super().__init__(f"schema {found or 'none'}, not {needed}")
        self.found = found
        self.needed = needed


class SchemaAhead(DatabaseUnsuitable):
    """The schema is at revision `found`, of a newer version than this one, which has `known`."""

    def __init__(self, found: str, known: str) -> None:
        super().__init__(f"schema {found}, not {known}")
        self.found = found
        self.known = known


class NoRight(DatabaseUnsuitable):
    """Our role may not enter `schema`, where our tables stand."""

    def __init__(self, schema: str) -> None:
        super().__init__(f"no right to use the schema {schema}")
        self.schema = schema


class MayNotCreate(DatabaseUnsuitable):
    """Our role may not create what is needed: `what`, a database or the schema of our tables."""

    def __init__(self, what: str) -> None:
        super().__init__(f"no right to create a {what}")
        self.what = what


class SchemaTaken(DatabaseUnsuitable):
    """The schema where our tables would be made holds what is not ours."""

    def __init__(self, schema: str) -> None:
        super().__init__(f"the schema {schema} holds what is not ours")
        self.schema = schema


class NeedsSession(CannotDo):
    """`what` needs a session of its own, and a pooler lends one for a transaction at a time."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} needs a session, which a pooler in transaction mode has not")
        self.what = what


class TickersAlive(Exception):
    """A schema is not upgraded beside processes that work with it: `found`, one line each."""

    def __init__(self, found: Sequence[str]) -> None:
        super().__init__("; ".join(found))
        self.found = tuple(found)


class UnsafeStorage(Exception):
    """The server may forget what it committed: `settings` are off that keep it."""

    def __init__(self, settings: Sequence[str]) -> None:
        super().__init__(f"{' and '.join(settings)} off")
        self.settings = tuple(settings)
