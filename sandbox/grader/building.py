"""A submission made ready to run: compiled in a sandbox of its own, kept in the store, bound read-only into every run."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from sandbox.api import Run, Sandbox, Stdin
from sandbox.grader import boxes, compiling, entrypoints, store
from sandbox.grader.cancel import Cancel
from sandbox.grader.compiling import BuildFailure
from sandbox.grader.languages import PROGRAM, Language, expand, load
from sandbox.grader.model import Limits, Source
from sandbox.model.errors import RequestError, SandboxError, UnsupportedHostError
from sandbox.model.policy import Mount
from sandbox.model.result import RunResult
from sandbox.policy.profile import Profile
from sandbox.runtime.request import FileContent

__all__ = ["CASE", "MIN_WALL_S", "BuildFailure", "Built", "build", "start"]

CASE = "/case"  # the working directory of runs that may not write
MIN_WALL_S = 1.0
_MAX_MEMORY = 64 << 30
_MAX_STACK = 1 << 30
_SCRATCH = 512 << 20
_COLLECT = 64 << 20  # the feedback of a validator is read into this process
_MAX_CASE_FILES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What programs of one language run in, for one problem.

    Attributes:
        profile: wide enough for `memory_bytes`.
        limits: of the problem.
        memory_bytes: limit of a run: what the problem allows and what the language's runtime takes for itself.
        allow_degraded: runs accept weaker stand-ins where the host has no control groups.
    """

    profile: Profile
    language: Language
    limits: Limits
    memory_bytes: int
    allow_degraded: bool = False

    @contextmanager
    def prepared(self, cpus: Sequence[int], parked: int, *, writable: bool) -> Iterator[None]:
        """Start a launcher for runs on these cores and park sandboxes there, before there is a program; reserve it meanwhile.

        Raises SandboxError.
        """
        profile, holds = self._with_files({}, writable=writable)
        with self._share(profile, None, cpus, holds) as box:
            box.prepare(parked)
            yield

    def _with_files(self, files: Mapping[str, Path], *, writable: bool) -> tuple[Profile, list[store.Entry]]:
        """The profile for a working directory that is read-only, with the files of a case, or for one that is not."""
        if writable:
            return self.profile, []
        staged = _stage(files)
        profile = self.profile.with_mounts([Mount(str(staged.files), CASE, executable=False, why="the files of the case")])
        return profile.tightened({"process.cwd": CASE}), [staged]

    def _share(
        self, profile: Profile, program: store.Entry | None, cpus: Sequence[int], holds: Sequence[object]
    ) -> AbstractContextManager[Sandbox]:
        memory = min(self.memory_bytes, _MAX_MEMORY)
        limits: dict[str, str | int] = {
            "memory": memory,
            "pids": self.limits.pids + self.language.overhead.pids,
            "stack": min(memory, _MAX_STACK),
            "scratch": _SCRATCH,
            "scratch_inodes": 10_000,
            "collect": _COLLECT,
            "output": max(self.limits.output_bytes, self.limits.validation_output_bytes),
        }
        allow = self.allow_degraded
        return boxes.share(profile, limits, program=program, at=PROGRAM, cpus=cpus, holds=holds, allow_degraded=allow)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built(Setting):
    """A program that is ready.

    Attributes:
        argv: the command inside, before arguments of the case.
        entry: where its files are on the host; they appear at PROGRAM inside.
        entry_point: the main file or class.
        version: what the compiler or interpreter says of itself.
        cached: whether it came from the store.
        output: what the compiler said.
        run: the run of the compiler; None when it came from the store or there is none.
        source: what was handed in, with its extensions as the languages have them.
    """

    argv: tuple[str, ...]
    entry: store.Entry = field(repr=False)
    entry_point: str = ""
    version: str = ""
    cached: bool = False
    output: str = ""
    run: RunResult | None = None
    source: Source = field(default=Source({}, ""), repr=False)

    @contextmanager
    def sandbox(
        self, *, writable: bool = True, files: Mapping[str, Path] | None = None, cpus: Sequence[int] = ()
    ) -> Iterator[Sandbox]:
        """A warm Sandbox for runs of this program, shared and kept for the next one; any number of threads may hold it.

        Args:
            writable: False: the working directory is read-only. `files` have to be given here then, not to `start`. The private
                places /tmp and /work stay; they are thrown away after each run.
            files: name → path of the case's files.
            cpus: the cores that runs are bound to; empty for any.

        Raises SandboxError where the host cannot do it, or a file cannot be read.
        """
        if writable and files:
            raise RequestError("files of a case go to `start` when the working directory is writable")
        profile, holds = self._with_files(files or {}, writable=writable)
        with self._share(profile, self.entry, cpus, holds) as box:
            yield box


