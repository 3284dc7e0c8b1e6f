"""What is kept of one output stream: everything up to the limit, else its head and its tail."""

from __future__ import annotations

from collections.abc import Callable


class Capture:
    """Bounded storage of a stream.

    Attributes:
        total: bytes seen, also those not kept.
    """

    __slots__ = ("_callback", "_head", "_on_end", "_tail", "limit", "total")

    def __init__(
        self, limit: int, callback: Callable[[bytes], object] | None = None, on_end: Callable[[], object] | None = None
    ) -> None:
        self.limit = limit
        self.total = 0
        self._head = bytearray()
        self._tail = bytearray()
        self._callback = callback
        self._on_end = on_end

    @property
    def is_followed(self) -> bool:
        """Somebody is told each piece."""
        return self._callback is not None

    @property
    def exceeded(self) -> bool:
        """More than `limit` bytes were seen."""
        return self.total > self.limit

    def add(self, data: bytes) -> None:
        """Take the next piece, of which an empty one is the end; memory stays below twice the limit and one piece."""
        if not data:
            if self._on_end is not None:
                self._on_end()
            return
        self.total += len(data)
        room = self.limit - len(self._head)
        self._head += data[:room]
        rest = data[room:] if room < len(data) else b""
        if rest:
            self._tail += rest
            keep = self.limit // 2
            if len(self._tail) > 2 * keep + 1:
                del self._tail[: len(self._tail) - keep]
        if self._callback is not None:
            self._callback(data)

    def kept(self) -> bytes:
        """The bytes to return: at most `limit`; when exceeded, the first and the last half."""
        if not self.exceeded:
            return bytes(self._head)
        keep = self.limit // 2
        everything = bytes(self._head[: self.limit - keep])
        tail = (bytes(self._head) + bytes(self._tail))[-keep:] if keep else b""
        return everything + tail
