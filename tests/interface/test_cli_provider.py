"""The database knows its provider: another one is asked nothing, and nothing is sent there."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from commanded import VISIT, Clento, Simulated, action, simulating

from clento_engine.runtime import guard
from clento_engine.simulator.people import Chances
from clento_engine.simulator.server import Settings
from clento_engine.simulator.world import Reliability

PLAIN = Chances(
    missing=0, locked=0, connected=0, accepts=0, replies=0, takes_inmail=1, changed_slug=0
)
PEOPLE = [f"person-{number}" for number in range(10)]
GREET = {
    "nodes": [action("greet", "send_followup", customMessage="Hi {{first_name}}")],
    "edges": [],
}
REAL = "api8.unipile.com:13443"


@pytest.fixture
def two() -> Iterator[tuple[Simulated, Simulated]]:
    """Lend two servers that know the same account by the same id, as the same member."""
    settings = Settings(chances=PLAIN, reliability=Reliability(lost=0, duplicated=0, null_ids=0))
    with ExitStack() as serving:
        one, other = (
            serving.enter_context(simulating(settings.world(), settings)) for _ in range(2)
        )
        assert one.account == other.account
        yield one, other


@pytest.fixture
def clento(dsn: str, tmp_path: Path, two: tuple[Simulated, Simulated]) -> Clento:
    """Lend commands over an organisation, and the first of the two servers."""
    made = Clento({"DATABASE_URL": dsn, "UNIPILE_ACCESS_TOKEN": "any"}, tmp_path)
    at(made, two[0])
    made("org", "create", "Acme")
    return made


def at(clento: Clento, simulated: Simulated) -> None:
    clento.environment["UNIPILE_DSN"] = simulated.url


def execute(clento: Clento, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(clento.environment["DATABASE_URL"], autocommit=True) as conn:
        cursor = conn.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


def greet(clento: Clento, simulated: Simulated) -> None:
    """Let ten people be written to, and every answer be lost."""
    clento.sender(unipile_id=simulated.account)
    execute(clento, "update connected_accounts set spacing_shortest = '0', spacing_longest = '0'")
    execute(clento, "update rate_limits set spacing_shortest = '0', spacing_longest = '0'")
    for person in PEOPLE:
        simulated.force(person, connected_to=[simulated.account])
    clento.leads(*PEOPLE)
    clento.draft(GREET, "spring", "--hours", "always")
    simulated.fault(kind="reset", route="POST /chats", after_effect=True, times=len(PEOPLE))
    clento("campaign", "start", "spring", "--lead-processing-delay", "0s")
    # Where it is slow, the first lost answers let everything rest before the last are sent.
    while len(simulated.landed()) < len(PEOPLE):
        execute(
            clento,
            "update provider_rest set silences = 0, since = null, until = null, reason = null",
        )
        clento("tick", "--budget", "5s")
    assert Counter(simulated.landed()) == Counter(("message", person) for person in PEOPLE)


def wait(simulated: Simulated, minutes: float) -> None:
    simulated.advance(simulated.now() + timedelta(minutes=minutes))


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "control"])
def test_a_tick_at_another_server_judges_nothing_absent_and_writes_to_nobody(
    clento: Clento,
    two: tuple[Simulated, Simulated],
    guarded: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, other = two
    greet(clento, one)
    if not guarded:
        monkeypatch.setattr(guard, "_compare", lambda _bound, _given: None)
        # the other is an old workspace, where these people are known
        execute(clento, "update connected_accounts set store_since = null")
        # and our messages there are not taken for their owner's
        execute(clento, "update campaigns set stop_on_own_message = false, stop_on_reply = false")
        for person in PEOPLE:
            other.force(person, connected_to=[other.account])
            answer = other.http.post(
                f"/simulator/people/{person}/reply", json={"account_id": other.account}
            )
            assert answer.status_code == 200, answer.text
    at(clento, other)
    said: list[str] = []
    for _ in range(3):
        wait(other, 20)
        ticked = clento("tick", "--budget", "5s", status=1 if guarded else 0)
        said.append(ticked.err)
    if guarded:
        for words in (
            f"belongs to the simulator at {one.url}",
            f"UNIPILE_DSN names the simulator at {other.url}",
            f"set UNIPILE_DSN to {one.url}",
            f"clento provider move --to {other.url}",
        ):
            assert all(words in each for each in said)
        assert "belongs to" in clento("run", status=1).err
    at(clento, one)
    for _ in range(2):
        wait(one, 45)
        clento("tick", "--budget", "5s")
    reached = Counter(one.landed() + other.landed())
    assert reached.keys() == {("message", person) for person in PEOPLE}
    assert set(reached.values()) == ({1} if guarded else {2})
    if guarded:
        assert [
            lead["outcome"] for lead in clento.json("lead", "list", "--campaign", "spring")
        ] == ["finished"] * len(PEOPLE)
        assert not other.reads()


def test_a_first_account_binds_the_database_and_says_whose_it_is(
    clento: Clento, two: tuple[Simulated, Simulated]
) -> None:
    one, other = two
    assert "belongs to no provider yet" in clento("provider", "show").out
    said = clento(
        *("account", "add", "--unipile-id", one.account, "--name", "Lea", "--tier", "premium"),
        *("--zone", "UTC"),
    )
    assert "Lea is Sender 1 on LinkedIn: added" in said.out
    shown = clento.json("provider", "show")
    assert (shown["dsn"], shown["is_simulated"]) == (one.url, True)
    assert shown["accounts"] == {"bound": 1, "waiting": 0, "refused": 0}
    [account] = clento.json("account", "list")
    assert (account["status"], account["provider_id"][:4]) == ("active", "ACoA")
    at(clento, other)
    # asked there about an account that it has, it is not believed
    words = ("account", "add", "--unipile-id", other.account, "--name", "Bo", "--tier", "free")
    assert "belongs to" in clento(*words, "--zone", "UTC", status=1).err
    assert len(clento.json("account", "list")) == 1


def test_an_account_that_unipile_does_not_know_is_not_added(clento: Clento) -> None:
    words = ("account", "add", "--unipile-id", "acc-none", "--name", "Bo", "--tier", "free")
    said = clento(*words, "--zone", "UTC", status=1)
    assert "account acc-none: Unipile does not know this account" in said.err
    assert "clento account add --help" in said.err
    assert clento.json("account", "list") == []


def test_a_member_of_another_organisation_is_not_added_and_the_other_not_named(
    clento: Clento, two: tuple[Simulated, Simulated]
) -> None:
    clento.sender(unipile_id=two[0].account)
    clento("org", "create", "Beta")
    words = ("account", "add", "--unipile-id", two[0].account, "--name", "Bo", "--tier", "premium")
    said = clento(*words, "--zone", "UTC", "--org", "Beta", status=1)
    assert "connected elsewhere already" in said.err
    assert "Acme" not in said.err
    assert clento.json("account", "list", "--org", "Beta") == []
    clento("account", "remove", "Lea", "--org", "Acme")
    assert clento.json(*words, "--zone", "UTC", "--org", "Beta")["member"] == "Sender 1"


def test_an_account_added_without_a_provider_waits_for_the_first_tick(
    clento: Clento, two: tuple[Simulated, Simulated]
) -> None:
    clento.environment["UNIPILE_DSN"] = ""
    clento.sender(unipile_id=two[0].account)
    [account] = clento.json("account", "list")
    assert (account["status"], account["pause_reason"]) == (
        "paused",
        "not yet looked up at Unipile",
    )
    said = clento("account", "resume", "Lea")
    assert "acts once Unipile has shown which LinkedIn member it is" in said.out
    at(clento, two[0])
    clento("tick")
    [account] = clento.json("account", "list")
    assert account["status"] == "active"


@pytest.mark.parametrize(
    "words",
    [
        ("campaign", "list"),
        ("account", "list"),
        ("org", "list"),
        ("tick",),
        ("run",),
        ("db", "recount"),
    ],
    ids=" ".join,
)
def test_a_database_of_unipiles_refuses_a_simulator_and_the_other_way_round(
    clento: Clento, two: tuple[Simulated, Simulated], words: tuple[str, ...]
) -> None:
    """Their clocks differ by months: not even a list would say the truth."""
    stamp = "insert into installation (provider_kind, provider_dsn, bound_at) values"
    execute(clento, f"{stamp} ('real', 'https://{REAL}', now())")
    said = clento(*words, status=1)
    assert f"belongs to Unipile at https://{REAL}" in said.err
    assert f"UNIPILE_DSN names the simulator at {two[0].url}" in said.err
    assert "another CLENTO_DATA_DIR" in said.err
    execute(clento, "delete from installation")
    execute(clento, f"{stamp} ('simulated', '{two[0].url}', now())")
    clento.environment["UNIPILE_DSN"] = REAL
    said = clento(*words, status=1)
    assert f"belongs to the simulator at {two[0].url}" in said.err
    assert clento.json(*words, status=1)["fix"]
    clento("provider", "show")


def test_moving_says_what_it_means_and_accounts_act_once_they_were_looked_up_there(
    clento: Clento, two: tuple[Simulated, Simulated]
) -> None:
    one, other = two
    greet(clento, one)
    execute(clento, "update contacts set chat_id = 'chat'")
    clento("provider", "move", "--to", one.url, status=1)
    said = clento("provider", "move", "--to", other.url, status=130)  # nobody answers
    assert "1 accounts stop until they were looked up there" in said.err
    assert "10 actions of unknown outcome" in said.err
    assert clento.json("provider", "show")["dsn"] == one.url
    assert "say --yes" in clento("provider", "move", "--to", other.url, "--json", status=1).out

    moved = clento.json("provider", "move", "--to", other.url, "--yes")

    assert (moved["accounts"], moved["open_actions"]) == (1, 10)
    assert clento.json("provider", "show")["dsn"] == other.url
    assert execute(clento, "select count(*) from contacts where chat_id is not null") == [(0,)]
    assert execute(clento, "select count(*) from lanes where active") == [(0,)]
    assert "belongs to" in clento("tick", status=1).err
    at(clento, other)
    wait(other, 1)
    clento("tick", "--budget", "5s")
    [account] = clento.json("account", "list")
    assert account["status"] == "active"
    assert execute(clento, "select count(*) from lanes where not active") == [(0,)]
    since = execute(clento, "select store_since from connected_accounts")
    assert str(since[0][0])[:19] == str(other.now())[:19]


def test_a_database_cannot_be_moved_from_a_simulator_to_unipile(
    clento: Clento, two: tuple[Simulated, Simulated]
) -> None:
    clento.sender(unipile_id=two[0].account)
    said = clento("provider", "move", "--to", REAL, "--yes", status=1)
    assert f"belongs to the simulator at {two[0].url}" in said.err
    assert clento.json("provider", "show")["is_simulated"]


def test_a_database_from_before_is_not_bound_to_a_provider_that_does_not_know_its_accounts(
    clento: Clento, two: tuple[Simulated, Simulated]
) -> None:
    """As an upgrade leaves it: accounts that act, and nobody wrote whose they are."""
    clento.sender(unipile_id=two[0].account)
    execute(clento, "delete from installation")
    execute(clento, "update connected_accounts set unipile_account_id = 'real-1'")
    execute(clento, "update provider_accounts set unipile_account_id = 'real-1'")
    for words in (("tick",), ("run",)):
        said = clento(*words, status=1)
        assert "does not know the account real-1" in said.err
        assert "UNIPILE_DSN" in said.err
    assert clento.json("provider", "show")["dsn"] is None
    execute(clento, f"update provider_accounts set unipile_account_id = '{two[0].account}'")
    clento("tick")
    assert clento.json("provider", "show")["dsn"] == two[0].url


def test_removing_a_sender_waits_for_its_leads(
    clento: Clento, two: tuple[Simulated, Simulated]
) -> None:
    clento.sender(unipile_id=two[0].account)
    clento.leads(*PEOPLE)
    clento.draft(VISIT, "spring", "--hours", "always")
    clento("campaign", "start", "spring")
    assert "10 leads are to be walked by it" in clento("account", "remove", "Lea", status=1).err
    clento("campaign", "stop", "spring")
    assert "removed Lea" in clento("account", "remove", "Lea").out
    assert clento.json("account", "list") == []
    assert "no account 'Lea'" in clento("account", "resume", "Lea", status=1).err
