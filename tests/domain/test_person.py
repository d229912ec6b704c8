"""Who is who by what answers show, and which of one person's walks goes on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clento_engine.domain.person import (
    Change,
    Merged,
    Moved,
    Named,
    NameKind,
    Owner,
    Shown,
    Walking,
    ahead_of,
    goes_on_in,
    kind_of,
    learned,
    slug_of,
)

ORGANIZATION = UUID(int=1)
LEAD = UUID(int=2)
NOBODY_YET = UUID(int=99)
IDS, SLUGS = ("ACoAA1", "ACoAA2", "ADoAA3"), ("ada", "bert", "cleo")


@dataclass
class Names:
    """Who has which name, and whose the lead is: what the tables say."""

    owner: dict[str, UUID] = field(default_factory=dict)
    lead: UUID | None = None

    def has_id(self, person: UUID) -> bool:
        return any(whose == person for name, whose in self.owner.items() if name in IDS)

    def of(self, person: UUID | None) -> Owner | None:
        return None if person is None else Owner(person, self.has_id(person))

    def ask(self, shown: Shown) -> list[Change]:
        lead = self.of(self.lead) if shown.lead_id is not None else None
        names = shown.provider_id, shown.slug or ""
        return learned(shown, lead, *(self.of(self.owner.get(name)) for name in names))

    def apply(self, changes: Sequence[Change]) -> None:
        for change in changes:
            match change:
                case Named(name, person_id):
                    self.owner[name] = person_id or NOBODY_YET
                case Moved(person_id):
                    self.lead = person_id or NOBODY_YET
                case Merged(winner, loser):
                    assert winner != loser
                    for name, whose in self.owner.items():
                        self.owner[name] = winner if whose == loser else whose
                    self.lead = winner if self.lead == loser else self.lead


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Names, Shown]:
    """Draw people, each with a name at least, one of them a lead's, and an answer about it."""
    people = [UUID(int=10 + n) for n in range(draw(st.integers(1, 4)))]
    anybody = st.none() | st.sampled_from(people)
    owner = {name: whose for name in (*IDS, *SLUGS) if (whose := draw(anybody)) is not None}
    listed = sorted(set(owner.values()))
    lead = draw(st.none() | st.sampled_from(listed)) if listed else None
    asked = draw(st.sampled_from((*IDS, *SLUGS)))
    shown = Shown(
        ORGANIZATION,
        draw(st.sampled_from(IDS)),
        draw(st.none() | st.sampled_from(SLUGS)),
        *((LEAD, asked) if lead is not None else (None, None)),
    )
    return Names(owner, lead), shown


@given(worlds())
def test_the_same_answer_about_the_same_people_says_the_same(world: tuple[Names, Shown]) -> None:
    names, shown = world
    assert names.ask(shown) == names.ask(shown)


@given(worlds())
def test_what_was_learned_is_not_learned_again(world: tuple[Names, Shown]) -> None:
    names, shown = world
    names.apply(names.ask(shown))
    assert names.ask(shown) == []


@given(worlds())
def test_a_list_of_relations_makes_nobody_and_moves_no_lead(world: tuple[Names, Shown]) -> None:
    names, shown = world
    if shown.lead_id is None:
        known = set(names.owner.values())
        changes = names.ask(shown)
        assert not any(isinstance(each, Moved) for each in changes)
        assert all(each.person_id in known for each in changes if isinstance(each, Named))


@given(worlds())
def test_two_who_have_ids_are_joined_only_where_an_id_was_asked_for_and_their_slug_came_back(
    world: tuple[Names, Shown],
) -> None:
    names, shown = world
    for change in names.ask(shown):
        if isinstance(change, Merged):
            both = names.has_id(change.winner_id) and names.has_id(change.loser_id)
            assert not both or (
                shown.asked in IDS
                and change.loser_id == names.lead
                and shown.slug is not None
                and names.owner[shown.slug] == names.lead
            )


@given(worlds())
def test_whose_id_is_known_keeps_it(world: tuple[Names, Shown]) -> None:
    names, shown = world
    for change in names.ask(shown):
        if isinstance(change, Named):
            assert change.name in SLUGS or change.name not in names.owner


@given(worlds())
def test_nobody_is_left_without_a_name(world: tuple[Names, Shown]) -> None:
    """By a name that goes to somebody else they would be left alone no more."""
    names, shown = world
    changes = names.ask(shown)
    merged = {each.loser_id for each in changes if isinstance(each, Merged)}
    before = set(names.owner.values())
    names.apply(changes)
    assert before - merged <= set(names.owner.values())


@given(worlds())
def test_what_an_id_was_asked_for_moves_no_lead(world: tuple[Names, Shown]) -> None:
    """A faulty way to the provider shows somebody else's profile; a given slug shows another's."""
    names, shown = world
    if any(isinstance(each, Moved) for each in names.ask(shown)):
        assert shown.asked in SLUGS


A, B, C = UUID(int=10), UUID(int=11), UUID(int=12)


