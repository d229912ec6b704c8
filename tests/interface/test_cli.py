"""What each command does, answers, and refuses."""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from commanded import BROKEN, GREET, NOTIFY, VISIT, Clento, action

from clento_engine.interface.cli import leads
from clento_engine.store import met, migrate

NO_TIME = timedelta(microseconds=1)
PEOPLE = ("lea-moreau", "hugo-legoff", "zoe-ashgrove")


@pytest.fixture
def bare(dsn: str, tmp_path: Path) -> Clento:
    """Lend commands over a database in which nothing is yet."""
    return Clento({"DATABASE_URL": dsn}, tmp_path)


@pytest.fixture
def clento(bare: Clento) -> Clento:
    """Lend commands over a database with one organisation."""
    bare("org", "create", "Acme")
    return bare


@pytest.fixture
def peopled(clento: Clento) -> Clento:
    """Lend commands over an organisation with a sender and a list of people."""
    clento.sender()
    clento.look_up()
    clento.leads(*PEOPLE)
    return clento


def started(clento: Clento, document: dict[str, Any] = VISIT, *more: object) -> None:
    clento.draft(document, "spring", "--hours", "always")
    clento("campaign", "start", "spring", *more)


def hold(clento: Clento, reason: str = "no value for city") -> str:
    """Hold the first lead of the campaign, as a missing value does; return its slug."""
    with psycopg.connect(clento.environment["DATABASE_URL"]) as conn:
        row = conn.execute(
            "update campaign_executions e set status = 'held', next_run_at = null, reason = %s,"
            " node_id = 'visit', operation = 'profile_visit', started_at = now()"
            " from leads p where p.id = e.lead_id and p.identity = %s returning e.lead_id",
            (reason, PEOPLE[0]),
        ).fetchone()
    assert row is not None
    return PEOPLE[0]


# --- db


def test_db_upgrade_sets_up_an_empty_database_and_is_safe_again(
    empty_dsn: str, tmp_path: Path
) -> None:
    clento = Clento({"DATABASE_URL": empty_dsn}, tmp_path)
    said = clento("org", "list", status=1)
    assert "the database is empty" in said.err
    assert "clento db upgrade" in said.err
    assert clento.json("db", "current")["current"] is None
    assert "empty: run `clento db upgrade`" in clento("db", "current").out
    first = clento.json("db", "upgrade")
    assert first["applied"]
    nothing = {"applied": [], "current": first["current"], "notes": []}
    assert clento.json("db", "upgrade") == nothing
    assert "nothing to do" in clento("db", "upgrade").out


def test_an_upgrade_says_which_senders_people_must_decide_on(
    empty_dsn: str, tmp_path: Path
) -> None:
    migrate.upgrade(empty_dsn, "0007")
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute(
            "insert into organizations (id, name) select gen_random_uuid(), name"
            " from unnest(array['Acme', 'Beta']) name"
        )
        conn.execute(
            "insert into connected_accounts (organization_id, id, unipile_account_id, name, tier,"
            " time_zone, warmup_days, spacing_shortest, spacing_longest) select id,"
            " gen_random_uuid(), 'u-1', 'Lea', 'premium', 'UTC', 0, '0', '0' from organizations"
        )
    clento = Clento({"DATABASE_URL": empty_dsn}, tmp_path)
    said = clento("db", "upgrade").out
    assert "they are connected more than once" in said
    assert "  Lea (u-1) of Acme\n  Lea (u-1) of Beta\n" in said
    [lea] = clento.json("account", "list", "--org", "Beta")
    assert (lea["status"], lea["paused_by"]) == ("paused", "operator")
    assert "Acme" not in lea["pause_reason"]


def test_an_upgrade_beside_a_ticker_is_refused_by_name_until_people_know_better(
    empty_dsn: str, tmp_path: Path
) -> None:
    migrate.upgrade(empty_dsn, "0012")
    clento = Clento({"DATABASE_URL": empty_dsn}, tmp_path)
    with psycopg.connect(empty_dsn, application_name="clento") as ticker:  # as older versions too
        said = clento("db", "upgrade", status=1)
        assert "tickers seem alive" in said.err
        assert f"a session named clento (backend {ticker.info.backend_pid}, since " in said.err
        assert "Fix: end every `clento run`, stop cron" in said.err
        assert "--tickers-have-ended" in clento.json("db", "upgrade", status=1)["fix"]
        assert clento.json("db", "current")["current"] == "0012"
        assert clento.json("db", "upgrade", "--tickers-have-ended")["applied"]
        assert "nothing to do" in clento("db", "upgrade").out


def test_a_database_of_a_newer_version_is_worked_with_by_no_older_one(clento: Clento) -> None:
    with psycopg.connect(clento.environment["DATABASE_URL"], autocommit=True) as conn:
        conn.execute("update alembic_version set version_num = '9999'")
    clento.environment |= {"UNIPILE_DSN": "http://127.0.0.1:9", "UNIPILE_ACCESS_TOKEN": "any"}
    for words in (("tick",), ("run",), ("db", "upgrade"), ("org", "list")):
        said = clento(*words, status=1)
        assert "the database is at revision 9999 and this version knows " in said.err
        assert "Fix: install the version that upgraded it" in said.err
    assert "install the version that upgraded it" in clento("db", "current").out


