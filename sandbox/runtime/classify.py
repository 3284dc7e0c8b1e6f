"""Why a run ended: a pure function of what the launcher reported, the control group counted and the caller did.

Never by an exit code or a signal alone: a payload chooses those. Order: what the kernel did to the payload comes before
what we did, a hit limit before a clock. A program that ends by itself with 0 has not suffered from a limit it touched: it
is `exited`, with the evidence beside it. The exceptions are a main program that left the processes behind which hit the
limit of processes (a fork bomb), and CPU time: what was measured decides, not whether we or the program were first.
"""

from __future__ import annotations

import _signal
import os
from collections.abc import Mapping

from sandbox.model import launch
from sandbox.model.data import dataclass
from sandbox.model.launch import Ended
from sandbox.model.limits import Limits
from sandbox.model.result import Evidence, Exited, ExitStatus, Outcome, Signaled

_PAGE = 4096
_TELLING = {
    Outcome.MEMORY: ("memory.", "oom"),
    Outcome.PIDS: ("pids.", "max"),
    Outcome.DENIED_SYSCALL: ("seccomp", ""),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that `classify` may look at.

    Attributes:
        counters: evidence of the control group; `oom`, `pids_hit` its two verdicts.
        output_total: bytes seen on the stream that saw most, `output_exceeded` whether that was too much.
        cpu_ns: CPU time of the whole sandbox.
        syscalls: names of the notified syscall numbers; `kill` those that end a sandbox.
    """

    ended: Ended
    limits: Limits
    counters: tuple[Evidence, ...]
    oom: bool
    pids_hit: bool
    degraded: bool
    output_total: int
    output_exceeded: bool
    cpu_ns: int
    syscalls: Mapping[int, str]


def exit_status(status: int) -> ExitStatus:
    """The sum type of a wait status."""
    if os.WIFSIGNALED(status):
        return Signaled(os.WTERMSIG(status))
    return Exited(os.WEXITSTATUS(status))


def classify(facts: Facts) -> tuple[Outcome, ExitStatus, tuple[Evidence, ...]]:
    """(outcome, exit status, evidence)."""
    ended = facts.ended
    status = exit_status(ended.status)
    if ended.killed_by != launch.NOT_KILLED and not ended.init_ok:
        status = Signaled(_signal.SIGKILL)
    evidence = [*facts.counters, *_denials(facts)]
    clean = status == Exited(0)
    for outcome, found in _limit_findings(facts, clean=clean):
        return outcome, status, (*found, *_decisive_first(outcome, evidence))
    if ended.killed_by in (launch.BY_CALLER, launch.BY_LANE) and not ended.init_ok:
        return Outcome.CANCELED, status, (Evidence("caller", "cancel", 1), *evidence)
    if isinstance(status, Signaled):
        return Outcome.SIGNALED, status, (Evidence("waitid", "signal", status.signal), *evidence)
    return Outcome.EXITED, status, (Evidence("waitid", "code", status.code), *evidence)


def _limit_findings(facts: Facts, *, clean: bool) -> list[tuple[Outcome, list[Evidence]]]:
    """The limits that were hit, most telling first."""
    ended, limits = facts.ended, facts.limits
    found: list[tuple[Outcome, list[Evidence]]] = []
    memory = _memory(facts, clean=clean)
    if memory is not None:
        found.append((Outcome.MEMORY, memory))
    pids = _pids(facts, clean=clean)
    if pids is not None:
        found.append((Outcome.PIDS, pids))
    if facts.output_exceeded:
        found.append((Outcome.OUTPUT, [Evidence("capture", "output_bytes", facts.output_total)]))
    disk = _disk(ended, clean=clean)
    if disk is not None:
        found.append((Outcome.DISK, disk))
    if ended.killed_by == launch.BY_CPU:
        found.append((Outcome.CPU_TIME, [Evidence("deadline", "cpu_ns", ended.killed_value), _limit("cpu_ns", limits)]))
    elif facts.cpu_ns >= limits.cpu_ns:  # it ended by itself, after its time: what was measured decides, not who was first
        found.append((Outcome.CPU_TIME, [Evidence("usage", "cpu_ns", facts.cpu_ns), _limit("cpu_ns", limits)]))
    if ended.killed_by == launch.BY_WALL:
        found.append((Outcome.WALL_TIME, [Evidence("deadline", "wall_ns", ended.killed_value), _limit("wall_ns", limits)]))
    if ended.killed_by == launch.BY_IDLE:
        found.append((Outcome.IDLE_TIME, [Evidence("deadline", "idle_ns", ended.killed_value), _limit("idle_ns", limits)]))
    if ended.killed_by == launch.BY_SYSCALL:
        name = facts.syscalls.get(ended.killed_value, str(ended.killed_value))
        found.append((Outcome.DENIED_SYSCALL, [Evidence("seccomp", "killed_on", name)]))
    elif ended.denied and not clean and ended.killed_by == launch.NOT_KILLED:
        found.append((Outcome.DENIED_SYSCALL, []))
    return found


def _limit(name: str, limits: Limits) -> Evidence:
    return Evidence("limits", name, getattr(limits, name))


def _decisive_first(outcome: Outcome, evidence: list[Evidence]) -> list[Evidence]:
    """The facts that the outcome rests on before those that only stand beside it."""
    telling = _TELLING.get(outcome)
    if telling is None:
        return evidence
    source, key = telling
    return sorted(evidence, key=lambda item: not (item.source.startswith(source) and item.key.startswith(key)))


def _memory(facts: Facts, *, clean: bool) -> list[Evidence] | None:
    ended = facts.ended
    if ended.killed_by == launch.BY_OOM:
        source = "sampling" if facts.degraded else "memory.oom_control"
        return [Evidence(source, "resident_bytes" if facts.degraded else "oom_event", ended.killed_value)]
    if facts.oom and not clean:
        return []
    if facts.degraded and not clean and ended.max_rss_bytes > facts.limits.memory_bytes:
        return [Evidence("getrusage", "max_rss_bytes", ended.max_rss_bytes)]
    return None


def _pids(facts: Facts, *, clean: bool) -> list[Evidence] | None:
    if clean and not facts.ended.left_alive:
        return None
    if facts.pids_hit:
        return []
    if facts.degraded and facts.ended.peak_pids >= facts.limits.pids:
        return [Evidence("sampling", "tasks", facts.ended.peak_pids)]
    return None


def _disk(ended: Ended, *, clean: bool) -> list[Evidence] | None:
    if clean:
        return None
    if ended.file_reached_bytes:
        return [Evidence("stat", "file_bytes", ended.file_reached_bytes)]
    if 0 <= ended.scratch_free_bytes < _PAGE:
        return [Evidence("statvfs", "free_bytes", ended.scratch_free_bytes)]
    if ended.scratch_free_inodes == 0:
        return [Evidence("statvfs", "free_inodes", 0)]
    return None


def _denials(facts: Facts) -> list[Evidence]:
    """One line for each notified syscall: its name and how often."""
    return [Evidence("seccomp", facts.syscalls.get(number, str(number)), times) for number, times in facts.ended.denied]
