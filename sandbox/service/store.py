"""What dialects keep for their clients: submissions, files. In memory, each owner with room of its own, for a while.

Nobody's things make another owner lose any, and no owner sees another's. When an owner's room is full its oldest thing goes
first; `put` may be told to refuse instead.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from sandbox.model.errors import CapacityError

T = TypeVar("T")
_MOST_OWNERS = 4096


class Store(Generic[T]):
    """A bounded store. It belongs to one loop.

    Args:
        most: things of one owner.
        most_bytes: all of them together.
        seconds: each is kept.
        clock: for tests.
    """

    def __init__(self, most: int, most_bytes: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._clock = clock
        self._owners: OrderedDict[str, OrderedDict[str, tuple[float, int, T]]] = OrderedDict()

    def put(self, owner: str, key: str, value: T, size: int, *, evict: bool = True) -> None:
        """Keep it. Raises CapacityError for what is larger than the room of an owner, or, without `evict`, than what is left."""
        own = self._of(owner)
        own.pop(key, None)
        if size > self._most_bytes or not self._most:
            raise CapacityError(f"{size} bytes are more than is kept ({self._most_bytes})", hint="keep less")
        while own and (len(own) >= self._most or _size(own) + size > self._most_bytes):
            if not evict:
                raise CapacityError("there is no room left for what is kept", hint="delete what is no longer needed")
            own.popitem(last=False)
        own[key] = (self._clock() + self._seconds, size, value)
        self._owners[owner] = own
        self._owners.move_to_end(owner)
        while len(self._owners) > _MOST_OWNERS:
            self._owners.popitem(last=False)

    def get(self, owner: str, key: str) -> T | None:
        """None when there is none (any more)."""
        found = self._of(owner).get(key)
        return None if found is None else found[2]

    def drop(self, owner: str, key: str) -> T | None:
        """Forget it; gives what it was."""
        found = self._of(owner).pop(key, None)
        return None if found is None else found[2]

    def items(self, owner: str) -> list[tuple[str, T]]:
        """Everything of an owner, the oldest first."""
        return [(key, value) for key, (_, _, value) in self._of(owner).items()]

    def _of(self, owner: str) -> OrderedDict[str, tuple[float, int, T]]:
        """What an owner has, without what is too old."""
        own = self._owners.get(owner)
        if own is None:
            return OrderedDict()
        now = self._clock()
        while own and next(iter(own.values()))[0] <= now:
            own.popitem(last=False)
        if not own:
            del self._owners[owner]
        return own


def _size(own: OrderedDict[str, tuple[float, int, T]]) -> int:
    return sum(size for _, size, _ in own.values())
