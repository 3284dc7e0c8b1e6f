"""How a run is waited for: in a thread, or in an asyncio task. The only difference between the two worlds."""

from __future__ import annotations

import contextlib
import select
import time
from typing import TYPE_CHECKING

from sandbox.model.result import RunResult
from sandbox.runtime.engine import Active, Engine, Job
from sandbox.runtime.session import Session

if TYPE_CHECKING:
    import asyncio


def start(engine: Engine, job: Job, queue_timeout: float | None) -> Active:
    """Take a slot and launch, in this thread. The slot is given back when the launch fails."""
    asked = time.monotonic_ns()
    engine.slots.acquire(queue_timeout)
    try:
        return engine.begin(job, asked)
    except BaseException:
        engine.slots.release()
        raise


def wait(session: Session) -> None:
    """Drive a session to its end in this thread."""
    poll = select.poll()
    poll.register(session.fileno(), select.POLLIN)
    while not session.advance():
        timeout = session.timeout()
        poll.poll(None if timeout is None else int(timeout * 1000) + 1)


def finish(active: Active) -> RunResult:
    """Drive to the end and make the result; the slot is given back."""
    try:
        wait(active.session)
        return active.finish()
    except BaseException:
        active.abandon()
        raise
    finally:
        active.engine.slots.release()


async def start_async(engine: Engine, job: Job, queue_timeout: float | None) -> Active:
    """Like `start`; what may wait for the kernel happens in a worker thread."""
    import asyncio

    asked = time.monotonic_ns()
    await engine.slots.acquire_async(queue_timeout)
    task = asyncio.ensure_future(asyncio.to_thread(engine.begin, job, asked))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(lambda done: _drop_started(engine, done))
        raise
    except BaseException:
        engine.slots.release()
        raise


def _drop_started(engine: Engine, task: asyncio.Future[Active]) -> None:
    """A run that came to life after its task was canceled."""
    if not task.cancelled() and task.exception() is None:
        task.result().abandon()
    engine.slots.release()


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
            await asyncio.wait_for(self._ready.wait(), self._session.timeout())
        return self._session.advance()

    def close(self) -> None:
        """Stop watching; must come before the session is closed. A second call does nothing."""
        if self._watching:
            self._watching = False
            self._loop.remove_reader(self._session.fileno())
