"""The requests under way: when their answers are taken, and what is left when the tick ends."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from clento_engine.runtime import ticker
from clento_engine.runtime.ticker import Flights


class Provider:
    """Answers each request when it is told to."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[str]] = []

    async def act(self, *_asked: object) -> str:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.asked.append(answer)
        return await answer


async def goes_on(*_given: object) -> None:
    """Hold nothing back."""


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Provider:
    provider = Provider()
    monkeypatch.setattr(ticker, "act", provider.act)
    monkeypatch.setattr(ticker, "look_first", goes_on)
    return provider


def flights(flying: int) -> Flights:
    world: Any = SimpleNamespace(provider=None, clock=None)
    begun = Flights(world)
    item: Any = None
    for _ in range(flying):
        begun.start(item)
    return begun


async def everybody_waits() -> None:
    """Let every task come to where it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_answers_wait_until_few_enough_are_missing(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticker, "GATHER", 60)
    begun = flights(flying=4)
    taking = asyncio.create_task(begun.answers(wait=True, left=2))
    await everybody_waits()
    provider.asked[2].set_result("two")
    await everybody_waits()
    assert not taking.done()
    provider.asked[0].set_result("nought")
    assert sorted(str(answer) for answer in await taking) == ["nought", "two"]
    assert len(begun) == 2
    await begun.abandon()


async def test_where_few_are_missing_already_the_first_answer_is_taken_alone(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticker, "GATHER", 60)
    begun = flights(flying=3)
    taking = asyncio.create_task(begun.answers(wait=True, left=5))
    await everybody_waits()
    provider.asked[1].set_result("one")
    assert list(map(str, await taking)) == ["one"]
    await begun.abandon()


@pytest.mark.parametrize("wait", [True, False])
async def test_where_none_may_be_missing_all_that_come_together_are_taken_together(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, *, wait: bool
) -> None:
    monkeypatch.setattr(ticker, "GATHER", 60)
    begun = flights(flying=3)
    taking = asyncio.create_task(begun.answers(wait=wait, left=0))
    await everybody_waits()
    for number in (1, 0):
        provider.asked[number].set_result(str(number))
        await everybody_waits()
        assert not taking.done()
    provider.asked[2].set_result("2")
    assert sorted(map(str, await taking)) == ["0", "1", "2"]
    await begun.abandon()


async def test_answers_wait_for_others_no_longer_than_they_may(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticker, "GATHER", 0)
    begun = flights(flying=2)
    taking = asyncio.create_task(begun.answers(wait=True, left=1))
    await everybody_waits()
    provider.asked[0].set_result("nought")
    assert list(map(str, await taking)) == ["nought"]
    await begun.abandon()


async def test_nothing_is_waited_for_where_nothing_flies_or_nobody_asks(
    provider: Provider,
) -> None:
    assert await flights(flying=0).answers(wait=True, left=1) == []
    begun = flights(flying=1)
    assert await begun.answers(wait=False, left=1) == []
    await begun.abandon()
    assert len(begun._flying) == 0
