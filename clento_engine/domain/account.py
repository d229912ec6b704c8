"""A sender: what kind of account it is, whether it acts, and who stopped it."""

from enum import StrEnum


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
