"""Every way to end has its own outcome, with evidence; also when the program that hit the limit was a grandchild.

On a host without control groups stand-ins take their place: what they may miss is said in `degraded_outcomes`.
"""

from __future__ import annotations

import json
import signal
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from sandbox import Exited, Outcome, Profile, Sandbox, Signaled
from tests.support.clock import SLOWNESS, limit, seconds
from tests.support.programs import INSIDE

pytestmark = pytest.mark.vm

MOUNT, GETPPID = 165, 110  # x86_64
MANY = 60  # seconds that no limit of these tests leaves to a payload


@dataclass(frozen=True)
class Case:
    """One payload: `evidence` is (part of the source, start of the key) of a line that must be there."""

    name: str
    command: list[str]
    outcome: Outcome
    limits: dict[str, str | int] = field(default_factory=dict)
    exit: Any = None
    evidence: tuple[str, str] | None = None
    degraded_outcomes: tuple[Outcome, ...] = ()


OOM = ("memory.", "oom_")  # v1: the event of its eventfd, or the counter where the kernel was faster; v2: the counter
KILLED = Signaled(signal.SIGKILL)
UNSEEN = (Outcome.EXITED,)  # RLIMIT_NPROC refuses without a counter, and a sample comes every 20 ms only
CASES = [
    Case("memory, one process", ["alloc", "256"], Outcome.MEMORY, {"memory": "48MiB"}, None, OOM),
    Case("memory, twenty processes", ["alloc", "16", "20"], Outcome.MEMORY, {"memory": "64MiB"}, None, OOM),
    Case(
        "memory, files in tmpfs", ["fill", "/tmp/big", "256"], Outcome.MEMORY, {"memory": "32MiB"}, None, OOM,
        (Outcome.DISK, Outcome.MEMORY),
    ),
    Case(
        "memory, memfd", ["memfd", "256"], Outcome.MEMORY, {"memory": "32MiB"}, None, OOM,
        (Outcome.MEMORY, Outcome.DISK, Outcome.EXITED),
    ),
    Case("cpu, one process", ["spin"], Outcome.CPU_TIME, {"cpu": limit(0.3)}, KILLED, ("deadline", "cpu_ns")),
    Case("cpu, a grandchild", ["spin-grandchild"], Outcome.CPU_TIME, {"cpu": limit(0.3)}, KILLED, ("deadline", "cpu_ns")),
    Case("cpu, eight threads", ["spin-threads", "8"], Outcome.CPU_TIME, {"cpu": limit(0.3)}, KILLED, ("deadline", "cpu_ns")),
    Case("cpu, many short children", ["spin-short"], Outcome.CPU_TIME, {"cpu": limit(0.3)}, KILLED, ("deadline", "cpu_ns")),
    Case("wall", ["sleep", str(MANY)], Outcome.WALL_TIME, {"wall": limit(0.5)}, KILLED, ("deadline", "wall_ns")),
    Case("idle", ["sleep", str(MANY)], Outcome.IDLE_TIME, {"idle": limit(0.5)}, KILLED, ("deadline", "idle_ns")),
    Case("output, stdout", ["flood", "100000000"], Outcome.OUTPUT, {"output": "64KiB"}, KILLED, ("capture", "output_bytes")),
    Case("output, stderr", ["flood", "100000000", "2"], Outcome.OUTPUT, {"output": "64KiB"}, KILLED, ("capture", "output_bytes")),
    Case("pids, fork bomb", ["forkbomb", "300"], Outcome.PIDS, {"pids": 20}, Exited(1), ("pids", "max"), UNSEEN),
    Case("pids, one parent", ["forks", "300"], Outcome.PIDS, {"pids": 20}, Exited(1), ("pids", "max"), UNSEEN),
    Case("pids, threads", ["spin-threads", "300"], Outcome.PIDS, {"pids": 20}, Exited(1), ("pids", "max"), UNSEEN),
    Case("disk, work", ["fill", "/work/big", "256"], Outcome.DISK, {"scratch": "4MiB"}, Exited(1), ("statvfs", "free_bytes")),
    Case("disk, tmp", ["fill", "/tmp/big", "256"], Outcome.DISK, {"scratch": "4MiB"}, Exited(1), ("statvfs", "free_bytes")),
    Case("disk, shm", ["fill", "/dev/shm/big", "256"], Outcome.DISK, {"scratch": "4MiB"}, Exited(1), ("statvfs", "free_bytes")),
    Case("disk, inodes", ["inodes", "/work"], Outcome.DISK, {"scratch_inodes": 100}, Exited(1), ("statvfs", "free_inodes")),
    Case("disk, one large file", ["fill", "/work/big", "64"], Outcome.DISK, {"file_size": "1MiB"}, None, ("stat", "file_bytes")),
    Case("denied", ["syscall", str(MOUNT), "0", "0", "0", "0", "0"], Outcome.DENIED_SYSCALL, {}, Exited(2), ("seccomp", "mount")),
    Case("exit 3", ["exit", "3"], Outcome.EXITED, {}, Exited(3), ("waitid", "code")),
    Case("exit 137", ["exit", "137"], Outcome.EXITED, {}, Exited(137), ("waitid", "code")),
    Case("clean exit", ["exit", "0"], Outcome.EXITED, {}, Exited(0), ("waitid", "code")),
    Case("segv", ["segv"], Outcome.SIGNALED, {}, Signaled(signal.SIGSEGV), ("waitid", "signal")),
    Case("abort", ["abort"], Outcome.SIGNALED, {}, Signaled(signal.SIGABRT), ("waitid", "signal")),
    Case("kills itself", ["raise", "9"], Outcome.SIGNALED, {}, KILLED, ("waitid", "signal")),
    Case("real-time signal", ["raise", "40"], Outcome.SIGNALED, {}, Signaled(40), ("waitid", "signal")),
    Case("kills its init", ["kill", "1", "9", "7"], Outcome.EXITED, {}, Exited(7), ("waitid", "code")),
]  # fmt: skip


