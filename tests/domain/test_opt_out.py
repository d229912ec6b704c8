"""Asking to be left alone: understood as whole messages and sentences, and nowhere else."""

import pytest

from clento_engine.domain.opt_out import DEFAULT_PHRASES, LOOKED_AT, is_opt_out, plain_phrase


@pytest.mark.parametrize(
    "text",
    [
        "stop",
        "STOP!",
        " Stop, please. ",
        "Unsubscribe",
        "Please stop messaging me.",
        "Hi. I do not know you. Don\u2019t contact me again! Bye",
        "Bitte kontaktieren Sie mich nicht mehr.",
        "Ne me contactez plus, merci",
        "no me contactes más por favor",
        "Non scrivermi più",
        "Não me contate mais",
        "Neem geen contact meer op",
        "Не пишите мне больше!",
    ],
)
def test_who_asks_to_be_left_alone_is_understood(text: str) -> None:
    assert is_opt_out(text, DEFAULT_PHRASES)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Stop! You had me at hello. Tuesday?",
        "I cannot stop laughing",
        "We help people who say unsubscribe",
        "Nobody told me not to, so do not contact me before Tuesday",
        "How do I remove me from your list view?",
        "x" * LOOKED_AT + ". Stop messaging me.",
        "stop " * 300,
    ],
)
def test_what_only_holds_such_words_is_not(text: str) -> None:
    assert not is_opt_out(text, DEFAULT_PHRASES)


def test_the_phrases_are_as_they_are_compared() -> None:
    assert {plain_phrase(phrase) for phrase in DEFAULT_PHRASES} == DEFAULT_PHRASES
    assert len(DEFAULT_PHRASES) > 100