def test_db_check_shows_what_differs(bare: Clento) -> None:
    assert "no difference" in bare("db", "check").out
    with psycopg.connect(bare.environment["DATABASE_URL"]) as conn:
        conn.execute("drop index lanes_ready")
    found = bare.json("db", "check", status=1)
    assert [line for line in found["differences"] if "lanes_ready" in line]


def test_a_server_that_may_forget_what_it_commits_is_refused_unless_trusted(
    clento: Clento,
) -> None:
    with psycopg.connect(clento.environment["DATABASE_URL"]) as conn:
        if conn.execute("show fsync").fetchone() == ("on",):
            pytest.skip("the given server keeps what it commits")
    off = ["fsync", "full_page_writes"]
    assert "fsync and full_page_writes off, trusted by CLENTO_TRUST_STORAGE" in (
        clento("db", "check").out
    )
    clento.environment["CLENTO_TRUST_STORAGE"] = ""
    for words in (("org", "list"), ("tick",), ("account", "list")):
        clento.environment |= {"UNIPILE_DSN": "http://127.0.0.1:9", "UNIPILE_ACCESS_TOKEN": "any"}
        said = clento(*words, status=1)
        assert "fsync and full_page_writes off: a power cut makes it forget" in said.err
        assert "fsync = on and full_page_writes = on in postgresql.conf" in said.err
        assert "CLENTO_TRUST_STORAGE=1" in said.err
    assert clento.json("db", "check")["storage"] == {"off": off, "trusted": False}
    assert "not trusted" in clento("db", "check").out


def test_db_recount_mends_what_a_status_adds_up(peopled: Clento) -> None:
    started(peopled)
    hold(peopled)  # by the hand of somebody who counts nothing
    states = peopled.json("campaign", "status", "spring")["leads"]["by_state"]
    assert [each["status"] for each in states] == ["waiting"]

    assert peopled.json("db", "recount") == {"mended": 2}

    states = peopled.json("campaign", "status", "spring")["leads"]["by_state"]
    assert [each["status"] for each in states] == ["held", "waiting"]
    assert "0 counts were wrong" in peopled("db", "recount").out


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://user@host/clento", "must look like postgresql://"),
        ("postgresql://user:secret@127.0.0.1:1/clento?connect_timeout=1", "cannot be reached"),
    ],
)
def test_a_database_that_cannot_be_had_is_one_message(
    url: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clento_engine.interface.cli.session.PATIENCE", NO_TIME)
    clento = Clento({"DATABASE_URL": url}, tmp_path)
    said = clento("org", "list", status=1)
    assert says in said.err
    assert "secret" not in said.err
    told = clento.json("org", "list", status=1)
    assert told["error"]
    assert told["fix"]


def test_the_embedded_server_starts_by_itself_and_is_set_up(tmp_path: Path) -> None:
    clento = Clento({"CLENTO_DATA_DIR": str(tmp_path / "data")}, tmp_path)
    try:
        clento("org", "create", "Acme")
        assert clento.json("org", "list")[0]["name"] == "Acme"
        assert str(tmp_path / "data") in clento("db", "start").out
    finally:
        assert clento.json("db", "stop") == {"was_running": True}
    assert clento.json("db", "stop") == {"was_running": False}


def test_a_bad_setting_is_named_with_its_fix(bare: Clento) -> None:
    bare.environment["CLENTO_LOG_FORMAT"] = "xml"
    said = bare("org", "list", status=1)
    assert "CLENTO_LOG_FORMAT is 'xml'" in said.err
    assert "text or json" in said.err


def test_what_webhooks_may_reach_is_read_or_refused_by_its_entry(bare: Clento) -> None:
    bare.environment["CLENTO_WEBHOOKS_MAY_REACH"] = "10.0.0.0/8,http://x"
    said = bare("org", "list", status=1)
    assert "CLENTO_WEBHOOKS_MAY_REACH: 'http://x' is neither a host nor a network" in said.err
    assert "with commas between" in said.err


# --- organisations


def test_without_an_organisation_the_fix_is_the_command(bare: Clento) -> None:
    assert "clento org create NAME" in bare("org", "list").out
    told = bare.json("account", "list", status=1)
    assert told == {
        "error": "there is no organisation yet",
        "fix": "run `clento org create NAME`",
    }


def test_of_several_organisations_one_must_be_named(clento: Clento) -> None:
    clento("org", "create", "Beta")
    assert "already" in clento("org", "create", "Beta", status=1).err
    assert "--org: Acme, Beta" in clento("account", "list", status=1).err
    assert clento.json("account", "list", "--org", "Beta") == []
    assert "no organisation 'Gamma'" in clento("account", "list", "--org", "Gamma", status=1).err
    clento.environment["CLENTO_ORG"] = "Acme"
    assert clento.json("account", "list") == []


# --- accounts


def test_an_account_is_added_listed_paused_and_resumed(clento: Clento) -> None:
    assert "no sender yet" in clento("account", "list").out
    clento.sender()
    [account] = clento.json("account", "list")
    assert (account["status"], account["provider_id"]) == ("paused", None)
    clento.look_up()
    [account] = clento.json("account", "list")
    assert account["unipile_account_id"] == "acc-1"
    assert (account["tier"], account["warmup_days"], account["status"]) == ("premium", 0, "active")
    assert clento.json("account", "pause", "Lea", "--reason", "holidays")["changed"]
    assert "paused already" in clento("account", "pause", "acc-1").out
    assert "holidays" in clento("account", "list").out
    assert clento.json("account", "resume", "Lea")["changed"]
    assert "was not paused" in clento("account", "resume", "Lea").out


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--tier", "gold", "--zone", "UTC"], "'gold' is not one of"),
        (["--tier", "free", "--zone", "Europe/Berln"], "Europe/Berlin"),
        (["--tier", "free", "--zone", "localtime"], "no place's"),
        (["--tier", "free", "--zone", ""], "unknown time zone"),
        (["--tier", "free", "--zone", "UTC", "--established", "--warm-up-days", "3"], "contradict"),
        (["--tier", "free"], "--zone"),
    ],
)
def test_a_bad_account_is_a_usage_error(clento: Clento, more: list[str], says: str) -> None:
    words = ("account", "add", "--unipile-id", "x", "--name", "Lea", *more)
    assert says in clento(*words, status=2).err


