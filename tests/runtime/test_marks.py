"""What a host remembers of the database: one file, whole or as it was."""

import logging
from pathlib import Path

import pytest
from uuid_utils.compat import uuid4

from clento_engine.runtime.marks import Marks
from clento_engine.store.marks import Mark


def mark(number: int) -> Mark:
    return Mark(uuid4(), uuid4(), number, uuid4())


def test_each_database_has_a_mark_of_its_own(tmp_path: Path) -> None:
    marks, one, other = Marks(tmp_path / "state"), uuid4(), uuid4()
    assert marks.read(one) is None
    first, second = mark(1), mark(2)
    marks.write(one, first)
    marks.write(one, second)
    marks.write(other, first)
    assert (marks.read(one), marks.read(other)) == (second, first)
    assert len(list((tmp_path / "state").iterdir())) == 2  # nothing unfinished is left


def test_a_host_that_stops_while_it_writes_remembers_what_was_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks, database = Marks(tmp_path), uuid4()
    first = mark(1)
    marks.write(database, first)

    def stop(_from: Path, _to: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        marks.write(database, mark(2))
    assert marks.read(database) == first


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[1]"])
def test_what_cannot_be_read_is_said_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    marks, database = Marks(tmp_path), uuid4()
    (tmp_path / f"{database}.json").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert marks.read(database) is None
    assert "not kept" in caplog.text


def test_where_nothing_can_be_written_work_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        Marks(tmp_path / "file" / "state").write(uuid4(), mark(1))
    assert "not kept" in caplog.text
