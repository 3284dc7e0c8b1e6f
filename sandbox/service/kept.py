"""Answers that are kept a while: so many, so large together, so long. The oldest of whoever has most goes first."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """A bounded store in memory, shared by owners of whom none can take the place of another who has less.

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
        self._owners: dict[str, _Owned[T]] = {}
        self._count = 0
        self._size = 0

    def __len__(self) -> int:
        return self._count

    def get(self, owner: str, key: str) -> T | None:
        """None when there is none (any more)."""
        own = self._owners.get(owner)
        found = None if own is None else own.things.get(key)
        if found is None or found[0] <= self._clock():
            return None
        return found[2]

    def put(self, owner: str, key: str, value: T, size: int) -> None:
        """Keep it; what is larger than everything may be is not kept."""
        self.drop(owner, key)
        if size > self._most_bytes or not self._most:
            return
        own = self._owners.setdefault(owner, _Owned())
        own.things[key] = (self._clock() + self._seconds, size, value)
        own.size += size
        self._size += size
        self._count += 1
        self._trim()

    def drop(self, owner: str, key: str) -> None:
        """Forget it."""
        own = self._owners.get(owner)
        found = None if own is None else own.things.pop(key, None)
        if own is None or found is None:
            return
        own.size -= found[1]
        self._size -= found[1]
        self._count -= 1
        if not own.things:
            del self._owners[owner]

    def _trim(self) -> None:
        now = self._clock()
        for owner, own in list(self._owners.items()):
            while own.things and next(iter(own.things.values()))[0] <= now:
                self.drop(owner, next(iter(own.things)))
        while self._count > self._most or self._size > self._most_bytes:
            by_size = self._size > self._most_bytes
            largest = max(
                self._owners, key=lambda owner: self._owners[owner].size if by_size else len(self._owners[owner].things)
            )
            self.drop(largest, next(iter(self._owners[largest].things)))


class _Owned(Generic[T]):
    """The things of one owner, the oldest first: key → (kept until, bytes, thing)."""

    __slots__ = ("size", "things")

    def __init__(self) -> None:
        self.things: OrderedDict[str, tuple[float, int, T]] = OrderedDict()
        self.size = 0
