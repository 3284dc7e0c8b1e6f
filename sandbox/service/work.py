"""One run for a client, whatever dialect it speaks: its turn, the compiler, the program, one audit line.

admission.admit → programs (compiled in a thread, or from the store) → a warm AsyncSandbox → Answer
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterable, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace

from sandbox.api import AsyncSandbox
from sandbox.grader import model
from sandbox.grader.building import BuildFailure, Built
from sandbox.grader.cancel import Cancel
from sandbox.model.errors import RequestError, SandboxError
from sandbox.model.result import RunResult
from sandbox.policy.profile import Profile
from sandbox.runtime.request import FileContent
from sandbox.service import audit, ceilings, gone, programs, telemetry
from sandbox.service.admission import Admission, Refused
from sandbox.service.ask import Answer, Ask, Canceled, Event, LanguageInfo, Stage, UnknownLanguage
from sandbox.service.audit import Audit, Hashing
from sandbox.service.config import Config
from sandbox.service.live import Handle, Listener, Stdin
from sandbox.service.metrics import Metrics
from sandbox.service.pool import Pool
from sandbox.service.programs import Catalogue, Known, Program
from sandbox.service.tenant import Tenant

__all__ = [
    "Answer",
    "Ask",
    "Canceled",
    "Event",
    "Handle",
    "LanguageInfo",
    "OnEvent",
    "Refused",
    "Stage",
    "Stdin",
    "UnknownLanguage",
    "Work",
]

OnEvent = Callable[[Event], object]


@dataclass(frozen=True, slots=True)
class _Lane:
    """What all runs of one kind share: a profile, the limits of its warm sandbox, those of a run that says nothing."""

    key: tuple[str, ...]
    profile: Profile
    outer: Mapping[str, int]
    usual: Mapping[str, int]
    most: Mapping[str, int]
    digest: str
    overhead: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Plan:
    """One ask, checked: nothing in it can be refused any more but by the program's own files."""

    lane: _Lane
    limits: dict[str, int]
    known: Known | None = None
    sources: dict[str, bytes] = field(default_factory=dict)
    build: model.Limits | None = None


