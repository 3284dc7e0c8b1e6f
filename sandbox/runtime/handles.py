"""Handles of runs in flight: `Run` for threads, `AsyncRun` for asyncio."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator

from sandbox.model.data import dataclass
from sandbox.model.errors import RequestError
from sandbox.model.result import RunResult
from sandbox.runtime import drivers
from sandbox.runtime.active import Active

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Literal, Self

_DROPPED = "a Run was neither waited for nor closed; its sandbox is ended"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of output as it came: `stream` is "stdout" or "stderr"."""

    stream: Literal["stdout", "stderr"]
    data: bytes


class Run:
    """One run in flight. `wait` drives it; `cancel`, `resize` and `close` may come from any thread, at any time."""

    def __init__(self, active: Active) -> None:
        self._active = active
        self._result: RunResult | None = None
        self._closed = False
        self._driving = threading.Lock()  # held by the thread that drives the session
        self._driver = 0

    def wait(self, timeout: float | None = None) -> RunResult:
        """Wait for the end. Output callbacks are called from here. A further call returns the same result.

        Raises TimeoutError after `timeout` seconds; the run then goes on. Raises SandboxError for what is no result.
        """
        if not self._driving.acquire(timeout=-1 if timeout is None else timeout):
            raise TimeoutError(f"the run goes on after {timeout:g} s")
        self._driver = threading.get_ident()
        try:
            if self._result is None:
                self._result = self._drive(timeout)
            return self._result
        finally:
            self._driver = 0
            self._driving.release()

    def _drive(self, timeout: float | None) -> RunResult:
        if self._closed:
            raise RequestError("this run was closed, it has no result")
        try:
            drivers.wait(self._active.session, timeout)
            return self._active.finish()
        except TimeoutError:
            raise
        except BaseException:
            self._closed = True
            self._active.abandon()
            raise

    def cancel(self) -> None:
        """End the run; `wait` then returns outcome canceled. Nothing happens when it has ended already."""
        if not self._closed and self._result is None:
            self._active.session.cancel()

    def resize(self, rows: int, columns: int) -> None:
        """Tell the payload's terminal its new size (runs with `tty`)."""
        if not self._closed and self._result is None:
            self._active.session.resize(rows, columns)

    def close(self) -> None:
        """Kill the run if it has not ended, and give everything back. A `wait` in another thread raises RequestError."""
        self._closed = True
        session = self._active.session
        session.closing = True
        session.cancel()
        session.wake()
        if self._driver == threading.get_ident():
            return  # from a callback: the loop that called it stops next
        with self._driving:
            self._active.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._active.over:
            import warnings

            self._active.abandon()
            warnings.warn(_DROPPED, ResourceWarning, stacklevel=2, source=self)


class AsyncRun:
    """One run in flight in an asyncio task. Iterate it for the output as it comes; `wait` gives the result."""

    def __init__(self, active: Active, chunks: deque[Chunk], feeding: asyncio.Task[None] | None) -> None:
        self._active = active
        self._chunks = chunks
        self._feeding = feeding
        self._result: RunResult | None = None
        self._waiter = drivers.Waiter(active.session)
        self._open = True

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        try:
            done = False
            while not done:
                done = await self._waiter.step()
                while self._chunks:
                    yield self._chunks.popleft()
        except BaseException:
            await self.close()
            raise

    async def wait(self) -> RunResult:
        """Wait for the end. A canceled task kills the run before it goes on."""
        import asyncio

        if self._result is not None:
            return self._result
        if not self._open:
            raise RequestError("this run was closed, it has no result")
        try:
            while not await self._waiter.step():
                continue
            self._waiter.close()
            self._result = await asyncio.shield(asyncio.to_thread(self._active.finish))
        finally:
            await self.close()
        return self._result

    def cancel(self) -> None:
        """End the run; `wait` then returns outcome canceled. Call it from the loop's thread."""
        if self._open:
            self._active.session.cancel()

    def resize(self, rows: int, columns: int) -> None:
        """Tell the payload's terminal its new size (runs with `tty`)."""
        if self._open:
            self._active.session.resize(rows, columns)

    async def close(self) -> None:
        """Kill the run if it has not ended, and give everything back."""
        import asyncio

        if not self._open:
            return
        self._open = False
        self._waiter.close()
        if self._feeding is not None:
            self._feeding.cancel()
        if not self._active.over:
            await asyncio.shield(asyncio.to_thread(self._active.abandon))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