def test_a_zone_that_is_a_fixed_offset_is_warned_of(peopled: Clento) -> None:
    words = ("account", "add", "--name", "Bo", "--tier", "free", "--json", "--unipile-id")
    said = peopled(*words, "acc-2", "--zone", "Etc/GMT+5")
    assert said.json["name"] == "Bo"
    assert "warning: Etc/GMT+5 is a fixed offset" in said.err
    assert "five hours behind" in said.err
    assert peopled(*words, "acc-3", "--zone", "Asia/Kolkata").err == ""
    assert "UTC is a fixed offset" in peopled.draft(VISIT, "spring", "--zone", "UTC").err
    assert peopled.draft(VISIT, "autumn").err == ""


def test_an_account_that_is_there_or_not_is_said(clento: Clento) -> None:
    clento.sender()
    again = ("account", "add", "--unipile-id", "acc-1", "--name", "B", "--tier", "free")
    assert "already" in clento(*again, "--zone", "UTC", status=1).err
    assert "no account 'Bo'" in clento("account", "pause", "Bo", status=1).err
    clento.sender(unipile_id="acc-2")
    assert "acc-1, acc-2" in clento("account", "resume", "Lea", status=1).err


def test_limits_are_shown_and_set(clento: Clento) -> None:
    clento.sender()
    words = ("account", "limits", "Lea")
    assert clento.json(*words)["limits"]["invitation"]["day"] == {"used": 0, "cap": 20}
    told = clento.json(*words, "--set", "invitation.day=15", "--set", "invitation.week=none")
    assert told["limits"]["invitation"]["day"]["cap"] == 15
    assert told["limits"]["invitation"]["week"]["cap"] is None
    assert "0/15" in clento(*words).out


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("invitation=5", "invitation.day=15"),
        ("invites.day=5", "there is no limit 'invites'"),
        ("invitation.year=5", "there is no window 'year'"),
        ("invitation.day=many", "'many' is no cap"),
    ],
)
def test_a_bad_limit_is_a_usage_error(clento: Clento, change: str, says: str) -> None:
    clento.sender()
    assert says in clento("account", "limits", "Lea", "--set", change, status=2).err


# --- webhooks


def test_webhooks_are_registered_and_listed(clento: Clento) -> None:
    assert "no webhook" in clento("webhook", "list").out
    url = "https://example.com/hook"
    clento("webhook", "add", "--id", "crm", "--url", url, "--name", "CRM")
    assert clento.json("webhook", "add", "--url", url)["id"] != "crm"
    assert "registered" in clento("webhook", "add", "--id", "crm", "--url", url, status=1).err
    assert {"id": "crm", "name": "CRM", "url": url, "on": []} in clento.json("webhook", "list")


def test_a_webhook_is_told_what_it_was_registered_for(clento: Clento) -> None:
    url = "https://hooks.example/in"
    told = ("--on", "taken_over", "--on", "replied", "--on", "replied")
    added = clento.json("webhook", "add", "--id", "crm", "--url", url, *told)
    assert added["on"] == ["replied", "taken_over"]
    assert "replied, taken_over" in clento("webhook", "list").out
    assert clento.json("webhook", "list")[0]["on"] == ["replied", "taken_over"]
    clento("webhook", "add", "--id", "nodes", "--url", url)
    assert "workflow nodes" in clento("webhook", "list").out
    said = clento("webhook", "add", "--url", url, "--on", "birthday", status=2)
    assert "'replied', 'taken_over', 'opted_out'" in said.err
    inside = clento("webhook", "add", "--url", "http://10.0.0.1/in", "--on", "replied", status=1)
    assert "is not a public address" in inside.err


@pytest.mark.parametrize("host", ["169.254.169.254", "localhost:8080", "0x7f.1", "[::1]"])
def test_a_webhook_inside_is_refused_unless_it_is_listed(clento: Clento, host: str) -> None:
    said = clento("webhook", "add", "--url", f"http://{host}/in", status=1)
    assert "is not a public address" in said.err
    assert "CLENTO_WEBHOOKS_MAY_REACH" in said.err
    assert clento.json("webhook", "list") == []
    clento.environment["CLENTO_WEBHOOKS_MAY_REACH"] = "169.254.0.0/16,localhost,127.0.0.1,::1"
    clento("webhook", "add", "--url", f"http://{host}/in")