class Work:
    """Carries out what clients ask for. It belongs to one loop; `start` comes first, `close` last."""

    def __init__(
        self, config: Config, admission: Admission, *, metrics: Metrics | None = None, audit: Audit | None = None
    ) -> None:
        self._config = config
        self._admission = admission
        self._metrics = metrics or Metrics()
        self._audit = audit or Audit(None)
        self._pool = Pool(config.max_sandboxes)
        self._ceiling = ceilings.parse(config.limits)
        self._compile_ceiling = ceilings.parse(config.compile_limits)
        self._lanes: dict[tuple[str, ...], _Lane] = {}
        self._catalogue: Catalogue | None = None
        self._live: set[Handle] = set()

    async def start(self) -> None:
        """Look at the languages, and run something: raises SandboxError where this host cannot do it."""
        allow = self._config.allow_degraded
        self._catalogue = await asyncio.to_thread(Catalogue.read, self._config.languages, allow_degraded=allow)
        lane = self._command_lane(self._config.profiles[0])
        async with self._pool.share(lane.key, lambda: self._open(lane)) as box:
            await box.run(["true"])

    async def close(self) -> None:
        """End every sandbox."""
        await self._pool.close()

    def cancel_all(self) -> None:
        """End all that runs or waits; each is answered so."""
        for control in tuple(self._live):
            control.cancel()

    @contextlib.contextmanager
    def cancelable(self, control: Handle, words: str) -> Iterator[None]:
        """Within the block this task can be ended through `control`, and by `cancel_all`. Raises Canceled, with these words."""
        control.waits(asyncio.current_task())
        self._live.add(control)
        try:
            yield
        except asyncio.CancelledError:
            if control.canceled and (task := asyncio.current_task()):
                task.uncancel()
                raise Canceled(words) from None
            raise
        finally:
            control.waits(None)
            self._live.discard(control)

    def stats(self) -> dict[str, int]:
        """Of all warm sandboxes."""
        return self._pool.stats()

    def languages(self) -> list[LanguageInfo]:
        """Those that can be used here."""
        return self.catalogue.all()

    def resolve(self, name: str, version_selector: str = "*") -> LanguageInfo:
        """A language by id, name or alias, in a version that fits. Raises UnknownLanguage."""
        return self.catalogue.resolve(name, version_selector)

    def limits_of(self, profile: str, tenant: Tenant) -> dict[str, int]:
        """Those of a command in a profile that says nothing."""
        return ceilings.lowest(self._command_lane(profile).most, ceilings.parse(tenant.limits))

    def profile_digest(self, known: Known, profile: str) -> str:
        """Of a program in a language: what the profile enforces, with that which the language adds to it."""
        return self._program_lane(known, profile).digest

    @property
    def catalogue(self) -> Catalogue:
        """The languages; read when they are first asked for."""
        if self._catalogue is None:
            self._catalogue = Catalogue.read(self._config.languages, allow_degraded=self._config.allow_degraded)
        return self._catalogue

    async def perform(
        self,
        tenant: Tenant,
        ask: Ask,
        *,
        on_event: OnEvent | None = None,
        handle: Handle | None = None,
        waited: float | None = None,
    ) -> Answer:
        """Wait for a turn, compile, run. A canceled task kills the sandbox.

        Args:
            tenant: who asks.
            ask: for what.
            on_event: called in this loop as things happen. It must not block; what it raises ends the run.
            handle: control of it meanwhile.
            waited: seconds, where the caller has a turn for it already (`Admission.admit`).

        Raises Refused, RequestError (the client's mistake), Canceled, SandboxError (this host's).
        """
        control = handle or Handle()
        queued, answer, failure = waited or 0.0, None, None
        hashing = Hashing(ask.stdin) if isinstance(ask.stdin, AsyncIterable) else None
        plan = self._plan(tenant, ask)
        self._audit.ready()
        try:
            with self.cancelable(control, "the run was canceled before its program ran"):
                async with self._admission.admit(tenant) if waited is None else contextlib.nullcontext(waited) as queued:
                    if control.canceled:
                        raise asyncio.CancelledError
                    answer = await self._carry_out(plan, ask, hashing or ask.stdin, on_event, control)
        except Refused as error:
            self._metrics.refused(error.reason)
            raise
        except BaseException as error:
            failure = error
            self._metrics.failed(error, dialect=ask.label)
            raise
        finally:
            if answer is not None or failure is not None:
                line = audit.line(
                    tenant=tenant.name,
                    ask=ask,
                    answer=answer,
                    queue_s=queued,
                    profile=plan.lane.profile.name,
                    profile_digest=plan.lane.digest,
                    stdin=hashing,
                    error=failure,
                    peer=ask.peer,
                )
                self._audit.write(line, withhold=failure is None)
        self._metrics.ran(tenant.name, answer, queued, dialect=ask.label)
        return answer

    async def _carry_out(
        self,
        plan: _Plan,
        ask: Ask,
        stdin: bytes | AsyncIterable[bytes] | None,
        on_event: OnEvent | None,
        handle: Handle,
    ) -> Answer:
        tell, streamed = on_event or _nobody, on_event is not None
        lane, known = plan.lane, plan.known
        if known is None:
            run = await self._run(plan, ask, ask.argv, {**ask.files}, stdin, tell, handle, streamed=streamed)
            return Answer(run=run)
        memory = plan.limits.get("memory_bytes", lane.usual["memory_bytes"])
        stage: Stage | None = None
        if known.is_compiled:
            with telemetry.span("build", language=known.info.id):
                made = await self._compile(plan, known, memory, tell)
            if isinstance(made, Stage):
                return Answer(language=known.info.id, version=known.info.version, compile=made)
            stage, program = made
        else:
            program = programs.interpreted(known, plan.sources, memory, lane.profile.policy.work.path)
        files = {**program.files, **_beside(ask.files, program)}
        argv = (*program.argv, *ask.argv)
        run = await self._run(plan, ask, argv, files, stdin, tell, handle, streamed=streamed)
        return Answer(language=known.info.id, version=known.info.version, compile=stage, run=run)

    async def _compile(self, plan: _Plan, known: Known, memory: int, tell: OnEvent) -> tuple[Stage, Program] | Stage:
        """The program, or what the compiler has against it. Raises SandboxError where it is not the sources' fault."""
        tell(Event("stage", "compile"))
        cancel, limits, work = Cancel(), plan.build or model.Limits(), plan.lane.profile.policy.work.path

        def make() -> tuple[Built, Program] | BuildFailure:
            built = programs.build(known, plan.sources, limits, allow_degraded=self._config.allow_degraded, cancel=cancel)
            return built if isinstance(built, BuildFailure) else (built, programs.compiled(built, memory, work))

        made = await gone.in_thread(make, cancel=cancel.cancel)
        if isinstance(made, BuildFailure):
            if made.blame == "judge":
                raise SandboxError(made.reason)
            stage = _stage(made.run, made.output, ok=False, reason=made.reason)
        else:
            stage = _stage(made[0].run, made[0].output, ok=True)
        for name, data in (("stdout", stage.stdout), ("stderr", stage.stderr)):
            if data:
                tell(Event(name, "compile", data))  # type: ignore[arg-type]  # one of the two
        tell(Event("exit", "compile", result=stage.result))
        return stage if isinstance(made, BuildFailure) else (stage, made[1])

    async def _run(
        self,
        plan: _Plan,
        ask: Ask,
        argv: tuple[str, ...],
        files: Mapping[str, FileContent],
        stdin: bytes | AsyncIterable[bytes] | None,
        tell: OnEvent,
        handle: Handle,
        *,
        streamed: bool,
    ) -> RunResult:
        """Run it. Its stage begins when the run is there: from then on it can be canceled with a result."""
        lane = plan.lane
        listener = Listener(tell)
        async with self._pool.share(lane.key, lambda: self._open(lane)) as box:
            run = await box.start(
                argv,
                stdin=stdin,
                files=files or None,
                collect=ask.collect,
                env=ask.env or None,
                cwd=ask.cwd,
                limits=_given(plan),
                tty=ask.tty,
                on_stdout=listener.stdout if streamed else None,
                on_stderr=listener.stderr if streamed else None,
            )
            async with run:
                handle.runs(run)
                try:
                    listener.begins()
                    with telemetry.span("run"):
                        result = await run.wait()
                finally:
                    handle.runs(None)
        tell(Event("exit", "run", result=result))
        return result

    def _plan(self, tenant: Tenant, ask: Ask) -> _Plan:
        """Check everything that can be checked before its turn comes. Raises RequestError."""
        allowed = tenant.profiles or self._config.profiles
        if ask.profile and (ask.profile not in self._config.profiles or ask.profile not in allowed):
            offered = [name for name in self._config.profiles if name in allowed]
            raise RequestError(f"there is no profile {ask.profile[:64]!r} here", hint=f"there are {', '.join(offered)}")
        if not ask.language:
            if not ask.argv:
                raise RequestError("nothing is to be run", hint="give a language and sources, or argv")
            if ask.sources:
                raise RequestError("sources need a language", hint="give plain files as `files`")
            name = ask.profile or next((name for name in self._config.profiles if name in allowed), "")
            if not name:
                raise RequestError(f"no profile is left for {tenant.name!r}", hint="ask the operator")
            lane = self._command_lane(name)
            return _Plan(lane, self._limits(lane, tenant, ask))
        known = self.catalogue.get(ask.language)
        lane = self._program_lane(known, ask.profile)
        wanted = ceilings.within(self._compile_ceiling, ask.compile_limits)
        compile_limits = {**self._compile_ceiling, **wanted}
        return _Plan(
            lane,
            self._limits(lane, tenant, ask),
            known,
            programs.sources(known, ask.sources, self._config.source_bytes),
            model.Limits(
                code_bytes=self._config.source_bytes,
                compilation_s=compile_limits["cpu_ns"] / 1e9,
                compilation_memory_bytes=compile_limits["memory_bytes"],
            ),
        )

    def _limits(self, lane: _Lane, tenant: Tenant, ask: Ask) -> dict[str, int]:
        """Where this run differs from a usual one of its lane."""
        own = ceilings.parse(tenant.limits)
        most = ceilings.lowest(lane.most, own) if own else lane.most
        lower = {name: most[name] for name in own if ceilings.lowest(lane.usual, own)[name] != lane.usual.get(name)}
        return {**lower, **ceilings.within(most, ask.limits)}

    def _command_lane(self, name: str) -> _Lane:
        key = ("command", name)
        if key not in self._lanes:
            profile = Profile.load(name)
            outer = ceilings.lowest(self._ceiling, ceilings.of(profile.policy.limits))
            self._lanes[key] = _Lane(key, profile, outer, outer, outer, _digest(profile))
        return self._lanes[key]

    def _program_lane(self, known: Known, name: str) -> _Lane:
        key = ("program", known.info.id, name)
        if key not in self._lanes:
            language = known.language
            name = name or (language.run.warm_profile if self._config.warm else "") or language.run.profile
            own = ceilings.of(Profile.load(name).policy.limits)
            most = {**own, **self._ceiling}
            overhead = {"memory_bytes": language.overhead.memory, "pids": language.overhead.pids}
            outer = {field: number + overhead.get(field, 0) for field, number in most.items()}
            usual = ceilings.lowest(self._ceiling, own)
            profile = programs.profile_of(language, name)
            self._lanes[key] = _Lane(key, profile, outer, usual, most, _digest(profile), overhead)
        return self._lanes[key]

    def _open(self, lane: _Lane) -> AsyncSandbox:
        return AsyncSandbox(
            lane.profile,
            limits=dict(lane.outer),
            allow_degraded=self._config.allow_degraded,
            max_concurrency=self._config.max_concurrency,
        )


