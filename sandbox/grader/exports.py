"""What happened, in the terms of other tools: isolate, go-judge, DMOJ, DOMjudge, the CCS specification, Judge0. Pure functions.

A dialect that has no word for a fact gets its nearest word, and the fact is in the message where the dialect has one. What was
not measured is left out, never invented. `time_limit_s` is that of the problem: a sandbox lets a program run a little longer.
"""

from __future__ import annotations

import base64
from typing import Any

from sandbox.grader.model import CaseResult, Report, Verdict
from sandbox.model.errors import CommandNotFound, NotExecutable
from sandbox.model.result import Exited, Outcome, RunResult, Signaled

_TIMES = frozenset({Outcome.CPU_TIME, Outcome.WALL_TIME, Outcome.IDLE_TIME})


def cpu_s(run: RunResult) -> float:
    """CPU seconds, of user and system together."""
    return (run.usage.cpu_user_ns + run.usage.cpu_system_ns) / 1e9


def _late(run: RunResult, time_limit_s: float | None) -> bool:
    return run.outcome in _TIMES or (time_limit_s is not None and cpu_s(run) > time_limit_s)


def _was_ended(run: RunResult) -> bool:
    """Whether a limit ended it, so that its signal is ours and not its own."""
    return run.outcome not in (Outcome.EXITED, Outcome.SIGNALED) and isinstance(run.exit, Signaled)


# isolate


def isolate_meta(run: RunResult, *, time_limit_s: float | None = None) -> str:
    """The meta file: lines `key:value`, without a status when the run ended well.

    Source: isolate(1), "Meta-files". `max-rss` and the context switches are not measured; `cg-mem` is.
    """
    status, message = _isolate_status(run, time_limit_s)
    lines: list[tuple[str, object]] = [
        ("time", f"{cpu_s(run):.3f}"),
        ("time-wall", f"{run.usage.wall_ns / 1e9:.3f}"),
        ("cg-mem", run.usage.memory_peak_bytes >> 10),
    ]
    if run.outcome is Outcome.MEMORY:
        lines.append(("cg-oom-killed", 1))
    if _was_ended(run):
        lines.append(("killed", 1))
    if isinstance(run.exit, Exited):
        lines.append(("exitcode", run.exit.code))
    elif status == "SG":
        lines.append(("exitsig", run.exit.signal))
    if status:
        lines += [("status", status), ("message", message)]
    return "".join(f"{key}:{value}\n" for key, value in lines)


def _isolate_status(run: RunResult, time_limit_s: float | None) -> tuple[str, str]:
    if run.outcome is Outcome.CANCELED:
        return "XX", "Canceled by the caller"
    if run.outcome in (Outcome.WALL_TIME, Outcome.IDLE_TIME):
        return "TO", "Time limit exceeded (wall clock)"
    if _late(run, time_limit_s):
        return "TO", "Time limit exceeded"
    if isinstance(run.exit, Exited):
        return ("RE", f"Exited with error status {run.exit.code}") if run.exit.code else ("", "")
    why = "" if run.outcome is Outcome.SIGNALED else f" ({run.outcome.value.replace('_', ' ')})"
    return "SG", f"Caught fatal signal {run.exit.signal}{why}"


def isolate_exit_code(run: RunResult, *, time_limit_s: float | None = None) -> int:
    """What `isolate --run` would exit with: 0 all is well, 1 the program failed, 2 the sandbox did."""
    status, _ = _isolate_status(run, time_limit_s)
    return {"": 0, "XX": 2}.get(status, 1)


# go-judge

_GO_JUDGE = {
    Outcome.CPU_TIME: "Time Limit Exceeded",
    Outcome.WALL_TIME: "Time Limit Exceeded",
    Outcome.IDLE_TIME: "Time Limit Exceeded",
    Outcome.MEMORY: "Memory Limit Exceeded",
    Outcome.OUTPUT: "Output Limit Exceeded",
    Outcome.DISK: "Output Limit Exceeded",
    Outcome.DENIED_SYSCALL: "Dangerous Syscall",
    Outcome.CANCELED: "Internal Error",
}