def test_a_password_in_a_webhooks_address_is_kept_and_never_shown(clento: Clento) -> None:
    url = "https://me:Pw-1@example.com/hook"
    said = [
        clento("webhook", "add", "--id", "crm", "--url", url),
        clento("webhook", "add", "--id", "crm", "--url", url, status=1),
        clento("webhook", "add", "--url", "ftp://me:Pw-1@x/", status=2),
        clento("webhook", "list"),
        clento("webhook", "list", "--json"),
    ]
    assert not [each for each in said if "Pw-1" in each.out + each.err]
    assert clento.json("webhook", "list")[0]["url"] == "https://***@example.com/hook"
    with psycopg.connect(clento.environment["DATABASE_URL"]) as conn:
        assert conn.execute("select url from webhook_endpoints").fetchall() == [(url,)]


def test_a_workflow_whose_address_leads_inside_or_holds_a_password_is_named(
    peopled: Clento,
) -> None:
    for number, (target, problem) in enumerate(
        (
            ("http://169.254.169.254/latest", "169.254.169.254 is not a public address"),
            ("https://me:Pw-1@example.com/", "the address holds a user or password"),
        )
    ):
        document = {"nodes": [action("told", "webhook", targetUrl=target)], "edges": []}
        flow = peopled.file("inside.json", document)
        [finding] = peopled.json("workflow", "validate", flow)["findings"]
        assert (finding["node_id"], finding["field"]) == ("told", "targetUrl")
        assert problem in finding["problem"]
        assert finding["fix"]
        shown = [peopled("workflow", "show", flow), peopled("workflow", "show", flow, "--json")]
        name = f"inside-{number}"
        shown.append(peopled.draft(document, name))
        shown.append(peopled("campaign", "start", name, status=1))
        assert problem in shown[-1].out + shown[-1].err
        assert not [each for each in shown if "Pw-1" in each.out + each.err]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/x",
        "example.com",
        "https://",
        "http://a b/",
        "https://a/\udcff",
        "https://a/\u202e",
    ],
)
def test_a_webhook_needs_a_web_address(clento: Clento, url: str) -> None:
    assert "no web address" in clento("webhook", "add", "--url", url, status=2).err


# --- leads


def test_leads_are_imported_with_a_report_per_bad_row(clento: Clento) -> None:
    path = clento.file(
        "leads.csv",
        "LinkedIn URL,First Name,City\n"
        "https://www.linkedin.com/in/lea-moreau,Lea,Paris\n"
        "https://www.linkedin.com/company/acme,Acme,Berlin\n"
        "https://www.linkedin.com/in/lea-moreau/,Lea,Paris\n",
    )
    told = clento.json("leads", "import", path, "--list", "spring")
    assert (told["added"], told["unchanged"], told["good"]) == (1, 0, 1)
    [bad] = told["rejected"]
    assert (bad["row_number"], bad["line_number"], bad["field"]) == (2, 3, "profile_url")
    assert bad["problem"]
    assert bad["fix"]
    assert [row["duplicate_of"] for row in told["duplicates"]] == [1]
    assert told["custom_fields"] == {"city": "City"}
    said = clento("leads", "import", path, "--list", "spring")
    assert "0 added, 0 updated, 1 unchanged; 1 rejected, 1 duplicates" in said.out
    assert "company's page" in said.out
    assert [(each["name"], each["leads"]) for each in clento.json("leads", "lists")] == [
        ("spring", 1)
    ]


