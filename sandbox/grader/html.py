"""A report as one self-contained HTML page: no script, no request to anywhere, everything hostile escaped and bounded.

What a submission, its compiler or a checker said goes through `visible` (control characters become escapes) and then through
Jinja2's escaping. The page forbids itself scripts and connections, so that a hole in either would still do nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox.grader import plots
from sandbox.grader.model import CaseResult, Report, Verdict

if TYPE_CHECKING:
    import jinja2

_MOST_TEXT = 8 << 10  # characters of one text
_MOST_COMPILER = 64 << 10
_MOST_LINES = 200  # of a diff
_MOST_PIECES = 200  # of a transcript
_MOST_DETAILED = 200  # cases with everything; of the others the row of the table
_MEANING = {
    Verdict.AC: "accepted",
    Verdict.PAC: "partially accepted",
    Verdict.WA: "wrong answer",
    Verdict.TLE: "time limit exceeded",
    Verdict.MLE: "memory limit exceeded",
    Verdict.OLE: "output limit exceeded",
    Verdict.RTE: "run-time error",
    Verdict.SV: "security violation",
    Verdict.CE: "compile error",
    Verdict.JE: "judge error",
    Verdict.SKIPPED: "not run",
}


def page(reports: Sequence[Report], *, title: str = "") -> str:
    """The page of one or more submissions."""
    title = title or (f"{reports[0].problem}: {reports[0].verdict.value}" if reports else "nothing was graded")
    shown = [_submission(report) for report in reports]
    return _template().render(title=visible(title), reports=shown, meaning=_MEANING)


@cache
def _template() -> jinja2.Template:
    import jinja2

    source = (Path(__file__).parent / "report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(source)


def visible(text: str, most: int = _MOST_TEXT) -> str:
    """The text, cut to `most`; what cannot be seen, or steers terminals or the direction of writing, is written as an escape."""
    kept = text[:most].replace("\r\n", "\n")
    if not all(char.isprintable() or char in "\t\n" for char in kept):
        kept = "".join(char if char.isprintable() or char in "\t\n" else _escaped(char) for char in kept)
    return f"{kept}\n… {len(text) - most} more characters" if len(text) > most else kept


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _bytes(data: bytes, most: int = _MOST_TEXT) -> str:
    return visible(data[: 4 * most].decode("utf-8", "replace"), most)


def _submission(report: Report) -> dict[str, Any]:
    cases = report.all_cases()
    return {
        "problem": visible(report.problem),
        "name": visible(report.submission),
        "language": visible(report.language) or "unknown",
        "verdict": report.verdict.value,
        "meaning": _MEANING[report.verdict],
        "score": report.score,
        "reason": visible(report.reason),
        "decided_by": visible(report.decided_by),
        "wall_s": report.wall_s,
        "cached": report.cached,
        "compile_output": visible(report.compile_output, _MOST_COMPILER),
        "judge_output": visible(report.judge_output, _MOST_COMPILER),
        "limits": report.limits,
        "notes": [visible(note) for note in (*report.warnings, *report.degraded)],
        "cases": [_row(case) for case in cases],
        "scored": any(case.score is not None for case in cases),
        "details": [_detail(case) for case in _most_telling(cases)],
        "left_out": max(0, len(cases) - _MOST_DETAILED),
        "time": plots.bars(_bars(cases, _cpu_s), title="CPU time", unit="s", limit=report.limits.time_s),
        "memory": plots.bars(
            _bars(cases, _memory), title="Peak memory", unit="MiB", limit=report.limits.memory_bytes / (1 << 20)
        ),
    }


def _most_telling(cases: Sequence[CaseResult]) -> list[CaseResult]:
    """Those that are described at length: failures before the rest, in order."""
    run = [case for case in cases if case.verdict is not Verdict.SKIPPED]
    return sorted(run, key=lambda case: case.verdict is Verdict.AC)[:_MOST_DETAILED]


def _cpu_s(case: CaseResult) -> float | None:
    return case.timing.cpu_s if case.timing is not None else None


def _memory(case: CaseResult) -> float | None:
    return case.memory_bytes / (1 << 20) if case.memory_bytes is not None else None


def _bars(cases: Sequence[CaseResult], measure: Any) -> list[plots.Bar]:
    return [
        plots.Bar(visible(case.case.name, 200), value, case.verdict.value)
        for case in cases
        if (value := measure(case)) is not None
    ]


def _row(case: CaseResult) -> dict[str, Any]:
    timing = case.timing
    return {
        "name": visible(case.case.name, 200),
        "verdict": case.verdict.value,
        "score": case.score,
        "cpu_s": timing.cpu_s if timing else None,
        "wall_s": timing.wall_s if timing else None,
        "memory": _memory(case),
        "reason": visible(case.reason, 400),
    }


def _detail(case: CaseResult) -> dict[str, Any]:
    timing = case.timing
    facts = []
    if timing is not None and len(timing.runs) > 1:
        facts.append(f"{len(timing.runs)} runs, {timing.spread_s:.3f} s between the fastest and the slowest")
    if timing is not None and timing.throttled_s:
        facts.append(f"throttled for {timing.throttled_s:.3f} s")
    if timing is not None and timing.steal_s:
        facts.append(f"{timing.steal_s:.3f} s were taken by other machines of the host")
    if timing is not None and timing.forced_switches:
        facts.append(f"preempted {timing.forced_switches} times")
    if case.passes > 1:
        facts.append(f"{case.passes} passes")
    if case.run is not None:
        facts += [f"{item.source} {item.key} = {item.value}" for item in case.run.evidence[:8]]
    different = case.verdict in (Verdict.WA, Verdict.PAC) and case.expected and not case.transcript
    return {
        **_row(case),
        "open": case.verdict is not Verdict.AC,
        "facts": [visible(fact, 200) for fact in facts],
        "message": visible(case.message),
        "team_message": visible(case.team_message),
        "stderr": _bytes(case.run.stderr) if case.run is not None else "",
        "stdout": _bytes(case.stdout),
        "expected": _bytes(case.expected),
        "diff": diff(case.expected, case.stdout) if different else [],
        "transcript": [_piece(*piece) for piece in case.transcript[:_MOST_PIECES]],
        "unsaid": max(0, len(case.transcript) - _MOST_PIECES),
    }


def _piece(who: str, data: bytes, at_s: float) -> dict[str, Any]:
    return {"who": "submission" if who == "<" else "validator", "at_s": at_s, "data": _bytes(data, 2000)}


def diff(expected: bytes, got: bytes) -> list[tuple[str, str]]:
    """Lines of a diff of answer and output: (" ", "-" expected, "+" got or "…" left out; the line). Bounded in time and size."""
    before, after = (_bytes(data).split("\n")[:_MOST_LINES] for data in (expected, got))
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    out: list[tuple[str, str]] = []
    for group in matcher.get_grouped_opcodes(3):
        if out:
            out.append(("…", ""))
        for tag, low, high, start, end in group:
            if tag == "equal":
                out += [(" ", line) for line in before[low:high]]
            else:
                out += [("-", line) for line in before[low:high]]
                out += [("+", line) for line in after[start:end]]
    return out[: 2 * _MOST_LINES]
