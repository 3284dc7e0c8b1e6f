"""The public calls: `run`, `arun`, `Sandbox`, `AsyncSandbox`.

All of them take a profile (a name, a path, or a `Profile`), a command, and what goes in and comes out. What the payload
does wrong is in the `RunResult`; what the caller or the host does wrong is a `SandboxError`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, Self, TypeAlias, TypedDict, Unpack

from sandbox.model.errors import RequestError
from sandbox.model.limits import Limits
from sandbox.model.policy import Mount
from sandbox.model.result import RunResult
from sandbox.policy.profile import Profile
from sandbox.runtime import drivers, mapping
from sandbox.runtime.active import Job
from sandbox.runtime.engine import Engine
from sandbox.runtime.feed import Pump
from sandbox.runtime.handles import AsyncRun, Chunk, Run
from sandbox.runtime.launchers import MOST as MOST_LAUNCHERS
from sandbox.runtime.mapping import AnyRequest, MapItem, Request
from sandbox.runtime.parking import MOST
from sandbox.runtime.registry import make_engine, shared
from sandbox.runtime.request import FileContent, Word

if TYPE_CHECKING:
    import asyncio

    from sandbox.runtime.slots import Turn

__all__ = ["AsyncRun", "AsyncSandbox", "Chunk", "MapItem", "Request", "Run", "RunOptions", "Sandbox", "arun", "run"]

AnyProfile: TypeAlias = str | Profile
AnyLimits: TypeAlias = Mapping[str, str | int] | Limits | None
Stdin: TypeAlias = bytes | bytearray | memoryview | int | IO[bytes] | Iterable[bytes] | AsyncIterable[bytes] | None


class RunOptions(TypedDict, total=False):
    """What every way to run takes besides the command.

    Attributes:
        stdin: bytes, an open file or descriptor, or an iterable of bytes (asynchronous calls take asynchronous ones too);
            nothing by default.
        files: relative name → bytes, (bytes, mode) or the path of a file here; put into the work directory.
        collect: relative names, directories or patterns taken out of it afterwards; "." is everything.
        env: further environment variables.
        cwd: absolute path inside.
        limits: tighter limits for this run ({"memory": "64MiB", "wall": "2s"}).
        queue_timeout: seconds to wait for a free slot; None waits as long as it takes.
        on_stdout, on_stderr: called with each piece of output as it comes, from the thread that waits.
        on_stdout_end: called, likewise, when everything in the sandbox has closed its stdout, which may be long before it ends.
        tty: (rows, columns) gives the payload a private terminal; its output comes as stdout.
    """

    stdin: Stdin
    files: Mapping[str, FileContent] | None
    collect: Sequence[str]
    env: Mapping[str, str] | None
    cwd: str | None
    limits: AnyLimits
    queue_timeout: float | None
    on_stdout: Callable[[bytes], object] | None
    on_stdout_end: Callable[[], object] | None
    on_stderr: Callable[[bytes], object] | None
    tty: tuple[int, int] | None


class Sandbox:
    """A profile made ready: its launcher is started once and kept warm. Safe from any number of threads.

    Args:
        profile: name, path of a file, or a Profile.
        limits: tighter limits for every run, as in the profile ({"memory": "64MiB", "wall": "2s"}).
        mounts: further mounts, granted by the caller.
        allow_degraded: run without control groups where the host has none, with weaker stand-ins (`RunResult.degraded`).
        max_concurrency: runs at once; more wait in order of arrival.
        parked: how many sandboxes each launcher keeps ready at most, as the load asks for them; 0 for none.
        max_launchers: how many processes share the launching at most, as the load asks for them; one for every four CPUs by
            default.

    Raises ProfileError, PolicyError, UnsupportedHostError.
    """

    def __init__(
        self,
        profile: AnyProfile = "default",
        *,
        limits: AnyLimits = None,
        mounts: Sequence[Mount | str] = (),
        allow_degraded: bool = False,
        max_concurrency: int | None = None,
        parked: int | None = None,
        max_launchers: int | None = None,
    ) -> None:
        if max_concurrency is not None and max_concurrency < 1:
            raise RequestError(f"max_concurrency must be at least 1, not {max_concurrency}")
        if parked is not None and not 0 <= parked <= MOST:
            raise RequestError(f"parked must be from 0 to {MOST}, not {parked}")
        if max_launchers is not None and not 1 <= max_launchers <= MOST_LAUNCHERS:
            raise RequestError(f"max_launchers must be from 1 to {MOST_LAUNCHERS}, not {max_launchers}")
        self.profile = _profile(profile, mounts)
        self._limits = _limits(self.profile, limits)
        self._engine = make_engine(
            self.profile.policy,
            allow_degraded=allow_degraded,
            capacity=max_concurrency,
            parked=parked,
            limits=self._limits,
            launchers=max_launchers,
        )

    def prepare(self, parked: int = 1) -> None:
        """Start the launcher now and not with the first run, and have sandboxes parked for the first runs; safe to call again.

        Args:
            parked: how many; at most what the Sandbox keeps parked. They come by and by, and go when no run comes for 10 s.

        Raises SandboxError where the host cannot run sandboxes.
        """
        if parked < 0:
            raise RequestError(f"parked must be at least 0, not {parked}")
        self._engine.prepare(parked)

    def start(self, argv: Sequence[Word], **options: Unpack[RunOptions]) -> Run:
        """Launch and return at once."""
        job, timeout = _job(self.profile, self._limits, argv, options)
        return Run(drivers.start(self._engine, job, timeout))

    def run(self, argv: Sequence[Word], **options: Unpack[RunOptions]) -> RunResult:
        """Launch and wait."""
        with self.start(argv, **options) as handle:
            return handle.wait()

    def map(self, requests: Iterable[AnyRequest], *, concurrency: int | None = None) -> Iterator[MapItem]:
        """Run many, and yield what became of each as it ends, in no order; see `MapItem.index`.

        Args:
            requests: read as it is needed, in this thread: lists of words, dicts with "argv" and the options of `run`, or
                `Request`s. At most twice `concurrency` are read ahead of what was yielded.
            concurrency: runs at once; as many as there are slots by default and at most.

        The error of one run is part of its item and ends nothing else. What the iterable itself raises is raised when what was
        read before has its items. Closing the generator kills what runs. Callbacks come from other threads. Raises RequestError.
        """
        engine = self._engine

        def start(request: AnyRequest, turn: Turn) -> Run:
            argv, options = mapping.parts(request)
            job, timeout = _job(self.profile, self._limits, argv, options)
            return Run(drivers.start(engine, job, timeout, turn))

        return mapping.serve(start, engine.slots.dismiss, requests, mapping.width(concurrency, engine.slots.capacity))

    def stats(self) -> dict[str, int]:
        """Slots in all, busy, waiting calls, runs served; launchers; parked sandboxes, runs that were given one, and not."""
        return self._engine.stats()

    def close(self) -> None:
        """End the launcher and every run in it."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncSandbox:
    """The asyncio twin of `Sandbox`, with the same arguments."""

    def __init__(self, profile: AnyProfile = "default", **options: Any) -> None:
        self._sandbox = Sandbox(profile, **options)

    async def prepare(self, parked: int = 1) -> None:
        """As `Sandbox.prepare`."""
        import asyncio

        await asyncio.to_thread(self._sandbox.prepare, parked)

    async def start(self, argv: Sequence[Word], **options: Unpack[RunOptions]) -> AsyncRun:
        """Launch and return at once. Iterate over the handle for the output as it comes."""
        sandbox = self._sandbox
        chunks: deque[Chunk] = deque()
        options.setdefault("on_stdout", lambda data: chunks.append(Chunk("stdout", data)))
        options.setdefault("on_stderr", lambda data: chunks.append(Chunk("stderr", data)))
        return await _start_async(sandbox._engine, sandbox.profile, sandbox._limits, argv, options, chunks)

    async def run(self, argv: Sequence[Word], **options: Unpack[RunOptions]) -> RunResult:
        """Launch and wait."""
        sandbox = self._sandbox
        async with await _start_async(sandbox._engine, sandbox.profile, sandbox._limits, argv, options, deque()) as handle:
            return await handle.wait()

    def map(
        self, requests: Iterable[AnyRequest] | AsyncIterable[AnyRequest], *, concurrency: int | None = None
    ) -> AsyncIterator[MapItem]:
        """As `Sandbox.map`; the iterable may be asynchronous. Who leaves the loop early uses `contextlib.aclosing`."""

        async def one(request: AnyRequest) -> RunResult:
            argv, options = mapping.parts(request)
            return await self.run(argv, **options)

        return mapping.serve_async(one, requests, mapping.width(concurrency, self._sandbox._engine.slots.capacity))

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


