"""From verdicts and scores of cases to those of groups and of the submission. Pure: results go in, results come out.

A group is judged from the members that count: up to its first rejected one where `on_reject` says "break", all of them otherwise.
So the verdict does not depend on how many cases were run beyond that. A judge error among the members that count is the verdict
of the group: nobody knows what it would have been, and no rule about verdicts may turn it into one.

Source: problem package format, legacy "Default Grader Specification", 2025-09 "Result aggregation".
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.grader.model import Case, CaseResult, Group, GroupResult, Problem, Verdict

ACCEPTED = frozenset({Verdict.AC, Verdict.PAC})
# Source: legacy, worst_error: "the first of JE, IF, RTE, MLE, TLE, OLE, WA". SV is a run-time error of its own kind.
WORST = (Verdict.JE, Verdict.SV, Verdict.RTE, Verdict.MLE, Verdict.TLE, Verdict.OLE, Verdict.WA)
_ROUNDING = 1e-9
_NO_INPUT = Path(os.devnull)

Grader = Callable[[Group, Sequence[tuple[Verdict, float]]], tuple[Verdict, float]]


@dataclass(frozen=True, slots=True)
class _Member:
    """A case or group as its group sees it."""

    verdict: Verdict
    score: float | None


def case_score(group: Group, result: CaseResult, *, maximum: float | None = None) -> CaseResult:
    """The result with its score by the rules of its group; a judge error where the validator broke them.

    Args:
        group: that the case belongs to.
        result: its score and multiplier are those that the validator gave, None where it gave none.
        maximum: of this case; `group.accept_score` unless it is a static validation.
    """
    given = result.score is not None or result.multiplier is not None
    if group.score_aggregation == "pass-fail":
        if group.max_score is not None and given and is_accepted(result):
            return _judge_error(result, f"the validator gave a score, and the group {group.name!r} is pass-fail")
        return dataclasses.replace(result, score=None)
    if result.verdict in {Verdict.JE, Verdict.SKIPPED}:
        return dataclasses.replace(result, score=None)
    most = group.accept_score if maximum is None else maximum
    if not is_accepted(result):
        return result if result.score is not None else dataclasses.replace(result, score=group.reject_score)
    if math.isinf(most) and result.score is None:
        gave = "no score" if result.multiplier is None else "a multiplier and no score"
        return _judge_error(result, f"the validator gave {gave}, and the group {group.name!r} has no maximum")
    if result.multiplier is not None:
        return dataclasses.replace(result, score=result.multiplier * most)
    if result.score is None:
        return dataclasses.replace(result, score=most)
    if group.bounded_cases and result.score > most + _slack(most):
        return _judge_error(result, f"the validator gave {result.score:g} points, and at most {most:g} can be had")
    return result


def _slack(value: float) -> float:
    """What rounding may add to a number of this size."""
    return 0.0 if math.isinf(value) else _ROUNDING * max(1.0, abs(value))


def _judge_error(result: CaseResult, reason: str) -> CaseResult:
    message = f"{result.message}\n{reason}" if result.message else reason
    return dataclasses.replace(result, verdict=Verdict.JE, reason=reason, message=message, score=None)


def is_accepted(result: CaseResult | GroupResult | _Member) -> bool:
    """Whether it was accepted, fully or in part."""
    return result.verdict in ACCEPTED


def skipped(case: Case) -> CaseResult:
    """The result of a case that was not run."""
    return CaseResult(case, Verdict.SKIPPED, "not run: it was decided before")


def static_case(group: Group) -> Case:
    """What stands for the static validation of a group among results."""
    return Case(f"{group.name}/static validation".lstrip("/"), group.cases[0].input if group.cases else _NO_INPUT)


def judge_group(
    group: Group,
    results: Mapping[str, CaseResult],
    *,
    static: Mapping[str, CaseResult] | None = None,
    grade: Grader | None = None,
) -> GroupResult:
    """The result of a group, from those of its cases.

    Args:
        group: usually the root.
        results: by name of the case, with scores as their validators gave them; a case without a result was not run.
        static: results of the static validator by name of the group.
        grade: the grader program of a legacy package, for groups that ask for it; it gets what its stdin shall hold.
    """
    return _judge(group, results, static or {}, grade, {})


def _judge(
    group: Group,
    results: Mapping[str, CaseResult],
    static: Mapping[str, CaseResult],
    grade: Grader | None,
    done: dict[str, GroupResult],
) -> GroupResult:
    if any(not (name in done and is_accepted(done[name])) for name in group.require_pass):
        return _not_run(group, done)
    cases = [case_score(group, results.get(case.name) or skipped(case)) for case in group.cases]
    if group.static_validation is not None:
        validated = static.get(group.name) or skipped(static_case(group))
        cases.insert(0, case_score(group, validated, maximum=group.static_validation))
    inner = []
    for below in group.groups:
        result = _judge(below, results, static, grade, done)
        done[below.name] = result
        inner.append(result)
    ignored = {below.name for below in group.groups if below.ignored}
    members = [_Member(case.verdict, case.score) for case in cases]
    members += [_Member(result.verdict, result.score) for result in inner if result.name not in ignored]
    verdict, score, reason = _aggregate(group, _counting(group, members), grade)
    return GroupResult(group.name, verdict, score, tuple(cases), tuple(inner), reason)


def _not_run(group: Group, done: dict[str, GroupResult]) -> GroupResult:
    """Source: "If the group is not run, the group score is 0"."""
    inner = []
    for below in group.groups:
        done[below.name] = _not_run(below, done)
        inner.append(done[below.name])
    has_score = group.score_aggregation != "pass-fail" or group.max_score is not None
    return GroupResult(group.name, Verdict.SKIPPED, 0.0 if has_score else None, tuple(map(skipped, group.cases)), tuple(inner))


def _counting(group: Group, members: list[_Member]) -> list[_Member]:
    """The members that count: up to the first that was rejected, where the group breaks there."""
    if group.on_reject == "break":
        for index, member in enumerate(members):
            if not is_accepted(member):
                return members[: index + 1]
    return members


def _aggregate(group: Group, members: list[_Member], grade: Grader | None) -> tuple[Verdict, float | None, str]:
    if any(member.verdict is Verdict.JE for member in members):
        return Verdict.JE, None, ""
    if group.score_aggregation == "custom":
        return _graded(group, members, grade)
    verdict = _verdict(group, members)
    if group.score_aggregation == "pass-fail":
        if group.max_score is None:
            return verdict, None, ""
        return verdict, group.max_score if verdict in ACCEPTED else 0.0, ""
    # What was not run gets nothing; a member without scores (the sample of 2025-09) does not count.
    scores = [0.0 if member.score is None else member.score for member in members if _has_score(member)]
    return _bounded(group, verdict, _combined(group, scores))


def _has_score(member: _Member) -> bool:
    return member.score is not None or member.verdict is Verdict.SKIPPED


def _graded(group: Group, members: list[_Member], grade: Grader | None) -> tuple[Verdict, float | None, str]:
    """By the grader program of the package."""
    if grade is None:
        return Verdict.JE, None, f"the group {group.name!r} needs the grader program of the package, and it was not run"
    verdict, score = grade(
        group, [(member.verdict, member.score or 0.0) for member in members if member.verdict is not Verdict.SKIPPED]
    )
    if verdict is Verdict.JE:
        return verdict, None, f"the grader program failed for the group {group.name!r}"
    return _bounded(group, verdict, score)


def _combined(group: Group, scores: list[float]) -> float:
    if not scores:
        return 0.0
    match group.score_aggregation:
        case "min":
            return min(scores)
        case "max":
            return max(scores)
        case "avg":
            return math.fsum(scores) / len(scores)
    return math.fsum(scores)


def _bounded(group: Group, verdict: Verdict, score: float) -> tuple[Verdict, float | None, str]:
    """Source: 2025-09 "It is a judge error if the score exceeds max_score"; legacy `range` of accepted groups."""
    high, low = group.max_score, group.min_score
    if high is not None and score > high + _slack(high) and verdict in ACCEPTED:
        return Verdict.JE, None, f"the group {group.name!r} has {score:g} points, and its maximum is {high:g}"
    if low is not None and score < low - _slack(low) and verdict in ACCEPTED:
        return Verdict.JE, None, f"the group {group.name!r} has {score:g} points, and its minimum is {low:g}"
    return verdict, score if high is None else min(score, high), ""


def _verdict(group: Group, members: list[_Member]) -> Verdict:
    rejected = [member.verdict for member in members if not is_accepted(member)]
    partial = Verdict.PAC if any(member.verdict is Verdict.PAC for member in members) else Verdict.AC
    if not rejected:
        return partial
    if group.verdict_of == "always_accept":
        # Not what was never run: an unfinished grading is no acceptance.
        return Verdict.SKIPPED if len(rejected) == len(members) and set(rejected) == {Verdict.SKIPPED} else partial
    if group.verdict_of == "accept_if_any_accepted" and len(rejected) < len(members):
        return Verdict.AC
    return _rejection(group, rejected)


def _rejection(group: Group, rejected: list[Verdict]) -> Verdict:
    real = [verdict for verdict in rejected if verdict is not Verdict.SKIPPED]
    if not real:
        return Verdict.SKIPPED
    mode = group.otherwise if group.verdict_of == "accept_if_any_accepted" else group.verdict_of
    if mode == "worst_error":
        return next((verdict for verdict in WORST if verdict in real), real[0])
    return real[0]


def full_score(problem: Problem) -> float | None:
    """The best score that can be had; None where nothing bounds it."""
    if "scoring" not in problem.kinds:
        return None
    if problem.objective == "min":
        return problem.tests.min_score
    gives_scores = problem.validator.source is not None
    return _full(problem.tests, gives_scores=gives_scores)


def _full(group: Group, *, gives_scores: bool) -> float | None:
    if group.max_score is not None:
        return group.max_score
    if group.score_aggregation == "custom" or (group.cases and gives_scores and not group.bounded_cases):
        return None
    if group.score_aggregation == "pass-fail":
        return 0.0
    best: list[float | None] = [group.accept_score] * len(group.cases)
    best += [_full(below, gives_scores=gives_scores) for below in group.groups if not below.ignored and _counts(below)]
    if any(score is None or math.isinf(score) for score in best):
        return None
    static = [group.static_validation] if group.static_validation is not None else []
    return _combined(group, [score for score in (*static, *best) if score is not None])


def _counts(group: Group) -> bool:
    return group.score_aggregation != "pass-fail" or group.max_score is not None


def final(problem: Problem, root: GroupResult) -> tuple[Verdict, float | None]:
    """Verdict and score of the submission.

    PAC is for a score that is less than the best one: of an accepted submission, and in 2025-09, where the score stands for the
    verdict, of any submission that has points.
    """
    if "scoring" not in problem.kinds:
        return root.verdict, None
    verdict, score = root.verdict, root.score or 0.0
    if verdict in {Verdict.JE, Verdict.SKIPPED}:
        return verdict, None
    modern = problem.tests.bounded_cases and problem.format != "dmoj"
    if modern:
        # Source: 2025-09, "Sample test cases do not contribute to the problem score"
        secret = next((group for group in root.groups if group.name == "secret"), None)
        if secret is not None and secret.verdict is not Verdict.SKIPPED:
            verdict = secret.verdict
    if verdict not in ACCEPTED:
        if modern:
            return (Verdict.PAC, score) if score > 0 else (verdict, 0.0)
        # Source: legacy, "for non-Accepted results on scoring problems, the score provided by the grader will always be ignored".
        keeps = problem.tests.bounded_cases or problem.dialect == "domjudge"
        return verdict, score if keeps else 0.0
    best = full_score(problem)
    if best is None:
        return Verdict.AC, score
    is_full = score <= best + _slack(best) if problem.objective == "min" else score >= best - _slack(best)
    return (Verdict.AC if is_full else Verdict.PAC), score