@pytest.mark.claim("SEC-LI-01", "SEC-LI-02", "SEC-LI-03", "SEC-LI-04", "SEC-LI-05", "SEC-RS-01")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_ending(box: Sandbox, case: Case) -> None:
    started = time.monotonic()
    result = box.run([INSIDE, *case.command], limits=case.limits)
    took = time.monotonic() - started
    stand_ins = bool(result.degraded)
    allowed = (case.outcome,) + (case.degraded_outcomes if stand_ins else ())
    assert result.outcome in allowed, (result.outcome, result.exit, result.evidence, result.stderr)
    assert took < seconds(15)
    if result.outcome is not case.outcome:
        return
    if case.exit is not None:
        assert result.exit == case.exit
    assert result.evidence
    if case.evidence is not None and not (stand_ins and case.outcome in (Outcome.MEMORY, Outcome.PIDS)):
        source, key = case.evidence
        found = [item for item in result.evidence if source in item.source and item.key.startswith(key)]
        assert found, result.evidence
        assert found[0].value or found[0].key in ("free_bytes", "free_inodes", "code")
    assert json.loads(json.dumps(result.to_dict()))["outcome"] == case.outcome.value


def test_cpu_is_measured_and_stays_near_the_limit(box: Sandbox) -> None:
    result = box.run([INSIDE, "spin-threads", "4"], limits={"cpu": limit(0.5)})
    used = (result.usage.cpu_user_ns + result.usage.cpu_system_ns) / 1e9
    assert seconds(0.45) <= used <= seconds(0.5) + 0.35 * SLOWNESS, result


@pytest.mark.claim("SEC-LT-01")
def test_a_daemon_does_not_outlive_the_run(box: Sandbox) -> None:
    """It holds stdout open in a session of its own; the end of the main process is the end of the run."""
    started = time.monotonic()
    result = box.run([INSIDE, "daemon", str(MANY)])
    assert result.outcome is Outcome.EXITED
    assert result.exit == Exited(0)
    assert result.stdout == b"started\n"
    assert time.monotonic() - started < seconds(5)


