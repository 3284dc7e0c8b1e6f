"""A report in which everything that a submission, its compiler or a checker can say is hostile."""

from __future__ import annotations

from pathlib import Path

from sandbox.grader.model import Case, CaseResult, GroupResult, Limits, Report, Timing, Verdict
from sandbox.model.result import Outcome, Signaled
from tests.unit.cli.fakes import make_result

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>'\"&\x1b[2J\x00\u202e\r</pre></style>"


def case(name: str, verdict: Verdict, **more) -> CaseResult:
    values = {
        "reason": f"why {EVIL}",
        "message": f"judge {EVIL}",
        "team_message": f"team {EVIL}",
        "timing": Timing(0.5, 0.7, (0.5, 0.6), 0.1, 0.0, 3, (0,)),
        "memory_bytes": 3 << 20,
        "run": make_result(stderr=b"err \xff" + EVIL.encode()),
        "stdout": b"1\n2\n" + EVIL.encode(),
        "expected": b"1\n3\n",
    }
    return CaseResult(Case(f"secret/{name}{EVIL}", Path("x.in")), verdict, **{**values, **more})


def report(**changes) -> Report:
    cases = (
        case("1", Verdict.AC),
        case("2", Verdict.WA, transcript=(("<", EVIL.encode(), 0.1), (">", b"\xfe\xff" + EVIL.encode(), 0.2))),
        case("3", Verdict.WA),
        case("4", Verdict.TLE, run=make_result(outcome=Outcome.WALL_TIME, exit=Signaled(9))),
        case("5", Verdict.SKIPPED, timing=None, memory_bytes=None, run=None, stdout=b""),
    )
    values = {
        "problem": f"problem {EVIL}",
        "submission": f"sub {EVIL}",
        "language": "cpp",
        "verdict": Verdict.WA,
        "score": 12.5,
        "reason": f"reason {EVIL}",
        "tests": GroupResult("", Verdict.WA, 12.5, (), (GroupResult(f"secret{EVIL}", Verdict.WA, 12.5, cases),)),
        "compile_output": f"warning: {EVIL}\n" * 3,
        "judge_output": f"error: {EVIL}\n" * 3,
        "decided_by": cases[1].case.name,
        "limits": Limits(time_s=1.0, memory_bytes=64 << 20),
        "wall_s": 1.25,
        "warnings": (EVIL,),
        "degraded": (EVIL,),
    }
    return Report(**{**values, **changes})
