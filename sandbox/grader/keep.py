"""Sandboxes that one grading holds from its first case to its last: to find a shared one costs as much as a short run in it."""

from __future__ import annotations

import contextlib
import threading
from types import TracebackType
from typing import Self

from sandbox.api import Sandbox
from sandbox.grader.building import Built


class Keep:
    """Opens each sandbox once, for any number of threads, and gives all of them back at its end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stack = contextlib.ExitStack()
        self._open: dict[tuple[int, bool, tuple[int, ...]], Sandbox] = {}
        self._built: list[Built] = []  # an id stays that of its object as long as there is the object

    def sandbox(self, built: Built, *, writable: bool = True, cpus: tuple[int, ...] = ()) -> Sandbox:
        """The sandbox of a program on these cores, without files of a case. Raises SandboxError."""
        key = (id(built), writable, cpus)
        with self._lock:
            if key not in self._open:
                self._open[key] = self._stack.enter_context(built.sandbox(writable=writable, cpus=cpus))
                self._built.append(built)
            return self._open[key]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()
