"""What this host remembers of the database, outside it: the last action that it saw committed.

A backup takes its stamp back with it, and knows nothing newer; the host does.
"""

import asyncio
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

import msgspec

from clento_engine.domain.action import ActionState
from clento_engine.domain.report import Report
from clento_engine.store.database import Conn
from clento_engine.store.marks import Mark, mark_of

EVERY_S = 3.0  # of real time: how much newer than what is remembered the ledger may be

log = logging.getLogger(__name__)


class Marks:
    """The marks of the databases that this host works on: a small file each, in `folder`."""

    def __init__(self, folder: Path) -> None:
        """Remember nothing yet; the folder is made when something is."""
        self._folder = folder
        self._committed: Report | None = None
        self._next = 0.0

    def read(self, database_id: UUID) -> Mark | None:
        """Return what is remembered of a database; None when nothing is, or it cannot be read."""
        try:
            return msgspec.json.decode(self._file(database_id).read_bytes(), type=Mark)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            self._warn(error)
            return None

    def write(self, database_id: UUID, mark: Mark) -> None:
        """Remember `mark`: all of it or, should the host stop meanwhile, what was before."""
        file = self._file(database_id)
        unfinished = file.with_suffix(f".{os.getpid()}")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with unfinished.open("wb") as writing:
                writing.write(msgspec.json.encode(mark))
                writing.flush()
                os.fsync(writing.fileno())
            unfinished.replace(file)
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            self._warn(error)

    def committed(self, reports: Iterable[Report]) -> None:
        """Note the last of the outcomes that were committed just now."""
        for report in reports:
            if report.ticket is not None and report.state not in (None, ActionState.UNKNOWN):
                self._committed = report

    async def keep(self, conn: Conn, database_id: UUID, *, at_once: bool = False) -> None:
        """Remember what was noted: every few seconds at most, unless `at_once`."""
        report = self._committed
        if report is None or report.ticket is None:
            return
        if time.monotonic() < self._next and not at_once:
            return
        self._next, self._committed = time.monotonic() + EVERY_S, None
        mark = await mark_of(conn, report.organization_id, report.lead_id, report.ticket.token)
        if mark is not None:  # its token may have been another's by then
            await asyncio.to_thread(self.write, database_id, mark)

    def _file(self, database_id: UUID) -> Path:
        return self._folder / f"{database_id}.json"

    def _warn(self, error: Exception) -> None:
        log.warning(
            "what this host knows of the database is not kept",
            extra={"folder": str(self._folder), "reason": str(error), "alert": True},
        )
