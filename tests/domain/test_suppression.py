"""Every spelling of whom to leave alone is one value, equal to what leads are compared with."""

import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clento_engine.domain.lead import Rejected, email_address
from clento_engine.domain.suppression import (
    Kind,
    company_key,
    comparable,
    domain_key,
    email_key,
    suppressed_value,
)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Kind.PERSON, "https://www.linkedin.com/in/Lea-Moreau/?trk=x", "lea-moreau"),
        (Kind.PERSON, " Lea-Moreau ", "lea-moreau"),
        (Kind.PERSON, "ACoAAB1xyz", "ACoAAB1xyz"),
        (Kind.EMAIL, " Lea@Acme.COM", "lea@acme.com"),
        (Kind.DOMAIN, "@Acme.COM ", "acme.com"),
        (Kind.DOMAIN, "mail.acme.co.uk", "mail.acme.co.uk"),
        (Kind.DOMAIN, "ÖKO.example.", "öko.example"),
        (Kind.DOMAIN, "xn--ko-eka.example", "öko.example"),
        (Kind.DOMAIN, "o\u0308ko.example", "öko.example"),
        (Kind.EMAIL, "Lea@XN--KO-EKA.example", "lea@öko.example"),
        (Kind.EMAIL, "Le\u0301a@o\u0308ko.example", "léa@öko.example"),
        (Kind.COMPANY, " Acme & Söhne ", "acme & söhne"),
        (Kind.COMPANY, "ÖKO  HÄUSER\u00a0GmbH", "öko häuser gmbh"),
        (Kind.COMPANY, "O\u0308ko\u200b Ha\u0308user\tGMBH\ufeff", "öko häuser gmbh"),
        (Kind.COMPANY, "STRASSE", "strasse"),
        (Kind.COMPANY, "Straße", "strasse"),
    ],
)
def test_a_value_is_what_leads_are_compared_with(kind: Kind, text: str, value: str) -> None:
    assert suppressed_value(kind, text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Kind.PERSON, "https://www.linkedin.com/company/acme"),
        (Kind.PERSON, ""),
        (Kind.EMAIL, "lea"),
        (Kind.DOMAIN, "https://acme.com"),
        (Kind.DOMAIN, "lea@acme.com"),
        (Kind.DOMAIN, "acme"),
        (Kind.COMPANY, "  "),
    ],
)
def test_what_names_nobody_is_refused_with_its_fix(kind: Kind, text: str) -> None:
    refused = suppressed_value(kind, text)
    assert isinstance(refused, Rejected)
    assert refused.problem
    assert refused.fix


@pytest.mark.parametrize("written", ["IKEA", "ikea", "İKEA", "ıkea", "i\u0307kea", "I\u0307KEA"])
def test_the_four_turkish_letters_are_one_whatever_language_wrote_them(written: str) -> None:
    assert suppressed_value(Kind.COMPANY, written) == "ikea"


@given(st.text())
@example("i\u0307\u0307\u0301")
@example("\u03b1\u0345\u0301")
def test_spelling_is_one_however_it_is_composed_and_comes_back_as_it_is(text: str) -> None:
    key = comparable(text)
    assert comparable(key) == key
    for form in ("NFC", "NFD"):
        assert comparable(unicodedata.normalize(form, text)) == key
    assert comparable(f"\u00a0{text}\t ") == key
    assert company_key(company_key(text)) == company_key(text)


# A Greek iota below a letter is a letter of its own among capitals, and may change its place.
LETTERS = st.characters(exclude_categories=["Cs", "Mn"]).filter(
    lambda sign: "\u0345" not in unicodedata.normalize("NFD", sign)
)


@given(st.text(LETTERS))
def test_capitals_are_no_difference(text: str) -> None:
    for changed in (text.upper(), text.lower(), text.casefold(), text.swapcase()):
        assert comparable(changed) == comparable(text)


def test_each_sign_that_can_be_spelt_otherwise_is_one() -> None:
    signs = (chr(number) for number in range(sys.maxunicode + 1) if not 0xD800 <= number <= 0xDFFF)
    for sign in signs:
        spelt = {unicodedata.normalize("NFD", sign), sign.upper(), sign.lower(), sign.casefold()}
        if spelt != {sign}:
            key = comparable(sign)
            assert {comparable(each) for each in (*spelt, key)} == {key}


@pytest.mark.parametrize(
    "label",
    ["xn--", "xn--a", "xn--abc-", "xn--i-7iq", "xn--11b4c3d", "xn--" + "9" * 60, "xn--" * 9_000],
)
def test_what_is_no_word_in_other_letters_stays_as_it_is(label: str) -> None:
    assert domain_key(f"{label}.Example") == f"{label}.example"


LABEL = st.sampled_from(["acme", "öko", "xn--ko-eka", "STRASSE", "straße", "xn--strae-oqa", "ısı"])
ADDRESS = st.builds("{}@{}.{}.Example".format, st.text("aäßIİ.+", min_size=1), LABEL, LABEL)


@given(ADDRESS)
def test_an_address_is_found_by_its_domain(address: str) -> None:
    if (found := email_address(address)) is None:
        return
    key = email_key(found)
    assert suppressed_value(Kind.EMAIL, key) == key
    assert suppressed_value(Kind.DOMAIN, found.rpartition("@")[2]) == key.rpartition("@")[2]


def test_a_long_name_of_a_company_is_compared_by_its_beginning() -> None:
    assert company_key("Ä" * 5_000) == company_key("a\u0308" * 300) == "ä" * 200
