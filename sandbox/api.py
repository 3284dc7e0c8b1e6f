"""The public calls: `run`, `arun`, `Sandbox`, `AsyncSandbox`.

All of them take a profile (a name, a path, or a `Profile`), a command, and what goes in and comes out. What the payload
does wrong is in the `RunResult`; what the caller or the host does wrong is a `SandboxError`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from sandbox.model.errors import RequestError
from sandbox.model.limits import Limits
from sandbox.model.policy import Mount
from sandbox.model.result import RunResult
from sandbox.policy.profile import Profile
from sandbox.runtime import drivers
from sandbox.runtime.engine import Active, Engine, Job
from sandbox.runtime.feed import Pump
from sandbox.runtime.registry import make_engine, shared
from sandbox.runtime.request import FileContent, Word

if TYPE_CHECKING:
    import asyncio

AnyProfile: TypeAlias = str | Profile
AnyLimits: TypeAlias = Mapping[str, str | int] | Limits | None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of output as it came: `stream` is "stdout" or "stderr"."""

    stream: Literal["stdout", "stderr"]
    data: bytes


class Run:
    """One run in flight. `wait` drives it; `cancel` may come from any thread."""

    def __init__(self, active: Active) -> None:
        self._active: Active | None = active
        self._result: RunResult | None = None
        self._lock = threading.RLock()  # a signal handler may cancel while its own thread is in here

    def wait(self) -> RunResult:
        """Wait for the end. Output callbacks are called from here. A second call returns the same result."""
        active = self._active
        if self._result is not None:
            return self._result
        if active is None:
            raise RequestError("this run was closed, it has no result")
        try:
            drivers.wait(active.session)
        except BaseException:
            self.close()
            raise
        with self._lock:
            self._active = None
        try:
            self._result = active.finish()
        finally:
            active.engine.slots.release()
        return self._result

    def cancel(self) -> None:
        """End the run; `wait` then returns outcome canceled. Nothing happens when it has ended already."""
        with self._lock:
            if self._active is not None:
                self._active.session.cancel()

    def resize(self, rows: int, columns: int) -> None:
        """Tell the payload's terminal its new size (runs with `tty`)."""
        with self._lock:
            if self._active is not None:
                self._active.session.resize(rows, columns)

    def close(self) -> None:
        """Kill the run if it has not ended, and give everything back."""
        with self._lock:
            active, self._active = self._active, None
        if active is not None:
            try:
                active.abandon()
            finally:
                active.engine.slots.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Sandbox:
    """A profile made ready: its launcher is started once and kept warm. Safe from any number of threads.

    Args:
        profile: name, path of a file, or a Profile.
        limits: tighter limits for every run, as in the profile ({"memory": "64MiB", "wall": "2s"}).
        mounts: further mounts, granted by the caller.
        allow_degraded: run without control groups where the host has none, with weaker stand-ins (`RunResult.degraded`).
        max_concurrency: runs at once; more wait in order of arrival.

    Raises ProfileError, PolicyError, UnsupportedHostError.
    """

    def __init__(
        self,
        profile: AnyProfile = "default",
        *,
        limits: AnyLimits = None,
        mounts: Sequence[Mount] = (),
        allow_degraded: bool = False,
        max_concurrency: int | None = None,
    ) -> None:
        if max_concurrency is not None and max_concurrency < 1:
            raise RequestError(f"max_concurrency must be at least 1, not {max_concurrency}")
        self.profile = _profile(profile, mounts)
        self._limits = _limits(self.profile, limits)
        self._engine = make_engine(self.profile.policy, allow_degraded=allow_degraded, capacity=max_concurrency)

    def start(
        self,
        argv: Sequence[Word],
        *,
        stdin: Any = None,
        files: Mapping[str, FileContent] | None = None,
        collect: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        limits: AnyLimits = None,
        queue_timeout: float | None = None,
        on_stdout: Callable[[bytes], object] | None = None,
        on_stderr: Callable[[bytes], object] | None = None,
        tty: tuple[int, int] | None = None,
    ) -> Run:
        """Launch and return at once; see `run` for the arguments."""
        job = Job(
            argv=argv,
            stdin=stdin,
            files=files,
            collect=collect,
            env=env,
            cwd=cwd,
            limits=_limits(self.profile, limits, self._limits),
            tty=tty,
            on_stdout=on_stdout,
            on_stderr=on_stderr,
        )
        return Run(drivers.start(self._engine, job, queue_timeout))

    def run(self, argv: Sequence[Word], **options: Any) -> RunResult:
        """Launch and wait. Options as for `start`."""
        with self.start(argv, **options) as handle:
            return handle.wait()

    def stats(self) -> dict[str, int]:
        """Slots in all, busy, waiting calls, runs served."""
        slots = self._engine.slots
        return {"capacity": slots.capacity, "busy": slots.busy, "waiting": slots.waiting, "served": self._engine.served}

    def close(self) -> None:
        """End the launcher and every run in it."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
        engine = self._active.engine
        task = asyncio.ensure_future(asyncio.to_thread(self._active.abandon))
        task.add_done_callback(lambda _: engine.slots.release())
        await asyncio.shield(task)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class AsyncSandbox:
    """The asyncio twin of `Sandbox`, with the same arguments."""

    def __init__(self, profile: AnyProfile = "default", **options: Any) -> None:
        self._sandbox = Sandbox(profile, **options)

    async def start(self, argv: Sequence[Word], *, queue_timeout: float | None = None, **options: Any) -> AsyncRun:
        """Launch and return at once; see `run` for the arguments."""
        sandbox = self._sandbox
        chunks: deque[Chunk] = deque()
        return await _start_async(sandbox._engine, sandbox.profile, sandbox._limits, argv, queue_timeout, options, chunks)

    async def run(self, argv: Sequence[Word], **options: Any) -> RunResult:
        """Launch and wait. Options as for `Sandbox.start`."""
        async with await self.start(argv, **options) as handle:
            return await handle.wait()

    def stats(self) -> dict[str, int]:
        """As `Sandbox.stats`."""
        return self._sandbox.stats()

    async def close(self) -> None:
        """End the launcher and every run in it."""
        import asyncio

        await asyncio.to_thread(self._sandbox.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def _start_async(
    engine: Engine,
    profile: Profile,
    base_limits: Limits | None,
    argv: Sequence[Word],
    queue_timeout: float | None,
    options: dict[str, Any],
    chunks: deque[Chunk] | None,
) -> AsyncRun:
    limits = _limits(profile, options.pop("limits", None), base_limits)
    if chunks is not None:
        options.setdefault("on_stdout", lambda data: chunks.append(Chunk("stdout", data)))
        options.setdefault("on_stderr", lambda data: chunks.append(Chunk("stderr", data)))
    feeding = _feed_from_task(options)
    try:
        active = await drivers.start_async(engine, Job(argv=argv, limits=limits, **options), queue_timeout)
    except BaseException:
        if feeding is not None:
            feeding.cancel()
            options["stdin"].close()
        raise
    return AsyncRun(active, chunks if chunks is not None else deque(), feeding)


def _feed_from_task(options: dict[str, Any]) -> asyncio.Task[None] | None:
    """An asynchronous stdin is read by a task of its own, which is returned; the run gets the other end."""
    import asyncio

    source: Any = options.get("stdin")
    if not hasattr(source, "__aiter__"):
        return None
    pump = options["stdin"] = Pump()
    return asyncio.ensure_future(pump.fill(source))


def run(
    argv: Sequence[Word],
    *,
    profile: AnyProfile = "default",
    mounts: Sequence[Mount] = (),
    allow_degraded: bool = False,
    **options: Any,
) -> RunResult:
    """Run one command in a sandbox and wait for its end.

    The launcher of a profile is started on first use and kept warm until the process ends.

    Args:
        argv: program and arguments; the program is looked up in the profile's PATH, inside.
        profile: name, path of a file, or a Profile.
        mounts: further mounts, granted by the caller.
        allow_degraded: accept weaker stand-ins where the host has no control groups.
        stdin: bytes, an open file or descriptor, or an iterable of bytes; nothing by default.
        files: relative name → bytes or (bytes, mode), put into the work directory.
        collect: relative names, directories or patterns taken out of it afterwards; "." is everything.
        env: further environment variables.
        cwd: absolute path inside.
        limits: tighter limits for this run.
        queue_timeout: seconds to wait for a free slot; None waits as long as it takes.
        on_stdout, on_stderr: called with each piece of output as it comes.
        tty: (rows, columns) gives the payload a private terminal; its output comes as stdout.
        **options: the arguments from `stdin` on; `Sandbox.start` has their types.

    Raises SandboxError (RequestError, ProfileError, PolicyError, UnsupportedHostError, CapacityError, LaunchError…).
    """
    chosen, engine = _shared_engine(profile, mounts, allow_degraded=allow_degraded)
    timeout = options.pop("queue_timeout", None)
    job = Job(argv=argv, limits=_limits(chosen, options.pop("limits", None)), **options)
    with Run(drivers.start(engine, job, timeout)) as handle:
        return handle.wait()


async def arun(
    argv: Sequence[Word],
    *,
    profile: AnyProfile = "default",
    mounts: Sequence[Mount] = (),
    allow_degraded: bool = False,
    **options: Any,
) -> RunResult:
    """The asyncio twin of `run`. A canceled task kills the sandbox."""
    import asyncio

    chosen, engine = await asyncio.to_thread(_shared_engine, profile, mounts, allow_degraded=allow_degraded)
    timeout = options.pop("queue_timeout", None)
    handle = await _start_async(engine, chosen, None, argv, timeout, options, None)
    async with handle:
        return await handle.wait()


def _shared_engine(profile: AnyProfile, mounts: Sequence[Mount], *, allow_degraded: bool) -> tuple[Profile, Engine]:
    chosen = _profile(profile, mounts)
    policy = chosen.policy
    engine = shared.get((policy, allow_degraded), lambda: make_engine(policy, allow_degraded=allow_degraded, capacity=None))
    return chosen, engine


def _profile(profile: AnyProfile, mounts: Sequence[Mount]) -> Profile:
    chosen = Profile.load(profile) if isinstance(profile, str) else profile
    if not isinstance(chosen, Profile):
        raise RequestError(f"profile must be a name, a path or a Profile, not {type(profile).__name__}")
    return chosen.with_mounts(mounts) if mounts else chosen


def _limits(profile: Profile, limits: AnyLimits, base: Limits | None = None) -> Limits | None:
    """`base` tightened by what this call says. Raises PolicyError when it would loosen."""
    if limits is None:
        return base
    return profile.tightened_limits(limits, base)
