"""Check that SQL, HTTP, the clock and commands keep their rooms: `check_rooms.py [the folder]`.

Prints `file:line: what: what to do instead` for each violation; the status is then 1.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SQL_LIBRARIES = {"alembic", "psycopg", "psycopg_pool", "sqlalchemy"}
SQL_ROOMS = ("store/",)

HTTP_LIBRARIES = {"aiohttp", "http.client", "httpx", "httpx_aiohttp", "requests", "urllib.request"}
HTTP_ROOMS = (
    "provider/",
    "runtime/outbox.py",  # posts to the customers' own webhooks, not to Unipile
    "runtime/egress.py",  # the connections that the outbox posts by
    "config.py",  # asks a simulator on this host what time it is
    "simulator/webhooks.py",  # is Unipile: it posts to our webhook
    "simulator/remote.py",  # steers a simulator that is a process of its own
    "simulator/app.py",  # breaks a connection in the words of the client under test
    "interface/demo",  # its people and its engine talk HTTP on this host
    "interface/cli/demo",
    "interface/chaos",  # hands webhooks on, twice and late, on this host
)

CLOCK_ROOMS = ("runtime/clock.py",)
CLOCK_READINGS = {
    "datetime.date.today",
    "datetime.datetime.now",
    "datetime.datetime.today",
    "datetime.datetime.utcnow",
    "time.ctime",
    "time.gmtime",
    "time.localtime",
    "time.time",
    "time.time_ns",
}  # time.monotonic, perf_counter and the loop's time tell durations, not the time

# An API must not answer in the words of a shell: what people can do is said where they read it.
INNER_ROOMS = ("domain/", "store/", "provider/", "runtime/")
_COMMAND = re.compile(r"\bclento [a-z]+ [a-z-]+|`clento |(?<![\w-])--[a-z]{2,}(-[a-z]+)*(?![\w=-])")
COMMAND_ROOMS = ("store/server.py",)  # runs PostgreSQL's own programs

_STATEMENT = re.compile(
    r"""select\s.*\sfrom\s
      | insert\s+into\s
      | update\s+\S+\s+(?:(?:as\s+)?\w+\s+)?set\s
      | delete\s+from\s
      | with\s+(?:recursive\s+)?\w+\s+as\s+(?:(?:not\s+)?materialized\s*)?\(
      | (?:create|alter|drop)\s.*\b(?:table|index|view|schema|database|role|function|policy|type)\s
      | truncate\s+\S""",
    re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True, order=True)
class Violation:
    """Something in the wrong room, at a place relative to the project."""

    file: str
    line: int
    what: str
    instead: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}: {self.instead}"


def violations(project: Path) -> list[Violation]:
    """Return everything in `project`'s package that is in the wrong room, in order."""
    package = project / "clento_engine"
    return sorted(
        Violation(path.relative_to(project).as_posix(), line, what, instead)
        for path in package.rglob("*.py")
        if not path.is_relative_to(package / "migrations")
        for line, what, instead in _found(
            ast.parse(path.read_bytes()), path.relative_to(package).as_posix()
        )
    )


def _found(tree: ast.Module, place: str) -> Iterator[tuple[int, str, str]]:
    names: dict[str, str] = {}  # what a name of this module stands for
    imports: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias, full in _imported(node):
                names[alias] = full
                imports.append((node.lineno, full))
    if not place.startswith(SQL_ROOMS):
        for line, name in imports:
            if _within(name, SQL_LIBRARIES):
                yield line, f"import of {name}", "only store/ speaks to PostgreSQL"
        for line, text in _texts(tree):
            if _is_statement(text):
                yield line, f"SQL ({' '.join(text.split())[:40]} …)", "make it a function of store/"
    if place.startswith(INNER_ROOMS) and not place.startswith(COMMAND_ROOMS):
        for line, text in _texts(tree):
            if not _is_statement(text) and (command := _COMMAND.search(text)):
                yield line, f"a command ({command[0]})", "carry fields, and word it in interface/"
    if not place.startswith(HTTP_ROOMS):
        for line, name in imports:
            if _within(name, HTTP_LIBRARIES):
                yield line, f"import of {name}", "only provider/ sends HTTP"
    if not place.startswith(CLOCK_ROOMS):
        for node in ast.walk(tree):
            if isinstance(node, (ast.Attribute, ast.Name)):
                used = _full_name(node, names)
                if used in CLOCK_READINGS:
                    yield node.lineno, f"use of {used}", "take `now` as an argument"


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    """Yield what an import binds: the name here, and what it stands for."""
    match node:
        case ast.Import(names=aliases):
            for alias in aliases:
                yield (
                    alias.asname or alias.name.split(".")[0],
                    (alias.name if alias.asname else alias.name.split(".")[0]),
                )
                if "." in alias.name and not alias.asname:
                    yield alias.name, alias.name
        case ast.ImportFrom(module=str(module), names=aliases, level=0):
            for alias in aliases:
                yield alias.asname or alias.name, f"{module}.{alias.name}"
        case _:
            return


def _within(name: str, libraries: set[str]) -> bool:
    return any(name == library or name.startswith(f"{library}.") for library in libraries)


def _full_name(node: ast.expr, names: dict[str, str]) -> str | None:
    match node:
        case ast.Name(id=name):
            return names.get(name)
        case ast.Attribute(value=value, attr=attribute):
            inner = _full_name(value, names)
            return f"{inner}.{attribute}" if inner else None
        case _:
            return None


def _texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the strings a module uses: not its docstrings, an f-string as one."""
    passed = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr(values=parts):
                passed.update(map(id, parts))
                texts = [p.value if isinstance(p, ast.Constant) else "x" for p in parts]
                yield node.lineno, "".join(map(str, texts))
            case ast.Constant(value=str(text)) if id(node) not in passed:
                yield node.lineno, text
            case _:
                pass


def _is_statement(text: str) -> bool:
    """Tell SQL from prose, which begins with a capital and goes on in small letters."""
    first = text.split(maxsplit=1)[:1]
    in_one_case = bool(first) and (first[0].islower() or first[0].isupper())
    return in_one_case and _STATEMENT.match(text.strip().lower()) is not None


def main() -> int:
    project = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent
    found = violations(project)
    for violation in found:
        print(violation)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
