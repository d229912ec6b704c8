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
