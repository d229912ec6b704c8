"""A text may read differently for each person, and the same for one person however often asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clento_engine.domain.spintax import extent, literals, pieces, spun

SEEDS = [str(number) for number in range(60)]


@pytest.mark.parametrize(
    ("text", "readings"),
    [
        ("{Hi|Hello} Ann", {"Hi Ann", "Hello Ann"}),
        ("{Hi|Hello|Hey}!", {"Hi!", "Hello!", "Hey!"}),
        ("{Hi|{Good day|Hello} there}", {"Hi", "Good day there", "Hello there"}),
        ("{{Hi|Hello} Ann|Hey}", {"Hi Ann", "Hello Ann", "Hey"}),
        ("so{ very|} good", {"so very good", "so good"}),
        ("{ Hi | Hello } Ann", {"Hi Ann", "Hello Ann"}),
        ("{Hi {{first_name|you}}|Hello}", {"Hi {{first_name|you}}", "Hello"}),
        ("{Hi [first_name|you]|Hello}", {"Hi [first_name|you]", "Hello"}),
        ("{a|b} {c|d}", {"a c", "a d", "b c", "b d"}),
        ("Hi {{first_name|there}}", {"Hi {{first_name|there}}"}),
        ("{ } {x} f() { return a || b; } 10 | 11", {"{ } {x} f() { return a || b; } 10 | 11"}),
        ("{Hi|Hello", {"{Hi|Hello"}),
        ("Hi} | {there", {"Hi} | {there"}),
    ],
)
def test_every_alternative_is_read_for_somebody_and_nothing_else(
    text: str, readings: set[str]
) -> None:
    assert {spun(text, seed) for seed in SEEDS} == readings


def test_one_seed_reads_one_way() -> None:
    text = "{a|b|c} {d|e|f} {g|{h|i}}"
    assert len({spun(text, "lead/node") for _ in range(5)}) == 1


def test_alternatives_are_dealt_out_evenly() -> None:
    counts = [0, 0, 0]
    for number in range(3000):
        counts[int(spun("{0|1|2}", f"lead-{number}/node"))] += 1
    assert min(counts) > 850


def test_the_extent_is_that_of_the_shortest_and_the_longest_reading() -> None:
    assert extent("{Hi|Hello {a|bcd}} you", len) == (6, 13)
    assert list(literals("{Hi|Hello} you")) == ["Hi", "Hello", " you"]


@given(st.lists(st.sampled_from(["{", "}", "|", "{{", "}}", "a", " ", "[", "]"])).map("".join))
def test_whatever_the_braces_a_reading_is_made_of_the_text(text: str) -> None:
    reading = spun(text, "seed")
    least, most = extent(text, len)
    assert least <= len(reading) <= most <= len(text)
    if not any(not isinstance(piece, str) for piece in pieces(text)):
        assert reading == text


def test_braces_without_end_are_read_in_time() -> None:
    for text in ("{a|" * 20_000, "{" * 40_000 + "|", "{ " * 20_000 + "}|" * 20_000):
        assert len(spun(text, "seed")) <= len(text)
