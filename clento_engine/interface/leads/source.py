"""Where a file of leads comes from and how its bytes are read: pipes, encodings, what is no CSV."""

import codecs
import re
import stat
import sys
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOSPC
from pathlib import Path
from typing import BinaryIO

STDIN = Path("-")
LONGEST_LINE = 4 << 20  # bytes: no row of a table is as long, and a line is read whole
_CHUNK = 1 << 20  # bytes
_WORD = 20  # bytes shown on each side of one that cannot be read

_SAVE_AS_CSV = "save it as CSV (in Excel: “CSV UTF-8 (comma delimited)”)"
_NO_TABLE = "give a CSV file"

# How files begin that people take for a CSV, or rename to one.
_BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "an Excel workbook", _SAVE_AS_CSV),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook", _SAVE_AS_CSV),
    (b"\x1f\x8b", "a compressed file", "unpack it first"),
    (b"%PDF-", "a PDF", "export the table that it was made of"),
    (b"{\\rtf", "a text document", _SAVE_AS_CSV),
    (b"SQLite format 3", "a database", "export its table as CSV"),
)
_MARKUP = re.compile(rb"\s*<(?:!doctype|html|head|body|table|meta|\?xml|!--)", re.IGNORECASE)
_JSON = re.compile(rb'\s*(?:\[\s*)?\{\s*(?:"[^"]*"\s*:|\})')

_MARKS = (  # the longer first: the mark of UTF-16 begins that of UTF-32
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),  # Excel's “Unicode text”
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NO_TEXT = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})
_LIKELY = ("cp1252", "mac_roman", "cp1250", "cp1251", "cp932", "gb18030")


