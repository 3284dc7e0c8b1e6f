"""Things that are kept a while: so many, so large together, so long. The oldest goes first."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """A bounded store in memory.

    Args:
        most: things.
        most_bytes: all together.
        seconds: each is kept.
        clock: for tests.
    """

    def __init__(self, most: int, most_bytes: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._clock = clock
        self._all: OrderedDict[Hashable, tuple[float, int, T]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return len(self._all)

    def get(self, key: Hashable) -> T | None:
        """None when there is none (any more)."""
        self._trim()
        found = self._all.get(key)
        return None if found is None else found[2]

    def put(self, key: Hashable, value: T, size: int) -> None:
        """Keep it; what is larger than everything may be is not kept."""
        self.drop(key)
        if size <= self._most_bytes:
            self._all[key] = (self._clock() + self._seconds, size, value)
            self._size += size
        self._trim()

    def drop(self, key: Hashable) -> None:
        """Forget it."""
        found = self._all.pop(key, None)
        if found is not None:
            self._size -= found[1]

    def _trim(self) -> None:
        now = self._clock()
        while self._all:
            key, (until, _, _) = next(iter(self._all.items()))
            if until > now and len(self._all) <= self._most and self._size <= self._most_bytes:
                return
            self.drop(key)
