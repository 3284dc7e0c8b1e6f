"""Verdicts and scores of groups: trees are written down, results are counted by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from sandbox.grader import scoring
from sandbox.grader.model import Case, CaseResult, Group, JudgeProgram, Limits, Problem, Source, Verdict

AC, WA, TLE, RTE, MLE, OLE, JE, PAC, SV, SKIPPED = (
    Verdict.AC, Verdict.WA, Verdict.TLE, Verdict.RTE, Verdict.MLE, Verdict.OLE, Verdict.JE, Verdict.PAC, Verdict.SV,
    Verdict.SKIPPED,
)  # fmt: skip


def case(name):
    return Case(name, Path("/x"))


def group(name, *members, **settings):
    inner = tuple(member for member in members if isinstance(member, Group))
    own = tuple(case(f"{name}/{member}".lstrip("/")) for member in members if isinstance(member, str))
    return Group(name, own, inner, **settings)


def got(**verdicts):
    """Results by the last part of the name; a tuple is (verdict, score) or (verdict, score, multiplier)."""
    found = {}
    for key, value in verdicts.items():
        verdict, score, multiplier = (*value, None, None)[:3] if isinstance(value, tuple) else (value, None, None)
        found[key] = (verdict, score, multiplier)
    return found


def results(tests, given):
    return {
        found.name: CaseResult(found, given[key][0], score=given[key][1], multiplier=given[key][2])
        for found in tests.all_cases()
        if (key := found.name.rpartition("/")[2]) in given
    }


def judge(tests, given, **more):
    return scoring.judge_group(tests, results(tests, given), **more)


def of(result, name):
    def below(found):
        yield found
        for inner in found.groups:
            yield from below(inner)

    return next(found for found in below(result) if found.name == name)


def problem(tests, *kinds, form="legacy", validator=None, **more):
    program = JudgeProgram(validator)
    return Problem("x", form, frozenset(kinds), Limits(), tests, program, Path("/x"), **more)


# verdicts


@pytest.mark.parametrize(
    ("mode", "on_reject", "verdicts", "expected"),
    [
        ("worst_error", "continue", (AC, AC, AC), AC),
        ("worst_error", "continue", (WA, TLE, AC), TLE),
        ("worst_error", "continue", (WA, OLE, AC), OLE),
        ("worst_error", "continue", (TLE, MLE, RTE), RTE),
        ("worst_error", "continue", (TLE, MLE, OLE), MLE),
        ("worst_error", "continue", (RTE, SV, AC), SV),
        ("worst_error", "break", (AC, WA, RTE), WA),
        ("first_error", "continue", (AC, WA, RTE), WA),
        ("first_error", "break", (AC, TLE, RTE), TLE),
        ("always_accept", "continue", (WA, TLE, RTE), AC),
        ("always_accept", "continue", (SKIPPED, SKIPPED, SKIPPED), SKIPPED),
        ("accept_if_any_accepted", "continue", (WA, AC, RTE), AC),
        ("accept_if_any_accepted", "break", (AC, WA, RTE), AC),
        ("accept_if_any_accepted", "break", (WA, AC, AC), WA),
        ("first_error", "continue", (SKIPPED, WA, SKIPPED), WA),
        ("first_error", "continue", (AC, SKIPPED, AC), SKIPPED),
        ("worst_error", "continue", (AC, PAC, AC), PAC),
    ],
)
def test_verdict_modes(mode, on_reject, verdicts, expected):
    tests = group("g", "a", "b", "c", verdict_of=mode, on_reject=on_reject)
    assert judge(tests, got(**dict(zip("abc", verdicts, strict=True)))).verdict is expected


@pytest.mark.parametrize(("otherwise", "expected"), [("first_error", WA), ("worst_error", RTE)])
def test_accept_if_any_accepted_has_another_mode_behind_it(otherwise, expected):
    tests = group("g", "a", "b", verdict_of="accept_if_any_accepted", otherwise=otherwise, on_reject="continue")
    assert judge(tests, got(a=WA, b=RTE)).verdict is expected


@pytest.mark.parametrize("mode", ["worst_error", "first_error", "always_accept", "accept_if_any_accepted"])
def test_no_mode_turns_a_judge_error_into_a_verdict(mode):
    tests = group("g", "a", "b", "c", verdict_of=mode, on_reject="continue", score_aggregation="sum")
    result = judge(tests, got(a=AC, b=JE, c=WA))
    assert (result.verdict, result.score) == (JE, None)


def test_what_is_behind_the_first_failure_does_not_count_even_when_it_was_run():
    tests = group("g", "a", "b", verdict_of="worst_error", on_reject="break")
    assert judge(tests, got(a=WA, b=JE)).verdict is WA
    assert judge(tests, got(a=WA)).verdict is WA


def test_cases_without_a_result_were_not_run():
    tests = group("g", "a", "b")
    result = judge(tests, got(a=WA))
    assert [found.verdict for found in result.cases] == [WA, SKIPPED]
    assert judge(tests, {}).verdict is SKIPPED


# scores, legacy


@pytest.mark.parametrize(
    ("aggregation", "expected"), [("sum", 10 + 4 + 2.5), ("min", 2.5), ("max", 10.0), ("avg", (10 + 4 + 2.5) / 3)]
)
def test_score_modes(aggregation, expected):
    tests = group("g", "a", "b", "c", score_aggregation=aggregation, accept_score=10.0, reject_score=4.0, on_reject="continue")
    result = judge(tests, got(a=AC, b=WA, c=(AC, 2.5)))
    assert (result.verdict, result.score) == (WA, pytest.approx(expected))


def test_break_leaves_later_scores_out():
    tests = group("g", "a", "b", "c", score_aggregation="sum", accept_score=10.0, reject_score=4.0, on_reject="break")
    assert judge(tests, got(a=AC, b=WA, c=AC)).score == 14


def test_legacy_scores_of_rejected_output_are_kept():
    tests = group("g", "a", score_aggregation="sum", on_reject="continue")
    assert judge(tests, got(a=(WA, 3.0))).score == 3


@pytest.mark.parametrize(("score", "verdict"), [(5.0, AC), (10.0, AC), (10.0000000001, AC), (11.0, JE), (4.0, JE)])
def test_legacy_ranges(score, verdict):
    tests = group("g", "a", score_aggregation="sum", min_score=5.0, max_score=10.0)
    result = judge(tests, got(a=(AC, score)))
    assert result.verdict is verdict
    assert ("its m" in result.reason) == (verdict is JE)


def test_a_rejected_group_may_be_below_its_range():
    tests = group("g", "a", score_aggregation="sum", min_score=5.0, max_score=10.0)
    assert (judge(tests, got(a=WA)).verdict, judge(tests, got(a=WA)).score) == (WA, 0)


def odd_echo():
    """Two subtasks of 50 points, and samples that count nowhere."""
    subtasks = [
        group(
            f"secret/s{n}",
            *names,
            score_aggregation="min",
            accept_score=50.0,
            max_score=50.0,
            min_score=0.0,
            verdict_of="worst_error",
        )
        for n, names in ((1, "ab"), (2, "cd"))
    ]
    secret = group(
        "secret", *subtasks, score_aggregation="sum", max_score=100.0, min_score=0.0, on_reject="continue",
        verdict_of="accept_if_any_accepted",
    )  # fmt: skip
    sample = group("sample", "s", score_aggregation="sum", accept_score=0.0, ignored=True, on_reject="continue")
    return group("", sample, secret, score_aggregation="sum", max_score=100.0, on_reject="continue", verdict_of="worst_error")


@pytest.mark.parametrize(
    ("given", "verdict", "score"),
    [
        (got(s=AC, a=AC, b=AC, c=AC, d=AC), AC, 100),
        (got(s=WA, a=AC, b=AC, c=AC, d=AC), AC, 100),
        (got(s=JE, a=AC, b=AC, c=AC, d=AC), AC, 100),
        (got(s=AC, a=AC, b=AC, c=WA), PAC, 50),
        (got(s=AC, a=WA, c=AC, d=TLE), WA, 0),
        (got(s=AC, a=AC, b=JE, c=AC, d=AC), JE, None),
    ],
)
def test_subtasks(given, verdict, score):
    tests = odd_echo()
    assert scoring.final(problem(tests, "scoring"), judge(tests, given)) == (verdict, score)


def test_the_score_of_a_rejected_legacy_submission_is_ignored():
    tests = group("", group("secret", "a", "b", score_aggregation="sum", on_reject="continue"), score_aggregation="sum")
    root = judge(tests, got(a=AC, b=WA))
    assert root.score == 1
    assert scoring.final(problem(tests, "scoring"), root) == (WA, 0.0)
    assert scoring.final(problem(tests, "scoring", dialect="domjudge"), root) == (WA, 1.0)


def test_pass_fail_problems_have_no_score():
    tests = group("", group("secret", "a"))
    root = judge(tests, got(a=(AC, 3.0)))
    assert (root.verdict, root.score, root.groups[0].cases[0].score) == (AC, None, None)
    assert scoring.final(problem(tests, "pass-fail"), root) == (AC, None)


def test_a_lower_score_is_better_where_the_package_says_so():
    tests = group("", group("secret", "a", score_aggregation="sum"), score_aggregation="sum", min_score=0.0, max_score=9.0)
    hard = problem(tests, "scoring", objective="min")
    assert scoring.final(hard, judge(tests, got(a=(AC, 0.0)))) == (AC, 0.0)
    assert scoring.final(hard, judge(tests, got(a=(AC, 3.0)))) == (PAC, 3.0)


def test_grader_programs_decide():
    tests = group("", group("secret", "a", "b", score_aggregation="custom", on_reject="continue"), score_aggregation="sum")
    seen = []

    def half(found, members):
        seen.append((found.name, list(members)))
        return AC, 7.0

    root = judge(tests, got(a=AC, b=WA), grade=half)
    assert (root.verdict, root.score) == (AC, 7)
    assert seen == [("secret", [(AC, 1.0), (WA, 0.0)])]
    assert judge(tests, got(a=AC, b=WA), grade=lambda *_: (JE, 0.0)).verdict is JE
    missing = judge(tests, got(a=AC, b=WA))
    assert (missing.verdict, "grader program" in missing.groups[0].reason) == (JE, True)


# scores, 2025-09


def modern(*inner, **settings):
    sample = group("sample", "s")
    secret = group(
        "secret",
        *inner,
        **{"score_aggregation": "sum", "max_score": 100.0, "on_reject": "continue", "bounded_cases": True, **settings},
    )
    return group("", sample, secret, score_aggregation="sum", on_reject="continue", bounded_cases=True)


def summed(name, *members, most=40.0, **more):
    each = most / len(members) if math.isfinite(most) else most
    bound = most if math.isfinite(most) else None
    settings = {
        "score_aggregation": "sum",
        "max_score": bound,
        "accept_score": each,
        "on_reject": "continue",
        "bounded_cases": True,
    }
    return group(name, *members, **{**settings, **more})


def passing(name, *members, most=60.0, **more):
    return group(name, *members, score_aggregation="pass-fail", max_score=most, bounded_cases=True, **more)


def final(tests, given, **more):
    return scoring.final(problem(tests, "scoring", form="2025-09"), judge(tests, given, **more))


def test_sum_and_pass_fail_groups():
    tests = modern(passing("secret/p", "a", "b"), summed("secret/q", "c", "d"))
    assert final(tests, got(s=AC, a=AC, b=AC, c=AC, d=AC)) == (AC, 100)
    assert final(tests, got(s=AC, a=AC, b=WA, c=AC, d=AC)) == (PAC, 40)
    assert final(tests, got(s=AC, a=AC, b=AC, c=WA, d=AC)) == (PAC, 80)
    assert final(tests, got(s=AC, a=WA, c=TLE, d=WA)) == (WA, 0)
    assert final(tests, got(s=WA, a=AC, b=AC, c=AC, d=AC)) == (AC, 100), "samples do not contribute"


def test_multipliers_and_scores_of_validators():
    tests = modern(summed("secret/q", "c", "d", most=100.0))
    assert final(tests, got(s=AC, c=(AC, None, 0.5), d=AC)) == (PAC, 75)
    assert final(tests, got(s=AC, c=(AC, 10.0), d=AC)) == (PAC, 60)
    assert final(tests, got(s=AC, c=(AC, 50.0), d=AC)) == (AC, 100)


def test_minimum_of_a_group():
    tests = modern(summed("secret/q", "c", "d", most=100.0, score_aggregation="min", accept_score=100.0, on_reject="break"))
    assert final(tests, got(s=AC, c=AC, d=(AC, None, 0.25))) == (PAC, 25)
    assert final(tests, got(s=AC, c=WA)) == (WA, 0)


@pytest.mark.parametrize(
    ("tests", "given", "said"),
    [
        (
            modern(summed("secret/q", "c", most=math.inf), max_score=None),
            AC,
            "gave no score, and the group 'secret/q' has no maximum",
        ),
        (modern(summed("secret/q", "c", most=math.inf), max_score=None), (AC, None, 0.5), "a multiplier and no score"),
        (modern(summed("secret/q", "c")), (AC, 41.0), "gave 41 points, and at most 40 can be had"),
        (modern(passing("secret/q", "c")), (AC, 3.0), "gave a score, and the group 'secret/q' is pass-fail"),
        (modern(passing("secret/q", "c")), (AC, None, 1.0), "gave a score, and the group 'secret/q' is pass-fail"),
    ],
)
def test_validators_that_break_the_rules_are_judge_errors(tests, given, said):
    root = judge(tests, got(s=AC, c=given))
    found = of(root, "secret/q").cases[0]
    assert (found.verdict, root.verdict) == (JE, JE)
    assert said in found.reason
    assert said in found.message


def test_a_score_of_a_sample_is_ignored():
    tests = modern(passing("secret/q", "c", most=100.0))
    assert final(tests, got(s=(AC, 7.0), c=AC)) == (AC, 100)


def test_unbounded_scores():
    tests = modern(summed("secret/q", "c", "d", most=math.inf), max_score=None)
    assert final(tests, got(s=AC, c=(AC, 1000.0), d=(AC, 0.5))) == (AC, 1000.5)


def test_a_group_with_more_than_its_maximum_is_a_judge_error():
    tests = modern(passing("secret/p", "a", most=80.0), passing("secret/q", "c", most=80.0))
    root = judge(tests, got(s=AC, a=AC, c=AC))
    assert (root.verdict, of(root, "secret").reason) == (JE, "the group 'secret' has 160 points, and its maximum is 100")


def test_groups_that_need_others():
    tests = modern(passing("secret/p", "a"), passing("secret/q", "c", most=40.0, require_pass=("sample", "secret/p")))
    root = judge(tests, got(s=AC, a=WA, c=AC))
    assert (of(root, "secret/q").verdict, of(root, "secret/q").score) == (SKIPPED, 0)
    assert of(root, "secret/q").cases[0].verdict is SKIPPED
    assert final(tests, got(s=AC, a=WA, c=AC)) == (WA, 0)
    assert final(tests, got(s=WA, a=AC, c=AC)) == (PAC, 60)
    assert final(tests, got(s=AC, a=AC, c=AC)) == (AC, 100)


def test_a_secret_that_needs_the_samples():
    tests = modern(passing("secret/p", "a", most=100.0), require_pass=("sample",))
    assert final(tests, got(s=TLE, a=AC)) == (TLE, 0)


def test_static_validation_counts_as_a_case():
    tests = modern(summed("secret/q", "c", most=90.0, static_validation=10.0, max_score=100.0))
    static = scoring.static_case(of_group(tests, "secret/q"))
    given = got(s=AC, c=AC)
    assert final(tests, given, static={"secret/q": CaseResult(static, AC)}) == (AC, 100)
    assert final(tests, given, static={"secret/q": CaseResult(static, AC, score=4.0)}) == (PAC, 94)
    assert final(tests, given, static={"secret/q": CaseResult(static, WA)}) == (PAC, 90)
    assert of(judge(tests, given), "secret/q").verdict is SKIPPED, "a validation that was not run is not passed"


def of_group(tests, name):
    return tests if tests.name == name else next(filter(None, (of_group(inner, name) for inner in tests.groups)), None)


# full scores


def test_full_scores():
    assert scoring.full_score(problem(odd_echo(), "scoring")) == 100
    tests = group("", group("secret", "a", "b", score_aggregation="sum", accept_score=3.0), score_aggregation="sum")
    assert scoring.full_score(problem(tests, "scoring")) == 6
    assert scoring.full_score(problem(tests, "scoring", validator=Source({}, "v"))) is None
    assert scoring.full_score(problem(tests, "pass-fail")) is None
    assert scoring.full_score(problem(modern(summed("secret/q", "c", most=math.inf), max_score=None), "scoring")) is None


def test_scores_may_be_counted_again():
    for settings in ({}, {"bounded_cases": True}, {"reject_score": -1.0}):
        tests = group("g", "a", score_aggregation="sum", accept_score=8.0, **settings)
        for given in (AC, WA, JE, (AC, 5.0), (AC, None, 0.25), (WA, 2.0), SKIPPED, (AC, 9.0)):
            once = scoring.case_score(tests, next(iter(results(tests, got(a=given)).values())))
            assert scoring.case_score(tests, once) == once
