"""The tally of deaths, told at the end of the run."""

import pytest
from tally import Tally

TALLY = pytest.StashKey[Tally]()


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> Tally:
    return pytestconfig.stash.setdefault(TALLY, Tally())


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    tally = config.stash.get(TALLY, None)
    if tally is not None:
        terminalreporter.section("crash points")
        for line in tally.lines():
            terminalreporter.write_line(line)
