"""Settings, read from the environment once; only `interface` reads them and hands values down."""

import http.client
import json
import logging
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from clento_engine.domain.reach import PUBLIC, SETTING, Reach, masked, read_reach
from clento_engine.runtime.clock import Clock, SpeedClock, VirtualClock, system_clock
from clento_engine.store.address import passwords
from clento_engine.store.pooler import Pooler
from clento_engine.store.schema import SCHEMA, is_schema_name

CLOCK_TIMEOUT_S = 2.0  # the simulator is on this machine: longer, and it is not there
# what a log line never says, whoever adds it: what is written to people, and keys
_NEVER_LOGGED = frozenset(
    {"text", "subject", "payload", "body", "token", "access_token", "authorization", "secret"}
)
_PLAIN_RECORD = logging.makeLogRecord({}).__dict__.keys() | {"message", "asctime", "taskName"}
_SHORTEST_SECRET = 4  # anything shorter would blank ordinary words
_MOST_AT_ONCE = 1_000  # each is a connection, and an unknown outcome after a crash

log = logging.getLogger(__name__)


class LogFormat(StrEnum):
    """How log lines are written."""

    TEXT = "text"
    JSON = "json"


class BadSetting(ValueError):
    """An environment variable is missing or cannot be right: `problem`, and the `fix`."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(f"{problem}: {fix}")
        self.problem = problem
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says.  `database_url` None is the embedded server in `data_dir`."""

    data_dir: Path
    database_url: str | None = field(default=None, repr=False)
    unipile_dsn: str | None = None
    unipile_access_token: str | None = field(default=None, repr=False)
    webhook_secret: str | None = field(default=None, repr=False)
    log_format: LogFormat = LogFormat.TEXT
    organization: str | None = None
    requests_at_once: int | None = None  # of one ticker
    webhooks_may_reach: Reach = PUBLIC  # besides public addresses
    trust_storage: bool = False  # that a commit is kept though `fsync` is off
    schema: str = SCHEMA  # of the database, that our tables stand in
    pooler: Pooler | None = None  # before the database; None: it is found out
    state_dir: Path | None = None  # what this host remembers of its databases; None: nowhere
    clock_jump: str | None = None  # of `clento chaos`; heard only where Unipile is simulated

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no log line may hold."""
        given = (
            self.unipile_access_token,
            self.webhook_secret,
            *passwords(self.database_url or ""),
        )
        return tuple(value for value in given if value and len(value) >= _SHORTEST_SECRET)

    def unipile(self) -> tuple[str, str]:
        """Return DSN and access token of Unipile.  Raises BadSetting when one is missing."""
        if self.unipile_dsn is None:
            raise BadSetting(
                "UNIPILE_DSN is not set",
                "set it to the host and port of Unipile's dashboard, or try everything out with "
                "`clento simulator serve`",
            )
        if self.unipile_access_token is None:
            raise BadSetting(
                "UNIPILE_ACCESS_TOKEN is not set",
                "set it to an access token of Unipile's dashboard (any word for the simulator)",
            )
        return self.unipile_dsn, self.unipile_access_token


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings; an empty variable counts as not set.  Raises BadSetting."""

    def value(name: str) -> str | None:
        return environment.get(name, "").strip() or None

    form = value("CLENTO_LOG_FORMAT") or LogFormat.TEXT.value
    if form not in list(LogFormat):
        raise BadSetting(
            f"CLENTO_LOG_FORMAT is {form!r}", f"set it to {' or '.join(LogFormat)}, or leave it out"
        )
    return Settings(
        data_dir=_data_dir(environment),
        database_url=value("DATABASE_URL"),
        unipile_dsn=value("UNIPILE_DSN"),
        unipile_access_token=value("UNIPILE_ACCESS_TOKEN"),
        webhook_secret=value("CLENTO_WEBHOOK_SECRET"),
        log_format=LogFormat(form),
        organization=value("CLENTO_ORG"),
        requests_at_once=_requests_at_once(value("CLENTO_REQUESTS_AT_ONCE")),
        webhooks_may_reach=_webhooks_may_reach(value(SETTING)),
        trust_storage=_trust_storage(value("CLENTO_TRUST_STORAGE")),
        schema=_schema(value("CLENTO_SCHEMA")),
        pooler=_pooler(value("CLENTO_POOLER")),
        state_dir=_state_dir(environment),
        clock_jump=value("CLENTO_CHAOS_CLOCK_JUMP"),
    )


def _requests_at_once(given: str | None) -> int | None:
    if given is None:
        return None
    if not re.fullmatch("[0-9]{1,4}", given) or not 1 <= int(given) <= _MOST_AT_ONCE:
        raise BadSetting(
            f"CLENTO_REQUESTS_AT_ONCE is {given!r}",
            f"set it to a number from 1 to {_MOST_AT_ONCE:,}, or leave it out",
        )
    return int(given)


def _webhooks_may_reach(given: str | None) -> Reach:
    try:
        return read_reach(given or "")
    except ValueError as error:
        raise BadSetting(
            f"{SETTING}: {error}",
            "list hosts and networks with commas between: 10.0.0.0/8,hooks.internal.example",
        ) from None


def _schema(given: str | None) -> str:
    if given is not None and not is_schema_name(given):
        raise BadSetting(
            f"CLENTO_SCHEMA is {given!r}",
            f"set it to small letters, digits and _ that name a schema for our tables alone, not"
            f" `public`, or leave it out for `{SCHEMA}`",
        )
    return given or SCHEMA


