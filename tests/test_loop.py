"""The runner of our processes."""

import asyncio
import gc
import sys
from collections.abc import Iterator

import pytest
import uvloop

from clento_engine.loop import SELDOM, new_runner


@pytest.fixture(autouse=True)
def pace() -> Iterator[None]:
    """Give this process its own pace back."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_our_processes_run_on_uvloop_and_seldom_look_for_cycles() -> None:
    with new_runner() as runner:
        assert isinstance(runner.get_loop(), uvloop.Loop)
        assert gc.get_threshold() == SELDOM


def test_without_uvloop_they_run_on_asyncios_own_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)  # as where it is not installed
    with new_runner() as runner:
        assert isinstance(runner.get_loop(), asyncio.SelectorEventLoop)