def go_judge(run: RunResult, *, time_limit_s: float | None = None) -> dict[str, Any]:
    """The result of one command. Text that is not UTF-8 has U+FFFD for bad bytes, as in go-judge's own JSON."""
    status = _GO_JUDGE.get(run.outcome)
    if status is None and _late(run, time_limit_s):
        status = "Time Limit Exceeded"
    elif status is None and isinstance(run.exit, Signaled):
        status = "Signalled"
    elif status is None:
        status = "Accepted" if run.exit == Exited(0) else "Nonzero Exit Status"
    refused = [_go_judge_refusal(name, reason) for name, reason in run.refused_files]
    if refused and status == "Accepted":
        status = "File Error"
    out: dict[str, Any] = {
        "status": status,
        "exitStatus": run.exit.code if isinstance(run.exit, Exited) else run.exit.signal,
        "time": run.usage.cpu_user_ns + run.usage.cpu_system_ns,
        "memory": run.usage.memory_peak_bytes,
        "runTime": run.usage.wall_ns,
        "procPeak": run.usage.pids_peak,
        "files": {
            "stdout": run.stdout.decode("utf-8", "replace"),
            "stderr": run.stderr.decode("utf-8", "replace"),
            **{name: item.data.decode("utf-8", "replace") for name, item in run.files.items()},
        },
    }
    if run.outcome is Outcome.CANCELED:
        out["error"] = "canceled"
    if refused:
        out["fileError"] = refused
    return out


def _go_judge_refusal(name: str, reason: str) -> dict[str, str]:
    kind = "CopyOutNotRegularFile"
    if "link or outside" in reason:
        kind = "Symlink"
    elif "collect_files" in reason or "many" in reason:
        kind = "CollectSizeExceeded"
    elif "collect_bytes" in reason:
        kind = "CopyOutSizeExceeded"
    elif reason == "missing":
        kind = "CopyOutOpen"
    return {"name": name, "type": kind, "message": reason}


# DMOJ

DMOJ_FLAGS = {"AC": 0, "WA": 1, "RTE": 2, "TLE": 4, "MLE": 8, "IR": 16, "SC": 32, "OLE": 64, "IE": 1 << 30}
_DMOJ_ORDER = ("IE", "TLE", "MLE", "OLE", "RTE", "IR", "WA", "SC")
_DMOJ = {
    Verdict.AC: "AC",
    Verdict.PAC: "AC",
    Verdict.WA: "WA",
    Verdict.TLE: "TLE",
    Verdict.MLE: "MLE",
    Verdict.OLE: "OLE",
    Verdict.RTE: "RTE",
    Verdict.SV: "RTE",
    Verdict.JE: "IE",
    Verdict.SKIPPED: "SC",
}


def dmoj_flags(case: CaseResult) -> int | None:
    """The bits of a case; None for a compile error, which DMOJ tells by a packet of its own and not by flags."""
    if case.verdict is Verdict.CE:
        return None
    code = _DMOJ[case.verdict]
    if case.verdict is Verdict.RTE and case.run is not None and isinstance(case.run.exit, Exited) and case.run.exit.code:
        code = "IR"  # invalid return: it ended by itself, with another code than 0
    return DMOJ_FLAGS[code]


def dmoj_code(flags: int) -> str:
    """The main code of a set of bits."""
    return next((code for code in _DMOJ_ORDER if flags & DMOJ_FLAGS[code]), "AC")


def dmoj_case(case: CaseResult, position: int, points: float, total_points: float) -> dict[str, Any]:
    """A case of a `test-case-status` packet; memory is in KiB, what was not measured is null."""
    timing = case.timing
    return {
        "position": position,
        "status": dmoj_flags(case),
        "time": timing.cpu_s if timing else 0.0,
        "points": points,
        "total-points": total_points,
        "memory": (case.memory_bytes or 0) >> 10,
        "output": case.stdout.decode("utf-8", "replace"),
        "extended-feedback": case.message,
        "feedback": case.team_message or case.reason,
        "voluntary-context-switches": None,
        "involuntary-context-switches": timing.forced_switches if timing else None,
        "runtime-version": None,
    }