def test_an_import_without_room_for_its_notes_says_what_to_do(
    clento: Clento, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(met, "CACHE_KIB", 1)
    path = clento.file(
        "many.csv", "url\n" + "".join(f"linkedin.com/in/p-{n}\n" for n in range(3000))
    )
    with largest_file(16_384):
        said = clento("leads", "import", path, "--list", "spring", "--dry-run", status=1)
    assert "whom the file names cannot be noted" in said.err
    assert "TMPDIR" in said.err


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let nothing be written beyond so many bytes of a file, as where a disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_three_bad_rows_of_ten_thousand_cost_three(clento: Clento) -> None:
    rows = [f"Lea,https://www.linkedin.com/in/lea-{number}" for number in range(10_000)]
    rows[17] = "Lea,https://www.linkedin.com/in/undefined"
    rows[4_711] = "Lea,https://www.linkedin.com/company/acme"
    rows[9_999] = 'Lea,"https://www.linkedin.com/in/lea'
    path = clento.file("many.csv", "\n".join(["First Name,LinkedIn URL", *rows, ""]))
    told = clento.json("leads", "import", path, "--list", "spring")
    assert (told["added"], told["good"], told["rejected_rows"]) == (9_997, 9_997, 3)
    assert [row["row_number"] for row in told["rejected"]] == [18, 4_712, 10_000]


def test_standard_input_is_read(clento: Clento) -> None:
    content = b"First Name,LinkedIn URL\nLea,https://www.linkedin.com/in/lea-moreau\n"
    words = ("leads", "import", "-", "--list", "spring")
    assert "1 added" in clento(*words, stdin=content).out
    assert "the file is empty" in clento(*words, stdin=b"", status=1).err
    said = clento(*words, stdin=b"x" * (5 << 20), status=1)
    assert "line 1 has more than 4 MB" in said.err


def test_an_import_says_which_column_became_what_and_why(clento: Clento) -> None:
    path = clento.file(
        "leads.csv",
        "Vorname,Seite,Profile ID,Stadt\n"
        "🚀 Lea,https://www.linkedin.com/in/lea-moreau,44123,Paris\n"
        "undefined,https://www.linkedin.com/in/hugo-legoff,44124,Brest\n",
    )
    words = ("leads", "import", path, "--list", "spring")
    told = clento.json(*words)
    assert told["columns"] == {"profile_url": "Seite", "first_name": "Vorname"}
    assert told["columns_why"]["first_name"] == "by its name"
    assert told["columns_why"]["profile_url"].startswith("by what it holds: 2 of 2 values")
    assert "'Profile ID' holds none of LinkedIn's ids" in told["remarks"][0]
    assert [each["row_number"] for each in told["notes"]] == [1, 2]
    said = clento(*words, "--keep-emoji")
    for words_shown in (
        "by what it holds",
        "custom fields: profile_id, stadt",
        "row 2: first_name",
    ):
        assert words_shown in said.out
    assert "emoji" not in said.out


def test_a_report_of_any_length_keeps_the_first_and_counts_the_rest(
    clento: Clento, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leads, "_KEPT", 30)
    rows = "".join(f"nan,https://www.linkedin.com/in/lea-{number}\n" for number in range(40))
    bad = "Lea,https://www.linkedin.com/in/undefined\n" * 50
    path = clento.file("leads.csv", f"First Name,LinkedIn URL\n{rows}{rows}{bad}")
    words = ("leads", "import", path, "--list", "spring", "--dry-run")
    told = clento.json(*words)
    assert (len(told["rejected"]), told["rejected_rows"]) == (30, 50)
    assert (len(told["duplicates"]), told["duplicate_rows"]) == (30, 40)
    assert (len(told["notes"]), told["note_count"]) == (30, 40)
    said = clento(*words)
    assert "… and 30 more: --json shows them" in said.out
    assert "… and 20 more notes" in said.out
    assert "50 rejected, 40 duplicates" in said.out


def test_a_dry_run_imports_nothing(clento: Clento) -> None:
    path = clento.file("leads.csv", "LinkedIn URL\nhttps://www.linkedin.com/in/lea-moreau\n")
    told = clento.json("leads", "import", path, "--list", "spring", "--dry-run")
    assert (told["imported"], told["good"]) == (False, 1)
    assert told["columns"] == {"profile_url": "LinkedIn URL"}
    assert clento.json("leads", "lists") == []


def test_a_file_that_has_nobody_fails_and_makes_no_list(clento: Clento) -> None:
    path = clento.file("leads.csv", "LinkedIn URL\nhttps://www.linkedin.com/company/acme\n")
    said = clento("leads", "import", path, "--list", "spring", status=1)
    assert "nothing was imported" in said.out
    assert clento.json("leads", "lists") == []


def test_a_file_that_cannot_be_read_says_why(clento: Clento) -> None:
    missing = clento("leads", "import", "/nowhere.csv", "--list", "spring", status=1)
    assert "/nowhere.csv cannot be read: No such file" in missing.err
    shown = clento("demo", "--leads", "/nowhere.csv", status=1)
    assert "/nowhere.csv cannot be read: No such file" in shown.err
    assert "starting PostgreSQL" not in shown.out + shown.err
    path = clento.file("people.csv", "Name,Town\nLea,Paris\n")
    told = clento.json("leads", "import", path, "--list", "spring", status=1)
    assert "no column with profile addresses" in told["error"]
    assert "--map profile_url=COLUMN" in told["fix"]
    unmapped = clento("leads", "import", path, "--list", "x", "--map", "Town", status=2)
    assert "write it as profile_url=COLUMN" in unmapped.err


def test_columns_can_be_mapped_and_people_brought_up_to_date(clento: Clento) -> None:
    words = ("leads", "import", "--list", "spring", "--map", "profile_url=Who")
    one = clento.file("a.csv", "Who,First Name\nhttps://www.linkedin.com/in/lea-moreau,Lea\n")
    clento(*words, one)
    two = clento.file("b.csv", "Who,First Name\nhttps://www.linkedin.com/in/lea-moreau,Léa\n")
    assert clento.json(*words, two)["unchanged"] == 1
    assert clento.json(*words, two, "--update")["updated"] == 1


# --- suppressions


def test_whoever_is_suppressed_is_left_alone_until_that_is_removed(peopled: Clento) -> None:
    started(peopled)
    address = "https://www.linkedin.com/in/Lea-Moreau/"
    told = peopled.json("suppression", "add", "person", address, "--reason", "asked us to")
    assert told == {
        "kind": "person",
        "value": "lea-moreau",
        "is_new": True,
        "ended": 1,
        "in_flight": 0,
    }
    again = peopled("suppression", "add", "person", "lea-moreau", "--reason", "again")
    assert again.out == "person lea-moreau is left alone, as before: 0 walks ended\n"
    [row] = peopled.json("suppression", "list")
    assert (row["kind"], row["value"], row["expires_at"]) == ("person", "lea-moreau", None)
    outcomes = {
        each["identity"]: each["outcome"]
        for each in peopled.json("lead", "list", "--campaign", "spring")
    }
    assert outcomes["lea-moreau"] == "suppressed"
    assert outcomes["hugo-legoff"] is None
    removed = peopled("suppression", "remove", "person", address)
    assert removed.out == "person lea-moreau may be contacted by the next campaign\n"
    assert peopled.json("suppression", "list") == []


@pytest.mark.parametrize(
    ("kind", "added", "again"),
    [
        ("company", "ÖKO  Häuser GmbH", "o\u0308ko ha\u0308user gmbh"),
        ("company", "IKEA", "ıkea"),
        ("domain", "xn--ko-eka.example", "@ÖKO.example."),
        ("email", "Ida@XN--KO-EKA.example", "<ida@öko.example>"),
    ],
)
def test_a_suppression_is_lifted_by_any_spelling(
    clento: Clento, kind: str, added: str, again: str
) -> None:
    clento("suppression", "add", kind, added, "--reason", "a customer")
    assert not clento.json("suppression", "add", kind, again, "--reason", "again")["is_new"]
    [row] = clento.json("suppression", "list")
    assert clento.json("suppression", "remove", kind, again)["value"] == row["value"]
    clento("suppression", "add", kind, again, "--reason", "a customer")
    clento("suppression", "remove", kind, row["value"])
    assert clento.json("suppression", "list") == []


def test_a_suppression_may_end_by_itself(clento: Clento) -> None:
    words = ("suppression", "add", "company", "Acme", "--reason", "a customer")
    clento(*words, "--for", "90d")
    [row] = clento.json("suppression", "list")
    lasts = datetime.fromisoformat(row["expires_at"]) - datetime.fromisoformat(row["created_at"])
    assert (row["value"], lasts) == ("acme", timedelta(days=90))
    assert "no time at all" in clento(*words, "--for", "0d", status=2).err


def test_a_suppression_of_nobody_is_refused(clento: Clento) -> None:
    page = "https://www.linkedin.com/company/acme"
    told = clento.json("suppression", "add", "person", page, "--reason", "?", status=1)
    assert "company's page" in told["error"]
    assert told["fix"]
    assert (
        "Missing option '--reason'"
        in clento("suppression", "add", "email", "lea@acme.com", status=2).err
    )
    assert "'phone' is not one of" in clento("suppression", "remove", "phone", "1", status=2).err
    missing = clento("suppression", "remove", "domain", "acme.com", status=1)
    assert "no suppression names domain acme.com" in missing.err


# --- workflows


def test_a_workflow_is_validated_and_drawn(bare: Clento) -> None:
    flow = bare.file("flow.json", GREET)
    assert bare.json("workflow", "validate", flow)["valid"]
    assert "1. visit the profile" in bare("workflow", "show", flow).out
    assert bare.json("workflow", "show", flow)["first"] == "visit"


def test_a_broken_workflow_names_node_field_and_fix(bare: Clento) -> None:
    flow = bare.file("flow.json", BROKEN)
    told = bare.json("workflow", "validate", flow, status=1)
    assert not told["valid"]
    for finding in told["findings"]:
        assert finding["field"]
        assert finding["problem"]
        assert finding["fix"]
    assert "error" in bare("workflow", "show", flow, status=1).err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is not JSON, line 1, column 2"),
        ("[" * 100_000, "is not JSON"),
        ('{"nodes": ' + "9" * 5000 + "}", "is not JSON"),
    ],
)
def test_a_file_that_is_no_json_is_one_message(bare: Clento, content: str, says: str) -> None:
    flow = bare.file("flow.json", content)
    assert says in bare("workflow", "validate", flow, status=1).err


