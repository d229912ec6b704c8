"""Settings come from the environment, once; log lines have stable keys and no secrets."""

import io
import json
import logging
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commanded import TRUSTING

from clento_engine.config import (
    BadSetting,
    LogFormat,
    Settings,
    read_settings,
    set_up_logging,
)

TOKEN = "kept-to-ourselves"  # noqa: S105
PASSWORD = "p@ss word"  # noqa: S105
CLENTO = Path(sys.executable).with_name("clento")


def test_nothing_set_is_enough() -> None:
    settings = read_settings({"HOME": "/home/lea"})
    assert settings.database_url is None
    assert settings.data_dir == Path.home() / ".local/share/clento"
    assert settings.log_format is LogFormat.TEXT


def test_an_empty_variable_is_not_set() -> None:
    assert read_settings({"DATABASE_URL": " ", "CLENTO_ORG": ""}) == read_settings({})


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"XDG_DATA_HOME": "/data"}, "/data/clento"),
        ({"XDG_DATA_HOME": "data"}, str(Path.home() / ".local/share/clento")),
        ({"CLENTO_DATA_DIR": "/srv/clento", "XDG_DATA_HOME": "/data"}, "/srv/clento"),
        ({"CLENTO_DATA_DIR": "~/clento"}, str(Path.home() / "clento")),
    ],
)
def test_the_data_folder(environment: dict[str, str], folder: str) -> None:
    assert read_settings(environment).data_dir == Path(folder)


def test_a_wrong_or_missing_setting_has_its_fix() -> None:
    with pytest.raises(BadSetting, match="set it to text or json"):
        read_settings({"CLENTO_LOG_FORMAT": "yaml"})
    with pytest.raises(BadSetting, match="UNIPILE_DSN is not set"):
        read_settings({}).unipile()
    with pytest.raises(BadSetting, match="UNIPILE_ACCESS_TOKEN is not set"):
        read_settings({"UNIPILE_DSN": "api8.unipile.com:13443"}).unipile()


@pytest.mark.parametrize("given", ["0", "1001", "many", "-5", "2.5", "\u0663"])
def test_requests_at_once_are_a_number_a_ticker_can_have(given: str) -> None:
    with pytest.raises(BadSetting, match="set it to a number from 1 to 1,000") as refused:
        read_settings({"CLENTO_REQUESTS_AT_ONCE": given})
    assert given in str(refused.value)
    assert read_settings({"CLENTO_REQUESTS_AT_ONCE": "1000"}).requests_at_once == 1000
    assert read_settings({}).requests_at_once is None


def test_storage_is_trusted_by_one_word() -> None:
    assert read_settings({"CLENTO_TRUST_STORAGE": "1"}).trust_storage
    assert not read_settings({"CLENTO_TRUST_STORAGE": "0"}).trust_storage
    assert not read_settings({}).trust_storage
    with pytest.raises(BadSetting, match="CLENTO_TRUST_STORAGE is 'yes': set it to 1"):
        read_settings({"CLENTO_TRUST_STORAGE": "yes"})


def test_settings_show_no_secret() -> None:
    settings = read_settings(
        {
            "UNIPILE_ACCESS_TOKEN": TOKEN,
            "CLENTO_WEBHOOK_SECRET": TOKEN,
            "DATABASE_URL": "postgresql://clento:p%40ss%20word@db/clento",
        }
    )
    assert TOKEN not in repr(settings)
    assert "p%40ss" not in repr(settings)
    assert set(settings.secrets) == {TOKEN, PASSWORD}


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = before
    root.setLevel(level)


def settings(form: LogFormat) -> Settings:
    return Settings(data_dir=Path("/nowhere"), unipile_access_token=TOKEN, log_format=form)


def log_something() -> None:
    log = logging.getLogger("clento_engine.test")
    log.info("sent %s", TOKEN, extra={"account_id": 7, "text": "Dear Lea", "why": f"of {TOKEN}"})
    logging.getLogger("httpx").info("GET https://…")


def test_json_lines_have_stable_keys_and_no_secret(lines: io.StringIO) -> None:
    set_up_logging(settings(LogFormat.JSON), lines)
    set_up_logging(settings(LogFormat.JSON), lines)  # twice is as once
    log_something()
    [line] = lines.getvalue().splitlines()
    told = json.loads(line)
    at = told.pop("at")
    assert at.endswith("+00:00")
    assert told == {
        "level": "info",
        "logger": "clento_engine.test",
        "message": "sent ***",
        "account_id": 7,
        "why": "of ***",
    }


def test_text_lines_say_the_same(lines: io.StringIO) -> None:
    set_up_logging(settings(LogFormat.TEXT), lines)
    log_something()
    try:
        int(TOKEN)
    except ValueError:
        logging.getLogger("clento_engine.test").exception("job failed", extra={"job": "tick"})
    first, second, *trace = lines.getvalue().splitlines()
    assert first.endswith("info    sent *** account_id=7 why=of ***")
    assert second.endswith("error   job failed job=tick")
    assert trace[-1] == "ValueError: invalid literal for int() with base 10: '***'"


def on_a_terminal(environment: dict[str, str], *words: str) -> str:
    """Return what a command writes to a terminal."""
    ours, theirs = pty.openpty()
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    with subprocess.Popen(
        [CLENTO, *words],
        stdout=theirs,
        stderr=theirs,
        env={**plain, **TRUSTING, "TERM": "xterm-256color", **environment},
    ) as run:
        os.close(theirs)
        said = b""
        try:
            while part := os.read(ours, 65536):
                said += part
        except OSError:
            pass  # the other end is closed: how a terminal ends
    os.close(ours)
    assert run.returncode == 0, said
    return said.decode()


def test_a_terminal_has_styles_unless_no_color_is_set(dsn: str) -> None:
    environment = {"DATABASE_URL": dsn, "CLENTO_LOG_FORMAT": "", "CLENTO_ORG": ""}
    on_a_terminal(environment, "org", "create", "Acme")
    assert "\x1b[1m" in on_a_terminal(environment, "org", "list")
    plain = on_a_terminal({**environment, "NO_COLOR": "1"}, "org", "list")
    assert "Acme" in plain
    assert "\x1b" not in plain


def test_an_import_that_somebody_watches_shows_its_progress(dsn: str, tmp_path: Path) -> None:
    environment = {"DATABASE_URL": dsn, "CLENTO_LOG_FORMAT": "", "CLENTO_ORG": ""}
    on_a_terminal(environment, "org", "create", "Acme")
    path = tmp_path / "leads.csv"
    rows = "".join(f"https://www.linkedin.com/in/person-{number}\n" for number in range(12_000))
    path.write_text(f"LinkedIn URL\n{rows}")
    said = on_a_terminal(environment, "leads", "import", str(path), "--list", "spring")
    assert "people read" in said
    assert "spring: 12,000 added" in said