# DOMjudge

_DOMJUDGE = {
    Verdict.AC: "correct",
    Verdict.PAC: "correct",
    Verdict.WA: "wrong-answer",
    Verdict.TLE: "timelimit",
    Verdict.RTE: "run-error",
    Verdict.SV: "run-error",
    Verdict.CE: "compiler-error",
    Verdict.MLE: "memory-limit",
    Verdict.OLE: "output-limit",
    Verdict.JE: "aborted",
    Verdict.SKIPPED: "pending",
}


def domjudge(result: CaseResult | Report) -> str:
    """The name of the verdict; `no-output` is a wrong answer without any output."""
    return "no-output" if _said_nothing(result) else _DOMJUDGE[result.verdict]


def _said_nothing(result: CaseResult | Report) -> bool:
    case = _deciding(result)
    return result.verdict is Verdict.WA and case is not None and case.run is not None and not case.stdout.strip()


def _deciding(result: CaseResult | Report) -> CaseResult | None:
    """The case that a verdict rests on; of an accepted submission the slowest."""
    if isinstance(result, CaseResult):
        return result
    if not result.decided_by:
        return max(result.all_cases(), key=lambda case: case.timing.cpu_s if case.timing else 0.0, default=None)
    return next((case for case in result.all_cases() if case.case.name == result.decided_by), None)


def runguard_meta(run: RunResult, *, stdin_bytes: int | None = None, time_limit_s: float | None = None) -> str:
    """The meta file of DOMjudge's runguard: lines `key: value`. How long each stream was is left out where it is not known."""
    lines: list[tuple[str, object]] = []
    if isinstance(run.exit, Signaled):
        lines += [("exitcode", 128 + run.exit.signal), ("signal", run.exit.signal)]
    else:
        lines.append(("exitcode", run.exit.code))
    result = "" if not _late(run, time_limit_s) else "hard-timelimit" if _was_ended(run) else "soft-timelimit"
    lines += [
        ("wall-time", f"{run.usage.wall_ns / 1e9:.3f}"),
        ("user-time", f"{run.usage.cpu_user_ns / 1e9:.3f}"),
        ("sys-time", f"{run.usage.cpu_system_ns / 1e9:.3f}"),
        ("cpu-time", f"{cpu_s(run):.3f}"),
        ("time-used", "wall-time" if run.outcome in (Outcome.WALL_TIME, Outcome.IDLE_TIME) else "cpu-time"),
        ("time-result", result),
        ("memory-bytes", run.usage.memory_peak_bytes),
        ("output-truncated", ",".join(run.truncated)),
    ]
    if stdin_bytes is not None:
        lines.append(("stdin-bytes", stdin_bytes))
    kept = {"stdout": len(run.stdout), "stderr": len(run.stderr)}
    for name, other in (("stdout", "stderr"), ("stderr", "stdout")):
        if name not in run.truncated:
            lines.append((f"{name}-bytes", kept[name]))
        elif other not in run.truncated:
            lines.append((f"{name}-bytes", run.usage.output_bytes - kept[other]))
    if run.outcome is Outcome.CANCELED:
        lines.append(("internal-error", "canceled by the caller"))
    return "".join(f"{key}: {value}".rstrip() + "\n" for key, value in lines)


# ICPC Contest Control System: judgement types

# Each known type with the one of the big five that it folds to; None: no verdict on the submission
CCS_FOLDED: dict[str, str | None] = {
    "AC": "AC", "RE": "RE", "CE": "CE", "RTE": "RTE", "TLE": "TLE", "WA": "WA", "APE": "AC",
    "OLE": "WA", "PE": "WA", "EO": "WA", "IO": "WA", "NO": "WA",
    "WTL": "TLE", "ILE": "TLE", "TCO": "TLE", "TWA": "TLE", "TPE": "TLE", "TEO": "TLE", "TIO": "TLE", "TNO": "TLE",
    "MLE": "RTE", "SV": "RTE", "IF": "RTE", "RCO": "RTE", "RWA": "RTE", "RPE": "RTE", "REO": "RTE", "RIO": "RTE", "RNO": "RTE",
    "CTL": "CE", "JE": None, "SE": None, "CS": None,
}  # fmt: skip


