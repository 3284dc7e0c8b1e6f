"""Where the payload's stdin comes from: bytes, a descriptor, or what the caller's own code gives piece by piece.

Code of the caller may block for as long as it likes. It runs in a thread (or task) of its own that fills a `Pump`, so
that deadlines, cancels and output never wait for it. Never more than a pipe and one piece is held.
"""

from __future__ import annotations

import _signal
import contextlib
import os
import stat
import threading
from collections.abc import AsyncIterable, Iterable, Iterator

from sandbox.model.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PIECE = 65536


class Pump:
    """A channel between code of the caller and a session, which reads its descriptor.

    Attributes:
        error: what the caller's code raised; stands when the channel is at its end.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        import socket

        self._reader, self._writer = socket.socketpair()

    def fileno(self) -> int:
        """The reading end."""
        return self._reader.fileno()

    def start(self, pieces: Iterator[Any]) -> None:
        """Fill it from `pieces` in a thread, which ends with them or when nobody reads any more."""
        threading.Thread(target=self._fill, args=(pieces,), name="sandbox stdin", daemon=True).start()

    def _fill(self, pieces: Iterator[Any]) -> None:
        import socket

        try:
            for piece in pieces:
                self._writer.sendall(checked(piece), socket.MSG_NOSIGNAL)
        except OSError as error:
            self.error = None if self._is_over() else error
        except BaseException as error:  # noqa: BLE001 - it is raised from wait()
            self.error = error
        finally:
            self._writer.close()

    async def fill(self, source: AsyncIterable[Any]) -> None:
        """Fill it from an asynchronous iterable; ends with it or when nobody reads any more."""
        import asyncio

        loop = asyncio.get_running_loop()
        self._writer.setblocking(False)
        try:
            async for piece in source:
                await loop.sock_sendall(self._writer, checked(piece))
        except OSError as error:
            self.error = None if self._is_over() else error
        except Exception as error:  # noqa: BLE001 - it is raised from wait()
            self.error = error
        finally:
            self._writer.close()

    def _is_over(self) -> bool:
        return self._reader.fileno() < 0

    def close(self) -> None:
        """Nobody reads any more: the caller's code is told at its next piece."""
        import socket

        with contextlib.suppress(OSError):
            self._reader.shutdown(socket.SHUT_RDWR)
        self._reader.close()

    def forget(self) -> None:
        """In a forked child: drop our copies; the channel is the parent's."""
        self._reader.close()
        self._writer.close()


class Feed:
    """A source of bytes for stdin.

    Attributes:
        source_fd: descriptor to wait for before `next_piece` (-1: the bytes are here).
    """

    def __init__(self, source: Any) -> None:
        self.source_fd = -1
        self._data: memoryview | None = None
        self._pump: Pump | None = None
        self._is_file = False
        if source is None:
            self._data = memoryview(b"")
        elif isinstance(source, bytes | bytearray | memoryview):
            self._data = memoryview(source).cast("B")
        elif isinstance(source, Pump):
            self._pump, self.source_fd = source, source.fileno()
        elif (fd := _descriptor(source)) >= 0:
            self.source_fd = fd
            self._is_file = stat.S_ISREG(os.fstat(fd).st_mode)
        else:
            pieces = _pieces(source)
            self._pump = Pump()
            self.source_fd = self._pump.fileno()
            self._pump.start(pieces)

    @property
    def error(self) -> BaseException | None:
        """What the caller's code raised instead of giving more."""
        return self._pump.error if self._pump is not None else None

    @property
    def at_hand(self) -> bool:
        """No piece is ever waited for: bytes, or a plain file."""
        return self._data is not None or self._is_file

    def size(self) -> int:
        """How many bytes there are, as far as that is known; 0 where it is not."""
        if self._data is not None:
            return len(self._data)
        return os.fstat(self.source_fd).st_size if self._is_file else 0

    def next_piece(self) -> bytes:
        """The next bytes; b"" at the end."""
        if self._data is not None:
            head, self._data = self._data[:PIECE], self._data[PIECE:]
            return bytes(head)
        try:
            return os.read(self.source_fd, PIECE)
        except BlockingIOError:
            raise
        except OSError:
            return b""  # a terminal that went away, a directory: nothing more will come

    def close(self) -> None:
        """Nothing more is wanted."""
        self.source_fd = -1
        if self._pump is not None:
            self._pump.close()

    def forget(self) -> None:
        """In a forked child."""
        self.source_fd = -1
        if self._pump is not None:
            self._pump.forget()


def write_quietly(fd: int, data: memoryview) -> int:
    """os.write that raises BrokenPipeError also in a process that gave SIGPIPE its default action back."""
    if _signal.getsignal(_signal.SIGPIPE) != _signal.SIG_DFL:
        return os.write(fd, data)
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGPIPE,))
    try:
        return os.write(fd, data)
    except BrokenPipeError:
        if _signal.SIGPIPE not in before:
            _signal.sigtimedwait((_signal.SIGPIPE,), 0)
        raise
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)


def checked(piece: Any) -> bytes | bytearray | memoryview:
    """A piece that the caller's code gave. Raises RequestError for what is no bytes."""
    if not isinstance(piece, bytes | bytearray | memoryview):
        raise RequestError(f"stdin gave {type(piece).__name__} instead of bytes", hint="use .encode()")
    return piece


def _descriptor(source: Any) -> int:
    """The descriptor of an open file or a number; -1 for an object that has none (io.BytesIO)."""
    if not isinstance(source, int) and not hasattr(source, "fileno"):
        return -1
    try:
        fd = source if isinstance(source, int) else source.fileno()
        os.fstat(fd)
    except (OSError, ValueError) as error:
        if hasattr(source, "read") and not getattr(source, "closed", False):
            return -1
        raise RequestError(f"stdin is not an open file: {error}") from None
    return int(fd)


def _pieces(source: Any) -> Iterator[Any]:
    """An object with `read`, or an iterable, as an iterator of pieces."""
    if hasattr(source, "__aiter__"):
        raise RequestError("an asynchronous stdin needs an asynchronous call", hint="use arun or AsyncSandbox")
    if hasattr(source, "read"):
        return iter(lambda: source.read(PIECE), b"")
    if isinstance(source, Iterable) and not isinstance(source, str):
        return iter(source)
    raise RequestError(
        f"stdin must be bytes, a file or an iterable of bytes, not {type(source).__name__}", hint="encode text with .encode()"
    )