def build(
    source: Source,
    limits: Limits,
    *,
    include: Mapping[str, Mapping[str, bytes]] | None = None,
    allowed: Sequence[str] = (),
    memory_bytes: int | None = None,
    warm: bool = False,
    allow_degraded: bool = False,
    languages: Mapping[str, Language] | None = None,
    cancel: Cancel | None = None,
    on_compile: Callable[[Setting], object] | None = None,
) -> Built | BuildFailure:
    """Compile `source`, or find it in the store.

    Args:
        source: what was handed in.
        limits: of the problem: compilation time and memory, code size, and memory for the command of the run.
        include: language id or "default" → files put beside the source; they win over files of the same name.
        allowed: ids of languages; empty for all.
        memory_bytes: memory of a run when it is not `limits.memory_bytes` (validators).
        warm: run Python as a fork of a warm interpreter.
        allow_degraded: compile and run also where the host has no control groups; results tell what stood in.
        languages: those that there are; the shipped and the host's own by default.
        cancel: ends the compiler.
        on_compile: told in this thread, when a compiler is about to be started, what the program will run in.

    Raises UnsupportedHostError where the host cannot run sandboxes.
    """
    try:
        known = load() if languages is None else languages
    except RequestError as error:
        return BuildFailure(f"a language file of this host is wrong: {error}", blame="judge")
    try:
        source = entrypoints.with_usual_extensions(source, known)
        language = entrypoints.detect(source, known)
        refusal = _refused(source, language, limits, allowed)
        if refusal:
            return BuildFailure(refusal, language=language.id)
        files = {**source.files, **_included(include or {}, language)}
        files = entrypoints.java_names(files) if language.entry_point == "java" else files
        whole = replace(source, files=files, language=language.id)
        entry = entrypoints.find(whole, language, own=source.files.keys())
    except RequestError as error:
        return BuildFailure(str(error))
    try:
        memory = limits.memory_bytes if memory_bytes is None else memory_bytes
        setting = _setting(language, limits, memory, warm=warm, allow_degraded=allow_degraded)
        before = partial(on_compile, setting) if on_compile is not None else None
        made = compiling.make(whole, language, entry, limits, before=before, allow_degraded=allow_degraded, cancel=cancel)
        return made if isinstance(made, BuildFailure) else replace(_built(made, setting, entry, memory), source=source)
    except UnsupportedHostError:
        raise
    except SandboxError as error:
        return BuildFailure(f"the {language.name} program could not be built: {error}", blame="judge", language=language.id)


