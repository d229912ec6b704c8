"""Variables, fallbacks, values that are only data, and how long a text may be."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clento_engine.domain.account import Tier
from clento_engine.domain.operation import Operation
from clento_engine.domain.template import (
    Missing,
    Rendered,
    TooLong,
    Variable,
    collapsed,
    compose,
    extent,
    is_known,
    length,
    placed,
    render,
    text_limit,
    unfilled,
    variables,
)

ANN = {"first_name": "Ann", "last_name": "Lee", "company": "Acme", "job_title": "Engineer"}

names = st.text(string.ascii_letters, min_size=1, max_size=12)
plain = st.text().filter(lambda text: not set(text) & set("{}[]\r"))


@pytest.mark.parametrize(
    "template",
    [
        "Hi {{first_name}}",
        "Hi {{ First_Name }}",
        "Hi {{FIRST NAME}}",
        "Hi {{first-name}}",
        "Hi {{firstName}}",
        "Hi [first_name]",
        "Hi [ First Name ]",
        "Hi {{first_name|there}}",
        "Hi [first_name|there]",
    ],
)
def test_every_spelling_of_a_variable_finds_its_value(template: str) -> None:
    assert render(template, ANN) == Rendered("Hi Ann")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{company_name}} [company_name]", "Acme Acme"),
        ("{{full_name}}", "Ann Lee"),
        ("{{name}}", "Ann Lee"),
        ("[job_title]", "Engineer"),
        ("{{position}}", "Engineer"),
        ("{{surname}}", "Lee"),
    ],
)
def test_aliases_stand_for_the_field(template: str, text: str) -> None:
    assert render(template, ANN) == Rendered(text)


def test_an_alias_as_a_column_fills_the_field_it_stands_for() -> None:
    assert render("{{company}}", {"Company Name": "Acme"}) == Rendered("Acme")


def test_a_column_of_exactly_that_name_goes_before_the_field() -> None:
    fields = {"company": "Acme", "company_name": "Acme Holding"}
    assert render("{{company}}, {{company_name}}", fields) == Rendered("Acme, Acme Holding")


def test_a_full_name_is_not_made_of_half_of_it() -> None:
    assert render("{{full_name}}", {"first_name": "Ann"}) == Missing(("full_name",))


def test_custom_columns_are_found_however_they_are_spelled() -> None:
    fields = {"Pain-Point  2": "queues"}
    assert render("{{pain_point_2}} [PAIN POINT 2]", fields) == Rendered("queues queues")


def test_a_column_name_with_a_byte_order_mark_is_that_column() -> None:
    assert render("{{first_name}}", {"\ufeffFirst Name": "Ann"}) == Rendered("Ann")


def test_an_unknown_name_in_double_braces_is_missing() -> None:
    assert render("{{nick}} {{first_name}} {{nick}} {{age}}", ANN) == Missing(("nick", "age"))


@pytest.mark.parametrize("template", ["so it said [sic]", "[1]", "a[i]", "[]", "[x|y]", "[a\nb]"])
def test_square_brackets_that_are_no_variable_stay_text(template: str) -> None:
    assert render(template, ANN) == Rendered(template)


def test_a_column_the_lead_lacks_is_still_a_variable_in_square_brackets() -> None:
    assert render("[nickname]", ANN) == Rendered("[nickname]")
    assert render("[nickname]", ANN, columns=["Nickname"]) == Missing(("nickname",))


@pytest.mark.parametrize("value", [None, "", "  ", "\n", "\ufeff\u200b"])
def test_an_empty_value_is_missing_and_takes_the_fallback(value: str | None) -> None:
    assert render("Hi {{first_name}}", {"first_name": value}) == Missing(("first_name",))
    assert render("Hi {{first_name | there }}", {"first_name": value}) == Rendered("Hi there")


def test_an_empty_fallback_leaves_the_rest_as_it_is() -> None:
    assert render("Hi {{first_name|}} , hello", {}) == Rendered("Hi  , hello")


def test_line_breaks_of_the_template_are_kept_and_normalised() -> None:
    template = "Hi {{first_name}},\r\n\r\nhow are you?\rAnn\n"
    assert render(template, ANN) == Rendered("Hi Ann,\n\nhow are you?\nAnn\n")


def test_a_value_is_one_trimmed_line() -> None:
    fields = {"first_name": " \ufeffAnn\r\n\tMarie\x00 \u2028\ud800Lee "}
    assert render("<{{first_name}}>", fields) == Rendered("<Ann Marie Lee>")


def test_spaces_inside_a_value_are_its_own() -> None:
    assert render("{{company}}", {"company": "A  B"}) == Rendered("A  B")


@pytest.mark.parametrize("value", ["{{last_name}}", "a {{0}} b", "{{", "}}"])
def test_a_value_with_double_braces_is_never_sent(value: str) -> None:
    fields = {"first_name": value, "last_name": "Lee"}
    assert render("Hi {{first_name}}", fields) == Missing(("first_name",))
    assert render("Hi {{first_name|there}}", fields) == Rendered("Hi there")


def test_double_braces_that_arise_between_template_and_value_are_never_sent() -> None:
    assert render("{{{first_name}}}", {"first_name": "{0}"}) == Missing(("{{0}}",))


def test_a_value_in_square_brackets_is_not_expanded() -> None:
    fields = {"first_name": "[last_name]", "last_name": "Lee"}
    assert render("{{first_name}}", fields) == Rendered("[last_name]")


@pytest.mark.parametrize(
    ("template", "leftover"),
    [
        ("Hi {{first_name", "{{"),
        ("Hi first_name}}", "}}"),
        ("Hi {{}}", "{{}}"),
        ("Hi {{ | there}}", "{{ | there}}"),
        ("Hi {{0}}", "{{0}}"),
    ],
)
def test_braces_that_are_no_variable_are_not_sent(template: str, leftover: str) -> None:
    assert unfilled(template) == (leftover,)
    assert render(template, ANN | {"0": "x"}) == Missing((leftover,))


def test_variables_are_named_once_in_order() -> None:
    template = "{{Last Name}} [first_name|x] {{last_name}} [sic] {{city}} [team]"
    assert variables(template) == ("last_name", "first_name", "city")
    assert variables(template, ["Team"]) == ("last_name", "first_name", "city", "team")
    assert placed("[first_name|x]") == (Variable("first_name", "x"),)


def test_known_are_the_fields_of_every_lead_and_the_columns() -> None:
    assert is_known("Company-Name", [])
    assert is_known("pain_point", ["Pain Point"])
    assert not is_known("pain_point", ["pain"])


@pytest.mark.parametrize(
    ("operation", "tier", "limit"),
    [
        (Operation.SEND_CONNECTION_REQUEST, Tier.NEW, 200),
        (Operation.SEND_CONNECTION_REQUEST, Tier.FREE, 200),
        (Operation.SEND_CONNECTION_REQUEST, Tier.PREMIUM, 300),
        (Operation.SEND_CONNECTION_REQUEST, Tier.SALES_NAVIGATOR, 300),
        (Operation.COMMENT_POST, Tier.FREE, 1250),
        (Operation.SEND_FOLLOWUP, Tier.FREE, 8000),
        (Operation.SEND_INMAIL, Tier.PREMIUM, 2000),
    ],
)
def test_a_text_may_be_as_long_as_its_limit_and_no_longer(
    operation: Operation, tier: Tier, limit: int
) -> None:
    def sent(size: int) -> object:
        return compose("{{x}}", {"x": "x" * size}, operation=operation, tier=tier)

    assert text_limit(operation, tier) == limit
    assert sent(limit) == Rendered("x" * limit)
    assert sent(limit + 1) == TooLong(limit, limit + 1)


def test_an_operation_without_a_text_has_no_limit() -> None:
    with pytest.raises(ValueError, match="profile_visit sends no text"):
        text_limit(Operation.PROFILE_VISIT, Tier.FREE)


def test_an_emoji_counts_as_its_utf16_code_units() -> None:
    assert length("a👍") == 3
    assert length("\ud800") == 1


def test_a_text_of_nothing_is_sent_only_as_an_invitation_without_a_note() -> None:
    template = " {{note|}}\n"
    invitation = Operation.SEND_CONNECTION_REQUEST
    assert compose(template, {}, operation=invitation, tier=Tier.FREE) == Rendered("")
    message = Operation.SEND_FOLLOWUP
    assert compose(template, {}, operation=message, tier=Tier.FREE) == Missing(("note",))
    assert compose(" ", {}, operation=message, tier=Tier.FREE) == Missing(("text",))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("caf\u00e9", "cafe\u0301"),
        (" a\r\n\r\nb ", "a b"),
        ("a\u00a0b", "a b"),
    ],
)
def test_texts_that_differ_in_composition_and_white_space_are_the_same(a: str, b: str) -> None:
    assert collapsed(a) == collapsed(b)


def test_texts_that_differ_in_a_letter_are_not_the_same() -> None:
    assert collapsed("a b") != collapsed("ab")
    assert collapsed("A") != collapsed("a")


@given(plain)
def test_a_text_without_brackets_renders_to_itself(text: str) -> None:
    assert render(text, ANN) == Rendered(text)
    assert unfilled(text) == ()
    assert variables(text) == ()


@given(names, st.text())
def test_a_value_is_never_read_as_a_template(name: str, value: str) -> None:
    secret = {"secret": "leaked"}
    match render("{{" + name + "}}|{{hidden}}", {"hidden": "h"} | secret | {name: value}):
        case Rendered(text):
            assert "{{" not in text
            assert "}}" not in text
            assert "leaked" not in text or "leaked" in value or name.lower() == "secret"
            assert "\n" not in text
        case Missing(missing):
            assert missing


@given(st.text(), st.dictionaries(st.text(), st.none() | st.text()))
def test_what_is_rendered_never_has_double_braces(
    template: str, fields: dict[str, str | None]
) -> None:
    match render(template, fields):
        case Rendered(text):
            assert "{{" not in text
            assert "}}" not in text
        case Missing(missing):
            assert missing


fragments = st.lists(
    st.sampled_from(
        ["{{", "}}", "{", "}", "[", "]", "|", "first_name", "Company", "x", "0", " ", "\r\n", "é"]
    )
).map("".join)


@given(fragments, fragments)
def test_what_is_rendered_from_broken_braces_never_has_double_ones(
    template: str, value: str
) -> None:
    match render(template, {"first_name": value, "x": value}):
        case Rendered(text):
            assert "{{" not in text
            assert "}}" not in text
            assert unfilled(template, ["x"]) == ()
        case Missing(missing):
            assert missing


@given(fragments)
def test_a_template_whose_variables_all_have_values_renders(template: str) -> None:
    fields = dict.fromkeys(variables(template), "v")
    result = render(template, fields)
    if unfilled(template):
        assert isinstance(result, Missing)
    else:
        assert isinstance(result, Rendered)
        least, most = extent(template, 1)
        assert least <= length(result.text) <= most


@given(fragments, fragments)
def test_with_fallbacks_everywhere_nothing_is_missing(template: str, value: str) -> None:
    missing = render("{{x|f}} [company|f]", {"x": template, "company": value})
    assert isinstance(missing, Rendered)


@given(st.text(st.characters(exclude_characters="{}|")))
def test_a_name_as_variables_spells_it_is_known_by_its_column(name: str) -> None:
    for respelled in variables("{{" + name + "}}"):
        assert is_known(respelled, [name])
        assert variables("{{" + respelled + "}}") == (respelled,)


@given(st.text())
def test_white_space_around_a_text_is_no_part_of_it(text: str) -> None:
    assert collapsed(text) == collapsed(f"  {text}\r\n")


@given(st.text())
def test_no_other_count_of_characters_is_larger(text: str) -> None:
    assert length(text) >= len(text)