def test_head_and_tail_of_output_are_kept(box: Sandbox) -> None:
    result = box.run([INSIDE, "flood", "10000000"], limits={"output": "64KiB"})
    assert result.truncated == ("stdout",)
    assert 0 < len(result.stdout) <= 2 * 65536
    assert result.usage.output_bytes > 65536


def test_output_below_the_limit_is_whole(box: Sandbox) -> None:
    result = box.run([INSIDE, "flood", "60000"], limits={"output": "64KiB"})
    assert result.ok
    assert result.stdout == b"x" * 60000
    assert result.truncated == ()


def test_a_limit_that_was_touched_without_harm_is_no_ending(box: Sandbox) -> None:
    """A program that hits EAGAIN, copes and exits with 0 has ended well; that it was refused is evidence."""
    result = box.run([INSIDE, "forks-cope", "300"], limits={"pids": 20})
    assert result.outcome is Outcome.EXITED, result
    assert result.exit == Exited(0)
    assert 10 < int(result.stdout) < 20


def test_a_fork_bomb_is_told_by_what_it_leaves_alive(box: Sandbox) -> None:
    """Its first process may end with 0, long before anybody else notices."""
    result = box.run(["/bin/sh", "-c", f"{INSIDE} forks 300 2>/dev/null; exit 0"], limits={"pids": 20})
    assert result.exit == Exited(0)
    assert result.outcome in ((Outcome.PIDS, Outcome.EXITED) if result.degraded else (Outcome.PIDS,))


def test_peaks_are_reported(box: Sandbox) -> None:
    result = box.run([INSIDE, "alloc", "32"])
    assert result.ok, result
    assert 32 << 20 <= result.usage.memory_peak_bytes < 64 << 20
    assert result.usage.wall_ns > 0


KILL_PROFILE = """
extends = "native"
description = "ends the sandbox on one call"

[[seccomp.rules]]
syscalls = ["getppid"]
action = "kill"
why = "the test needs a call that no start-up code makes"
"""


def test_a_kill_rule_reaches_grandchildren(tmp_path: Any, probe_mounts: Any, degraded: bool) -> None:
    path = tmp_path / "kills.toml"
    path.write_text(KILL_PROFILE)
    with Sandbox(Profile.load(str(path)), mounts=probe_mounts, allow_degraded=degraded) as box:
        result = box.run([INSIDE, "syscall-grandchild", str(GETPPID)])
        assert result.outcome is Outcome.DENIED_SYSCALL, result
        assert result.exit == KILLED
        assert [item for item in result.evidence if item.source == "seccomp" and item.value == "getppid"]
        assert b"\n" not in result.stdout
        assert box.run([INSIDE, "exit", "0"]).ok


def test_a_recorded_denial_that_was_survived_is_evidence_only(box: Sandbox) -> None:
    command = [INSIDE, "syscall-grandchild", str(MOUNT), "0", "0", "0", "0", "0"]
    result = box.run(command)
    assert result.outcome is Outcome.EXITED
    assert result.stdout == b"-1 1\n"
    assert [item for item in result.evidence if item.source == "seccomp" and item.key == "mount" and item.value == 1]


@pytest.mark.usefixtures("no_leaks")
def test_nothing_is_left_after_every_kind_of_ending(probe_mounts: Any, degraded: bool) -> None:
    with Sandbox("native", mounts=probe_mounts, allow_degraded=degraded) as box:
        for case in CASES[:: 3 if SLOWNESS > 1 else 1]:
            box.run([INSIDE, *case.command], limits=case.limits)


@pytest.mark.parametrize("count", [1, 50])
def test_the_number_of_files_is_exact(box: Sandbox, count: int) -> None:
    code = """
import sys
made = 0
try:
    while True:
        open(f"/work/{made}", "x").close()
        made += 1
except OSError:
    print(made)
"""
    result = box.run(["python3", "-B", "-c", code], limits={"scratch_inodes": count})
    assert int(result.stdout) == count
