"""How a run is started and waited for: in a thread, or in an asyncio task. The only difference between the two worlds."""

from __future__ import annotations

import contextlib
import select
import threading
import time

from sandbox.model.errors import RequestError
from sandbox.runtime.active import Active, Job
from sandbox.runtime.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandbox.runtime.engine import Engine
    from sandbox.runtime.slots import Turn


def start(engine: Engine, job: Job, queue_timeout: float | None, turn: Turn | None = None) -> Active:
    """Take a slot and launch, in this thread. The slot is given back when the launch fails."""
    asked = time.monotonic_ns()
    engine.slots.acquire(queue_timeout, turn)
    try:
        return engine.begin(job, asked)
    except BaseException:
        engine.slots.release()
        raise


def wait(session: Session, seconds: float | None = None) -> None:
    """Drive a session to its end in this thread. Raises TimeoutError, RequestError when it is closed meanwhile."""
    deadline = None if seconds is None else time.monotonic() + seconds
    poll = select.poll()
    poll.register(session.fileno(), select.POLLIN)
    while not session.advance():
        if session.closing:
            break
        waits = [value for value in (session.timeout(), deadline and deadline - time.monotonic()) if value is not None]
        if deadline is not None and time.monotonic() >= deadline:
            raise TimeoutError(f"the run goes on after {seconds:g} s")
        poll.poll(max(0, int(min(waits) * 1000) + 1) if waits else None)
    if session.closing:
        raise RequestError("this run was closed, it has no result")


class _Handover:
    """A launch in a worker thread whose caller may lose interest at any time: whoever comes last cleans up."""

    def __init__(self, engine: Engine, job: Job, asked: int) -> None:
        self._engine = engine
        self._job = job
        self._asked = asked
        self._lock = threading.Lock()
        self._dropped = False
        self._active: Active | None = None

    def work(self) -> Active | None:
        """Process: the worker thread. None when nobody wants it any more; the slot is given back then, and on failure."""
        active = None
        try:
            if not self._dropped:
                active = self._engine.begin(self._job, self._asked)
        except BaseException:
            self._engine.slots.release()
            if self._dropped:
                return None
            raise
        with self._lock:
            self._active = active
            dropped = self._dropped
        if not dropped:
            return active
        if active is None:
            self._engine.slots.release()
        else:
            active.abandon()
        return None

    def drop(self) -> None:
        """The caller has gone. Never waits: what is to be given back may take the kernel some time."""
        with self._lock:
            self._dropped = True
            active = self._active
        if active is not None:
            threading.Thread(target=active.abandon, name="sandbox clean-up").start()


async def start_async(engine: Engine, job: Job, queue_timeout: float | None) -> Active:
    """Like `start`; what may wait for the kernel happens in a worker thread."""
    import asyncio

    asked = time.monotonic_ns()
    await engine.slots.acquire_async(queue_timeout)
    handover = _Handover(engine, job, asked)
    loop = asyncio.get_running_loop()
    try:
        work = loop.run_in_executor(None, handover.work)
    except BaseException:
        engine.slots.release()
        raise
    try:
        active = await asyncio.shield(work)
    except asyncio.CancelledError:
        handover.drop()
        raise
    if active is None:
        raise RequestError("this run was closed before it started")
    return active


class Waiter:
    """Waits for a session in an asyncio loop (any loop with add_reader)."""

    def __init__(self, session: Session) -> None:
        import asyncio

        self._session = session
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._watching = True
        self._loop.add_reader(session.fileno(), self._ready.set)

    async def step(self) -> bool:
        """Handle what is ready, or wait until something is. Returns whether the session is done."""
        import asyncio

        if self._session.advance():
            return True
        self._ready.clear()
        with contextlib.suppress(TimeoutError):  # `advance` looks at the clock
            async with asyncio.timeout(self._session.timeout()):  # wait_for may swallow a cancellation
                await self._ready.wait()
        return self._session.advance()

    def close(self) -> None:
        """Stop watching; must come before the session is closed. A second call does nothing."""
        if self._watching:
            self._watching = False
            self._loop.remove_reader(self._session.fileno())
