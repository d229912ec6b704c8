"""A sender: what kind of account it is, whether it acts, and who stopped it."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct


class AccountStatus(StrEnum):
    """Whether an account acts."""

    ACTIVE = "active"
    PAUSED = "paused"  # no step of it is claimed


class PausedBy(StrEnum):
    """Who paused an account, and so who may let it act again.

    An operator's pause stands over the provider's: the provider's OK does not lift it.
    """

    OPERATOR = "operator"  # until an operator resumes it
    PROVIDER = "provider"  # until the provider says that it is in order, or an operator does


class Tier(StrEnum):
    """What kind of LinkedIn account a sender is, as far as limits differ."""

    NEW = "new"  # under 3 months old or under 150 connections
    FREE = "free"
    PREMIUM = "premium"
    SALES_NAVIGATOR = "sales_navigator"  # and any account long trusted


class Sender(Struct, frozen=True):
    """The account that acts, as the provider and the templates know it.

    `heard_at`: when a webhook last told anything of it, to about a minute; None: never.
    """

    account_id: UUID
    unipile_account_id: str
    tier: Tier
    provider_id: str | None
    troubled: bool  # errors or throttles are counted against the account or its budget
    heard_at: datetime | None = None
