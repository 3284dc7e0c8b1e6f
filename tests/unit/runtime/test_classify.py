from __future__ import annotations

import itertools
import signal
from typing import Any

import pytest

from sandbox.model import launch
from sandbox.model.launch import Ended
from sandbox.model.limits import Limits
from sandbox.model.result import Evidence, Exited, Outcome, Signaled
from sandbox.runtime.classify import Facts, classify

LIMITS = Limits(
    cpu_ns=10**9,
    wall_ns=2 * 10**9,
    idle_ns=0,
    memory_bytes=1 << 28,
    pids=64,
    cpu_quota_millicpus=0,
    output_bytes=1000,
    scratch_bytes=1 << 20,
    scratch_inodes=100,
    file_bytes=1 << 20,
    open_files=64,
    stack_bytes=1 << 20,
    collect_bytes=1 << 20,
    collect_files=10,
)
KILLED = int(signal.SIGKILL)


def ended(**changes: Any) -> Ended:
    fields: dict[str, Any] = {
        "init_ok": True,
        "status": 0,
        "killed_by": launch.NOT_KILLED,
        "killed_value": 0,
        "received": 0,
        "started": 1,
        "ended": 2,
        "init_user_ns": 0,
        "init_system_ns": 0,
        "user_ns": 0,
        "system_ns": 0,
        "max_rss_bytes": 0,
        "peak_pids": 0,
        "peak_rss_bytes": 0,
        "scratch_free_bytes": 1 << 20,
        "scratch_free_inodes": 100,
        "file_reached_bytes": 0,
        "left_alive": False,
        "denied": (),
    }
    return Ended(**{**fields, **changes})


def facts(end: Ended, **changes: Any) -> Facts:
    fields: dict[str, Any] = {
        "limits": LIMITS,
        "counters": (),
        "oom": False,
        "pids_hit": False,
        "degraded": False,
        "output_total": 0,
        "output_exceeded": False,
        "cpu_ns": 0,
        "syscalls": {165: "mount"},
    }
    return Facts(ended=end, **{**fields, **changes})


@pytest.mark.parametrize(
    ("given", "outcome", "status"),
    (
        (facts(ended()), Outcome.EXITED, Exited(0)),
        (facts(ended(status=3 << 8)), Outcome.EXITED, Exited(3)),
        (facts(ended(status=11)), Outcome.SIGNALED, Signaled(11)),
        (facts(ended(status=KILLED)), Outcome.SIGNALED, Signaled(9)),
        (facts(ended(init_ok=False, status=9, killed_by=launch.BY_WALL)), Outcome.WALL_TIME, Signaled(9)),
        (facts(ended(init_ok=False, status=9, killed_by=launch.BY_CPU)), Outcome.CPU_TIME, Signaled(9)),
        (facts(ended(status=int(signal.SIGXCPU)), cpu_ns=10**9), Outcome.CPU_TIME, Signaled(24)),
        (facts(ended(status=int(signal.SIGXCPU)), cpu_ns=10**6), Outcome.SIGNALED, Signaled(24)),
        (facts(ended(), cpu_ns=10**9), Outcome.CPU_TIME, Exited(0)),
        (facts(ended(init_ok=False, status=9, killed_by=launch.BY_IDLE)), Outcome.IDLE_TIME, Signaled(9)),
        (facts(ended(init_ok=False, status=9, killed_by=launch.BY_OOM)), Outcome.MEMORY, Signaled(9)),
        (facts(ended(init_ok=False, status=9), oom=True), Outcome.MEMORY, Signaled(9)),
        (facts(ended(status=0), oom=True), Outcome.EXITED, Exited(0)),
        (facts(ended(status=1 << 8), pids_hit=True), Outcome.PIDS, Exited(1)),
        (facts(ended(), pids_hit=True), Outcome.EXITED, Exited(0)),
        (facts(ended(left_alive=True), pids_hit=True), Outcome.PIDS, Exited(0)),
        (facts(ended(init_ok=False, status=9, killed_by=launch.BY_CPU), pids_hit=True), Outcome.PIDS, Signaled(9)),
        (facts(ended(init_ok=False, status=9, killed_by=launch.BY_CALLER), output_exceeded=True), Outcome.OUTPUT, Signaled(9)),
        (facts(ended(status=1 << 8, scratch_free_bytes=0)), Outcome.DISK, Exited(1)),
        (facts(ended(status=1 << 8, scratch_free_inodes=0)), Outcome.DISK, Exited(1)),
        (facts(ended(status=0, scratch_free_bytes=0)), Outcome.EXITED, Exited(0)),
        (facts(ended(status=int(signal.SIGXFSZ), file_reached_bytes=1 << 20)), Outcome.DISK, Signaled(25)),
        (facts(ended(status=1 << 8, file_reached_bytes=1 << 20)), Outcome.DISK, Exited(1)),
        (facts(ended(status=int(signal.SIGXFSZ))), Outcome.SIGNALED, Signaled(25)),
        (
            facts(ended(init_ok=False, status=9, killed_by=launch.BY_SYSCALL, killed_value=165)),
            Outcome.DENIED_SYSCALL,
            Signaled(9),
        ),
        (facts(ended(status=int(signal.SIGSYS))), Outcome.SIGNALED, Signaled(31)),
        (facts(ended(status=1 << 8, denied=((165, 2),))), Outcome.DENIED_SYSCALL, Exited(1)),
        (facts(ended(status=0, denied=((165, 2),))), Outcome.EXITED, Exited(0)),
        (facts(ended(init_ok=False, status=9, killed_by=launch.BY_CALLER)), Outcome.CANCELED, Signaled(9)),
        (facts(ended(killed_by=launch.BY_CALLER)), Outcome.EXITED, Exited(0)),
    ),
)
def test_each_ending_has_its_own_outcome(given: Facts, outcome: Outcome, status: object) -> None:
    found, exit_status, evidence = classify(given)
    assert (found, exit_status) == (outcome, status)
    assert evidence or given.oom or given.pids_hit  # those two bring their evidence as counters


def test_a_denied_call_is_named_in_the_evidence() -> None:
    _, _, evidence = classify(facts(ended(status=1 << 8, denied=((165, 2),))))
    assert Evidence("seccomp", "mount", 2) in evidence


def test_every_combination_gives_exactly_one_outcome_and_never_blames_a_clean_exit() -> None:
    kills = range(launch.NOT_KILLED, launch.BY_LANE + 1)
    for killed, status, oom, pids, output in itertools.product(kills, (0, 256, 9, 31), (0, 1), (0, 1), (0, 1)):
        init_ok = killed == launch.NOT_KILLED
        given = facts(
            ended(killed_by=killed, init_ok=init_ok, status=status),
            oom=bool(oom),
            pids_hit=bool(pids),
            output_exceeded=bool(output),
        )
        outcome, _, _ = classify(given)
        if init_ok and status == 0 and not output:
            assert outcome is Outcome.EXITED
        if not init_ok:
            assert outcome not in (Outcome.EXITED, Outcome.SIGNALED)
