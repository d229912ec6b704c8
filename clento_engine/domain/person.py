"""Who somebody is, by every name that was learned: what an answer changes, and which walk goes on.

The provider's ids decide.  A public identifier says who somebody is only until an id is known, and
LinkedIn gives it out again: then it moves.  An e-mail is no name, since two people share `info@`.
Pure: names and walks were read under locks.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from clento_engine.domain.lead import PROFILE, Identity, identity


class NameKind(StrEnum):
    """What a name is."""

    SLUG = "slug"  # the public identifier: people change it, and LinkedIn gives it out again
    ID = "id"  # of the provider, and for good


_ID = re.compile(r"A(?:[CD]o|Cw|E[A-Za-z])AA")


def kind_of(name: str) -> NameKind:
    """Return which kind a name is; no public identifier begins as an id does."""
    return NameKind.ID if _ID.match(name) else NameKind.SLUG


def slug_of(public_identifier: str | None) -> str | None:
    """Return a public identifier, as the provider gave it, in the form that lists have it in.

    None where there is none, or what is given can be nobody's.
    """
    named = identity(public_identifier and PROFILE + public_identifier)  # bare, digits name nobody
    return named.public_identifier if isinstance(named, Identity) else None


@dataclass(frozen=True, slots=True)
class Shown:
    """The two names that one answer showed of one person.

    `lead_id`: of whom it was asked, who was taken for `person_id` then, and by which name
    (`asked`); None where nobody was asked for, as of a relation in a list.
    """

    organization_id: UUID
    provider_id: str
    slug: str | None
    lead_id: UUID | None = None
    asked: str | None = None
    person_id: UUID | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names, the id first."""
        return (self.provider_id,) if self.slug is None else (self.provider_id, self.slug)


@dataclass(frozen=True, slots=True)
class Owner:
    """A person who has a name; `has_id`: whether an id of the provider's is known of them."""

    person_id: UUID
    has_id: bool


@dataclass(frozen=True, slots=True)
class Named:
    """A name is now this person's, whoever had it before; None: of somebody not known yet."""

    name: str
    person_id: UUID | None


@dataclass(frozen=True, slots=True)
class Merged:
    """Two people turn out to be one."""

    winner_id: UUID
    loser_id: UUID


@dataclass(frozen=True, slots=True)
class Moved:
    """A lead is another person than was taken for it; None: one not known yet."""

    person_id: UUID | None


Change = Named | Merged | Moved


def learned(
    shown: Shown, lead: Owner | None, by_id: Owner | None, by_slug: Owner | None
) -> list[Change]:
    """Say what an answer changes about who is who, in order; mostly nothing.

    `lead`: whom it was asked about; `by_id`, `by_slug`: who has these names so far.

    A missed merge contacts somebody twice; a wrong one ends a walk and can be undone.  So the
    provider's word merges without asking.  Only where one id was asked for and another came back is
    one answer not enough: it must show a slug that is known to be theirs.
    """
    is_theirs = lead is not None and by_slug is not None and by_slug.person_id == lead.person_id
    asked_by_id = shown.asked is not None and kind_of(shown.asked) is NameKind.ID
    changes: list[Change] = []
    if by_id is not None:
        person: Owner | None = by_id
        if lead is not None and lead.person_id != by_id.person_id:
            if not lead.has_id or (asked_by_id and is_theirs):
                changes.append(Merged(by_id.person_id, lead.person_id))
            elif asked_by_id:
                return []  # somebody else's profile: a faulty way to the provider shows such
            else:  # the slug that was asked for is theirs now
                changes.append(Moved(by_id.person_id))
    elif lead is None:
        if by_slug is None or by_slug.has_id:
            return []  # nobody of ours
        person = by_slug
        changes.append(Named(shown.provider_id, by_slug.person_id))
    elif not lead.has_id or (asked_by_id and is_theirs):
        person = lead
        changes.append(Named(shown.provider_id, lead.person_id))
    elif asked_by_id:
        return []
    else:  # the lead is whoever has the slug now, as far as they are known
        person = None if by_slug is None or by_slug.has_id else by_slug
        person_id = None if person is None else person.person_id
        changes += [Moved(person_id), Named(shown.provider_id, person_id)]
    return changes + _slug(shown.slug, person, by_slug, changes)


def _slug(
    slug: str | None, person: Owner | None, owner: Owner | None, before: Sequence[Change]
) -> list[Change]:
    """Give `person`, who was shown under the slug, what its `owner` has of them."""
    if slug is None:
        return []
    person_id = None if person is None else person.person_id
    merged = {each.loser_id for each in before if isinstance(each, Merged)}
    if owner is None or owner.person_id in merged:
        return [] if owner is not None else [Named(slug, person_id)]
    if owner.person_id == person_id:
        return []
    if owner.has_id or person_id is None:  # it was given on
        return [Named(slug, person_id)]
    return [Merged(person_id, owner.person_id)]


@dataclass(frozen=True, slots=True)
class Walking:
    """A walk that is not over, of a person who may have another.

    `contacts`: what reached them by it, or may have; `began_at`: when the walk did, None: not yet;
    `campaign_at`: when its campaign started.  `is_apart`: of a campaign that may overlap others.
    """

    campaign_id: UUID
    lead_id: UUID
    contacts: int
    began_at: datetime | None
    campaign_at: datetime
    campaign: str = ""
    is_apart: bool = False

    @property
    def order(self) -> tuple[int, bool, datetime, datetime, UUID, UUID]:
        """Who goes first: who was contacted more, then who began before."""
        began = self.began_at or self.campaign_at
        return (
            -self.contacts,
            self.began_at is None,
            began,
            self.campaign_at,
            self.campaign_id,
            self.lead_id,
        )

    def excludes(self, other: "Walking") -> bool:
        """Whether one person may not walk both: in one campaign never, in two unless told."""
        return self.campaign_id == other.campaign_id or not (self.is_apart or other.is_apart)


def ahead_of(walk: Walking, others: Iterable[Walking]) -> Walking | None:
    """Return the walk of the same person that goes on instead of `walk`; None: it goes on itself.

    `others` may have the walk itself.  The same for whoever asks: of any two that exclude each
    other exactly one goes on.
    """
    ahead = [each for each in others if each.order < walk.order and each.excludes(walk)]
    return min(ahead, key=lambda each: each.order, default=None)


def goes_on_in(ahead: Walking, walk: Walking) -> str:
    """Say where the person of `walk` goes on instead."""
    is_here = walk.campaign_id == ahead.campaign_id
    where = "another lead of this campaign" if is_here else f"the campaign {ahead.campaign}"
    return f"the same person goes on in {where}"