# --- campaigns


def test_a_campaign_lives_from_draft_to_stop(peopled: Clento) -> None:
    assert "no campaign yet" in peopled("campaign", "list").out
    said = peopled.draft(VISIT)
    assert "clento campaign start spring" in said.out
    assert peopled.json("campaign", "list")[0]["status"] == "draft"
    assert peopled.json("campaign", "status", "spring")["leads"]["total"] == 0
    told = peopled.json("campaign", "start", "spring", "--leads-per-day", "5")
    assert told["leads"] == 3
    assert peopled.json("campaign", "pause", "spring") == {
        "id": told["id"],
        "name": "spring",
        "status": "paused",
        "in_flight": 0,
    }
    assert "spring is running" in peopled("campaign", "resume", "spring").out
    status = peopled.json("campaign", "status", "spring")
    assert (status["status"], status["leads_per_day"]) == ("running", 5)
    assert status["leads"]["by_state"] == [{"status": "waiting", "outcome": None, "leads": 3}]
    assert [node["node_id"] for node in status["nodes"]] == ["visit"]
    assert status["senders"][0]["limits"]["profile_visit"]["caps"]["day"] == 80
    assert status["next_at"]
    assert "spring is stopped" in peopled("campaign", "stop", "spring", "--no-wait").out
    assert "spring: stopped" in peopled("campaign", "status", "spring").out


