"""The loop of a storm in virtual time, and whose turn it is there."""

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar

import httpx
import pytest

from clento_engine.interface.chaos.virtual.case import drawn
from clento_engine.interface.chaos.virtual.loop import NothingLeft, VirtualLoop, clocked_by
from clento_engine.interface.chaos.virtual.process import Process, SlowWire, Turns, Weather

T = TypeVar("T")
MONTH_S = 30 * 86_400.0


def run(coro: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        with clocked_by(loop):
            return runner.run(coro)


def test_time_jumps_to_the_next_timer_and_tells_the_whole_process() -> None:
    seen: list[tuple[str, float]] = []

    async def sleep(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((name, time.monotonic()))

    async def both() -> None:
        await asyncio.gather(sleep("late", MONTH_S), sleep("soon", 1.5))

    before = time.monotonic
    run(both())
    assert seen == [("soon", 1.5), ("late", MONTH_S)]
    assert time.monotonic is before


def test_a_time_limit_is_over_when_its_virtual_time_is() -> None:
    async def limited() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await asyncio.sleep(101)
        return time.monotonic()

    assert run(limited()) == 100


def test_who_waits_for_nothing_is_told_so() -> None:
    async def wait() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(NothingLeft):
        run(wait())


def test_it_is_quiet_when_everybody_else_has_gone_as_far_as_they_can() -> None:
    async def steps() -> list[int]:
        done: list[int] = []

        async def go() -> None:
            for number in range(5):
                await asyncio.sleep(0)
                done.append(number)

        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        going = asyncio.create_task(go())
        await loop.quiet()
        at_quiet = list(done)
        await going
        return at_quiet

    assert run(steps()) == [0, 1, 2, 3, 4]


async def _took_turns(seed: int) -> list[int]:
    turns, order = Turns(drawn(seed)), list[int]()

    async def take(number: int) -> None:
        async with turns.turn():
            order.append(number)
            await asyncio.sleep(1)
            assert order[-1] == number  # nobody came in between

    await asyncio.gather(*(take(number) for number in range(8)))
    return order


def test_one_has_a_turn_at_a_time_and_the_seed_says_who_is_next() -> None:
    assert run(_took_turns(1)) == run(_took_turns(1))
    assert sorted(run(_took_turns(1))) == list(range(8))
    assert len({tuple(run(_took_turns(seed))) for seed in range(5)}) > 1


def test_nobody_has_a_turn_while_a_dead_process_is_buried() -> None:
    async def buried() -> tuple[bool, bool]:
        turns, had = Turns(drawn(0)), asyncio.Event()

        async def take() -> None:
            async with turns.turn():
                had.set()

        turns.stand_still()
        taking = asyncio.create_task(take())
        await asyncio.sleep(1)
        before = had.is_set()
        turns.go_on()
        await taking
        return before, had.is_set()

    assert run(buried()) == (False, True)


def test_a_turn_that_was_given_to_somebody_cancelled_goes_on() -> None:
    async def cancelled() -> bool:
        turns = Turns(drawn(0))
        async with turns.turn():
            waiting = [asyncio.create_task(_have(turns)) for _ in range(3)]
            await asyncio.sleep(1)
            waiting[1].cancel()
        done = await asyncio.gather(*waiting, return_exceptions=True)
        async with turns.turn():
            return [type(each) for each in done].count(asyncio.CancelledError) == 1

    assert run(cancelled())


async def _have(turns: Turns) -> None:
    async with turns.turn():
        await asyncio.sleep(1)


def test_a_request_of_a_process_that_slept_before_it_is_not_written() -> None:
    """As our transport does: what was looked at before the sleep holds no more."""

    async def sent() -> list[str]:
        wire, process, reached = _wire()
        process.wakes_at = 1000.0
        with pytest.raises(httpx.ConnectTimeout):
            await wire.handle_async_request(httpx.Request("GET", "http://provider/"))
        assert time.monotonic() >= 1000
        await wire.handle_async_request(httpx.Request("GET", "http://provider/again"))
        return reached

    assert run(sent()) == ["/again"]


def _wire() -> tuple[SlowWire, Process, list[str]]:
    reached: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        reached.append(request.url.path)
        return httpx.Response(200)

    nobody: Any = None  # no database is talked to
    process = Process(
        turns=Turns(drawn("turns")),
        chance=drawn("latency"),
        witness=nobody,
        weather=Weather(),
        counts=Counter(),
    )
    return SlowWire(httpx.MockTransport(answer), process), process, reached
