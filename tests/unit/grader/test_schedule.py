"""Which cases still have to be run."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from sandbox.grader.model import Case, Group, Verdict
from sandbox.grader.schedule import Fate, fates, slots

NOWHERE = Path("/nonexistent")


def case(name):
    return Case(name, NOWHERE / name)


def group(name, count, **options):
    return Group(name, cases=tuple(case(f"{name}/{number}") for number in range(1, count + 1)), **options)


def tree(*groups, **options):
    return Group("", groups=groups, **options)


def words(root, verdicts, mode="first"):
    found = fates(slots(root), {name: Verdict(value) for name, value in verdicts.items()}, mode)
    return " ".join(fate.value for fate, _ in found)


def test_cases_come_in_order_with_their_groups():
    root = tree(group("sample", 1), Group("secret", cases=(case("secret/0"),), groups=(group("secret/a", 1),)))

    places = slots(root)

    assert [place.case.name for place in places] == ["sample/1", "secret/0", "secret/a/1"]
    assert [entry.name for entry in places[2].groups] == ["", "secret", "secret/a"]


def test_the_first_failure_ends_the_group():
    assert words(tree(group("a", 4)), {"a/1": "AC", "a/2": "WA"}) == "run run skip skip"


def test_all_runs_everything():
    assert words(tree(group("a", 3)), {"a/1": "WA"}, "all") == "run run run"


def test_a_failure_in_one_group_ends_the_ones_above_that_break():
    root = tree(group("a", 2), group("b", 2))

    assert words(root, {"a/1": "WA"}) == "run skip skip skip"


def test_a_group_that_continues_runs_to_its_end_and_then_its_parent_breaks():
    root = tree(group("a", 3, on_reject="continue"), group("b", 1))

    assert words(root, {"a/1": "WA"}) == "run run run skip"


def test_groups_below_one_that_continues_are_independent():
    root = tree(group("a", 2), group("b", 2), on_reject="continue")

    assert words(root, {"a/1": "WA"}) == "run skip run run"


def test_an_ignored_group_ends_nothing_outside():
    root = tree(group("sample", 2, ignored=True), group("secret", 1))

    assert words(root, {"sample/1": "WA"}) == "run skip run"


@pytest.mark.parametrize(
    "rule",
    [{"verdict_of": "always_accept"}, {"verdict_of": "accept_if_any_accepted"}, {"score_aggregation": "custom"}],
)
def test_a_failure_that_does_not_make_a_group_fail_ends_nothing(rule):
    root = tree(group("a", 2, **rule), group("b", 1))

    assert words(root, {"a/1": "WA"}) == "run run run"


def test_partial_is_no_failure():
    assert words(tree(group("a", 2)), {"a/1": "PAC"}) == "run run"


@pytest.mark.parametrize("mode", ["first", "all"])
def test_a_group_waits_for_those_that_must_pass(mode):
    root = tree(group("a", 2), group("b", 1, require_pass=("a",)), on_reject="continue")

    assert words(root, {"a/1": "AC"}, mode) == "run run wait"
    assert words(root, {"a/1": "AC", "a/2": "AC"}, mode) == "run run run"
    assert words(root, {"a/2": "WA"}, mode) == "run run skip"


def test_a_group_that_needs_a_skipped_one_is_skipped():
    root = tree(group("a", 1), group("b", 1, require_pass=("a",)), group("c", 1, require_pass=("b",)), on_reject="continue")

    assert words(root, {"a/1": "TLE"}, "all") == "run skip skip"


def test_a_required_group_without_cases_has_nothing_to_fail():
    assert words(tree(group("sample", 0), group("b", 1, require_pass=("sample",))), {}) == "run"


def test_a_later_group_cannot_be_waited_for():
    assert words(tree(group("a", 1, require_pass=("b",)), group("b", 1), on_reject="continue"), {}) == "skip run"


def test_what_is_kept_does_not_depend_on_the_order_of_ends():
    root = tree(group("a", 3), group("b", 2, require_pass=("a",)), group("c", 2), on_reject="continue")
    truth = {"a/1": "AC", "a/2": "WA", "a/3": "TLE", "b/1": "AC", "b/2": "AC", "c/1": "RTE", "c/2": "AC"}
    places = slots(root)
    seen = set()

    for order in itertools.permutations(truth):
        verdicts = {}
        for name in order:
            fate = dict(zip([p.case.name for p in places], fates(places, verdicts, "first"), strict=True))[name][0]
            if fate is not Fate.SKIP:  # what is known to be superfluous is not run; what was begun may still end
                verdicts[name] = Verdict(truth[name])
        final = fates(places, verdicts, "first")
        kept = tuple(verdicts.get(p.case.name) if fate is Fate.RUN else None for p, (fate, _) in zip(places, final, strict=True))
        seen.add(kept)

    assert seen == {(Verdict.AC, Verdict.WA, None, None, None, Verdict.RTE, None)}
