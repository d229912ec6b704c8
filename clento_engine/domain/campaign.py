"""A campaign's status, and what changes it."""

from dataclasses import dataclass
from enum import StrEnum


class CampaignStatus(StrEnum):
    """Whether a campaign's leads walk."""

    DRAFT = "draft"  # made, nobody enrolled
    RUNNING = "running"
    PAUSED = "paused"  # no step is claimed; its leads stay where they are
    STOPPED = "stopped"  # for good
    COMPLETED = "completed"  # its last lead is final


# Its leads may still have something to do, now or later.
UNFINISHED = (CampaignStatus.RUNNING, CampaignStatus.PAUSED)


@dataclass(frozen=True, slots=True)
class Change:
    """A change of status: from which ones, to which, and the `event` that its history tells."""

    before: tuple[CampaignStatus, ...]
    after: CampaignStatus
    event: str


START = Change((CampaignStatus.DRAFT,), CampaignStatus.RUNNING, "CampaignStarted")
PAUSE = Change((CampaignStatus.RUNNING,), CampaignStatus.PAUSED, "CampaignPaused")
RESUME = Change((CampaignStatus.PAUSED,), CampaignStatus.RUNNING, "CampaignResumed")
STOP = Change(UNFINISHED, CampaignStatus.STOPPED, "CampaignStopped")
COMPLETE = Change((CampaignStatus.RUNNING,), CampaignStatus.COMPLETED, "CampaignCompleted")
# by mending: leads that wait were found in a campaign that somebody marked as completed
REOPEN = Change((CampaignStatus.COMPLETED,), CampaignStatus.PAUSED, "CampaignReopened")
