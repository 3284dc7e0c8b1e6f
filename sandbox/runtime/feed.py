"""Where the payload's stdin comes from: bytes, a descriptor, or an iterator. Never more than one piece is held."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from sandbox.model.errors import RequestError

PIECE = 65536


class Feed:
    """A source of bytes for stdin.

    Attributes:
        source_fd: descriptor to wait for before `next_piece` (-1: it never blocks for long).
    """

    def __init__(self, source: Any) -> None:
        self.source_fd = -1
        self._data: memoryview | None = None
        self._iterator: Iterator[bytes] | None = None
        self._pollable = False
        if source is None:
            self._data = memoryview(b"")
        elif isinstance(source, str):
            raise RequestError("stdin must be bytes, a file or an iterable of bytes, not str", hint="use .encode()")
        elif isinstance(source, bytes | bytearray | memoryview):
            self._data = memoryview(source).cast("B")
        elif isinstance(source, int) or hasattr(source, "fileno"):
            self.source_fd = _descriptor(source)
        elif isinstance(source, Iterable):
            self._iterator = iter(source)
        else:
            raise RequestError(f"stdin must be bytes, a file or an iterable of bytes, not {type(source).__name__}")

    def quick(self, fd: int) -> bool:
        """Write what fits into the empty pipe `fd` at once; True when that was all of it."""
        if self._data is None:
            return False
        if self._data:
            self._data = self._data[os.write(fd, self._data[:PIECE]) :]
        return not self._data

    def next_piece(self) -> bytes:
        """The next bytes; b"" at the end. Raises RequestError when an iterator gives something else."""
        if self._data is not None:
            head, self._data = self._data[:PIECE], self._data[PIECE:]
            return bytes(head)
        if self.source_fd >= 0:
            try:
                return os.read(self.source_fd, PIECE)
            except BlockingIOError:
                raise
            except OSError:
                return b""  # a terminal that went away, a directory: nothing more will come
        for piece in self._iterator or ():
            if not isinstance(piece, bytes | bytearray | memoryview):
                raise RequestError(f"stdin gave {type(piece).__name__} instead of bytes")
            if len(piece):
                return bytes(piece)
        return b""


def _descriptor(source: Any) -> int:
    try:
        fd = source if isinstance(source, int) else source.fileno()
        os.fstat(fd)
    except (OSError, ValueError) as error:
        raise RequestError(f"stdin is not an open file: {error}") from None
    return int(fd)
