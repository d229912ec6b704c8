"""What is left over in a text is found, whatever tool left it there; ordinary texts pass."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clento_engine.domain.account import Tier
from clento_engine.domain.leftover import Kind
from clento_engine.domain.operation import Operation
from clento_engine.domain.review import by_kind, fix, leftovers, problem
from clento_engine.domain.spintax import spun
from clento_engine.domain.template import Rendered, Unfit, compose

ORDINARY = [
    (path.stem, line.replace("⏎", "\n"))
    for path in sorted((Path(__file__).parent / "test_review_ordinary").glob("*.txt"))
    for line in path.read_text(encoding="utf-8").splitlines()
]
ANN = {"first_name": "Ann", "last_name": "Lee", "company": "Acme", "job_title": "Engineer"}


def test_there_are_three_hundred_ordinary_texts_in_four_languages() -> None:
    assert len({text for _, text in ORDINARY}) >= 300
    assert len({language for language, _ in ORDINARY}) == 4


@pytest.mark.parametrize("is_rendered", [False, True])
@pytest.mark.parametrize("columns", [None, ("city", "pain_point")])
def test_ordinary_texts_pass_as_they_are(
    columns: tuple[str, ...] | None, is_rendered: bool
) -> None:
    for _, text in ORDINARY:
        assert leftovers(text, columns, is_rendered=is_rendered) == (), text
        assert spun(text, "seed") == text


@pytest.mark.parametrize(
    ("text", "piece", "instead"),
    [
        ("Hi {first_name}", "{first_name}", "{{first_name}}"),
        ("Hi {First Name}!", "{First Name}", "{{first_name}}"),
        ("Hi { firstName }", "{ firstName }", "{{first_name}}"),
        ("Hi { firstName } there", "{ firstName }", "{{first_name}}"),
        ("Hi « First Name » there", "« First Name »", "{{first_name}}"),
        ("Hi {nickname}", "{nickname}", None),
        ("Hi {x}", "{x}", None),
        ("Hi ${first_name}", "${first_name}", "{{first_name}}"),
        ("Hi ${firstName:-there}", "${firstName:-there}", "{{first_name|there}}"),
        ("Hi #{first_name}", "#{first_name}", "{{first_name}}"),
        ("Hi %FIRST_NAME%", "%FIRST_NAME%", "{{first_name}}"),
        ("Hi %%company%%!", "%%company%%", "{{company}}"),
        ("Hi %X%", "%X%", None),
        ("Hi #FNAME#,", "#FNAME#", "{{first_name}}"),
        ("Hi #x#", "#x#", None),
        ("Hi <<first_name>>", "<<first_name>>", "{{first_name}}"),
        ("Hi << First Name >>", "<< First Name >>", "{{first_name}}"),
        ("Hi <<x>>", "<<x>>", None),
        ("Hi «FirstName»", "«FirstName»", "{{first_name}}"),
        ("Hi <first_name>", "<first_name>", "{{first_name}}"),
        ("Hi *|FNAME|*", "*|FNAME|*", "{{first_name}}"),
        ("Hi *|MERGE7|*", "*|MERGE7|*", None),
        ("Hi [[first_name]]", "[[first_name]]", "{{first_name}}"),
        ("Hi [%first_name%]", "[%first_name%]", "{{first_name}}"),
        ("Hi ((first_name))", "((first_name))", "{{first_name}}"),
        ("Hi __first_name__", "__first_name__", "{{first_name}}"),
        ("Hi $first_name,", "$first_name", "{{first_name}}"),
        ("Hi <%= first_name %>", "<%= first_name %>", "{{first_name}}"),
        ("{% if city %}Hi", "{% if city %}", None),
        ("{# a note #}Hi", "{# a note #}", None),
        ("{{#if first_name}}Hi", "{{#if first_name}}", None),
        ("{{else}}Hi", "{{else}}", None),
        ("Hi {{{first_name}}}", "{{{first_name}}}", "{{first_name}}"),
        ("Hi {{contact.first_name}}", "{{contact.first_name}}", "{{first_name}}"),
        ("Hi {{lead.firstName|you}}", "{{lead.firstName|you}}", "{{first_name|you}}"),
        ("Hi {Vorname}", "{Vorname}", "{{first_name}}"),
        ("Hi %prénom%", "%prénom%", "{{first_name}}"),
        ("Hi #{{first_name}}#", "#{{first_name}}#", None),
        ("Hi [[{{first_name}}]]", "[[{{first_name}}]]", None),
    ],
)
def test_variables_of_other_tools_are_named_with_what_to_write(
    text: str, piece: str, instead: str | None
) -> None:
    [found] = leftovers(text)
    assert (found.piece, found.instead) == (piece, instead)
    assert found.kind in (Kind.VARIABLE, Kind.FALLBACK)
    assert text[found.start : found.end] == piece


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("{{ first_name | default: 'there' }}", "{{first_name|there}}"),
        ('{{first_name|default("there")}}', "{{first_name|there}}"),
        ("{{first_name | capitalize | default: “you”}}", "{{first_name|you}}"),
        ("{{first_name || 'there'}}", "{{first_name|there}}"),
        ("{{first_name||there}}", "{{first_name|there}}"),
        ('{{first_name|"there"}}', "{{first_name|there}}"),
        ('{{first_name or "there"}}', "{{first_name|there}}"),
        ('{{first_name ?? "there"}}', "{{first_name|there}}"),
        ("{{first_name|capitalize}}", "{{first_name}}"),
        ("{{first_name|last_name}}", "{{first_name}}"),
        ("{{city|default:'town'}}", "{{city|town}}"),
        ("[first_name|'there']", "{{first_name|there}}"),
        ("[first_name || there]", "{{first_name|there}}"),
        ("{first_name || 'there'}", "{{first_name|there}}"),
        ("{city ?? 'town'}", None),
        ("default: 'there'", None),
        ("first_name | there", None),
        ("first_name || 'there'", None),
    ],
)
def test_fallbacks_of_other_tools_are_named_with_what_to_write(
    text: str, instead: str | None
) -> None:
    [found] = leftovers(f"Hi {text}, nice")
    assert (found.piece, found.instead) == (text, instead)
    assert found.kind is Kind.FALLBACK


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("{first_name|there}", "{{first_name|there}}"),
        ("{company|team}", "{{company|team}}"),
        ("{FNAME|there}", "{{first_name|there}}"),
        ("{Hi|first_name}", None),
        ("{name|you|there}", None),
    ],
)
def test_spintax_of_a_fields_name_is_another_tools_fallback(text: str, instead: str | None) -> None:
    [found] = leftovers(f"Hi {text}!")
    assert (found.kind, found.piece, found.instead) == (Kind.CHOICE, text, instead)


def test_spintax_of_a_columns_name_is_found_once_the_columns_are_known() -> None:
    assert leftovers("in {city|your town}") == ()
    [found] = leftovers("in {city|your town}", ["City"])
    assert found.kind is Kind.CHOICE
    assert leftovers("in {your city|your town} {Hi {{city}}|Hello}", ["City"]) == ()


@pytest.mark.parametrize(
    "gap",
    [
        "[Your Name]",
        "[your company]",
        "[specific detail]",
        "[Insert topic here]",
        "[mention a recent post]",
        "[Recipient's Name]",
        "[Name of the company]",
        "[Ihr Name]",
        "[Dein Unternehmen]",
        "[Votre nom]",
        "[nom de l'entreprise]",
        "[Tu nombre]",
        "[Seu nome]",
        "[Il tuo nome]",
        "<Your Name>",
        "<insert link>",
    ],
)
def test_gaps_are_found_whoever_left_them(gap: str) -> None:
    [found] = leftovers(f"Best, {gap}")
    assert (found.kind, found.piece, found.instead) == (Kind.GAP, gap, None)


def test_a_noun_in_brackets_is_a_gap_once_it_is_known_to_be_no_column() -> None:
    assert leftovers("in [industry]") == ()
    assert leftovers("in [industry]", ["Industry"]) == ()
    [found] = leftovers("in [industry]", [])
    assert found.kind is Kind.GAP


def test_tags_and_entities_are_found() -> None:
    text = '<p>Hi&nbsp;Ann</p><br/><a href="https://x.y">x</a> &amp; &#39;we&#x27; <!-- note -->'
    found = leftovers(text)
    assert {each.kind for each in found} == {Kind.MARKUP}
    assert [each.piece for each in found] == [
        *("<p>", "&nbsp;", "</p>", "<br/>", '<a href="https://x.y">', "</a>"),
        *("&amp;", "&#39;", "&#x27;", "<!-- note -->"),
    ]


@pytest.mark.parametrize(
    ("text", "piece", "instead"),
    [
        ("schÃ¶n, ja", "schÃ¶n,", "schön,"),
        ("itâ€™s", "itâ€™s", "it's"),
        ("cafÃ© noir", "cafÃ©", "café"),
        ("Gr�ta", "�", None),
        ("Hi \x85 you", "\x85", None),
        ("[object Object]", "[object Object]", None),
        ("caf\\u00e9", "\\u00e9", None),
        ("Hi Ann,\\nI saw", "\\n", None),
    ],
)
def test_damaged_signs_are_found(text: str, piece: str, instead: str | None) -> None:
    [found] = leftovers(text)
    assert (found.kind, found.piece) == (Kind.DAMAGE, piece)
    assert (found.instead or "").replace("’", "'") == (instead or "")


def test_a_finding_names_the_pieces_and_what_to_write() -> None:
    [found] = by_kind(leftovers("Hi {first_name} of {company}"))
    assert problem(found) == '"{first_name}" and "{company}" are other tools\' variables'
    assert fix(found) == "write {{first_name}} for {first_name} and {{company}} for {company}"


# What is rendered

# an independent list of what must never reach anybody
SPELLINGS = [
    r"\{\s*(?:first_name|company)\s*\}",
    r"\{[A-Za-z_]\w*\}",
    r"\$\{[A-Za-z_]\w*\}",
    r"(?<![\w%])%[A-Za-z_]\w*%(?![\w%])",
    r"(?<![\w#])#[A-Za-z_]\w*#(?![\w#])",
    r"<<[A-Za-z_]\w*>>",
    r"\*\|[A-Za-z_]\w*\|\*",
    r"\{%[^{}]*%\}",
    r"\{\{|\}\}",
    r"\bdefault: ?['\"]",
    r"\w \|\| ?['\"]",
    r"\[[Yy]our [^\[\]\n]*\]",
    r"</?(?:p|br|div|b|i|a|span)\s*/?>",
    r"&(?:nbsp|amp|lt|gt|quot|#39);",
    "\ufffd|Ã©|â€™",
]
pieces = st.sampled_from(
    [
        *(
            "{",
            "}",
            "{{",
            "}}",
            "[",
            "]",
            "<",
            ">",
            "<<",
            ">>",
            "|",
            "||",
            "*|",
            "|*",
            "%",
            "#",
            "$",
        ),
        *("{% ", " %}", "first_name", "company", "city", "x", "Your Name", "default: ", "'there'"),
        *(
            " ",
            "\n",
            "Hi ",
            "é",
            "p",
            "br",
            "/",
            "&",
            "nbsp;",
            "Ã",
            "©",
            "â€",
            "™",
            "{{first_name}}",
        ),
        *("{{company|there}}", "[first_name]", "{Hi|Hello}", "{{city}}", "\ufffd", ",", "!"),
    ]
)
texts = st.lists(pieces, max_size=8).map("".join)
values = st.lists(pieces, max_size=3).map("".join) | st.sampled_from(["Ann", "Acme", "", "None"])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=400)
@given(texts, values, values, st.sampled_from(["1", "2", "3"]))
def test_nothing_that_renders_has_a_spelling_of_the_list(
    text: str, first_name: str, company: str, seed: str
) -> None:
    lead = {"first_name": first_name, "company": company, "city": "Bonn"}
    sent = compose(
        text,
        lead,
        operation=Operation.SEND_FOLLOWUP,
        tier=Tier.PREMIUM,
        columns=["city"],
        seed=seed,
    )
    if isinstance(sent, Rendered):
        for spelling in SPELLINGS:
            assert re.search(spelling, sent.text) is None, (spelling, sent.text)
        assert leftovers(sent.text, lead, is_rendered=True) == ()


def test_what_is_left_over_is_not_sent_unless_it_is_allowed() -> None:
    to = {"operation": Operation.SEND_FOLLOWUP, "tier": Tier.PREMIUM}
    text = "Run echo %PATH%, {{first_name}}"
    assert isinstance(compose(text, ANN, **to), Unfit)  # type: ignore[arg-type]
    allowed = compose(text, ANN, **to, is_allowed=True)  # type: ignore[arg-type]
    assert allowed == Rendered("Run echo %PATH%, Ann")


@pytest.mark.parametrize(
    "value", ["{first_name}", "schÃ¶n", "<b>Ann</b>", "Ann&amp;Bob", "A�n", "[Your Name]", "{a|b}"]
)
def test_a_value_that_is_not_meant_for_people_is_not_sent(value: str) -> None:
    sent = compose(
        "Hi {{first_name}}",
        {"first_name": value},
        operation=Operation.SEND_FOLLOWUP,
        tier=Tier.PREMIUM,
    )
    assert isinstance(sent, Unfit)


@pytest.mark.parametrize("value", ["None", "undefined", "null", "NaN", "N/A", "#N/A", " none "])
def test_a_value_that_is_no_value_takes_the_fallback(value: str) -> None:
    sent = compose(
        "Hi {{first_name|there}}",
        {"first_name": value},
        operation=Operation.SEND_FOLLOWUP,
        tier=Tier.PREMIUM,
    )
    assert sent == Rendered("Hi there")


def test_null_and_nan_are_names() -> None:
    to = {"operation": Operation.SEND_FOLLOWUP, "tier": Tier.PREMIUM}
    lead = {"first_name": "Nan", "last_name": "Null"}
    text = "Hi {{first_name}} {{last_name}}"
    assert compose(text, lead, **to) == Rendered("Hi Nan Null")  # type: ignore[arg-type]