def _job(profile: Profile, outer: Limits | None, argv: Sequence[Word], options: RunOptions) -> tuple[Job, float | None]:
    """What was asked for, and how long to wait for a slot. Raises TypeError for an option that there is not."""
    given: dict[str, Any] = {**options}
    for name in given:
        if name not in RunOptions.__annotations__:
            from sandbox.policy.seccomp.tables import nearest

            hint = nearest(name, list(RunOptions.__annotations__)) or f"there are {', '.join(RunOptions.__annotations__)}"
            raise TypeError(f"a run has no option {name!r}; {hint}")
    timeout = given.pop("queue_timeout", None)
    return Job(argv=argv, limits=_limits(profile, given.pop("limits", None), outer), **given), timeout


async def _start_async(
    engine: Engine,
    profile: Profile,
    outer: Limits | None,
    argv: Sequence[Word],
    options: RunOptions,
    chunks: deque[Chunk],
) -> AsyncRun:
    job, timeout = _job(profile, outer, argv, options)
    feeding = _feed_from_task(job)
    try:
        return AsyncRun(await drivers.start_async(engine, job, timeout), chunks, feeding)
    except BaseException:
        if feeding is not None:
            feeding.cancel()
            job.stdin.close()
        raise


def _feed_from_task(job: Job) -> asyncio.Task[None] | None:
    """An asynchronous stdin is read by a task of its own, which is returned; the run gets the other end."""
    import asyncio

    source = job.stdin
    if not hasattr(source, "__aiter__"):
        return None
    pump = job.stdin = Pump()
    return asyncio.ensure_future(pump.fill(source))


