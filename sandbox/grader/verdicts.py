"""Verdicts of runs: pure functions of outcome, evidence and the limits of the problem.

A verdict against a submission rests on what the kernel or the sandbox counted, never on an exit code or a signal that the program
chose itself. What the sandbox did not manage is a judge error.
"""

from __future__ import annotations

from collections.abc import Mapping

from sandbox.grader.languages import Language
from sandbox.grader.model import Limits, Verdict
from sandbox.model.result import Evidence, Outcome, RunResult, Signaled

_STDERR_BYTES = 64 << 10
_WORDS = 200
# How much of its memory a program must have used for what its runtime says to be believed: a runtime with a heap of
# its own gives up before the whole limit is used; without one only the limit itself can have refused it.
_NEAR_LIMIT = 0.9
_NEAR_HEAP = 0.5
_MEANINGS: Mapping[str, str] = {
    "SIGSEGV": "an access to memory that is not its own, or a stack that is too deep",
    "SIGFPE": "a division by zero, or another impossible integer operation",
    "SIGABRT": "it gave up: an assertion or an exception that nobody caught",
    "SIGBUS": "an access to memory that cannot be had",
    "SIGILL": "an instruction that there is not",
    "SIGPIPE": "it wrote to a pipe that nobody reads any more",
    "SIGXFSZ": "a file became too large",
    "SIGSYS": "a system call of another machine",
}


def of_run(run: RunResult, limits: Limits, *, language: Language | None = None) -> tuple[Verdict | None, str]:
    """(verdict, one sentence with the figures); (None, "") when it ended well and its output can be checked.

    CPU time above `limits.time_s` is TLE, even when the sandbox let it run on and it ended by itself.

    Args:
        run: of the submission.
        limits: of the problem.
        language: what its runtime says when it is out of memory is evidence beside the memory that was used.
    """
    found = _limit_hit(run, limits, language)
    if found is not None:
        return found
    cpu = cpu_s(run)
    if cpu > limits.time_s:
        return Verdict.TLE, _cpu_sentence(cpu, limits)
    if run.ok:
        return None, ""
    memory = _out_of_memory(run, limits, language)
    if memory:
        return Verdict.MLE, memory
    if isinstance(run.exit, Signaled):
        meaning = _MEANINGS.get(run.exit.name, "")
        return Verdict.RTE, f"ended by {run.exit.name}{f': {meaning}' if meaning else ''}"
    complaint = run.stderr[-_STDERR_BYTES:].decode("utf-8", "replace").strip().rpartition("\n")[2][:_WORDS]
    return Verdict.RTE, f"ended with exit code {run.exit.code}, 0 is expected{f': {complaint}' if complaint else ''}"


def cpu_s(run: RunResult) -> float:
    """CPU seconds of everything in the sandbox."""
    return (run.usage.cpu_user_ns + run.usage.cpu_system_ns) / 1e9


def _limit_hit(run: RunResult, limits: Limits, language: Language | None) -> tuple[Verdict, str] | None:
    """What the sandbox found; None when the program ended by itself."""
    usage = run.usage
    wall = usage.wall_ns / 1e9
    match run.outcome:
        case Outcome.CPU_TIME:
            return Verdict.TLE, _cpu_sentence(cpu_s(run), limits)
        case Outcome.WALL_TIME:
            allowed = _value(run, "limits", "wall_ns")
            bound = f", {allowed / 1e9:.2f} s are allowed" if allowed else ""
            return Verdict.TLE, f"did not end within {wall:.2f} s of elapsed time{bound}; it used {cpu_s(run):.2f} s of CPU time"
        case Outcome.IDLE_TIME:
            idle = (_value(run, "deadline", "idle_ns") or _value(run, "limits", "idle_ns") or 0) / 1e9
            waited = f"for {idle:.2f} s " if idle else ""
            return Verdict.TLE, f"did nothing {waited}(it waits or sleeps); it used {cpu_s(run):.2f} s of CPU time"
        case Outcome.MEMORY:
            return Verdict.MLE, _memory_sentence(run, limits, language)
        case Outcome.OUTPUT:
            return Verdict.OLE, f"wrote more than the {_size(limits.output_bytes)} of output that are allowed"
        case Outcome.DISK:
            return Verdict.RTE, f"its disk space is full{_first(run)}"
        case Outcome.PIDS:
            return Verdict.RTE, f"started more processes or threads than are allowed (at most {usage.pids_peak} at one time)"
        case Outcome.DENIED_SYSCALL:
            return Verdict.SV, f"made the forbidden system call {_denied(run)}"
        case Outcome.CANCELED:
            return Verdict.JE, "the run was canceled before the program ended"
        case Outcome.EXITED | Outcome.SIGNALED:
            return None


def _out_of_memory(run: RunResult, limits: Limits, language: Language | None) -> str:
    """Why this failure is for lack of memory; "" when that is not proved.

    Proved: the kernel killed for memory in this run, or the runtime says so and the program had used what it may.
    """
    if any(item.key in ("oom_kill", "oom_event") and item.value not in (0, "0") for item in run.evidence):
        return _memory_sentence(run, limits, language)
    if language is None:
        return ""
    said = next((word for word in language.run.memory_errors if word.encode() in run.stderr[-_STDERR_BYTES:]), "")
    part = _NEAR_HEAP if language.run.own_heap else _NEAR_LIMIT
    if said and run.usage.memory_peak_bytes >= part * limits.memory_bytes:
        return f"{_memory_sentence(run, limits, language)}; it ended with {said!r}"
    return ""


def _cpu_sentence(cpu: float, limits: Limits) -> str:
    digits = 2 if abs(cpu - limits.time_s) >= 0.01 else 4
    return f"used {cpu:.{digits}f} s of CPU time, {limits.time_s:.{digits}f} s are allowed"


def _memory_sentence(run: RunResult, limits: Limits, language: Language | None) -> str:
    extra = language.overhead.memory if language else 0
    beside = f" (and {_size(extra)} for the runtime of {language.name})" if language and extra else ""
    return f"used {_size(run.usage.memory_peak_bytes)} of memory, {_size(limits.memory_bytes)} are allowed{beside}"


def _denied(run: RunResult) -> str:
    """The call, and how it was refused."""
    for item in run.evidence:
        if item.source == "seccomp":
            return str(item.value) if item.key == "killed_on" else item.key
    return "(unknown)"


def _first(run: RunResult) -> str:
    item: Evidence | None = run.evidence[0] if run.evidence else None
    return f" ({item.source}: {item.key} {item.value})" if item else ""


def _value(run: RunResult, source: str, key: str) -> int:
    """A number of the evidence; 0 when it is not there."""
    for item in run.evidence:
        if item.source == source and item.key == key and isinstance(item.value, int):
            return item.value
    return 0


def _size(count: int) -> str:
    """Bytes for people; MiB as long as that says something."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f}".removesuffix(".0") + f" {name}"
    return f"{count} bytes"