def start(
    built: Built,
    box: Sandbox,
    *,
    stdin: Stdin = None,
    files: Mapping[str, FileContent] | None = None,
    arguments: Sequence[str] = (),
    collect: Sequence[str] = (),
    cpu_s: float | None = None,
    wall_s: float | None = None,
    idle_s: float | None = None,
    output_bytes: int | None = None,
    on_stdout: Callable[[bytes], object] | None = None,
    on_stdout_end: Callable[[], object] | None = None,
    on_stderr: Callable[[bytes], object] | None = None,
) -> Run:
    """Launch a built program in `box` (of `built.sandbox()`) with the limits of the problem, and return at once.

    Args:
        built: the program.
        box: where; `wait()` of what is returned gives the result.
        stdin: as of `Sandbox.start`.
        files: put into the working directory, when it is writable.
        arguments: of the case.
        collect: names of files to take out of the working directory.
        cpu_s: CPU seconds after which it is ended; `limits.time_s` by default.
        wall_s: seconds after which it is ended; twice the CPU time and a second by default.
        idle_s: seconds without any CPU progress after which it is ended; not watched by default.
        output_bytes: `limits.output_bytes` by default.
        on_stdout: called with each piece of output.
        on_stdout_end: called when no more can come.
        on_stderr: likewise.

    Raises SandboxError: the program was not run, which is never its fault.
    """
    cpu = built.limits.time_s if cpu_s is None else cpu_s
    wall = 2 * cpu + MIN_WALL_S if wall_s is None else wall_s
    output = built.limits.output_bytes if output_bytes is None else output_bytes
    given: dict[str, str | int] = {
        "cpu_ns": max(1, round(cpu * 1e9)),
        "wall_ns": max(1, round(wall * 1e9)),
        "output_bytes": max(1, output),
    }
    if idle_s is not None:
        given["idle_ns"] = max(1, round(idle_s * 1e9))
    return box.start(
        (*built.argv, *arguments),
        stdin=stdin,
        files=files,
        collect=collect,
        limits=given,
        on_stdout=on_stdout,
        on_stdout_end=on_stdout_end,
        on_stderr=on_stderr,
    )


def _refused(source: Source, language: Language, limits: Limits, allowed: Sequence[str]) -> str:
    """Why this source is not even compiled; "" when it is."""
    if allowed and not {language.id, *language.lineage} & set(allowed):
        return f"{language.name} is not allowed for this problem; allowed are {', '.join(allowed)}"
    for name in source.files:
        if posixpath.basename(name).startswith(("-", "@")):
            return f"the file name {name!r} would be taken for an option by compilers"
    size = sum(map(len, source.files.values()))
    if size > limits.code_bytes:
        return f"the source has {size} bytes, {limits.code_bytes} are allowed"
    return ""


def _included(include: Mapping[str, Mapping[str, bytes]], language: Language) -> Mapping[str, bytes]:
    """The problem's own files for this language: the nearest of its line, else those for all."""
    for name in (language.id, *language.lineage, "default"):
        if name in include:
            return include[name]
    return {}


def _setting(language: Language, limits: Limits, memory: int, *, warm: bool, allow_degraded: bool) -> Setting:
    name = language.run.warm_profile if warm and language.run.warm_profile else language.run.profile
    return Setting(
        profile=boxes.wide(name, language.run.environment, language.host_mounts),
        language=language,
        limits=limits,
        memory_bytes=memory + language.overhead.memory,
        allow_degraded=allow_degraded,
    )


def _built(made: compiling.Made, setting: Setting, entry: entrypoints.Entry, memory: int) -> Built:
    values = {
        "main": entry.main,
        "stem": posixpath.splitext(entry.main)[0],
        "program": PROGRAM,
        "memory_mib": str(max(1, memory >> 20)),
        "stack_mib": str(max(1, min(memory, _MAX_STACK) >> 20)),
    }
    return Built(
        profile=setting.profile,
        language=setting.language,
        limits=setting.limits,
        memory_bytes=setting.memory_bytes,
        allow_degraded=setting.allow_degraded,
        argv=expand(setting.language.run.command, values, entry.files),
        entry=made.entry,
        entry_point=entry.main,
        version=made.version,
        cached=made.run is None and made.cached,
        output=made.output,
        run=made.run,
    )


def _stage(files: Mapping[str, Path]) -> store.Entry:
    """The files of a case in one directory of the store, to be mounted. Raises RequestError, ResourceError."""
    contents: dict[str, tuple[bytes, int]] = {}
    with ExitStack() as stack:
        room = _MAX_CASE_FILES
        for name, path in files.items():
            try:
                file = stack.enter_context(path.open("rb"))
                data = file.read(room + 1)
            except OSError as error:
                raise RequestError(f"{path}: the file of the case cannot be read: {error.strerror}") from None
            room -= len(data)
            if room < 0:
                raise RequestError(f"{path}: the files of a case have more than {_MAX_CASE_FILES} bytes together")
            contents[name] = (data, 0o444)
    here = store.default()
    key = store.key_of("case", {name: data for name, (data, _) in contents.items()})
    return here.get(key) or here.put(key, contents)