def _digest(profile: Profile) -> str:
    """SHA-256 of all that a profile enforces; where each line came from is no part of it."""
    policy = {name: value for name, value in asdict(profile.policy).items() if name != "origins"}
    return hashlib.sha256(json.dumps(policy, sort_keys=True, default=str).encode()).hexdigest()


def _given(plan: _Plan) -> dict[str, str | int] | None:
    """The limits that are told to the sandbox: what differs from its own."""
    lane = plan.lane
    wanted = {**lane.usual, **plan.limits}
    whole = {field: number + lane.overhead.get(field, 0) for field, number in wanted.items()}
    return {field: number for field, number in whole.items() if number != lane.outer[field]} or None


def _beside(files: Mapping[str, bytes | tuple[bytes, int]], program: Program) -> Mapping[str, FileContent]:
    """Further files. Raises RequestError for one that would take the place of the program's own."""
    for name in files:
        if name in program.files:
            raise RequestError(f"files: {name[:64]!r} is the name of a file of the program", hint="give it another name")
    return {**files}


def _stage(run: RunResult | None, output: str, *, ok: bool, reason: str = "") -> Stage:
    """What the compiler said, as it said it where it was run now."""
    if run is None:
        return Stage(ok=ok, stderr=output.encode(), reason=reason)
    bare = replace(run, files={})  # the program itself is nobody's output
    return Stage(ok=ok, stdout=run.stdout, stderr=run.stderr, result=bare, reason=reason)


def _nobody(_: Event) -> None:
    """Nobody listens."""
