"""Compiling in a sandbox. What the source does to its compiler is a compile error; what the host lacks is a judge error."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sandbox.grader import boxes, store
from sandbox.grader.cancel import Cancel
from sandbox.grader.entrypoints import Entry
from sandbox.grader.languages import PROGRAM, Language, Version, available, expand
from sandbox.grader.model import Limits, Source
from sandbox.model.errors import CommandNotFound, NotExecutable, SandboxError
from sandbox.model.result import Exited, Outcome, RunResult

OUTPUT_BYTES = 64 << 10
_FORMAT = "artefact 1"
_KEPT_BYTES = 256 << 20
_PIDS = 256
_VERSION_S = 20.0
_MOST_OUTPUT = 1 << 20


@dataclass(frozen=True, slots=True)
class BuildFailure:
    """No program.

    Attributes:
        reason: one sentence for the submitter.
        output: what the compiler said.
        run: of the compiler; None when it was not run.
        blame: "submission" is a compile error, "judge" a judge error (a compiler that is not there, say).
        language: the id, "" when there is none.
    """

    reason: str
    output: str = ""
    run: RunResult | None = None
    blame: str = "submission"
    language: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """What was compiled, or found in the store."""

    entry: store.Entry
    version: str
    output: str = ""
    run: RunResult | None = None
    cached: bool = False


def make(
    source: Source,
    language: Language,
    entry: Entry,
    limits: Limits,
    *,
    before: Callable[[], object] | None = None,
    allow_degraded: bool = False,
    cancel: Cancel | None = None,
) -> Made | BuildFailure:
    """Compile `source`, in which includes are already. Raises SandboxError where the host cannot do it.

    `before`: called when a compiler is about to be started, and not when nothing has to be compiled.
    """
    missing = next(iter(available([language]))).missing
    if missing:
        reason = f"{language.name} cannot be used on this host: {', '.join(missing)} is not there"
        reason += "; install it, or say that the program is in another language"
        return BuildFailure(reason, blame="judge", language=language.id)
    here = store.default()
    version, stamp = version_of(language, allow_degraded=allow_degraded)
    key = store.key_of(_FORMAT, dict(source.files), entry.files, entry.main, language.fingerprint, version, stamp)
    found = here.get(key)
    noted = store.key_of("said", key)  # the warnings, beside the program
    if found is not None:
        said = here.get(noted)
        return Made(found, version, said.read("said").decode() if said else "", cached=True)
    kept = {name: (data, 0o444) for name, data in source.files.items()} if language.keep_sources else {}
    if language.compile is None:
        return Made(here.put(key, kept), version)
    if before is not None:
        before()
    run = _compile(source, language, entry, limits, cancel or Cancel(), allow_degraded=allow_degraded)
    output = _said(run)
    failure = _failure(run, limits)
    if failure:
        return BuildFailure(failure, output, run, "judge" if run.outcome is Outcome.CANCELED else "submission", language.id)
    if language.compile.artefacts:
        kept |= {name: (item.data, item.mode) for name, item in run.files.items()}
        if not run.files:
            return BuildFailure(_nothing_made(run, language), output, run, language=language.id)
    if output:
        here.put(noted, {"said": (output.encode("utf-8", "replace"), 0o444)})
    return Made(here.put(key, kept), version, output, run)


def version_of(language: Language, *, allow_degraded: bool = False) -> tuple[str, tuple[str, ...]]:
    """(what compiler or interpreter say of themselves, the files that they are); asked for once for each state of those files.

    Raises SandboxError.
    """
    stamp = _stamp(language)
    if language.version is None:
        return "", stamp
    here = store.default()
    key = store.key_of("version 1", language.fingerprint, stamp)
    found = here.get(key)
    if found is None:
        said = _ask(language, language.version, allow_degraded=allow_degraded)
        found = here.put(key, {"version": (said.encode(), 0o444)})
    return found.read("version").decode(), stamp


def _stamp(language: Language) -> tuple[str, ...]:
    """The programs of a language as files: another version is another file."""
    out = []
    for path in next(iter(available([language]))).programs.values():
        real = os.path.realpath(path)
        found = os.stat(real)
        out.append(f"{real} {found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns}")
    return tuple(out)


def _ask(language: Language, version: Version, *, allow_degraded: bool) -> str:
    import re

    profile = boxes.wide(language.compile.profile if language.compile else language.run.profile, mounts=language.host_mounts)
    command = expand(version.command, dict.fromkeys(("main", "stem", "program", "memory_mib", "stack_mib"), ""), ())
    limits: dict[str, str | int] = {"memory": "2GiB", "pids": _PIDS, "cpu": f"{_VERSION_S}s", "wall": f"{2 * _VERSION_S}s"}
    with boxes.share(profile, limits, allow_degraded=allow_degraded) as box:
        try:
            run = box.run(command)
        except (CommandNotFound, NotExecutable):
            return ""
    lines = (run.stdout + b"\n" + run.stderr)[:OUTPUT_BYTES].decode("utf-8", "replace").splitlines()
    return next((line.strip()[:200] for line in lines if re.match(version.pattern, line)), "")


def _compile(
    source: Source, language: Language, entry: Entry, limits: Limits, cancel: Cancel, *, allow_degraded: bool
) -> RunResult:
    compiler = language.compile
    if compiler is None:
        raise SandboxError(f"{language.name} is not compiled")
    profile = boxes.wide(compiler.profile, compiler.environment, language.host_mounts)
    values = {
        "main": entry.main,
        "stem": posixpath.splitext(entry.main)[0],
        "program": PROGRAM,
        "memory_mib": str(limits.compilation_memory_bytes >> 20),
        "stack_mib": "64",
    }
    allowed: dict[str, str | int] = {
        "memory": limits.compilation_memory_bytes,
        "pids": _PIDS,
        "stack": "64MiB",
        "scratch": "1GiB",
        "scratch_inodes": 50_000,
        "output": _MOST_OUTPUT,
        "collect": _KEPT_BYTES,
    }
    once = {"cpu_ns": round(limits.compilation_s * 1e9), "wall_ns": round((2 * limits.compilation_s + 10) * 1e9)}
    command = expand(compiler.command, values, entry.files)
    with boxes.share(profile, allowed, allow_degraded=allow_degraded) as box:
        run = box.start(command, files=dict(source.files), collect=compiler.artefacts, limits=once)
        with run, cancel.watching(run):
            return run.wait()


def _failure(run: RunResult, limits: Limits) -> str:
    """Why there is no program, one sentence; "" when the compiler is content."""
    used = (run.usage.cpu_user_ns + run.usage.cpu_system_ns) / 1e9
    reasons: Mapping[Outcome, str] = {
        Outcome.CPU_TIME: f"the compiler used {used:.2f} s of CPU time, {limits.compilation_s:g} s are allowed",
        Outcome.WALL_TIME: f"the compiler did not end within {run.usage.wall_ns / 1e9:.1f} s",
        Outcome.IDLE_TIME: "the compiler waits for something that does not come",
        Outcome.MEMORY: f"the compiler used up its memory of {limits.compilation_memory_bytes >> 20} MiB",
        Outcome.PIDS: f"the compiler started more than {_PIDS} processes",
        Outcome.OUTPUT: f"the compiler wrote more than {_MOST_OUTPUT >> 10} KiB of messages",
        Outcome.DISK: "the compiler filled its disk space",
        Outcome.DENIED_SYSCALL: "the compiler made a forbidden system call",
        Outcome.CANCELED: "the compilation was canceled",
    }
    if run.outcome in reasons:
        return reasons[run.outcome]
    if isinstance(run.exit, Exited):
        return f"the compiler ended with exit code {run.exit.code}" if run.exit.code else ""
    return f"the compiler was ended by {run.exit.name}"


def _nothing_made(run: RunResult, language: Language) -> str:
    refused = "; ".join(f"{name}: {reason}" for name, reason in run.refused_files)
    return f"the {language.name} compiler ended well but made no program{f' ({refused})' if refused else ''}"


def _said(run: RunResult) -> str:
    """What the compiler wrote, at most OUTPUT_BYTES of it."""
    whole = b"\n".join(part.rstrip(b"\n") for part in (run.stdout, run.stderr) if part.strip())
    text = whole[:OUTPUT_BYTES].decode("utf-8", "replace")
    return f"{text}\n… {len(whole) - OUTPUT_BYTES} more bytes" if len(whole) > OUTPUT_BYTES else text
