"""The stable JSON form of a report. Names and meanings are in docs/grader.md and docs/report.schema.json. Pure."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

from sandbox.grader.model import CaseResult, GroupResult, Limits, Report
from sandbox.model.result import RunResult

_MOST_BYTES = 64 << 10  # of each stream and text of a case


def report(judged: Report) -> dict[str, Any]:
    """A submission judged: plain data for `json.dumps`."""
    return {
        "problem": judged.problem,
        "submission": judged.submission,
        "language": judged.language,
        "verdict": judged.verdict.value,
        "score": judged.score,
        "reason": judged.reason,
        "decided_by": judged.decided_by,
        "wall_s": round(judged.wall_s, 6),
        "cached": judged.cached,
        "compile_output": judged.compile_output[:_MOST_BYTES],
        "judge_output": judged.judge_output[:_MOST_BYTES],
        "limits": _limits(judged.limits),
        "degraded": list(judged.degraded),
        "warnings": list(judged.warnings),
        "groups": _group(judged.tests) if judged.tests is not None else None,
        "cases": [case(item) for item in judged.all_cases()],
    }


def _limits(limits: Limits) -> dict[str, Any]:
    names = ("time_s", "memory_bytes", "output_bytes", "code_bytes", "compilation_s", "validation_s", "validation_passes", "pids")
    return {name: getattr(limits, name) for name in names}


def _group(group: GroupResult) -> dict[str, Any]:
    return {
        "name": group.name,
        "verdict": group.verdict.value,
        "score": group.score,
        "cases": [item.case.name for item in group.cases],
        "groups": [_group(inner) for inner in group.groups],
    }


def case(judged: CaseResult) -> dict[str, Any]:
    """A case judged. `timing`, `run` and `judge` are null where there was none."""
    timing = judged.timing
    return {
        "name": judged.case.name,
        "verdict": judged.verdict.value,
        "reason": judged.reason,
        "score": judged.score,
        "message": judged.message[:_MOST_BYTES],
        "team_message": judged.team_message[:_MOST_BYTES],
        "memory_bytes": judged.memory_bytes,
        "passes": judged.passes,
        "timing": {**dataclasses.asdict(timing), "spread_s": timing.spread_s} if timing is not None else None,
        "run": _run(judged.run),
        "judge": _run(judged.judge),
        **_text("stdout", judged.stdout),
        **_text("expected", judged.expected),
        "transcript": [
            {"from": "submission" if who == "<" else "validator", "at_s": round(at_s, 6), **_text("data", data)}
            for who, data, at_s in judged.transcript
        ],
    }


def _run(run: RunResult | None) -> dict[str, Any] | None:
    """What tells how a run ended, in the words of docs/result.md, without its streams and files."""
    if run is None:
        return None
    return {
        "outcome": run.outcome.value,
        "exit": run.exit.to_dict(),
        "usage": run.usage.to_dict(),
        "evidence": [item.to_dict() for item in run.evidence],
        "truncated": list(run.truncated),
        **_text("stderr", run.stderr),
        "plan_digest": run.plan_digest,
    }


def _text(name: str, data: bytes) -> dict[str, str]:
    """Text under `name`; the exact bytes beside it as `<name>_base64` where they are not UTF-8."""
    kept = data[:_MOST_BYTES]
    out = {name: kept.decode("utf-8", "replace")}
    try:
        kept.decode("utf-8")
    except UnicodeDecodeError:
        out[f"{name}_base64"] = base64.b64encode(kept).decode("ascii")
    return out
