"""A bounded number of runs at once, served in order of arrival, for threads and for asyncio alike."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable

from sandbox.model.errors import CapacityError, RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def default_capacity() -> int:
    """Runs at once when nothing is said: four for each CPU, at least 4, at most 32."""
    return min(32, max(4, 4 * len(os.sched_getaffinity(0))))


class Turn(threading.Event):
    """A place in the queue for a slot that another thread can take away (`Slots.dismiss`).

    Attributes:
        unwanted: it may not join the queue any more.
        dismissed: it was in the queue and has left it without a slot.
    """

    unwanted = False
    dismissed = False


class Slots:
    """A fair counting semaphore whose waiters are callbacks.

    Attributes:
        capacity: slots in all.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._free = capacity
        self._lock = threading.RLock()  # a handle that is collected as garbage may give its slot back at any time
        self._waiters: deque[Callable[[], None]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return len(self._waiters)

    @property
    def busy(self) -> int:
        """How many slots are taken."""
        return self.capacity - self._free

    def _take(self, grant: Callable[[], None]) -> bool:
        with self._lock:
            if self._free > 0 and not self._waiters:
                self._free -= 1
                return True
            self._waiters.append(grant)
            return False

    def _leave(self, grant: Callable[[], None]) -> bool:
        """Give up waiting; False when the slot was granted meanwhile."""
        with self._lock:
            try:
                self._waiters.remove(grant)
            except ValueError:
                return False
            return True

    def release(self) -> None:
        """Give a slot back: to the one who waits longest, else to the free ones."""
        with self._lock:
            if self._waiters:
                grant = self._waiters.popleft()
            else:
                self._free += 1
                return
        grant()

    def acquire(self, timeout: float | None, turn: Turn | None = None) -> None:
        """Wait for a slot in this thread. Raises CapacityError after `timeout` seconds, RequestError when it is dismissed."""
        granted = turn or Turn()
        grant = granted.set
        with self._lock:
            if granted.unwanted:
                raise self._given_up()
            if self._take(grant):
                return
        try:
            mine = granted.wait(timeout) or not self._leave(grant)
        except BaseException:  # a signal handler raised: KeyboardInterrupt, a time-out of the caller's own
            if not self._leave(grant) and not granted.dismissed:
                self.release()
            raise
        if granted.dismissed:
            raise self._given_up()
        if not mine:
            raise self._too_late(timeout)

    def dismiss(self, turn: Turn) -> None:
        """Let the thread that waits with this turn wait no longer. One that has its slot keeps it."""
        with self._lock:
            turn.unwanted = True
            turn.dismissed = self._leave(turn.set)
        if turn.dismissed:
            turn.set()

    async def acquire_async(self, timeout: float | None) -> None:
        """Wait for a slot in an asyncio task. Raises CapacityError; a canceled task leaves the queue."""
        import asyncio

        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def resolve() -> None:
            if not future.done():
                future.set_result(None)
            else:  # the task went away between the grant and now
                self.release()

        def grant() -> None:
            try:
                loop.call_soon_threadsafe(resolve)
            except RuntimeError:  # the loop was closed with this task still waiting
                self.release()

        if self._take(grant):
            return
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(future)
        except TimeoutError:
            self._abandon(grant, future)
            raise self._too_late(timeout) from None
        except asyncio.CancelledError:
            self._abandon(grant, future)
            raise

    def _abandon(self, grant: Callable[[], None], future: Any) -> None:
        left = self._leave(grant)
        if future.done() and not future.cancelled():
            self.release()
        elif not left:
            future.cancel()  # granted but not yet told: `resolve` gives it back
        else:
            future.cancel()

    @staticmethod
    def _given_up() -> RequestError:
        return RequestError("this run was given up before it had a slot")

    def _too_late(self, timeout: float | None) -> CapacityError:
        return CapacityError(
            f"none of {self.capacity} slots became free within {timeout or 0:g} s",
            hint="wait longer (queue_timeout=), allow more at once (max_concurrency=), or try again later",
        )
