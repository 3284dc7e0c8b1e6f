"""Ending what is in flight: one word that reaches every run of a grading."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Protocol


class _Cancelable(Protocol):
    def cancel(self) -> None:
        """End it."""


class Cancel:
    """A word that is said once and from any thread. Runs that are watched are ended by it, at once or when they come.

    Args:
        parent: its word counts here too.
    """

    def __init__(self, parent: Cancel | None = None) -> None:
        self._lock = threading.RLock()
        self._watched: list[_Cancelable] = []
        self._said = False
        self._parent = parent

    @property
    def is_set(self) -> bool:
        """Whether the word was said, here or above."""
        return self._said or (self._parent is not None and self._parent.is_set)

    def cancel(self) -> None:
        """End everything that is watched, now and later."""
        with self._lock:
            self._said = True
            watched = tuple(self._watched)
        for item in watched:
            item.cancel()

    @contextlib.contextmanager
    def watching(self, item: _Cancelable) -> Iterator[None]:
        """Within the block, `item` is ended when the word is said."""
        with self._lock:
            self._watched.append(item)
        above = self._parent.watching(item) if self._parent is not None else contextlib.nullcontext()
        try:
            with above:
                if self._said:
                    item.cancel()
                yield
        finally:
            with self._lock:
                self._watched.remove(item)
