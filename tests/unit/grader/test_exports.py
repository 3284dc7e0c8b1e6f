"""One ending, many dialects: each in the exact words of its tool."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from sandbox.grader import exports
from sandbox.grader.model import Case, CaseResult, GroupResult, Report, Timing, Verdict
from sandbox.model.errors import CommandNotFound, LaunchError
from sandbox.model.result import Exited, Outcome, Signaled, Usage
from tests.unit.cli.fakes import make_result

USAGE = Usage(
    cpu_user_ns=1_200_000_000,
    cpu_system_ns=34_000_000,
    wall_ns=2_000_400_000,
    memory_peak_bytes=5 << 20,
    pids_peak=3,
    output_bytes=100,
)


def run(outcome=Outcome.EXITED, end=Exited(0), **more):  # noqa: B008
    return make_result(outcome=outcome, exit=end, usage=USAGE, **more)


def case(verdict, of=None, stdout=b"out", **more):
    return CaseResult(Case("secret/1", Path("1.in")), verdict, run=of, stdout=stdout, **more)


FINE = run()
FAILED = run(end=Exited(3))
CRASHED = run(Outcome.SIGNALED, Signaled(11))
CPU = run(Outcome.CPU_TIME, Signaled(9))
CPU_BY_ITSELF = run(Outcome.CPU_TIME, Exited(0))
WALL = run(Outcome.WALL_TIME, Signaled(9))
IDLE = run(Outcome.IDLE_TIME, Signaled(9))
MEMORY = run(Outcome.MEMORY, Signaled(9))
MEMORY_COPED = run(Outcome.MEMORY, Exited(1))
OUTPUT = run(Outcome.OUTPUT, Signaled(9), truncated=("stdout",))
DISK = run(Outcome.DISK, Signaled(25))
PIDS = run(Outcome.PIDS, Exited(2))
DENIED = run(Outcome.DENIED_SYSCALL, Signaled(31))
CANCELED = run(Outcome.CANCELED, Signaled(9))

HEAD = "time:1.234\ntime-wall:2.000\ncg-mem:5120\n"


@pytest.mark.parametrize(
    ("result", "lines", "code"),
    [
        (FINE, "exitcode:0\n", 0),
        (FAILED, "exitcode:3\nstatus:RE\nmessage:Exited with error status 3\n", 1),
        (CRASHED, "exitsig:11\nstatus:SG\nmessage:Caught fatal signal 11\n", 1),
        (CPU, "killed:1\nstatus:TO\nmessage:Time limit exceeded\n", 1),
        (CPU_BY_ITSELF, "exitcode:0\nstatus:TO\nmessage:Time limit exceeded\n", 1),
        (WALL, "killed:1\nstatus:TO\nmessage:Time limit exceeded (wall clock)\n", 1),
        (IDLE, "killed:1\nstatus:TO\nmessage:Time limit exceeded (wall clock)\n", 1),
        (MEMORY, "cg-oom-killed:1\nkilled:1\nexitsig:9\nstatus:SG\nmessage:Caught fatal signal 9 (memory)\n", 1),
        (MEMORY_COPED, "cg-oom-killed:1\nexitcode:1\nstatus:RE\nmessage:Exited with error status 1\n", 1),
        (OUTPUT, "killed:1\nexitsig:9\nstatus:SG\nmessage:Caught fatal signal 9 (output)\n", 1),
        (PIDS, "exitcode:2\nstatus:RE\nmessage:Exited with error status 2\n", 1),
        (DENIED, "killed:1\nexitsig:31\nstatus:SG\nmessage:Caught fatal signal 31 (denied syscall)\n", 1),
        (CANCELED, "killed:1\nstatus:XX\nmessage:Canceled by the caller\n", 2),
    ],
)
def test_isolate(result, lines, code):
    assert exports.isolate_meta(result) == HEAD + lines
    assert exports.isolate_exit_code(result) == code


def test_more_time_than_the_problem_allows_is_too_late_though_the_sandbox_let_it_end():
    assert exports.isolate_meta(FINE, time_limit_s=1.0) == HEAD + "exitcode:0\nstatus:TO\nmessage:Time limit exceeded\n"
    assert exports.isolate_meta(FINE, time_limit_s=2.0) == HEAD + "exitcode:0\n"
    assert exports.go_judge(FINE, time_limit_s=1.0)["status"] == "Time Limit Exceeded"
    assert "time-result: soft-timelimit\n" in exports.runguard_meta(FINE, time_limit_s=1.0)


@pytest.mark.parametrize(
    ("result", "status", "number"),
    [
        (FINE, "Accepted", 0),
        (FAILED, "Nonzero Exit Status", 3),
        (CRASHED, "Signalled", 11),
        (CPU, "Time Limit Exceeded", 9),
        (WALL, "Time Limit Exceeded", 9),
        (IDLE, "Time Limit Exceeded", 9),
        (MEMORY, "Memory Limit Exceeded", 9),
        (OUTPUT, "Output Limit Exceeded", 9),
        (DISK, "Output Limit Exceeded", 25),
        (PIDS, "Nonzero Exit Status", 2),
        (DENIED, "Dangerous Syscall", 31),
        (CANCELED, "Internal Error", 9),
    ],
)
def test_go_judge(result, status, number):
    got = exports.go_judge(result)
    assert (got["status"], got["exitStatus"]) == (status, number)
    assert (got["time"], got["memory"], got["runTime"], got["procPeak"]) == (1_234_000_000, 5 << 20, 2_000_400_000, 3)
    assert got["files"] == {"stdout": "hello\n", "stderr": ""}
    assert ("error" in got) is (result is CANCELED)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("reached through a link or outside the work directory", "Symlink"),
        ("not a regular file", "CopyOutNotRegularFile"),
        ("has several hard links", "CopyOutNotRegularFile"),
        ("larger than what is left of collect_bytes", "CopyOutSizeExceeded"),
        ("more files than collect_files", "CollectSizeExceeded"),
        ("missing", "CopyOutOpen"),
    ],
)
def test_go_judge_files(reason, kind):
    got = exports.go_judge(run(refused_files=(("out.txt", reason),)))
    assert got["status"] == "File Error"
    assert got["fileError"] == [{"name": "out.txt", "type": kind, "message": reason}]


@pytest.mark.parametrize(
    ("verdict", "of", "flags", "code"),
    [
        ("AC", FINE, 0, "AC"),
        ("PAC", FINE, 0, "AC"),
        ("WA", FINE, 1, "WA"),
        ("RTE", CRASHED, 2, "RTE"),
        ("RTE", FAILED, 16, "IR"),
        ("SV", DENIED, 2, "RTE"),
        ("TLE", CPU, 4, "TLE"),
        ("MLE", MEMORY, 8, "MLE"),
        ("OLE", OUTPUT, 64, "OLE"),
        ("SKIPPED", None, 32, "SC"),
        ("JE", None, 1 << 30, "IE"),
    ],
)
def test_dmoj(verdict, of, flags, code):
    got = exports.dmoj_flags(case(Verdict(verdict), of))
    assert got == flags
    assert exports.dmoj_code(flags) == code


def test_dmoj_order_of_main_codes():
    flags = exports.DMOJ_FLAGS
    order = ["IE", "TLE", "MLE", "OLE", "RTE", "IR", "WA", "SC"]
    for first, second in itertools.pairwise(order):
        assert exports.dmoj_code(flags[first] | flags[second]) == first
    assert exports.dmoj_flags(case(Verdict.CE)) is None


def test_dmoj_case():
    judged = case(Verdict.WA, FINE, reason="line 1", memory_bytes=3 << 20, timing=Timing(1.5, 2.0, forced_switches=7))
    assert exports.dmoj_case(judged, 2, 0.0, 10.0) == {
        "position": 2,
        "status": 1,
        "time": 1.5,
        "points": 0.0,
        "total-points": 10.0,
        "memory": 3072,
        "output": "out",
        "extended-feedback": "",
        "feedback": "line 1",
        "voluntary-context-switches": None,
        "involuntary-context-switches": 7,
        "runtime-version": None,
    }


@pytest.mark.parametrize(
    ("judged", "name", "kind", "folded"),
    [
        (case(Verdict.AC, FINE), "correct", "AC", "AC"),
        (case(Verdict.PAC, FINE), "correct", "AC", "AC"),
        (case(Verdict.WA, FINE), "wrong-answer", "WA", "WA"),
        (case(Verdict.WA, FINE, stdout=b" \n"), "no-output", "NO", "WA"),
        (case(Verdict.TLE, CPU), "timelimit", "TLE", "TLE"),
        (case(Verdict.TLE, WALL), "timelimit", "WTL", "TLE"),
        (case(Verdict.TLE, IDLE), "timelimit", "ILE", "TLE"),
        (case(Verdict.RTE, CRASHED), "run-error", "RTE", "RTE"),
        (case(Verdict.SV, DENIED), "run-error", "SV", "RTE"),
        (case(Verdict.MLE, MEMORY), "memory-limit", "MLE", "RTE"),
        (case(Verdict.OLE, OUTPUT), "output-limit", "OLE", "WA"),
        (case(Verdict.CE), "compiler-error", "CE", "CE"),
        (case(Verdict.JE), "aborted", "JE", None),
        (case(Verdict.SKIPPED), "pending", None, None),
    ],
)
def test_domjudge_and_ccs(judged, name, kind, folded):
    assert exports.domjudge(judged) == name
    assert exports.ccs(judged) == kind
    assert exports.ccs_minimum(judged) == folded


def report(verdict, *cases, **more):
    return Report("p", "s", "cpp", verdict, None, "because", GroupResult("", verdict, None, cases), **more)


def test_a_report_speaks_by_the_case_that_decided():
    decided = report(Verdict.TLE, case(Verdict.TLE, WALL), decided_by="secret/1")
    assert exports.ccs(decided) == "WTL"
    assert exports.ccs(report(Verdict.CE, compile_run=WALL)) == "CTL"
    assert exports.ccs_minimum(report(Verdict.CE, compile_run=WALL)) == "CE"
    assert exports.ccs(report(Verdict.CE, compile_run=FAILED)) == "CE"
    assert exports.domjudge(report(Verdict.WA, case(Verdict.WA, FINE, stdout=b""), decided_by="secret/1")) == "no-output"


@pytest.mark.parametrize(
    ("result", "lines"),
    [
        (FINE, ["exitcode: 0", "time-used: cpu-time", "time-result:", "output-truncated:", "stdout-bytes: 6", "stderr-bytes: 0"]),
        (CRASHED, ["exitcode: 139", "signal: 11", "time-result:"]),
        (CPU, ["exitcode: 137", "signal: 9", "time-used: cpu-time", "time-result: hard-timelimit"]),
        (CPU_BY_ITSELF, ["exitcode: 0", "time-result: soft-timelimit"]),
        (WALL, ["time-used: wall-time", "time-result: hard-timelimit"]),
        (OUTPUT, ["output-truncated: stdout", "stdout-bytes: 100"]),
        (CANCELED, ["internal-error: canceled by the caller"]),
    ],
)
def test_runguard(result, lines):
    got = exports.runguard_meta(result, stdin_bytes=12).splitlines()
    assert {"wall-time: 2.000", "user-time: 1.200", "sys-time: 0.034", "cpu-time: 1.234", "memory-bytes: 5242880"} <= set(got)
    assert "stdin-bytes: 12" in got
    assert set(lines) <= set(got)


@pytest.mark.parametrize(
    ("judged", "number"),
    [
        (case(Verdict.AC, FINE), 3),
        (case(Verdict.PAC, FINE), 3),
        (case(Verdict.WA, FINE), 4),
        (case(Verdict.TLE, CPU), 5),
        (case(Verdict.CE), 6),
        (case(Verdict.RTE, CRASHED), 7),
        (case(Verdict.OLE, run(Outcome.DISK, Signaled(25))), 8),
        (case(Verdict.RTE, run(Outcome.SIGNALED, Signaled(8))), 9),
        (case(Verdict.RTE, run(Outcome.SIGNALED, Signaled(6))), 10),
        (case(Verdict.RTE, FAILED), 11),
        (case(Verdict.MLE, MEMORY), 12),
        (case(Verdict.SV, DENIED), 12),
        (case(Verdict.JE), 13),
    ],
)
def test_judge0(judged, number):
    assert exports.judge0_id(judged) == number
    status = exports.judge0(judged)["status"]
    assert status == {"id": number, "description": exports.JUDGE0_DESCRIPTIONS[number]}


def test_judge0_members():
    got = exports.judge0(case(Verdict.RTE, CRASHED, reason="ended by SIGSEGV"), encoded=True)
    assert (got["stdout"], got["message"]) == ("aGVsbG8K", "ZW5kZWQgYnkgU0lHU0VHVg==")
    assert (got["exit_code"], got["exit_signal"], got["time"], got["wall_time"], got["memory"]) == (
        None,
        11,
        "1.234",
        "2.000",
        5120,
    )


def test_judge0_errors():
    assert exports.judge0_error_id(CommandNotFound("no such program", step="SPAWN", index=0, errno=2, path="x")) == 14
    assert exports.judge0_error_id(LaunchError("no room", step="SPAWN", index=0, errno=12, path="")) == 13


def test_every_verdict_has_a_word_in_every_dialect():
    for verdict in Verdict:
        judged = case(verdict, FINE)
        assert exports.domjudge(judged)
        assert exports.judge0_id(judged) in exports.JUDGE0_DESCRIPTIONS
        assert exports.dmoj_flags(judged) in {*exports.DMOJ_FLAGS.values(), None}
        assert exports.ccs(judged) in {*exports.CCS_FOLDED, None}
