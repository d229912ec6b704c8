"""Whatever a file of leads comes through, it is read in bounded memory."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from clento_engine.interface.leads.layout import layout
from clento_engine.interface.leads.reading import read_leads
from clento_engine.interface.leads.source import LONGEST_LINE, UnreadableFile, kept

LEA = b"https://www.linkedin.com/in/lea-moreau"
MEGABYTE = b"x" * (1 << 20)


class Writer(threading.Thread):
    """Writes chunks into a pipe until nobody reads any more."""

    def __init__(self, pipe: Path, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._pipe = pipe
        self._chunks = chunks
        self.written = 0

    def run(self) -> None:
        try:
            with self._pipe.open("wb", buffering=0) as file:
                for chunk in self._chunks:
                    self.written += file.write(chunk) or 0
        except BrokenPipeError:
            return


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def test_a_pipe_is_read_as_a_file_is(pipe: Path) -> None:
    writer = Writer(pipe, iter([b"LinkedIn,Notes\n", LEA, b",a\n"]))
    writer.start()
    with kept(pipe) as path:
        (lead,) = read_leads(path, layout(path))
    writer.join()
    assert lead.row_number == 1
    assert not path.exists()


def test_a_line_without_end_is_refused_before_it_is_read(pipe: Path) -> None:
    writer = Writer(pipe, (MEGABYTE for _ in range(300)))
    writer.start()
    with pytest.raises(UnreadableFile, match="line 1 has more than 4 MB"), kept(pipe):
        pass
    writer.join()
    assert writer.written < 2 * LONGEST_LINE


@pytest.mark.parametrize(("before", "number"), [(b"", 1), (b"LinkedIn\n" + LEA + b"\n", 3)])
def test_a_long_line_of_a_file_is_named(tmp_path: Path, before: bytes, number: int) -> None:
    path = tmp_path / "leads.csv"
    path.write_bytes(before + MEGABYTE * 6)
    with pytest.raises(UnreadableFile, match=f"line {number} has more than"):
        layout(path)


def test_a_file_is_read_where_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "leads.csv"
    with kept(path) as lent:
        assert lent == path


@pytest.mark.parametrize("what", ["folder", "missing"])
def test_what_cannot_be_opened_says_so(tmp_path: Path, what: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UnreadableFile, match="cannot be read"), kept(tmp_path / what) as path:
        layout(path)
