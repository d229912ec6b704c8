"""Numbers that depend on a name alone, so that the order of requests changes nobody's fate."""

from collections.abc import Sequence
from datetime import timedelta
from hashlib import blake2b
from math import exp
from statistics import NormalDist
from typing import TypeVar

T = TypeVar("T")

_NORMAL = NormalDist()
_WORD = 8
_WORDS = 64 // _WORD  # numbers in one digest
_EDGE = 1e-9  # keeps the inverse of the normal distribution finite


class Draw:
    """An endless sequence of numbers that its name alone decides: `Draw(seed, "person", slug)`."""

    __slots__ = ("_at", "_bytes", "_name", "_page")

    def __init__(self, *name: object) -> None:
        self._name = "\x1f".join(map(str, name)).encode()
        self._page = 0
        self._at = 0
        self._bytes = blake2b(self._name).digest()

    def word(self) -> int:
        """Return the next number of 64 bits."""
        if self._at == _WORDS:
            self._page += 1
            self._at = 0
            self._bytes = blake2b(self._name, salt=self._page.to_bytes(16, "big")).digest()
        start = self._at * _WORD
        self._at += 1
        return int.from_bytes(self._bytes[start : start + _WORD], "big")

    def share(self) -> float:
        """Return the next number, in [0, 1)."""
        return (self.word() >> 11) / (1 << 53)

    def happens(self, chance: float) -> bool:
        """Say whether something of this chance happens; always takes one number."""
        return self.share() < chance

    def between(self, least: float, most: float) -> float:
        """Return the next number, in [least, most)."""
        return least + (most - least) * self.share()

    def choice(self, values: Sequence[T]) -> T:
        """Return one of `values`."""
        return values[int(self.share() * len(values))]

    def log_normal(
        self, median: timedelta, spread: float, least: timedelta, most: timedelta
    ) -> timedelta:
        """Return a duration as people take them: mostly around the median, a few far longer."""
        bend = _NORMAL.inv_cdf(min(max(self.share(), _EDGE), 1 - _EDGE))
        return min(max(median * exp(spread * bend), least), most)


def hexadecimal(*name: object, length: int = 22) -> str:
    """Return an opaque id that its name alone decides."""
    return blake2b("\x1f".join(map(str, name)).encode(), digest_size=length // 2).hexdigest()


def digits(*name: object) -> str:
    """Return an id of nineteen digits, as LinkedIn's are."""
    return str(7_000_000_000_000_000_000 + Draw(*name).word() % 10**18)