def test_what_a_campaign_cannot_do_is_said(peopled: Clento) -> None:
    peopled.draft(VISIT)
    assert "the campaign is draft" in peopled("campaign", "pause", "spring", status=1).err
    assert "the campaign is draft" in peopled("campaign", "resume", "spring", status=1).err
    peopled("campaign", "start", "spring")
    again = peopled("campaign", "start", "spring", status=1)
    assert "the campaign is running\n  Fix: only a draft can be started" in again.err
    for verb in ("start", "pause", "resume", "stop", "status"):
        told = peopled.json("campaign", verb, "autumn", status=1)
        assert told["error"] == "no campaign 'autumn'"
        assert "clento campaign list" in told["fix"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--hours", "Mon-Foo 09:00-18:00"], "'Foo' is not a weekday"),
        (["--hours", "Mon 18:00-09:00"], "cross midnight"),
        (["--hours", "Mon 09:00-18:00; zone UTC", "--zone", "Europe/Berlin"], "one zone"),
        (["--zone", "Mars/Base"], "unknown time zone"),
        (["--zone", "posix/Europe/Berlin"], "no place's"),
        (["--hours", "Mon 09:00-18:00; zone Factory"], "no place's"),
        (["--holidays", "XX"], "unknown holidays"),
        (["--max-duration", "30"], "30s, 15m, 2h, 10d"),
        (["--max-duration", "0d"], "no time at all"),
        (["--max-duration", "99999999w"], "longer than ten years"),
        (["--on-missing", "guess"], "'guess' is not one of"),
    ],
)
def test_a_bad_option_of_a_campaign_is_a_usage_error(
    peopled: Clento, more: list[str], says: str
) -> None:
    flow = peopled.file("flow.json", VISIT)
    words = ("campaign", "create", "spring", "--workflow", flow, "--list", "spring")
    assert says in peopled(*words, "--sender", "Lea", *more, status=2).err
    assert peopled.json("campaign", "list") == []


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--list", "autumn", "--sender", "Lea"], "no list 'autumn'"),
        (["--list", "spring", "--sender", "Bo"], "no account 'Bo'"),
    ],
)
def test_a_campaign_of_what_is_not_there_is_not_made(
    peopled: Clento, more: list[str], says: str
) -> None:
    flow = peopled.file("flow.json", VISIT)
    said = peopled("campaign", "create", "spring", "--workflow", flow, *more, status=1)
    assert says in said.err
    assert peopled.json("campaign", "list") == []


def test_a_broken_workflow_makes_no_campaign(peopled: Clento) -> None:
    flow = peopled.file("flow.json", BROKEN)
    words = ("campaign", "create", "spring", "--workflow", flow, "--list", "spring")
    told = peopled.json(*words, "--sender", "Lea", status=1)
    assert told["findings"][0]["severity"] == "error"
    assert told["fix"]
    assert "nowhere" in peopled(*words, "--sender", "Lea", status=1).err


def test_a_name_can_be_taken_only_once(peopled: Clento) -> None:
    peopled.draft(VISIT)
    flow = peopled.file("flow.json", NOTIFY)
    words = ("campaign", "create", "spring", "--workflow", flow, "--list", "spring")
    assert "already" in peopled(*words, "--sender", "Lea", status=1).err


def test_unready_nodes_are_shown_at_once_and_refused_at_the_start(peopled: Clento) -> None:
    said = peopled.draft(NOTIFY)
    assert "unready: told, webhookId: nobody registered the webhook crm" in said.out
    assert "fix: run: clento webhook add --id crm --url https://…" in said.out
    refused = peopled.json("campaign", "start", "spring", status=1)
    assert [finding["node_id"] for finding in refused["findings"]] == ["told"]
    assert "--skip-unready" in refused["fix"]
    assert peopled.json("campaign", "list")[0]["status"] == "draft"


def test_what_is_ready_by_then_starts(peopled: Clento) -> None:
    peopled.draft(NOTIFY)
    peopled("webhook", "add", "--id", "crm", "--url", "https://example.com/hook")
    told = peopled.json("campaign", "start", "spring")
    assert (told["leads"], told["skipped"]) == (3, {})


def test_unready_nodes_can_be_passed_over_in_a_version_of_their_own(peopled: Clento) -> None:
    peopled.draft(NOTIFY)
    assert peopled.json("campaign", "list")[0]["workflow"] == "flow v1"
    told = peopled.json("campaign", "start", "spring", "--skip-unready")
    assert told["skipped"] == {"told": "nobody registered the webhook crm"}
    assert peopled.json("campaign", "list")[0]["workflow"] == "flow v2"
    again = peopled("campaign", "start", "spring", status=1)
    assert "the campaign is running" in again.err


def test_a_text_that_no_lead_can_be_sent_starts_nothing_even_when_told_to_skip(
    peopled: Clento,
) -> None:
    peopled.draft(GREET)
    told = peopled.json("campaign", "start", "spring", "--skip-unready", status=1)
    assert "no lead of this list has city" in told["findings"][0]["problem"]
    assert peopled.json("campaign", "list")[0]["status"] == "draft"


def test_a_list_of_nobody_starts_nothing(peopled: Clento) -> None:
    peopled.draft(GREET)
    with psycopg.connect(peopled.environment["DATABASE_URL"]) as conn:
        conn.execute("delete from leads")
    told = peopled.json("campaign", "start", "spring", status=1)
    assert "its list has no lead that may be contacted" in told["error"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--start-date", "soon"], "'soon' is no date"),
        (["--start-date", "2020-01-31"], "2020-01-31 is over"),
        (["--start-date", "2020-01-31T09:00:00+01:00"], "is over"),
        (["--leads-per-day", "0"], "from 1 up, or auto"),
        (["--lead-processing-delay", "half an hour"], "is no duration"),
        (["--max-concurrent-leads", "0"], "not in the range"),
    ],
)
def test_a_bad_option_of_a_start_is_a_usage_error(
    peopled: Clento, more: list[str], says: str
) -> None:
    peopled.draft(VISIT)
    assert says in peopled("campaign", "start", "spring", *more, status=2).err
    assert peopled.json("campaign", "list")[0]["status"] == "draft"


