"""A run while it goes on: what can be done to it from outside, its standard input as it comes from a client, what it tells."""

from __future__ import annotations

import asyncio
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable

from sandbox.api import AsyncRun
from sandbox.service.ask import Event

_HELD = 256 << 10
# What a terminal sends to the programs on it when a key is pressed (termios(3): VINTR, VQUIT, VSUSP).
_KEYS = {signal.SIGINT: b"\x03", signal.SIGQUIT: b"\x1c", signal.SIGTSTP: b"\x1a"}


class Stdin:
    """Standard input that comes piece by piece. Who puts more than is read waits."""

    def __init__(self, held: int = _HELD) -> None:
        self._held = held
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._changed = asyncio.Condition()
        self._woken: asyncio.Future[None] | None = None

    async def put(self, data: bytes) -> None:
        """One more piece; waits while too much is held. What comes after the end is dropped."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._ended or self._size < self._held)
            if data and not self._ended:
                self._pieces.append(data)
                self._size += len(data)
                self._changed.notify_all()

    def key(self, data: bytes) -> None:
        """What a key sends: a byte or two, for which there is always room."""
        if not self._ended:
            self._pieces.append(data)
            self._size += len(data)
            self._woken = asyncio.ensure_future(self._wake())

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def end(self) -> None:
        """Nothing more will come."""
        async with self._changed:
            self._ended = True
            self._changed.notify_all()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._ended or self._pieces)
                if not self._pieces:
                    return
                piece = self._pieces.popleft()
                self._size -= len(piece)
                self._changed.notify_all()
            yield piece


class Handle:
    """Control of a run that may not have begun yet. All of it belongs to the loop of the run.

    Args:
        keys: called with what a key would send, for runs on a terminal.
    """

    def __init__(self, keys: Callable[[bytes], object] | None = None) -> None:
        self._keys = keys
        self._run: AsyncRun | None = None
        self._task: asyncio.Task[object] | None = None
        self.canceled = False

    def cancel(self) -> None:
        """End it: what runs is reported with the outcome canceled; what waits or is compiled is given up."""
        self.canceled = True
        if self._run is not None:
            self._run.cancel()
        elif self._task is not None:
            self._task.cancel()

    def send_signal(self, number: int) -> None:
        """On a terminal SIGINT, SIGQUIT and SIGTSTP are what its keys send. All else ends the run."""
        if self._keys is not None and number in _KEYS:
            self._keys(_KEYS[signal.Signals(number)])
        else:
            self.cancel()

    def resize(self, rows: int, columns: int) -> None:
        """The new size of its terminal."""
        if self._run is not None:
            self._run.resize(rows, columns)

    def waits(self, task: asyncio.Task[object] | None) -> None:
        """The task that has the run; for `Work`."""
        self._task = task

    def runs(self, run: AsyncRun | None) -> None:
        """The run itself, once it is there; for `Work`."""
        self._run = run
        if run is not None and self.canceled:
            run.cancel()


class Listener:
    """Tells what one run does: first that it has begun, though its output may come before `start` returns."""

    def __init__(self, tell: Callable[[Event], object]) -> None:
        self._tell = tell
        self._began = False

    def begins(self) -> None:
        """The run is there."""
        if not self._began:
            self._began = True
            self._tell(Event("stage", "run"))

    def stdout(self, data: bytes) -> None:
        """It has written."""
        self.begins()
        self._tell(Event("stdout", "run", data))

    def stderr(self, data: bytes) -> None:
        """It has written."""
        self.begins()
        self._tell(Event("stderr", "run", data))