def _pooler(given: str | None) -> Pooler | None:
    if given is not None and given not in list(Pooler):
        raise BadSetting(
            f"CLENTO_POOLER is {given!r}",
            f"set it to {', '.join(Pooler)} (transaction mode that keeps prepared statements), or"
            " leave it out: it is found out",
        )
    return None if given is None else Pooler(given)


def _trust_storage(given: str | None) -> bool:
    if given not in (None, "0", "1"):
        raise BadSetting(f"CLENTO_TRUST_STORAGE is {given!r}", "set it to 1, or leave it out")
    return given == "1"


def _data_dir(environment: Mapping[str, str]) -> Path:
    return _folder(environment, "CLENTO_DATA_DIR", "XDG_DATA_HOME", Path(".local/share"))


def _state_dir(environment: Mapping[str, str]) -> Path:
    """Return where this host remembers its databases: never where one is, or restored with it."""
    return _folder(environment, "CLENTO_STATE_DIR", "XDG_STATE_HOME", Path(".local/state"))


def _folder(environment: Mapping[str, str], ours: str, standard: str, in_home: Path) -> Path:
    if given := environment.get(ours, "").strip():
        return Path(given).expanduser()
    if (given := environment.get(standard, "").strip()) and Path(given).is_absolute():
        return Path(given) / "clento"  # the standard says to pass over a relative path
    return Path.home() / in_home / "clento"


def clock_for(settings: Settings) -> Clock:
    """Return the clock to live by: the simulator's when Unipile is one on this machine.

    Asked once, and only of a loopback host over http, which no real Unipile is.
    """
    told = _simulated(settings.unipile_dsn)
    if told is None:
        return system_clock
    now, speed = told
    return SpeedClock(now, speed) if speed > 0 else VirtualClock(now)


def simulated(settings: Settings) -> bool:
    """Whether Unipile is a simulator on this machine."""
    return _simulated(settings.unipile_dsn) is not None


def _simulated(dsn: str | None) -> tuple[datetime, float] | None:
    """Return what a simulator at `dsn` says of the time: the instant and its speed."""
    try:
        url = urlsplit(dsn or "")
        host, port = url.hostname, url.port
    except ValueError:
        return None
    if url.scheme != "http" or host is None or not _is_loopback(host):
        return None
    connection = http.client.HTTPConnection(host, port, timeout=CLOCK_TIMEOUT_S)
    try:
        connection.request("GET", "/simulator/clock")
        answer = connection.getresponse()
        told = json.loads(answer.read()) if answer.status == http.HTTPStatus.OK else None
        if not isinstance(told, dict) or told.get("object") != "SimulatorClock":
            return None
        now = datetime.fromisoformat(told["now"])
        return (now.astimezone(UTC), float(told["speed"])) if now.tzinfo is not None else None
    except (TimeoutError, ConnectionResetError) as error:
        # Were it a simulator, our own clock would be wrong by months.
        raise BadSetting(
            f"{dsn} listens, and does not say whether it is a simulator ({error})",
            "see what runs there, or try again",
        ) from None
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        log.debug("no simulator's clock", extra={"reason": str(error)})
        return None
    finally:
        connection.close()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def set_up_logging(settings: Settings, stream: TextIO, *, level: int = logging.INFO) -> None:
    """Write log lines to `stream`: a message and its stable keys, never a secret.

    Called again, it replaces what was set up before.
    """
    handler = logging.StreamHandler(stream)
    lines = JsonLines if settings.log_format is LogFormat.JSON else TextLines
    handler.setFormatter(lines(settings.secrets))
    root = logging.getLogger()
    for before in root.handlers[:]:
        if isinstance(before.formatter, _Lines):
            root.removeHandler(before)
    root.addHandler(handler)
    root.setLevel(level)
    for loud in ("httpx", "httpcore", "apscheduler", "alembic", "asyncio"):
        logging.getLogger(loud).setLevel(max(level, logging.WARNING))


class _Lines(logging.Formatter):
    def __init__(self, secrets: Collection[str]) -> None:
        super().__init__()
        self._secrets = sorted(secrets, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without any secret."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        keys = {
            key: value
            for key, value in record.__dict__.items()
            if key not in _PLAIN_RECORD and key not in _NEVER_LOGGED
        }
        if record.exc_info:
            keys["exception"] = self.formatException(record.exc_info)
        line = self.line(at, record, keys)
        for secret in self._secrets:
            line = line.replace(secret, "***")
        return masked(line)

    def line(self, at: str, record: logging.LogRecord, keys: Mapping[str, object]) -> str:
        raise NotImplementedError


class JsonLines(_Lines):
    """One JSON object a line: at, level, logger, message, and the keys of the message."""

    def line(self, at: str, record: logging.LogRecord, keys: Mapping[str, object]) -> str:
        """Write the object."""
        told = {
            "at": at,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        return json.dumps({**keys, **told}, default=str, ensure_ascii=False)


class TextLines(_Lines):
    """For people: time, level, message, then key=value."""

    def line(self, at: str, record: logging.LogRecord, keys: Mapping[str, object]) -> str:
        """Write the line."""
        told = "".join(f" {key}={value}" for key, value in keys.items() if key != "exception")
        trace = f"\n{keys['exception']}" if "exception" in keys else ""
        return f"{at} {record.levelname.lower():7} {record.getMessage()}{told}{trace}"
