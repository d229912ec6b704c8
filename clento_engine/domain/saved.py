"""Single values as the editors save them: flags and numbers, also as text, and how to show them."""

import math
import re
from collections.abc import Mapping

from clento_engine.domain.finding import Report

_NUMBER = re.compile(r"[+-]?\d{1,12}(?:\.\d{1,12})?", re.ASCII)
_SHOWN = 40  # characters of a wrong value that a finding repeats


def flag(value: object, node_id: str, where: str, report: Report) -> bool | None:
    """Return a flag; None when it is not saved.  The stored form may hold values as text."""
    match value:
        case bool() | None:
            return value
        case "true":
            return True
        case "false":
            return False
        case _:
            report.error(node_id, where, f"it is {shown(value)}", "save it as true or false")
            return None


def number(value: object) -> int | float | None:
    """Return a finite number, also one saved as text."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value) if "." in value else int(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value if isinstance(value, int) or math.isfinite(value) else None
    return None


def shown(value: object) -> str:
    """Show any JSON value, short and printable, in the middle of a sentence."""
    match value:
        case None:
            return "missing"
        case bool():
            return str(value).lower()
        case str():
            cut = value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…"
            return '"' + "".join(char if char.isprintable() else "\ufffd" for char in cut) + '"'
        case int() if abs(value) >= 10**15:  # Python writes no more than 4,300 digits
            return "a very large number"
        case int() | float():
            return str(value)
        case Mapping():
            return "an object"
        case list():
            return "an array"
        case _:
            return "no JSON value"
