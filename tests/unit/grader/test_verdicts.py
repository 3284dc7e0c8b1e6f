"""Verdicts from outcomes and evidence."""

from __future__ import annotations

import pytest

from sandbox.grader import languages, verdicts
from sandbox.grader.model import Limits, Verdict
from sandbox.model.result import Evidence, Exited, Outcome, Signaled, Usage
from tests.unit.cli.fakes import make_result

MIB = 1 << 20
LIMITS = Limits(time_s=1.0, memory_bytes=64 * MIB, output_bytes=8 * MIB)


def usage(cpu_s=0.1, wall_s=0.2, memory=10 * MIB, pids=1):
    return Usage(
        cpu_user_ns=round(cpu_s * 0.75e9),
        cpu_system_ns=round(cpu_s * 0.25e9),
        wall_ns=round(wall_s * 1e9),
        memory_peak_bytes=memory,
        pids_peak=pids,
        output_bytes=0,
    )


def of(outcome=Outcome.EXITED, end=Exited(0), evidence=(), language="", stderr=b"", **used):  # noqa: B008
    run = make_result(outcome=outcome, exit=end, evidence=tuple(evidence), usage=usage(**used), stderr=stderr)
    return verdicts.of_run(run, LIMITS, language=languages.load()[language] if language else None)


def test_a_good_end_is_for_the_checker():
    assert of() == (None, "")


def test_exactly_the_limit_is_in_time():
    assert of(cpu_s=1.0) == (None, "")


@pytest.mark.parametrize(
    ("arguments", "verdict", "reason"),
    [
        (
            {"outcome": Outcome.CPU_TIME, "cpu_s": 1.25, "end": Signaled(9)},
            Verdict.TLE,
            "used 1.25 s of CPU time, 1.00 s are allowed",
        ),
        ({"cpu_s": 1.02}, Verdict.TLE, "used 1.02 s of CPU time, 1.00 s are allowed"),
        ({"cpu_s": 1.0004}, Verdict.TLE, "used 1.0004 s of CPU time, 1.0000 s are allowed"),
        ({"cpu_s": 1.02, "end": Exited(3)}, Verdict.TLE, "used 1.02 s of CPU time, 1.00 s are allowed"),
        (
            {
                "outcome": Outcome.WALL_TIME,
                "wall_s": 14,
                "evidence": [Evidence("deadline", "wall_ns", 14 * 10**9), Evidence("limits", "wall_ns", 14 * 10**9)],
            },
            Verdict.TLE,
            "did not end within 14.00 s of elapsed time, 14.00 s are allowed; it used 0.10 s of CPU time",
        ),
        (
            {"outcome": Outcome.IDLE_TIME, "evidence": [Evidence("deadline", "idle_ns", 2 * 10**9)]},
            Verdict.TLE,
            "did nothing for 2.00 s (it waits or sleeps); it used 0.10 s of CPU time",
        ),
        ({"outcome": Outcome.MEMORY, "memory": 64 * MIB}, Verdict.MLE, "used 64 MiB of memory, 64 MiB are allowed"),
        (
            {"outcome": Outcome.MEMORY, "memory": 320 * MIB, "language": "java"},
            Verdict.MLE,
            "used 320 MiB of memory, 64 MiB are allowed (and 256 MiB for the runtime of Java)",
        ),
        ({"outcome": Outcome.OUTPUT}, Verdict.OLE, "wrote more than the 8 MiB of output that are allowed"),
        (
            {"outcome": Outcome.DISK, "evidence": [Evidence("statvfs", "free_bytes", 0)]},
            Verdict.RTE,
            "its disk space is full (statvfs: free_bytes 0)",
        ),
        (
            {"outcome": Outcome.PIDS, "pids": 64},
            Verdict.RTE,
            "started more processes or threads than are allowed (at most 64 at one time)",
        ),
        (
            {"outcome": Outcome.DENIED_SYSCALL, "evidence": [Evidence("seccomp", "killed_on", "ptrace")]},
            Verdict.SV,
            "made the forbidden system call ptrace",
        ),
        (
            {"outcome": Outcome.DENIED_SYSCALL, "end": Exited(1), "evidence": [Evidence("seccomp", "mount", 2)]},
            Verdict.SV,
            "made the forbidden system call mount",
        ),
        ({"outcome": Outcome.CANCELED}, Verdict.JE, "the run was canceled before the program ended"),
        ({"end": Exited(3)}, Verdict.RTE, "ended with exit code 3, 0 is expected"),
        (
            {"end": Exited(1), "stderr": b"Traceback\nKeyError: 3\n"},
            Verdict.RTE,
            "ended with exit code 1, 0 is expected: KeyError: 3",
        ),
        (
            {"outcome": Outcome.SIGNALED, "end": Signaled(11)},
            Verdict.RTE,
            "ended by SIGSEGV: an access to memory that is not its own, or a stack that is too deep",
        ),
        ({"outcome": Outcome.SIGNALED, "end": Signaled(9)}, Verdict.RTE, "ended by SIGKILL"),
    ],
)
def test_each_verdict_has_its_reason_with_figures(arguments, verdict, reason):
    assert of(**arguments) == (verdict, reason)


def test_every_outcome_has_a_verdict():
    for outcome in Outcome:
        verdict, reason = of(outcome=outcome, end=Signaled(9))
        assert isinstance(verdict, Verdict), outcome
        assert reason, outcome


@pytest.mark.parametrize(
    ("language", "said", "memory", "verdict"),
    [
        ("python3", b"Traceback\nMemoryError\n", 63 * MIB, Verdict.MLE),
        ("python3", b"Traceback\nMemoryError\n", 20 * MIB, Verdict.RTE),  # nothing but its own word
        ("python3", b"Traceback\nKeyError\n", 63 * MIB, Verdict.RTE),
        ("cpp", b"what():  std::bad_alloc\n", 60 * MIB, Verdict.MLE),
        ("cpp", b"what():  std::bad_alloc\n", 3 * MIB, Verdict.RTE),
        ("java", b"java.lang.OutOfMemoryError: Java heap space\n", 90 * MIB, Verdict.MLE),
        ("java", b"java.lang.OutOfMemoryError: Java heap space\n", 33 * MIB, Verdict.MLE),
        ("java", b"java.lang.OutOfMemoryError\n", 20 * MIB, Verdict.RTE),
        ("c", b"MemoryError", 64 * MIB, Verdict.RTE),
    ],
)
def test_out_of_memory_by_its_own_word_needs_the_memory_that_was_used(language, said, memory, verdict):
    assert of(end=Exited(1), language=language, stderr=said, memory=memory)[0] is verdict


def test_the_kernels_kill_is_proof_without_words():
    assert of(end=Exited(1), evidence=[Evidence("waitid", "code", 1), Evidence("memory.events", "oom_kill", 1)])[0] is Verdict.MLE
    assert of(end=Exited(1), evidence=[Evidence("waitid", "code", 1), Evidence("memory.events", "oom_kill", 0)])[0] is Verdict.RTE


def test_a_program_that_survives_a_kill_is_checked():
    assert of(evidence=[Evidence("memory.events", "oom_kill", 1)]) == (None, "")
