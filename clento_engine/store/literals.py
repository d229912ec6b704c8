"""The words of states as SQL writes them, made from the enums that own them."""

from collections.abc import Iterable
from enum import StrEnum

from clento_engine.domain import action, campaign
from clento_engine.domain.account import AccountStatus, PausedBy
from clento_engine.domain.action import ActionState
from clento_engine.domain.campaign import CampaignStatus
from clento_engine.domain.operation import TRAITS, Operation


def one_of(words: Iterable[StrEnum]) -> str:
    """Return the words as the right side of `in`."""
    return f"({', '.join(map(literal, words))})"


def literal(word: StrEnum) -> str:
    """Return a word as a constant of SQL."""
    return f"'{word.value}'"


INTENDED = literal(ActionState.INTENDED)
UNKNOWN = literal(ActionState.UNKNOWN)
DONE = literal(ActionState.DONE)
ABSENT = literal(ActionState.ABSENT)
OPEN = one_of(action.OPEN)
HAPPENED = one_of(action.HAPPENED)

DRAFT = literal(CampaignStatus.DRAFT)
RUNNING = literal(CampaignStatus.RUNNING)
PAUSED = literal(CampaignStatus.PAUSED)
STOPPED = literal(CampaignStatus.STOPPED)
COMPLETED = literal(CampaignStatus.COMPLETED)
UNFINISHED = one_of(campaign.UNFINISHED)

ACTIVE = literal(AccountStatus.ACTIVE)
ACCOUNT_PAUSED = literal(AccountStatus.PAUSED)
BY_OPERATOR = literal(PausedBy.OPERATOR)
BY_PROVIDER = literal(PausedBy.PROVIDER)

STARTS = literal(Operation.START)
WEBHOOK = literal(Operation.WEBHOOK)
COMMENT = literal(Operation.COMMENT_POST)
FOLLOWUP = literal(Operation.SEND_FOLLOWUP)
INVITE = literal(Operation.SEND_CONNECTION_REQUEST)
RECEIVED = one_of(sorted(each for each in Operation if each.traits.is_received))
ON_POSTS = one_of(sorted(each for each in Operation if each.traits.on_posts))
# the post that an action is about: a node may be about several
POST = f"(CASE WHEN operation IN {ON_POSTS} THEN target ELSE '' END)"
MESSAGES = one_of(sorted(each for each in Operation if each.traits.is_message))
# what is in a chat, an invitation by its note
WRITTEN = one_of(
    each
    for each in TRAITS
    if each.traits.is_message or (each.traits.sends_text and not each.traits.on_posts)
)


def post_of(alias: str) -> str:
    """Return `POST` of the action with this alias."""
    return f"(CASE WHEN {alias}.operation IN {ON_POSTS} THEN {alias}.target ELSE '' END)"