class UnreadableFile(Exception):
    """The file as a whole cannot be read: `problem` says why, `fix` what to do."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(f"{problem}; {fix}")
        self.problem = problem
        self.fix = fix


@contextmanager
def kept(path: Path) -> Iterator[Path]:
    """Lend the file at `path`; of one that can be read only once, a copy.

    That is standard input, `-`, and a pipe.  Raises UnreadableFile.
    """
    if path != STDIN and _is_kept(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="clento-leads-") as folder:
        copy = Path(folder) / "leads.csv"
        try:
            if path == STDIN:
                _copy(sys.stdin.buffer, copy)
            else:
                with path.open("rb") as pipe:
                    _copy(pipe, copy)
        except OSError as error:
            raise _unreadable(path, error) from None
        yield copy


def encoding_of(path: Path, chosen: str | None) -> tuple[str, str | None]:
    """Return the encoding in which all of the file can be read, and a remark about it.

    `chosen` is believed, unless a byte order mark says otherwise and all of the file is what the
    mark says.  The whole file is decoded once, in bounded memory.  Raises UnreadableFile.
    """
    try:
        with path.open("rb") as file:
            return _encoding(file, chosen)
    except OSError as error:
        raise _unreadable(path, error) from None


def _encoding(file: BinaryIO, chosen: str | None) -> tuple[str, str | None]:
    start = file.read(_CHUNK)
    _refuse_what_is_no_table(start)
    named = None if chosen is None else _known(chosen)
    marked = next((name for mark, name in _MARKS if start.startswith(mark)), None)
    if marked is None and named is None and start.count(0) * 4 > len(start):
        raise UnreadableFile(
            "this is not a text file, or UTF-16 without its mark",
            f"{_SAVE_AS_CSV}, or say --encoding utf-16-le",
        )
    if marked is not None:
        try:
            _decode_all(file, marked)
        except UnreadableFile:
            if named is None or named == marked:
                raise
        else:
            differs = named is not None and not named.startswith(marked)
            remark = (
                f"its byte order mark says {marked}: {chosen} was not used" if differs else None
            )
            return ("utf-8-sig" if marked == "utf-8" else marked), remark
    name = named or "utf-8"
    _decode_all(file, name)
    return ("utf-8-sig" if name == "utf-8" else name), None


def _known(name: str) -> str:
    """Return the name of an encoding of texts as Python has it."""
    try:
        found = codecs.lookup(name).name
        "".encode(name)
    except (LookupError, ValueError):
        found = "undefined"
    if found in _NO_TEXT:
        raise UnreadableFile(
            f"there is no encoding {name!r}", "leave it out for UTF-8, or give one such as cp1252"
        )
    return found


def _refuse_what_is_no_table(start: bytes) -> None:
    for beginning, what, fix in _BEGINNINGS:
        if start.startswith(beginning):
            raise UnreadableFile(f"this is {what}, not a CSV file", fix)
    bare = start.removeprefix(codecs.BOM_UTF8)
    if _MARKUP.match(bare):
        raise UnreadableFile("this is a web page or XML, not a CSV file", _SAVE_AS_CSV)
    if _JSON.match(bare):
        raise UnreadableFile("this is JSON, not a CSV file", "export it as CSV")


def _decode_all(file: BinaryIO, name: str) -> None:
    """Raise UnreadableFile, with the byte and its line, if a file is not text of this encoding."""
    file.seek(0)
    decoder = codecs.getincrementaldecoder(name)()
    lines = _Lines()
    read = 0
    while chunk := file.read(_CHUNK):
        before = lines.number
        lines.feed(chunk)
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(chunk)
        except UnicodeDecodeError as error:
            # Guessing would be silent: cp1252, cp1250 and Mac Roman accept each other's bytes, and
            # a first name with a wrong letter in it would be sent to its owner.
            at = error.start - pending
            raise UnreadableFile(
                f"the file is not {name.upper()}: byte 0x{error.object[error.start]:02X} at offset "
                f"{read + at} (line {before + chunk[: max(at, 0)].count(10)})",
                f"{_SAVE_AS_CSV}, or name its encoding, for instance --encoding cp1252 "
                f"for a file from Excel on Windows in Western Europe{_readings(chunk, max(at, 0))}",
            ) from None
        except UnicodeError as error:
            raise UnreadableFile(f"the file is not {name.upper()}: {error}", _SAVE_AS_CSV) from None
        read += len(chunk)
    if decoder.getstate()[0]:
        raise UnreadableFile(
            f"the file is not {name.upper()}: it ends within a character", "export it again"
        )


def _readings(chunk: bytes, at: int) -> str:
    """Say how the word with a byte that cannot be read would read, so that people can choose."""
    before = re.split(rb"[\s,;|\"]", chunk[max(0, at - _WORD) : at])[-1]
    word = before + re.split(rb"[\s,;|\"]", chunk[at : at + _WORD])[0]
    read: dict[str, str] = {}
    for name in _LIKELY:
        try:
            text = word.decode(name)
        except UnicodeDecodeError:
            continue
        if text.isprintable() and _is_one_word(text):
            read.setdefault(text, name)
    if not read:
        return ""
    return ": there it reads " + ", ".join(f"{text!r} in {name}" for text, name in read.items())


def _is_one_word(text: str) -> bool:
    """Whether the letters of a word are of one script: Latin ones stand beside no others."""
    foreign = [sign for sign in text if not sign.isascii()]
    if not all(sign.isalpha() for sign in foreign):
        return False
    latin = [unicodedata.name(sign, "").startswith("LATIN") for sign in foreign]
    return all(latin) or not (any(latin) or any(s.isascii() and s.isalpha() for s in text))


class _Lines:
    """Counts the lines of a file, and refuses one that no table has before it is read whole."""

    def __init__(self) -> None:
        self.number = 1
        self._length = 0  # of the line that has not ended

    def feed(self, chunk: bytes) -> None:
        last = max(chunk.rfind(b"\n"), chunk.rfind(b"\r"))
        if last < 0:
            self._length += len(chunk)
        else:
            self.number += chunk.count(b"\n")
            self._length = len(chunk) - last - 1
        if self._length > LONGEST_LINE:
            raise UnreadableFile(
                f"line {self.number} has more than {LONGEST_LINE >> 20} MB: this is no table",
                _NO_TABLE,
            )


def _copy(source: BinaryIO, copy: Path) -> None:
    lines = _Lines()
    with copy.open("wb") as file:
        while chunk := source.read(_CHUNK):
            lines.feed(chunk)  # before it goes to the disk: what has no end would fill it
            try:
                file.write(chunk)
            except OSError as error:
                if error.errno == ENOSPC:
                    room = f"there is no room for a copy of it in {tempfile.gettempdir()}"
                    raise UnreadableFile(
                        room, "make room, or set TMPDIR to another folder"
                    ) from None
                raise


def _is_kept(path: Path) -> bool:
    """Whether a path can be read again: all but pipes and devices, and what is not there."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return True  # opening it says what is wrong
    return not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode))


def _unreadable(path: Path, error: OSError) -> UnreadableFile:
    shown = "standard input" if path == STDIN else str(path)
    return UnreadableFile(f"{shown} cannot be read: {error.strerror or error}", _NO_TABLE)
