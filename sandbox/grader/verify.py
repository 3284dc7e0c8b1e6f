"""Compares what a submission got with what its package claims of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sandbox.grader.model import CaseResult, Expectation, GroupResult, Report, Verdict
from sandbox.grader.packages.expectations import matches

_NO_VERDICT = frozenset({Verdict.JE, Verdict.SKIPPED})
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class _Scope:
    """What a claim is about: cases, and the groups whose score it bounds."""

    name: str
    cases: tuple[CaseResult, ...]
    scores: tuple[tuple[str, float | None], ...]


def judge(report: Report, expectation: Expectation) -> list[str]:
    """What does not hold, a sentence each; empty: everything that is claimed holds.

    A judge error never fulfils a claim: the judge failed, and nothing is known of the submission. Cases that were not run say
    nothing.
    """
    if report.verdict is Verdict.JE:
        return [f"the judge failed, so nothing is known of the submission: {report.reason or 'no reason was given'}"]
    if report.verdict is Verdict.SKIPPED:
        return ["the grading did not come to an end"]
    cases = report.all_cases()
    everything = _Scope("", cases, (("", report.score),))
    found = []
    for claim in _claims(expectation):
        if claim.final and report.verdict not in claim.final:
            found.append(f"got {_shown(report.verdict, report.reason)}, expected {_listed(claim.final)}{_said(claim)}")
        if report.verdict is Verdict.CE:
            if not claim.final and (claim.permitted or claim.required):
                found.append(f"got CE, and cases were expected to be {_listed(claim.permitted or claim.required)}{_said(claim)}")
            continue
        found += _broken(claim, everything)
        for pattern, inner in claim.groups.items():
            scope = _scope(report, pattern)
            if not scope.cases:
                found.append(f"{pattern!r} matches no test case or group{_said(inner)}")
            else:
                found += _broken(inner, scope)
    return list(dict.fromkeys(found))


def _claims(expectation: Expectation) -> Iterator[Expectation]:
    yield expectation
    for more in expectation.also:
        yield from _claims(more)


def _broken(claim: Expectation, scope: _Scope) -> Iterator[str]:
    where = f" in {scope.name!r}" if scope.name else ""
    run = [result for result in scope.cases if result.verdict is not Verdict.SKIPPED]
    for result in run:
        if claim.permitted and result.verdict not in claim.permitted:
            got = _shown(result.verdict, result.reason)
            yield f"{result.case.name} got {got}, permitted are {_listed(claim.permitted)}{_said(claim)}"
            break
    if claim.required and not any(result.verdict in claim.required for result in run):
        yield f"no test case{where} got {_listed(claim.required)}, which is required{_said(claim)}"
    if claim.message and not any(claim.message in result.message for result in run):
        yield f"no judge message{where} holds {claim.message!r}{_said(claim)}"
    if claim.score is not None:
        low, high = claim.score
        for name, score in scope.scores:
            if score is None or not low - _ROUNDING <= score <= high + _ROUNDING:
                wanted = f"{low:g}" if low == high else f"{low:g} to {high:g}"
                got = "no score" if score is None else f"score {score:g}"
                yield f"got {got}{f' in {name!r}' if name else ''}, expected {wanted}{_said(claim)}"


def _scope(report: Report, pattern: str) -> _Scope:
    """The cases and groups that a pattern matches, by their own name or that of a group above them."""
    groups = [group for group in _groups(report.tests) if group.name and matches(pattern, group.name)]
    exact = [group for group in groups if group.name.count("/") == pattern.strip("/").count("/")]
    cases = tuple(result for result in report.all_cases() if matches(pattern, result.case.name))
    return _Scope(pattern, cases, tuple((group.name, group.score) for group in exact))


def _groups(group: GroupResult | None) -> Iterator[GroupResult]:
    if group is not None:
        yield group
        for inner in group.groups:
            yield from _groups(inner)


def _shown(verdict: Verdict, reason: str) -> str:
    return f"{verdict} ({reason})" if reason else str(verdict)


def _listed(verdicts: frozenset[Verdict]) -> str:
    return " or ".join(verdict for verdict in Verdict if verdict in verdicts)


def _said(claim: Expectation) -> str:
    return f" (by {claim.origin})" if claim.origin else ""
