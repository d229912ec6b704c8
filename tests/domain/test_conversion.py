"""Texts of other tools become ours where it is plain what they mean, and stay where it is not."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clento_engine.domain.conversion import Change, convert, converted
from clento_engine.domain.leftover import Kind
from clento_engine.domain.review import leftovers


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Hi {first_name} of {company}", "Hi {{first_name}} of {{company}}"),
        ("Hi %FIRST_NAME%, #company#", "Hi {{first_name}}, {{company}}"),
        ("Hi *|FNAME|* ${job_title}", "Hi {{first_name}} {{job_title}}"),
        ("Hi {{ first_name | default: 'there' }}", "Hi {{first_name|there}}"),
        ("Hi {first_name|there}", "Hi {{first_name|there}}"),
        ("Hi {{contact.firstname}}", "Hi {{first_name}}"),
        ("<p>Hi Greta&nbsp;!</p><br>", "Hi Greta !"),
        ("<p>Hi,</p><p>how are you?<br>Ann</p>", "Hi,\nhow are you?\nAnn"),
        ("<div>a</div>\n\n\n<div>b</div>", "a\n\nb"),
        ('See <a href="https://a.b/c">this page</a>!', "See this page (https://a.b/c)!"),
        ('<a href="https://a.b/c">https://a.b/c</a>', "https://a.b/c"),
        ("R&amp;D &lt;b&gt;now&lt;/b&gt;", "R&D now"),
        ("schÃ¶n, cafÃ©", "schön, café"),
        ("Hi [Your Name], {nickname}", "Hi [Your Name], {nickname}"),
        ("{% if x %}Hi{% endif %}", "{% if x %}Hi{% endif %}"),
        ("I <3 AT&T, 20 % off, {Hi|Hello} { }", "I <3 AT&T, 20 % off, {Hi|Hello} { }"),
        ("Hi {{first_name|there}}", "Hi {{first_name|there}}"),
    ],
)
def test_what_is_plain_is_rewritten(before: str, after: str) -> None:
    assert converted(before) == after


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                *("{first_name}", "{x}", "%company%", "<p>", "</p>", "<br>", "&amp;", "&lt;", "b"),
                *("{{first_name|'x'}}", "{first_name|a}", "Ã©", " ", "\n", "[Your Name]", "&gt;"),
            ]
        ),
        max_size=10,
    ).map("".join)
)
def test_converted_twice_is_as_once_and_nothing_plain_is_left(text: str) -> None:
    once = converted(text)
    assert converted(once) == once
    assert all(each.instead is None for each in leftovers(once))
    assert not any(each.kind is Kind.MARKUP for each in leftovers(once))


def node(name: str, kind: str, **config: object) -> dict[str, Any]:
    return {"id": name, "type": "action", "data": {"type": kind, "config": config}}


def test_only_texts_are_rewritten_and_each_change_is_told() -> None:
    document = {
        "nodes": [
            node("a", "send_invite", message="Hi {first_name}", customGuidelines="{first_name}"),
            node("b", "send_inmail", customMessage="<b>Hi</b>", subject="For {company}"),
            node("c", "webhook", targetUrl="https://x.y/{first_name}"),
            node("d", "comment_post", customComment="%company%"),
            {"id": "p", "type": "addStep"},
        ],
        "edges": [],
        "timestamp": "now",
    }
    made = convert(document, allowed=["d"])
    assert made.changes == (
        Change("a", "message", "Hi {first_name}", "Hi {{first_name}}"),
        Change("b", "customMessage", "<b>Hi</b>", "Hi"),
        Change("b", "subject", "For {company}", "For {{company}}"),
    )
    assert isinstance(made.document, dict)
    left = [each["data"]["config"] for each in made.document["nodes"] if "data" in each]
    assert left[0] == {"message": "Hi {{first_name}}", "customGuidelines": "{first_name}"}
    assert left[2:] == [
        {"targetUrl": "https://x.y/{first_name}"},
        {"customComment": "%company%"},
    ]
    assert made.document["timestamp"] == "now"
    assert document["nodes"][0]["data"]["config"]["message"] == "Hi {first_name}"  # type: ignore[index]


@pytest.mark.parametrize(
    "document",
    [None, [], "x", {}, {"nodes": 3}, {"nodes": [1, {}, {"id": 1, "data": {"config": {}}}]}],
)
def test_whatever_the_document_is_it_comes_back(document: object) -> None:
    assert convert(document).document == document
