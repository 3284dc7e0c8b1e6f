"""Stopping early, in whatever order cases end, gives the same verdict and score as running everything."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from sandbox.grader import schedule, scoring
from sandbox.grader.model import Case, CaseResult, Group, JudgeProgram, Limits, Problem, Verdict

VERDICTS = (Verdict.AC, Verdict.AC, Verdict.AC, Verdict.WA, Verdict.TLE, Verdict.RTE, Verdict.JE)


def tree(random, name, depth, legacy):
    count = random.randint(1, 3)
    inner = () if depth == 0 else tuple(tree(random, f"{name}/g{i}", depth - 1, legacy) for i in range(random.randint(0, 3)))
    cases = tuple(Case(f"{name}/{i}", Path("/x")) for i in range(count if not inner else random.randint(0, 1)))
    if not legacy:
        aggregation = random.choice(["sum", "min", "pass-fail"])
        bound = 10.0 if aggregation == "pass-fail" else None
        on_reject = "continue" if aggregation == "sum" else "break"
        return Group(name, cases, inner, aggregation, 10.0, max_score=bound, on_reject=on_reject)
    return Group(
        name,
        cases,
        inner,
        random.choice(["sum", "min", "max", "avg"]),
        accept_score=random.choice([1.0, 10.0]),
        reject_score=random.choice([0.0, 2.0]),
        on_reject=random.choice(["break", "continue"]),
        verdict_of=random.choice(["first_error", "worst_error", "always_accept", "accept_if_any_accepted"]),
        otherwise=random.choice(["first_error", "worst_error"]),
        ignored=random.random() < 0.1,
    )


def modern(random):
    groups = []
    for index in range(random.randint(1, 4)):
        needs = tuple(group.name for group in groups if group.score_aggregation == "pass-fail" and random.random() < 0.4)
        group = tree(random, f"secret/{index}", 0, legacy=False)
        groups.append(Group(group.name, group.cases, (), group.score_aggregation, 10.0, max_score=group.max_score,
                            on_reject=group.on_reject, require_pass=needs))  # fmt: skip
    sample = Group("sample", (Case("sample/1", Path("/x")),))
    needs = ("sample",) if random.random() < 0.3 else ()
    secret = Group("secret", groups=tuple(groups), score_aggregation="sum", on_reject="continue", require_pass=needs)
    return Group("", groups=(sample, secret), score_aggregation="sum", on_reject="continue", bounded_cases=True)


def stopped_early(random, tests, outcome):
    """Results as they come in when cases end in any order and nothing is started that is not wanted."""
    places = schedule.slots(tests)
    verdicts = {}
    while True:
        fates = schedule.fates(places, verdicts, "first")
        wanted = [
            place.case.name for place, (fate, _) in zip(places, fates, strict=True)
            if fate is schedule.Fate.RUN and place.case.name not in verdicts
        ]  # fmt: skip
        if not wanted:
            kept = {place.case.name for place, (fate, _) in zip(places, fates, strict=True) if fate is schedule.Fate.RUN}
            return {name: verdict for name, verdict in verdicts.items() if name in kept}
        name = random.choice(wanted)
        verdicts[name] = outcome[name]


def final(tests, verdicts, form):
    cases = {case.name: case for case in tests.all_cases()}
    results = {name: CaseResult(cases[name], verdict) for name, verdict in verdicts.items()}
    problem = Problem("x", form, frozenset({"scoring"}), Limits(), tests, JudgeProgram(), Path("/x"))
    return scoring.final(problem, scoring.judge_group(tests, results))


@pytest.mark.parametrize("form", ["legacy", "2025-09"])
def test_the_order_of_ending_and_stopping_early_change_nothing(form):
    skipped = 0
    for seed in range(400):
        dice = random.Random(seed)
        tests = modern(dice) if form == "2025-09" else tree(dice, "", 2, legacy=True)
        outcome = {case.name: dice.choice(VERDICTS) for case in tests.all_cases()}
        some = stopped_early(dice, tests, outcome)
        skipped += len(outcome) - len(some)
        assert final(tests, some, form) == final(tests, outcome, form), (seed, outcome, some, tests)
    assert skipped > 400, "these trees have to give something to skip"
