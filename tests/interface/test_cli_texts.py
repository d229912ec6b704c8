"""What is sent, looked at before anything starts: allowed, converted, previewed, counted."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest
from commanded import Clento, action, edge

Json = dict[str, Any]


def flow(*nodes: Json) -> Json:
    ids = [node["id"] for node in nodes]
    return {
        "nodes": list(nodes),
        "edges": [edge(one, other) for one, other in pairwise(ids)],
    }


def note(text: str, name: str = "ask", **config: object) -> Json:
    return action(name, "send_connection_request", customMessage=text, **config)


@pytest.fixture
def clento(dsn: str, tmp_path: Path) -> Clento:
    """Lend commands over an organisation with a sender and a list of people."""
    clento = Clento({"DATABASE_URL": dsn}, tmp_path)
    clento("org", "create", "Acme")
    clento.sender()
    clento.look_up()
    clento.leads("lea-moreau", "hugo-legoff", "zoe-ashgrove")
    return clento


def compiled(clento: Clento) -> list[Json]:
    """Return the saved versions of workflows."""
    with psycopg.connect(clento.environment["DATABASE_URL"]) as conn:
        rows = conn.execute("select compiled from workflow_versions order by version").fetchall()
    return [row[0] for row in rows]


def test_a_text_of_another_tool_makes_no_campaign_until_it_is_allowed(clento: Clento) -> None:
    file = clento.file("flow.json", flow(note("Hi {nickname}, echo %PATH%")))
    create = ("campaign", "create", "spring", "--workflow", file, "--list", "spring")
    words = (*create, "--sender", "Lea")
    told = clento(*words, status=1).err
    assert 'error: ask, data.config.customMessage: "{nickname}" and "%PATH%" are other' in told
    assert "where it is meant, say --allow-text ask" in told
    assert "no step" in clento(*words, "--allow-text", "nobody", status=1).err
    assert "it is allowed" in clento(*words, "--allow-text", "ask").out
    [saved] = compiled(clento)
    assert saved["nodes"][0]["allowed"] == ["text"]
    assert clento.json("campaign", "start", "spring")["leads"] == 3
    assert len(compiled(clento)) == 1, "the version keeps what is allowed"


def test_what_is_unready_is_allowed_at_the_start_in_a_version_of_its_own(clento: Clento) -> None:
    document = flow(note("Hi", useAI=True), action("withdraw", "withdraw_request"))
    document["edges"] = [edge("ask", "withdraw", 15, "m", isConditionalPath=True, isPositive=False)]
    said = clento.draft(document).out
    assert "say --allow-saved-text ask" in said
    assert "say --allow-short-window ask" in said
    start = ("campaign", "start", "spring")
    assert "acceptance is waited for only 15 min" in clento(*start, status=1).err
    some = clento(*start, "--allow-saved-text", "ask", status=1).err
    assert "say --allow-short-window ask" in some
    told = clento.json(*start, "--allow-saved-text", "ask", "--allow-short-window", "ask")
    assert (told["leads"], told["skipped"]) == (3, {})
    before, after = compiled(clento)
    assert "allowed" not in before["nodes"][0]
    assert after["nodes"][0]["allowed"] == ["saved_text", "short_window"]


def test_validate_says_what_may_be_allowed_and_takes_it(clento: Clento) -> None:
    file = clento.file("flow.json", flow(note("Hi {x}")))
    [finding] = clento.json("workflow", "validate", file, status=1)["findings"]
    assert (finding["severity"], finding["allowance"]) == ("error", "text")
    [finding] = clento.json("workflow", "validate", file, "--allow-text", "ask")["findings"]
    assert (finding["severity"], finding["allowance"]) == ("warning", None)


def test_convert_writes_beside_the_file_and_shows_the_difference(clento: Clento) -> None:
    document = flow(note("Hi {first_name},\n<b>nice</b> &amp; so"), note("Hi *|FNAME|*", "two"))
    file = clento.file("flow.json", document)
    said = clento("workflow", "convert", file).out
    assert "ask, customMessage:\n  -Hi {first_name},\n" in said
    assert "  +Hi {{first_name}},\n  +nice & so\n" in said
    beside = file.with_name("flow.converted.json")
    assert f"written to {beside}" in said
    made = json.loads(beside.read_text())
    texts = [node["data"]["config"]["customMessage"] for node in made["nodes"]]
    assert texts == ["Hi {{first_name}},\nnice & so", "Hi {{first_name}}"]
    assert json.loads(file.read_text()) == document
    assert "there already" in clento("workflow", "convert", file, status=1).err
    assert (
        "is what is converted"
        in clento("workflow", "convert", file, "--output", file, status=1).err
    )
    other = clento.folder / "other.json"
    told = clento.json("workflow", "convert", file, "--output", other, "--allow-text", "two")
    assert [change["node_id"] for change in told["changes"]] == ["ask"]
    assert clento.json("workflow", "convert", beside)["written"] is None


def test_what_only_a_person_can_say_is_named_by_convert(clento: Clento) -> None:
    file = clento.file("flow.json", flow(note("Hi {first_name}, I am [Your Name]")))
    told = clento.json("workflow", "convert", file, status=3)
    assert [change["after"] for change in told["changes"]] == [
        "Hi {{first_name}}, I am [Your Name]"
    ]
    assert [finding["node_id"] for finding in told["findings"]] == ["ask"]


def test_convert_cannot_write_everywhere(clento: Clento) -> None:
    file = clento.file("flow.json", flow(note("Hi {first_name}")))
    nowhere = clento.folder / "none" / "flow.json"
    said = clento("workflow", "convert", file, "--output", nowhere, status=1).err
    assert "cannot be written: No such file" in said


# --- previews


def people(clento: Clento, content: str, name: str = "spring") -> None:
    clento("leads", "import", clento.file(f"{name}.csv", content), "--list", name)


def test_a_preview_is_what_is_sent_with_its_length_against_the_senders_cap(
    dsn: str, tmp_path: Path
) -> None:
    clento = Clento({"DATABASE_URL": dsn}, tmp_path)
    clento("org", "create", "Acme")
    for name, tier in (("Lea", "premium"), ("Bo", "free")):
        clento(
            *("account", "add", "--unipile-id", f"acc-{name}", "--name", name, "--tier", tier),
            *("--zone", "Europe/Berlin", "--established"),
        )
    people(
        clento,
        "LinkedIn URL,First Name,Company,City\n"
        "https://www.linkedin.com/in/ann-ash,Ann,Acme,Bonn\n"
        "https://www.linkedin.com/in/bob-bay,Bob,,Rome\n"
        "https://www.linkedin.com/in/cat-cox,,Initech,\n"
        'https://www.linkedin.com/in/dan-dew,Dan,"{x}",Oslo\n',
    )
    document = flow(
        note("{Hi|Hello} {{first_name|there}} of {{company}}" + "!" * 180),
        action("mail", "send_inmail", customMessage="In [City]?"),
        action("like", "like_post"),
    )
    clento.draft(document, "spring", "--sender", "Bo", "--inmail-subject", "For {{first_name}}")
    before = clento.json("campaign", "preview", "spring")
    assert [(each["lead"], each["sender"]) for each in before] == [
        ("ann-ash", "Lea"),
        ("bob-bay", "Bo"),
        ("cat-cox", "Lea"),
        ("dan-dew", "Bo"),
    ]
    ann, bob, cat, dan = (each["texts"] for each in before)
    assert [text["node_id"] for text in ann] == ["ask", "mail"]
    assert ann[0]["text"].endswith(" Ann of Acme" + "!" * 180)
    assert (ann[0]["length"], ann[0]["limit"]) == (len(ann[0]["text"]), 300)
    assert (ann[1]["text"], ann[1]["subject"]) == ("In Bonn?", "For Ann")
    assert (bob[0]["text"], bob[0]["problem"]) == (None, "no value for company")
    assert bob[0]["limit"] == 200, "the cap of the sender that the lead is dealt to"
    assert " there of Initech" in cat[0]["text"]
    assert cat[1]["problem"] == "no value for first_name in the subject; no value for city"
    assert dan[0]["problem"].endswith('"{x}" is another tool\'s variable')
    told = clento("campaign", "preview", "spring", "--lead", "bob-bay").out
    assert told.startswith("Bob (bob-bay), from Bo (free):\n")
    assert "not sent: no value for company" in told
    assert "subject, 7 of 200: For Bob" in told
    assert "| In Rome?" in told
    assert len(clento.json("campaign", "preview", "spring", "-n", "2")) == 2
    assert clento.json("campaign", "preview", "spring") == before, "spintax reads as it will"


def test_a_preview_leaves_out_whom_nobody_contacts(clento: Clento) -> None:
    clento.draft(flow(note("Hi {{first_name}}")))
    clento("suppression", "add", "person", "hugo-legoff", "--reason", "asked us to")
    found = clento.json("campaign", "preview", "spring")
    assert [each["lead"] for each in found] == ["lea-moreau", "zoe-ashgrove"]
    said = clento("campaign", "preview", "spring", "--lead", "hugo-legoff").out
    assert "would contact none of them" in said
    assert (
        "there is no lead"
        in clento("campaign", "preview", "spring", "--lead", "nobody-here", status=1).err
    )
    assert clento.json("campaign", "preview", "autumn", status=1)["error"]


def test_a_campaign_under_way_shows_its_own_leads_and_senders(clento: Clento) -> None:
    clento.draft(flow(note("Hi {{first_name}}")))
    draft = clento.json("campaign", "preview", "spring")
    clento("campaign", "start", "spring")
    assert clento.json("campaign", "preview", "spring") == draft
    people(clento, "LinkedIn URL,First Name\nhttps://www.linkedin.com/in/new-one,Nia\n", "other")
    assert len(clento.json("campaign", "preview", "spring")) == 3


def test_create_says_how_many_leads_lack_each_variable(clento: Clento) -> None:
    people(
        clento,
        "LinkedIn URL,First Name,Last Name,Company,City\n"
        "https://www.linkedin.com/in/ann-ash,Ann,Ash,Acme,\n"
        "https://www.linkedin.com/in/bob-bay,Bob,,Acme,\u200b \n"
        "https://www.linkedin.com/in/cat-cox,,Cox,,Rome\n",
        "autumn",
    )
    document = flow(
        note("Hi {{first_name}} of {{company|your firm}}"),
        action("more", "send_followup", customMessage="{{full_name}}, {{company}} in [city|town]"),
    )
    file = clento.file("flow.json", document)
    words = ("campaign", "create", "autumn", "--workflow", file, "--list", "autumn")
    told = clento.json(*words, "--sender", "Lea")
    assert told["leads"] == 3
    assert told["lacking"] == [
        {"variable": "first_name", "leads": 1, "needed_by": ["ask"], "replaced_by": []},
        {"variable": "company", "leads": 1, "needed_by": ["more"], "replaced_by": ["ask"]},
        {"variable": "full_name", "leads": 2, "needed_by": ["more"], "replaced_by": []},
        {"variable": "city", "leads": 2, "needed_by": [], "replaced_by": ["more"]},
    ]
    second = ("campaign", "create", "winter", *words[3:], "--sender", "Lea")
    said = clento(*second, "--on-missing", "skip").out
    assert "  1 of 3 leads lack first_name\n      ask: the step is passed over\n" in said
    assert "      ask: the fallback is sent\n" in said


def test_a_first_name_that_no_row_has_is_said_when_the_campaign_is_created(clento: Clento) -> None:
    people(
        clento,
        "LinkedIn URL,Full Name\n"
        "https://www.linkedin.com/in/ann-ash,Ann Ash\n"
        "https://www.linkedin.com/in/bob-bay,Bob Bay\n",
        "full",
    )
    file = clento.file("flow.json", flow(note("Hi {{first_name}}, or {{full_name}}")))
    words = ("campaign", "create", "full", "--workflow", file, "--list", "full")
    assert (
        "  no lead has first_name\n      ask: they are held there\n"
        in clento(*words, "--sender", "Lea").out
    )


@pytest.mark.parametrize("value", ["", " ", "\u00a0\u200b", "None", "undefined", "{{x}}", "N/A"])
def test_what_counts_as_lacking_is_what_renders_as_missing(clento: Clento, value: str) -> None:
    with psycopg.connect(clento.environment["DATABASE_URL"]) as conn:
        conn.execute("update leads set first_name = %s where row_number = 2", (value,))
    clento.draft(flow(note("Hi {{first_name}}")))
    lea, hugo, _ = clento.json("campaign", "preview", "spring")
    problems = [each["texts"][0]["problem"] for each in (lea, hugo)]
    assert sorted(problems, key=str) == [None, "no value for first_name"]
    file = clento.folder / "flow.json"
    words = ("campaign", "create", "again", "--workflow", file, "--list", "spring")
    [lacking] = clento.json(*words, "--sender", "Lea")["lacking"]
    assert (lacking["variable"], lacking["leads"]) == ("first_name", 1)