def ccs(result: CaseResult | Report) -> str | None:
    """The most exact judgement type; None for what was not run. `WTL`: elapsed time alone, `ILE`: it idled."""
    verdict = result.verdict
    if verdict is Verdict.SKIPPED:
        return None
    if verdict is Verdict.PAC:
        return "AC"
    if verdict is Verdict.CE:
        compiling = result.compile_run if isinstance(result, Report) else None
        return "CTL" if compiling is not None and compiling.outcome in _TIMES else "CE"
    case = _deciding(result)
    if verdict is Verdict.TLE and case is not None and case.run is not None:
        return {Outcome.WALL_TIME: "WTL", Outcome.IDLE_TIME: "ILE"}.get(case.run.outcome, "TLE")
    return "NO" if _said_nothing(result) else verdict.value


def ccs_minimum(result: CaseResult | Report) -> str | None:
    """The judgement type of the minimum set: AC CE RTE TLE WA; None when the submission has no verdict."""
    kind = ccs(result)
    return CCS_FOLDED[kind] if kind is not None else None


# Judge0

JUDGE0_DESCRIPTIONS = {
    1: "In Queue",
    2: "Processing",
    3: "Accepted",
    4: "Wrong Answer",
    5: "Time Limit Exceeded",
    6: "Compilation Error",
    7: "Runtime Error (SIGSEGV)",
    8: "Runtime Error (SIGXFSZ)",
    9: "Runtime Error (SIGFPE)",
    10: "Runtime Error (SIGABRT)",
    11: "Runtime Error (NZEC)",
    12: "Runtime Error (Other)",
    13: "Internal Error",
    14: "Exec Format Error",
}
_JUDGE0 = {Verdict.AC: 3, Verdict.PAC: 3, Verdict.WA: 4, Verdict.TLE: 5, Verdict.CE: 6, Verdict.JE: 13, Verdict.SKIPPED: 1}
_JUDGE0_SIGNALS = {11: 7, 25: 8, 8: 9, 6: 10}


def judge0_id(result: CaseResult | Report) -> int:
    """The id of the status. There is none for memory: such a run is a runtime error by its signal or exit code."""
    known = _JUDGE0.get(result.verdict)
    if known is not None:
        return known
    case = _deciding(result)
    if case is None or case.run is None:
        return 12
    if isinstance(case.run.exit, Exited):
        return 11 if case.run.exit.code else 12
    return _JUDGE0_SIGNALS.get(case.run.exit.signal, 12)


def judge0_error_id(error: Exception) -> int:
    """The id of the status when there was no run: 14 for a program that cannot be executed, else 13."""
    return 14 if isinstance(error, CommandNotFound | NotExecutable) else 13


def judge0(result: CaseResult | Report, *, encoded: bool = False) -> dict[str, Any]:
    """The members of a submission that tell of its result; memory in kB. `encoded`: texts in base64, as `base64_encoded=true`."""
    number = judge0_id(result)
    case = _deciding(result)
    run = case.run if case is not None else None
    ended = run.exit if run is not None else None

    def text(data: bytes) -> str:
        return base64.b64encode(data).decode("ascii") if encoded else data.decode("utf-8", "replace")

    compiled = result.compile_output if isinstance(result, Report) else ""
    return {
        "stdout": text(run.stdout) if run is not None else None,
        "stderr": text(run.stderr) if run is not None else None,
        "compile_output": text(compiled.encode("utf-8", "replace")) if compiled else None,
        "message": text(result.reason.encode("utf-8", "replace")) if result.reason else None,
        "exit_code": ended.code if isinstance(ended, Exited) else None,
        "exit_signal": ended.signal if isinstance(ended, Signaled) else None,
        "status": {"id": number, "description": JUDGE0_DESCRIPTIONS[number]},
        "time": f"{cpu_s(run):.3f}" if run is not None else None,
        "wall_time": f"{run.usage.wall_ns / 1e9:.3f}" if run is not None else None,
        "memory": run.usage.memory_peak_bytes >> 10 if run is not None else None,
    }
