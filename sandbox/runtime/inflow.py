"""The payload's stdin: a pipe (or its terminal), and the `Feed` that fills it as it has room. Nothing here blocks."""

from __future__ import annotations

import contextlib
import os
import select

from sandbox.runtime.feed import Feed, write_quietly

_PIPE_BYTES = 65536  # of a pipe as it is made; source: pipe(7)
_MOST_PIPE_BYTES = 1 << 20  # what an ordinary user may ask for (/proc/sys/fs/pipe-max-size)
_AT_ONCE = 1 << 20


class Inflow:
    """Our side of it.

    Attributes:
        fd: our end, -1 when there is none, or none any more.
        error: what the caller's code raised instead of giving more.
    """

    def __init__(self, feed: Feed, epoll: select.epoll) -> None:
        self.fd = -1
        self.error: BaseException | None = None
        self._feed = feed
        self._epoll = epoll
        self._is_terminal = False
        self._pending = memoryview(b"")
        self._awaits_source = False

    def open(self) -> int:
        """Make the pipe. Returns the payload's end."""
        reader, self.fd = pipe(0o444)
        return reader

    def begin(self) -> None:
        """Write what is at hand and fits; from then on `advance` is called for what is ready.

        Input that is larger than a pipe gets a larger one, as far as the kernel's share for this user goes: whoever is woken for
        every page that the payload takes needs more time than the payload.
        """
        os.set_blocking(self.fd, False)
        size = self._feed.size()
        if size > _PIPE_BYTES:
            widen(self.fd, size)
        if self._feed.at_hand:
            self._write(_PIPE_BYTES)
        if self.fd >= 0:
            self._await_source()

    def adopt(self, master: int) -> None:
        """The payload has a terminal: `master`, whose output somebody else watches."""
        self.fd, self._is_terminal = master, True
        self._await_source()

    def is_for(self, fd: int) -> bool:
        """Whether an event of `fd` is for `advance`."""
        return fd in (self.fd, self._feed.source_fd)

    def advance(self, fd: int) -> None:
        """Something can be written, or (`fd` is the source's) read. Raises nothing."""
        if fd != self.fd:
            self._epoll.unregister(fd)
            self._awaits_source = False
            if self.fd >= 0:
                self._watch()
        elif not self._awaits_source and self.fd >= 0:
            self._write(_AT_ONCE if self._feed.at_hand else 1)
            if self.fd >= 0 and not self._pending and self._feed.source_fd >= 0:
                self._unwatch()
                self._await_source()

    def _write(self, most: int) -> None:
        """Write pieces until there is no room, or `most` bytes are written, or all: then it is closed."""
        written = 0
        while written < most:
            try:
                if not self._pending:
                    piece = self._feed.next_piece()
                    if not piece:
                        self.error = self._feed.error
                        self.close()
                        return
                    self._pending = memoryview(piece)
                count = write_quietly(self.fd, self._pending)
            except BlockingIOError:
                return
            except OSError:  # EPIPE: the payload does not want any more
                self.close()
                return
            self._pending = self._pending[count:]
            written += count

    def _await_source(self) -> None:
        """Wait until there is something to write; a source that epoll cannot watch (a plain file) is always ready."""
        source = self._feed.source_fd
        if source >= 0 and not self._pending:
            with contextlib.suppress(PermissionError, FileExistsError):
                self._epoll.register(source, select.EPOLLIN)
                self._awaits_source = True
                return
        self._watch()

    def _watch(self) -> None:
        if self._is_terminal:  # one descriptor for both directions
            self._epoll.modify(self.fd, select.EPOLLIN | select.EPOLLOUT)
        else:
            self._epoll.register(self.fd, select.EPOLLOUT)

    def _unwatch(self) -> None:
        if self._is_terminal:
            self._epoll.modify(self.fd, select.EPOLLIN)
        else:
            with contextlib.suppress(OSError):
                self._epoll.unregister(self.fd)

    def close(self) -> None:
        """Nothing more is wanted, or there is no more."""
        if self._awaits_source:
            self._awaits_source = False
            with contextlib.suppress(OSError):  # the caller has closed it meanwhile
                self._epoll.unregister(self._feed.source_fd)
        self._feed.close()
        if self.fd < 0:
            return
        self._unwatch()
        if not self._is_terminal:
            os.close(self.fd)
        self.fd = -1

    def lose(self) -> None:
        """The terminal is gone, and its descriptor with it."""
        self.fd = -1

    def forget(self) -> None:
        """In a forked child: drop our copies."""
        self._awaits_source = False
        self._feed.forget()
        if self.fd >= 0 and not self._is_terminal:
            with contextlib.suppress(OSError):
                os.close(self.fd)
        self.fd = -1


def pipe(mode: int) -> tuple[int, int]:
    """(reader, writer) of a pipe that a payload may open again by its name (/dev/stdin), though it belongs to our user.

    Args:
        mode: 0o444 for what it reads, 0o222 for what it writes: in the other direction nobody opens it.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.fchmod(reader, mode)
    return reader, writer


def widen(fd: int, size: int) -> None:
    """Let a pipe hold so much, as far as the kernel's share for this user goes."""
    import fcntl

    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, min(size, _MOST_PIPE_BYTES))
