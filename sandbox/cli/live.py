"""The caller's own streams and terminal while a run is in flight: output passed on, signals obeyed, raw mode undone."""

from __future__ import annotations

import _signal
import contextlib
import io
import os
import select
import sys
import threading
from collections.abc import Callable

from sandbox.model.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self, TextIO

    from sandbox.api import Run

_ENDING = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP)
_DEFAULT_SIZE = (24, 80)
_STOP = 0


class Output:
    """Passes output on, byte for byte.

    Attributes:
        mid_line: the last byte that stderr (or the terminal that both streams are) got was no end of line.
    """

    def __init__(self) -> None:
        self.mid_line = False
        self._shared = os.isatty(1) and os.isatty(2)

    def writer(self, fd: int) -> Callable[[bytes], None]:
        """A callback that writes everything to a descriptor, also when somebody made it non-blocking."""

        def write(data: bytes) -> None:
            if fd == 2 or self._shared:
                self.mid_line = not data.endswith(b"\n")
            _write_all(fd, data)

        return write

    def end_line(self) -> None:
        """What we say next begins on a line of its own."""
        if self.mid_line:
            self.mid_line = False
            _write_all(2, b"\n")


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            select.select([], [fd], [])
        except BrokenPipeError:
            raise
        except OSError as error:
            name = "standard output" if fd == 1 else "standard error"
            raise RequestError(f"{name} cannot be written: {error.strerror}") from None


def occupy_standard_streams() -> None:
    """A caller may have closed some of 0, 1, 2: the next file that is opened would become one of them."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
    sys.stdin, sys.stdout, sys.stderr = (stream or open(os.devnull, mode) for stream, mode in _streams())  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _streams() -> tuple[tuple[TextIO | None, str], ...]:
    return (sys.stdin, "r"), (sys.stdout, "w"), (sys.stderr, "w")


def terminal_size() -> tuple[int, int]:
    """(rows, columns) of the first of our standard streams that is a terminal."""
    for fd in (0, 1, 2):
        try:
            size = os.get_terminal_size(fd)
        except OSError:
            continue
        if size.lines and size.columns:
            return size.lines, size.columns
    return _DEFAULT_SIZE


class RawTerminal:
    """While it is entered every key goes to the payload as it is. `restore` may be called at any time, also twice."""

    def __init__(self, fd: int) -> None:
        import termios

        self._fd = fd
        self._before = termios.tcgetattr(fd)

    def __enter__(self) -> Self:
        import termios
        import tty

        tty.setraw(self._fd, termios.TCSADRAIN)
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def restore(self) -> None:
        """Put the settings back. A terminal that has gone away needs none."""
        import termios

        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)


class Signals:
    """Passes signals on to a run: INT, TERM and HUP cancel it, WINCH resizes its terminal.

    The interpreter's wakeup descriptor tells a thread of ours, so no code runs at an odd point of the main thread and
    a main thread that is stuck in a write is served too. A second SIGINT ends the command at once; the kernel then
    kills the sandbox with it.

    Attributes:
        ended_by: the first signal that asked for the end, 0 for none.
    """

    def __init__(self, run: Run, *, resizes: bool, before_exit: Callable[[], None]) -> None:
        self.ended_by = 0
        self._run = run
        self._numbers = (*_ENDING, _signal.SIGWINCH) if resizes else _ENDING
        self._before_exit = before_exit
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._previous: dict[int, object] = {}
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        _signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in self._numbers:
            self._previous[number] = _signal.signal(number, _nothing)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            _signal.signal(number, handler)
        _signal.set_wakeup_fd(-1)
        os.write(self._write, bytes([_STOP]))
        self._thread.join()
        os.close(self._read)
        os.close(self._write)

    def _serve(self) -> None:
        while True:
            select.select([self._read], [], [])
            for number in os.read(self._read, 512):
                if number == _STOP:
                    return
                self._obey(number)

    def _obey(self, number: int) -> None:
        if number == _signal.SIGWINCH:
            with contextlib.suppress(OSError):
                self._run.resize(*terminal_size())
        elif number in _ENDING:
            if self.ended_by:
                self._before_exit()
                os._exit(128 + number)
            self.ended_by = number
            self._run.cancel()


def _nothing(number: int, frame: object) -> None:
    """A handler must be there for the wakeup descriptor to be written."""