def test_a_day_begins_at_midnight_of_the_campaigns_zone(peopled: Clento) -> None:
    peopled.draft(VISIT)
    told = peopled.json("campaign", "start", "spring", "--start-date", "2099-07-01")
    assert told["start_at"] == "2099-06-30T22:00:00Z"


# --- leads of a campaign


def test_leads_are_listed_and_their_history_told(peopled: Clento) -> None:
    started(peopled)
    listed = peopled.json("lead", "list", "--campaign", "spring")
    assert [each["identity"] for each in listed] == list(PEOPLE)
    assert {each["status"] for each in listed} == {"waiting"}
    assert len(peopled.json("lead", "list", "--campaign", "spring", "--limit", "2")) == 2
    assert peopled.json("lead", "list", "--campaign", "spring", "--status", "held") == []
    assert (
        "no lead stands so"
        in peopled("lead", "list", "--campaign", "spring", "--outcome", "replied").out
    )
    for who in (PEOPLE[0], f"https://linkedin.com/in/{PEOPLE[0]}/", listed[0]["lead_id"]):
        told = peopled.json("lead", "history", who)
        assert [lead["identity"] for lead in told["leads"]] == [PEOPLE[0]]
        assert told["leads"][0]["campaigns"] == ["spring"]
    assert "no lead 'nobody-here'" in peopled("lead", "history", "nobody-here", status=1).err
    company = "https://www.linkedin.com/company/acme"
    assert "company's page" in peopled("lead", "history", company, status=1).err


def test_a_held_lead_is_released_to_try_again(peopled: Clento) -> None:
    started(peopled, NOTIFY, "--skip-unready")
    who = hold(peopled)
    assert peopled.json("campaign", "status", "spring")["held"] == [
        {"reason": "no value for city", "leads": 1}
    ]
    assert "no value for city" in peopled("campaign", "status", "spring").out
    told = peopled.json("lead", "release", who, "--campaign", "spring")
    assert (told["status"], told["node_id"]) == ("waiting", "visit")
    history = peopled.json("lead", "history", who)["history"]
    assert [(each["kind"], each["actor"]) for each in history] == [("Released", "operator")]
    again = peopled("lead", "release", who, "--campaign", "spring", status=1)
    assert "the lead is waiting\n  Fix: only one that is held can be released" in again.err
    assert "no lead" in peopled("lead", "release", "nobody-x", "--campaign", "spring", status=1).err


@pytest.mark.parametrize(("more", "state"), [((), "absent"), (("--skip",), "done")])
def test_releasing_closes_the_action_whose_outcome_nobody_knows(
    peopled: Clento, more: tuple[str, ...], state: str
) -> None:
    started(peopled, NOTIFY, "--skip-unready")
    who = hold(peopled)
    with psycopg.connect(peopled.environment["DATABASE_URL"]) as conn:
        conn.execute(
            "insert into actions (organization_id, campaign_id, lead_id, account_id, node_id,"
            " operation, budgets, bucket_at, state, token, check_at, target, intended_at)"
            " select organization_id, campaign_id, lead_id, account_id, node_id,"
            " operation, '{profile_visit}', now(), 'unknown', gen_random_uuid(), now(), 'x', now()"
            " from campaign_executions where status = 'held'"
        )
    told = peopled.json("lead", "release", who, "--campaign", "spring", *more)
    assert told["node_id"] == ("told" if more else "visit")
    history = peopled.json("lead", "history", who)["history"]
    assert [each["state"] for each in history if each["kind"] == "profile_visit"] == [state]
    shown = peopled("lead", "history", who).out
    assert "by the word of an operator" in shown


# --- output


def test_output_into_a_file_has_no_escape_codes(peopled: Clento) -> None:
    started(peopled)
    for words in (
        ("org", "list"),
        ("account", "limits", "Lea"),
        ("campaign", "status", "spring"),
        ("lead", "list", "--campaign", "spring"),
    ):
        assert "\x1b" not in peopled(*words).out


def test_what_a_terminal_would_obey_is_never_printed(peopled: Clento) -> None:
    with psycopg.connect(peopled.environment["DATABASE_URL"]) as conn:
        conn.execute("update leads set first_name = E'\\x1b[2J[bold]x[/bold]'")
    started(peopled)
    out = peopled("lead", "list", "--campaign", "spring").out
    assert "\x1b" not in out
    assert "[bold]x[/bold]" in out


@pytest.mark.parametrize(
    "words",
    [
        ("org", "list"),
        ("account", "list"),
        ("webhook", "list"),
        ("leads", "lists"),
        ("campaign", "list"),
        ("lead", "list", "--campaign", "spring"),
    ],
)
def test_every_listing_is_a_json_array_of_objects(peopled: Clento, words: tuple[str, ...]) -> None:
    peopled("webhook", "add", "--id", "crm", "--url", "https://example.com/hook")
    started(peopled)
    listed = json.loads(peopled(*words, "--json").out)
    assert isinstance(listed, list)
    assert listed
    assert all(isinstance(each, dict) for each in listed)
