"""`clento` is a map that an operator can read, and that is drawn without importing the house."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from clento_engine.interface.cli import COMMANDS, Command, Group, LazyGroup, cli

HEAVY = {"sqlalchemy", "alembic", "httpx", "rich", "psycopg", "uvicorn", "asyncio", "starlette"}


def commands(group: LazyGroup = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, place in group.places.items():
        if isinstance(place, Group):
            inner = group.get_command(click.Context(group), name)
            assert isinstance(inner, LazyGroup)
            yield from commands(inner, (*path, name))
        else:
            yield (*path, name)


ALL = list(commands())


def found(path: tuple[str, ...]) -> tuple[click.Command, Command]:
    group: click.Command = cli
    for name in path[:-1]:
        assert isinstance(group, LazyGroup)
        inner = group.get_command(click.Context(group), name)
        assert inner is not None
        group = inner
    assert isinstance(group, LazyGroup)
    command = group.get_command(click.Context(group), path[-1])
    place = group.places[path[-1]]
    assert command is not None
    assert isinstance(place, Command)
    return command, place


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_the_map_says_what_the_command_says(path: tuple[str, ...]) -> None:
    command, place = found(path)
    assert place.help == f"{command.get_short_help_str(limit=200).rstrip('.')}."
    assert len(place.help) <= 70
    assert command.name == path[-1]


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_help_has_an_example_and_json(path: tuple[str, ...]) -> None:
    said = CliRunner().invoke(cli, [*path, "--help"])
    assert said.exit_code == 0
    assert "Example" in said.stdout
    assert f"clento {' '.join(path)}" in said.stdout.partition("Example")[2]
    assert "--json" in said.stdout


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_option_is_explained(path: tuple[str, ...]) -> None:
    command, _ = found(path)
    unexplained = [
        option.opts
        for option in command.params
        if isinstance(option, click.Option) and not option.help
    ]
    assert unexplained == []


def test_without_a_command_the_map_is_shown() -> None:
    said = CliRunner().invoke(cli, ["campaign"])
    assert said.exit_code == 2
    for name in COMMANDS["campaign"].commands:  # type: ignore[union-attr]
        assert name in said.stderr


@pytest.mark.parametrize("words", [["--help"], ["campaign", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys\n"
        "from clento_engine.interface.cli import cli\n"
        "try:\n    cli.main(sys.argv[1:])\n"
        "except SystemExit as end:\n    assert end.code == 0, end.code\n"
        "print(*sorted(name.partition('.')[0] for name in sys.modules), file=sys.stderr)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
    )
    assert run.stdout
    assert HEAVY.isdisjoint(run.stderr.split())
    assert not any(name.startswith("clento_engine.store") for name in run.stderr.split())


def test_the_installed_program_answers_and_is_honest() -> None:
    program = Path(sys.executable).with_name("clento")
    environment = {**os.environ, "CLENTO_LOG_FORMAT": "", "DATABASE_URL": "mysql://nowhere"}
    fine = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)
    assert (fine.returncode, fine.stderr) == (0, "")
    failed = subprocess.run(
        [program, "org", "list"], capture_output=True, text=True, check=False, env=environment
    )
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert failed.stderr.startswith("Error: DATABASE_URL must look like postgresql://")
    assert "Traceback" not in failed.stderr
    misused = subprocess.run(
        [program, "org", "delete"], capture_output=True, text=True, check=False
    )
    assert (misused.returncode, misused.stdout) == (2, "")
    assert "No such command 'delete'" in misused.stderr


def test_a_usage_error_is_json_when_json_is_asked_for() -> None:
    said = CliRunner().invoke(cli, ["campaign", "start", "--json"])
    assert said.exit_code == 2
    assert said.stdout.startswith('{"error": "Missing argument')
    assert said.stderr == ""
