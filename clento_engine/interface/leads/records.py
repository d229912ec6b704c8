"""The records of a CSV, each with its line; one that cannot be parsed costs nobody else."""

import csv
from collections import deque
from collections.abc import Iterator

from clento_engine.domain.lead import Rejected
from clento_engine.interface.leads.source import UnreadableFile

LONGEST_RECORD = 1 << 18  # characters of the lines of one record: its cells may hold line breaks
_READ_AGAIN = 1 << 25  # characters of a file that may be read again, and of each line some more
_OF_EACH_LINE = 200


def records(
    text: Iterator[str], delimiter: str, lines_before: int = 0
) -> Iterator[tuple[int, int, list[str] | Rejected]]:
    """Yield each record with its first and its last line; one that cannot be parsed as a reason.

    Quoting is read strictly: with a stray quote nobody knows which words belong to which cell.
    Such a record costs only its first line.  What was read beyond, looking for the closing quote,
    is read again as records of its own.  Raises UnreadableFile where that has no end: where each
    line seems to open a quote that none closes.
    """
    lines = _Lines(text, lines_before)
    # With a space kept after the delimiter, the quote behind it would open nothing.
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    while True:
        first = lines.next_record()
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            lines.again()
            if "limit" in str(error):
                problem = f"a cell has more than {csv.field_size_limit():,} characters"
                fix = "shorten it, or close the quote that opens it"
            else:
                problem = "a quote is not closed, or stands inside a quoted cell"
                fix = 'write a quote inside a quoted cell twice: ""'
            yield first, lines.number, Rejected("row", problem, fix)
        else:
            yield first, lines.number, record


class _Lines:
    """Lines of the file, counted, which can be read again from the record's second on."""

    def __init__(self, text: Iterator[str], number: int) -> None:
        self._text = text
        self.number = number
        self._record: list[str] = []
        self._length = 0  # of the record's lines but the last
        self._read_again = 0
        self._repeated: deque[str] = deque()

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        if self._record:  # one of several lines: few are
            self._length += len(self._record[-1])
            if self._length > LONGEST_RECORD:
                raise csv.Error("the record has too many lines")
        line = self._repeated.popleft() if self._repeated else next(self._text)
        self.number += 1
        self._record.append(line)
        return line

    def next_record(self) -> int:
        """Return the number of the line on which the next record starts."""
        self._record.clear()
        self._length = 0
        return self.number + 1

    def again(self) -> None:
        """Go back to the second line of the record read last."""
        rest = self._record[1:]
        self._read_again += sum(map(len, rest))
        if self._read_again > _READ_AGAIN + _OF_EACH_LINE * self.number:
            raise UnreadableFile(
                f"the quotes about line {self.number - len(rest)} do not match, and those of many "
                "lines above do not",
                "export it again: a quote inside a quoted cell is written twice",
            )
        self._repeated.extendleft(reversed(rest))
        self.number -= len(rest)