@pytest.mark.parametrize(
    ("asked", "answer", "owner", "expected"),
    [
        ("ada", ("ACoAA1", "ada"), {"ada": A}, [Named("ACoAA1", A)]),
        ("ada", ("ACoAA1", "ada"), {"ada": A, "ACoAA1": B}, [Merged(B, A)]),
        ("ada", ("ACoAA1", "bert"), {"ada": A}, [Named("ACoAA1", A), Named("bert", A)]),
        ("ada", ("ACoAA1", "bert"), {"ada": A, "bert": B}, [Named("ACoAA1", A), Merged(A, B)]),
        # LinkedIn gave the slug out again
        (
            "ada",
            ("ACoAA2", "ada"),
            {"ada": A, "ACoAA1": A},
            [Moved(None), Named("ACoAA2", None), Named("ada", None)],
        ),
        (
            "ada",
            ("ACoAA2", "ada"),
            {"ada": A, "ACoAA1": A, "ACoAA2": B},
            [Moved(B), Named("ada", B)],
        ),
        # … to somebody of whom nothing else is known
        (
            "ada",
            ("ACoAA2", "bert"),
            {"ada": A, "ACoAA1": A, "bert": B},
            [Moved(B), Named("ACoAA2", B)],
        ),
        # one member under two ids, by the slug that is known to be theirs; and somebody else's
        ("ADoAA3", ("ACoAA1", "ada"), {"ADoAA3": A, "ada": A}, [Named("ACoAA1", A)]),
        ("ADoAA3", ("ACoAA1", "ada"), {"ADoAA3": A, "ada": A, "ACoAA1": B}, [Merged(B, A)]),
        ("ADoAA3", ("ACoAA1", "bert"), {"ADoAA3": A, "ada": A, "ACoAA1": B}, []),
        ("ADoAA3", ("ACoAA1", "bert"), {"ADoAA3": A, "ada": A}, []),
    ],
)
def test_an_answer_changes(
    asked: str, answer: tuple[str, str], owner: dict[str, UUID], expected: list[Change]
) -> None:
    names = Names(owner, A)
    assert names.ask(Shown(ORGANIZATION, *answer, LEAD, asked)) == expected


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        ({}, []),
        ({"ada": A}, [Named("ACoAA1", A)]),
        ({"ACoAA1": A}, [Named("ada", A)]),
        ({"ACoAA1": A, "ada": B}, [Merged(A, B)]),
        ({"ACoAA1": A, "ada": B, "ACoAA2": B}, [Named("ada", A)]),
        ({"ada": B, "ACoAA2": B}, []),
    ],
)
def test_a_relation_changes(owner: dict[str, UUID], expected: list[Change]) -> None:
    assert Names(owner).ask(Shown(ORGANIZATION, "ACoAA1", "ada")) == expected


def test_what_a_name_is() -> None:
    assert [kind_of(name) for name in IDS] == [NameKind.ID] * 3
    assert [kind_of(name) for name in ("ada", "acoaa", "ACo")] == [NameKind.SLUG] * 3
    assert slug_of("Ada-Moss") == "ada-moss"
    assert slug_of(None) is None


# --- walks ---------------------------------------------------------------------------------------

START = datetime(2026, 3, 2, tzinfo=UTC)
moments = st.integers(0, 3).map(lambda days: START + timedelta(days=days))


@st.composite
def walks(draw: st.DrawFn) -> list[Walking]:
    """Draw the walks of one person."""
    campaigns = [(UUID(int=n), draw(moments), draw(st.booleans())) for n in range(3)]
    drawn = [
        Walking(
            campaign_id,
            UUID(int=100 + place),
            draw(st.integers(0, 2)),
            draw(st.none() | moments),
            campaign_at,
            f"campaign {campaign_id.int}",
            is_apart,
        )
        for place, (campaign_id, campaign_at, is_apart) in enumerate(
            draw(st.lists(st.sampled_from(campaigns), min_size=1, max_size=6))
        )
    ]
    return draw(st.permutations(drawn))


@given(walks(), st.randoms())
def test_of_walks_that_exclude_each_other_one_goes_on(
    every: list[Walking], shuffled: Random
) -> None:
    goes_on = [each for each in every if ahead_of(each, every) is None]
    for each in every:
        those = [other for other in goes_on if other is each or other.excludes(each)]
        assert len(those) == 1
        another = list(every)
        shuffled.shuffle(another)
        assert ahead_of(each, another) == ahead_of(each, every)
        assert ahead_of(each, [other for other in every if other is not each]) == ahead_of(
            each, every
        )


@given(walks())
def test_who_was_contacted_most_goes_on(every: list[Walking]) -> None:
    for each in every:
        if (ahead := ahead_of(each, every)) is not None:
            assert ahead.contacts >= each.contacts
            assert ahead_of(ahead, every) is None
            assert "goes on in" in goes_on_in(ahead, each)


def test_a_walk_says_where_its_person_goes_on() -> None:
    here = Walking(A, LEAD, 0, None, START, "spring")
    there = Walking(B, LEAD, 0, None, START, "summer")
    assert goes_on_in(here, here).endswith("another lead of this campaign")
    assert goes_on_in(there, here).endswith("the campaign summer")