def run(
    argv: Sequence[Word],
    *,
    profile: AnyProfile = "default",
    mounts: Sequence[Mount | str] = (),
    allow_degraded: bool = False,
    **options: Unpack[RunOptions],
) -> RunResult:
    """Run one command in a sandbox and wait for its end.

    The launcher of a profile is started on first use and kept warm until the process ends.

    Args:
        argv: program and arguments; the program is looked up in the profile's PATH, inside.
        profile: name, path of a file, or a Profile.
        mounts: further mounts, granted by the caller.
        allow_degraded: accept weaker stand-ins where the host has no control groups.
        **options: see `RunOptions`.

    Raises SandboxError (RequestError, ProfileError, PolicyError, UnsupportedHostError, CapacityError, LaunchError…).
    """
    chosen, engine = _shared_engine(profile, mounts, allow_degraded=allow_degraded)
    try:
        job, timeout = _job(chosen, None, argv, options)
        with Run(drivers.start(engine, job, timeout)) as handle:
            return handle.wait()
    finally:
        shared.give_back(engine)


async def arun(
    argv: Sequence[Word],
    *,
    profile: AnyProfile = "default",
    mounts: Sequence[Mount | str] = (),
    allow_degraded: bool = False,
    **options: Unpack[RunOptions],
) -> RunResult:
    """The asyncio twin of `run`. A canceled task kills the sandbox."""
    import asyncio

    loop = asyncio.get_running_loop()
    finding = loop.run_in_executor(None, lambda: _shared_engine(profile, mounts, allow_degraded=allow_degraded))
    try:
        chosen, engine = await asyncio.shield(finding)
    except asyncio.CancelledError:
        finding.add_done_callback(_nobody_wants)
        raise
    try:
        async with await _start_async(engine, chosen, None, argv, options, deque()) as handle:
            return await handle.wait()
    finally:
        shared.give_back(engine)


def _nobody_wants(finding: asyncio.Future[tuple[Profile, Engine]]) -> None:
    if finding.exception() is None:
        shared.give_back(finding.result()[1])


def _shared_engine(profile: AnyProfile, mounts: Sequence[Mount | str], *, allow_degraded: bool) -> tuple[Profile, Engine]:
    """The profile, and an engine that must be given back."""
    chosen = _profile(profile, mounts)
    policy = chosen.policy
    engine = shared.take((policy, allow_degraded), lambda: make_engine(policy, allow_degraded=allow_degraded, capacity=None))
    return chosen, engine


def _profile(profile: AnyProfile, mounts: Sequence[Mount | str]) -> Profile:
    chosen = Profile.load(profile) if isinstance(profile, str) else profile
    if not isinstance(chosen, Profile):
        raise RequestError(f"profile must be a name, a path or a Profile, not {type(profile).__name__}")
    return chosen.with_mounts(mounts) if mounts else chosen


def _limits(profile: Profile, limits: AnyLimits, base: Limits | None = None) -> Limits | None:
    """`base` tightened by what this call says. Raises PolicyError when it would loosen."""
    if limits is None:
        return base
    return profile.tightened_limits(limits, base)
