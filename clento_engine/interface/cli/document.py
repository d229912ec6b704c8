"""The workflow file, as an editor exported it."""

import json
from pathlib import Path
from typing import Any

from clento_engine.interface.cli.failures import Refused

LARGEST = 20_000_000  # bytes; the largest workflow seen has 60,000


def read_document(path: Path) -> Any:  # noqa: ANN401  whatever JSON holds
    """Return what the JSON file at `path` holds.  Raises Refused when it cannot be read."""
    try:
        if path.stat().st_size > LARGEST:
            raise Refused(f"{path} is too large for a workflow", "give the editor's export")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Refused(
            f"{path} cannot be read: {error.strerror}", "give the editor's export, a JSON file"
        ) from None
    except UnicodeDecodeError:
        raise Refused(f"{path} is not UTF-8", "export it again from the editor") from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        where = (
            f", line {error.lineno}, column {error.colno}: {error.msg}"
            if isinstance(error, json.JSONDecodeError)
            else ": it is nested too deeply, or has a number too long"
        )
        raise Refused(f"{path} is not JSON{where}", "export it again from the editor") from None


def name_of(document: object, path: Path) -> str:
    """Return what the workflow is called: its own name, or else the file's."""
    name = document.get("name") if isinstance(document, dict) else None
    return name.strip() if isinstance(name, str) and name.strip() else path.stem
