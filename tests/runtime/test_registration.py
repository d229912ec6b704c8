"""Our webhooks at the provider: each registered once, whoever registers how often."""

import httpx
import pytest

from clento_engine.provider.unipile import UnipileClient
from clento_engine.runtime.errors import NotRegistered
from clento_engine.runtime.registration import WANTED, register
from clento_engine.simulator.app import create_app
from clento_engine.simulator.clock import DrivenClock
from clento_engine.simulator.faults import FaultKind, Rule
from clento_engine.simulator.webhook_events import register_webhook
from clento_engine.simulator.world import START, World

BASE = "https://engine.example"
URL = f"{BASE}/webhooks/unipile"
NAMES = [f"clento {source}" for source in WANTED]


@pytest.fixture
def simulated() -> World:
    return World(clock=DrivenClock(START))


@pytest.fixture
def provider(simulated: World) -> UnipileClient:
    async def at_once(_seconds: float) -> None: ...

    transport = httpx.ASGITransport(create_app(simulated))
    return UnipileClient("http://simulator", "token", transport=transport, pause=at_once)


async def test_every_source_is_registered_with_our_secret_and_the_events_we_need(
    simulated: World, provider: UnipileClient
) -> None:
    assert await register(provider, BASE, "s3cret") == NAMES
    found = {each.source: each for each in simulated.webhooks.values()}
    assert found.keys() == WANTED.keys()
    for source, webhook in found.items():
        assert webhook.url == URL
        assert webhook.events == WANTED[source]
        assert dict(webhook.headers) == {
            "Unipile-Auth": "s3cret",
            "Content-Type": "application/json",
        }
    events = set(found["account_status"].events)
    assert {"ok", "stopped", "creation_success", "sync_success"} <= events


async def test_registering_again_adds_nothing(simulated: World, provider: UnipileClient) -> None:
    await register(provider, BASE, "secret")
    before = dict(simulated.webhooks)
    assert await register(provider, BASE, "secret") == []
    assert simulated.webhooks == before


async def test_another_address_gets_webhooks_of_its_own(
    simulated: World, provider: UnipileClient
) -> None:
    await register(provider, BASE, "secret")
    assert await register(provider, f"{BASE}:8443/", "secret") == NAMES
    assert len(simulated.webhooks) == 2 * len(NAMES)


async def test_somebody_elses_webhook_to_the_same_address_is_left_alone(
    simulated: World, provider: UnipileClient
) -> None:
    register_webhook(simulated, {"source": "users", "request_url": URL, "name": "theirs"})
    assert await register(provider, BASE, "secret") == NAMES
    assert len(simulated.webhooks) == len(NAMES) + 1


async def test_one_that_does_not_tell_enough_is_replaced(
    simulated: World, provider: UnipileClient
) -> None:
    old = register_webhook(
        simulated, {"source": "account_status", "request_url": URL, "name": "clento account_status"}
    )
    assert "ok" not in old.events
    assert await register(provider, BASE, "secret") == NAMES
    assert old.id not in simulated.webhooks
    assert len(simulated.webhooks) == len(NAMES)


async def test_those_of_single_organisations_are_deleted_once_the_one_for_all_is_there(
    simulated: World, provider: UnipileClient
) -> None:
    """A version before registered a set for each organisation; others' webhooks stay."""

    def registered(name: str, url: str) -> str:
        return register_webhook(simulated, {"source": "users", "request_url": url, "name": name}).id

    organization = "0192b1c2-0000-7000-8000-000000000001"
    old = [
        registered(f"clento {source}", f"{URL}/{organization}")
        for source in ("users", "messaging", "account_status")
    ]
    others = [
        registered("theirs", f"{URL}/{organization}"),
        registered("clento users", f"https://other.example/webhooks/unipile/{organization}"),
        registered("clento users", f"{URL}/{organization}/more"),
        registered("clento backup", f"{URL}/{organization}"),
    ]
    assert await register(provider, BASE, "secret") == NAMES
    assert not set(old) & simulated.webhooks.keys()
    assert set(others) <= simulated.webhooks.keys()
    assert len(simulated.webhooks) == len(others) + len(NAMES)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (Rule(FaultKind.UNAVAILABLE, "GET /webhooks"), "cannot be listed"),
        (Rule(FaultKind.REFUSAL, "POST /webhooks", type="missing_credentials"), "clento messaging"),
        (Rule(FaultKind.RESET, "POST /webhooks", times=1, after_effect=True), "clento messaging"),
    ],
    ids=["list", "refused", "unknown"],
)
async def test_what_was_not_taken_is_told_and_trying_again_completes_it(
    simulated: World, provider: UnipileClient, rule: Rule, said: str
) -> None:
    simulated.faults.set([rule])
    with pytest.raises(NotRegistered, match=said):
        await register(provider, BASE, "secret")
    simulated.faults.clear()
    await register(provider, BASE, "secret")
    assert sorted(each.source for each in simulated.webhooks.values()) == sorted(WANTED)
