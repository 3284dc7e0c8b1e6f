"""Choices out of bytes, so that a fuzzer of bytes can shape data."""

from __future__ import annotations

from typing import Any


class Bytes:
    """Numbers and choices out of bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def number(self, most: int) -> int:
        """0 to `most`."""
        size = max(1, (most.bit_length() + 7) // 8)
        piece = self._data[self._at : self._at + size]
        self._at += size
        return int.from_bytes(piece, "little") % (most + 1)

    def choice(self, items: Any) -> Any:
        """One of them."""
        return items[self.number(len(items) - 1)]

    def rest(self, most: int) -> bytes:
        """Up to `most` bytes."""
        piece = self._data[self._at : self._at + most]
        self._at += most
        return piece
