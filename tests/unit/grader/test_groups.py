"""Test groups of packages: what testdata.yaml and test_group.yaml make of them."""

from __future__ import annotations

import math

import pytest

from sandbox.grader import packages
from sandbox.model.errors import ProblemError
from tests.support.problem_files import cases, write

NEW = "problem_format_version: 2025-09\nname: x\ntype: scoring\n"
LEGACY = "type: scoring\n"
TWO = cases("sample/1", "secret/a/1", "secret/a/2", "secret/b/1")


@pytest.fixture
def groups(tmp_path):
    def read(files):
        problem = packages.load(write(tmp_path / "hello", files))

        def below(group):
            return {group.name: group} | {name: found for inner in group.groups for name, found in below(inner).items()}

        return below(problem.tests) | {"problem": problem}

    return read


def refused(groups, files, said):
    with pytest.raises(ProblemError) as caught:
        groups(files)
    assert said in str(caught.value)


# legacy


def test_legacy_defaults_of_a_pass_fail_problem(groups):
    found = groups({"problem.yaml": "", **TWO})
    for name in ("", "sample", "secret", "secret/a"):
        group = found[name]
        assert (group.score_aggregation, group.on_reject, group.verdict_of, group.max_score) == (
            "pass-fail", "break", "worst_error", None,
        )  # fmt: skip
    assert [case.name for case in found["secret/a"].cases] == ["secret/a/1", "secret/a/2"]
    assert [inner.name for inner in found["secret"].groups] == ["secret/a", "secret/b"]


def test_legacy_settings(groups):
    text = "on_reject: continue\nrange: -5 20\naccept_score: 3.5\nreject_score: -1\ngrader_flags: first_error min\n"
    group = groups({"problem.yaml": LEGACY, "data/secret/a/testdata.yaml": text, **TWO})["secret/a"]
    assert (group.on_reject, group.min_score, group.max_score, group.accept_score, group.reject_score) == (
        "continue",
        -5,
        20,
        3.5,
        -1,
    )
    assert (group.verdict_of, group.score_aggregation) == ("first_error", "min")


def test_legacy_settings_are_inherited_key_by_key(groups):
    files = {
        "problem.yaml": LEGACY, **TWO,
        "data/testdata.yaml": "on_reject: continue\ngrader_flags: max ignore_sample\noutput_validator_flags: x y\nrange: 0 9",
        "data/secret/a/testdata.yaml": "accept_score: 2",
    }  # fmt: skip
    found = groups(files)
    assert found["sample"].ignored
    assert not found["secret"].ignored
    assert (found["secret/a"].on_reject, found["secret/a"].score_aggregation, found["secret/a"].accept_score) == (
        "continue",
        "max",
        2,
    )
    assert found["secret/b"].accept_score == 1
    assert found["secret/b"].max_score == 9
    assert found["secret/a"].cases[0].validator_arguments == ("x", "y")
    assert found["problem"].warnings == ()


@pytest.mark.parametrize(
    ("flags", "verdict_of", "otherwise", "aggregation"),
    [
        ("", "worst_error", "worst_error", "sum"),
        ("worst_error first_error", "first_error", "worst_error", "sum"),
        ("always_accept avg", "always_accept", "worst_error", "avg"),
        ("accept_if_any_accepted first_error", "accept_if_any_accepted", "first_error", "sum"),
        ("accept_if_any_accepted min max", "accept_if_any_accepted", "worst_error", "max"),
        ("accept_if_any_accepted always_accept", "always_accept", "worst_error", "sum"),
    ],
)
def test_legacy_flags(groups, flags, verdict_of, otherwise, aggregation):
    group = groups({"problem.yaml": LEGACY, "data/secret/testdata.yaml": f"grader_flags: {flags}", **TWO})["secret"]
    assert (group.verdict_of, group.otherwise, group.score_aggregation) == (verdict_of, otherwise, aggregation)


def test_legacy_flags_that_nobody_knows(groups):
    found = groups({"problem.yaml": LEGACY, "data/secret/testdata.yaml": "grader_flags: summ\nacept_score: 3", **TWO})
    assert found["problem"].warnings == (
        "data/secret/testdata.yaml: acept_score is not known and was ignored (did you mean 'accept_score'?)",
        "data/secret/testdata.yaml: the grader has no flag 'summ'",
    )


def test_legacy_infinite_ranges_and_bad_ones(groups):
    found = groups({"problem.yaml": LEGACY, "data/testdata.yaml": "range: -inf +inf", **TWO})
    assert (found[""].min_score, found[""].max_score) == (None, None)
    for text in ("1", "2 1", "a b", "1 2 3", "1 x 2"):
        refused(groups, {"problem.yaml": LEGACY, "data/testdata.yaml": f"range: {text}", **TWO}, "data/testdata.yaml: range is")


def test_legacy_validator_flags_come_before_those_of_the_group(groups):
    files = {
        "problem.yaml": "validator_flags: case_sensitive",
        "data/secret/a/testdata.yaml": "output_validator_flags: float_tolerance 1e-6\n"
        "input_validator_flags: {name: v, flags: n=3}",
        "data/secret/b/testdata.yaml": "input_validator_flags: n=4 m=5",
        **TWO,
    }
    found = groups(files)
    assert found["problem"].validator.arguments == ("case_sensitive",)
    assert found["secret/a"].cases[0].validator_arguments == ("case_sensitive", "float_tolerance", "1e-6")
    assert found["secret/b"].cases[0].validator_arguments is None
    assert found["secret/a"].cases[0].input_arguments == {"v": ("n=3",)}
    assert found["secret/b"].cases[0].input_arguments == {"": ("n=4", "m=5")}


def test_legacy_grader_programs(groups):
    files = {
        "problem.yaml": LEGACY, "graders/g.py": "x", **TWO,
        "data/secret/testdata.yaml": "grading: custom\ngrader_flags: half of it",
    }  # fmt: skip
    found = groups(files)
    assert (found["secret"].score_aggregation, found["secret"].grader_arguments) == ("custom", ("half", "of", "it"))
    assert found[""].score_aggregation == "sum"
    assert dict(found["problem"].grader.source.files) == {"g.py": b"x"}
    refused(groups, {**files, "graders/h.py": "y"}, "graders: holds several programs")


def test_the_old_grading_of_problem_yaml_wins(groups):
    text = "type: scoring\ngrading: {accept_score: 4, range: 0 8, on_reject: grade, objective: min}\n"
    found = groups({"problem.yaml": text, "data/secret/testdata.yaml": "accept_score: 1", **TWO})
    assert (found["secret"].accept_score, found["secret"].max_score, found["secret"].on_reject) == (4, 8, "continue")
    assert found["problem"].objective == "min"


def test_settings_in_the_file_of_another_version_are_named(groups):
    found = groups({"problem.yaml": LEGACY, "data/secret/test_group.yaml": "max_score: 3", **TWO})
    assert found["problem"].warnings == (
        "data/secret/test_group.yaml: was ignored; in legacy these settings are in testdata.yaml",
    )


# 2025-09


def test_pass_fail_problems_have_no_scores(groups):
    text = "problem_format_version: 2025-09\nname: x\n"
    found = groups({"problem.yaml": text, **TWO, "data/secret/a/test_group.yaml": "max_score: 5\nrequire_pass: sample"})
    for name in ("", "sample", "secret", "secret/a"):
        assert (found[name].score_aggregation, found[name].max_score, found[name].on_reject) == ("pass-fail", None, "break")
    assert found["secret/a"].require_pass == ()
    assert (
        "max_score, require_pass is not permitted for problems that are not of the type scoring" in found["problem"].warnings[0]
    )


def test_scoring_defaults(groups):
    found = groups({"problem.yaml": NEW, **cases("sample/1", "secret/1", "secret/2", "secret/3", "secret/4")})
    secret = found["secret"]
    assert (secret.score_aggregation, secret.max_score, secret.accept_score, secret.on_reject) == ("sum", 100, 25, "continue")
    assert (found["sample"].score_aggregation, found["sample"].max_score) == ("pass-fail", None)
    assert found[""].on_reject == "continue"


def test_scoring_groups(groups):
    files = {
        "problem.yaml": NEW, **TWO, **cases("secret/c/1", "secret/c/deep/2"),
        "data/secret/a/test_group.yaml": "max_score: 30",
        "data/secret/b/test_group.yaml": "max_score: 30\nscore_aggregation: min\nrequire_pass: [sample, secret/a]",
        "data/secret/c/test_group.yaml": "max_score: 40\nscore_aggregation: sum\nrequire_pass: secret/a",
    }  # fmt: skip
    found = groups(files)
    a, b, c = (found[f"secret/{name}"] for name in "abc")
    assert (a.score_aggregation, a.max_score, a.on_reject) == ("pass-fail", 30, "break")
    assert (b.score_aggregation, b.accept_score, b.on_reject, b.require_pass) == ("min", 30, "break", ("sample", "secret/a"))
    assert (c.score_aggregation, c.accept_score, c.on_reject, c.require_pass) == ("sum", 20, "continue", ("secret/a",))
    assert [case.name for case in c.cases] == ["secret/c/1", "secret/c/deep/2"]
    assert found["secret"].max_score == 100
    assert found["problem"].warnings == ()


def test_unbounded_groups(groups):
    files = {
        "problem.yaml": NEW, **TWO,
        "data/secret/test_group.yaml": "max_score: unbounded",
        "data/secret/a/test_group.yaml": "score_aggregation: sum",
        "data/secret/b/test_group.yaml": "score_aggregation: min\nmax_score: 7",
    }  # fmt: skip
    found = groups(files)
    assert (found["secret"].max_score, found["secret/a"].max_score, found["secret/a"].accept_score) == (None, None, math.inf)
    assert found["secret/b"].accept_score == 7


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "data/secret/a: has no max_score; secret has at most 100"),
        ({"data/secret/a/test_group.yaml": "max_score: -1"}, "max_score is -1"),
        ({"data/secret/a/test_group.yaml": "max_score: 1.5"}, "has to be a whole number"),
        ({"data/secret/a/test_group.yaml": "score_aggregation: avg"}, "score_aggregation is 'avg'"),
        ({"data/secret/test_group.yaml": "max_score: unbounded"}, "data/secret/a: is pass-fail and unbounded"),
        (
            {
                "data/secret/test_group.yaml": "score_aggregation: pass-fail",
                "data/secret/a/test_group.yaml": "score_aggregation: min",
            },
            "has to be pass-fail as secret is",
        ),
        ({"data/secret/1.in": "", "data/secret/1.ans": ""}, "data/secret: has test cases and groups side by side"),
        (
            {
                "data/secret/a/test_group.yaml": "max_score: 3\nrequire_pass: secret/b",
                "data/secret/b/test_group.yaml": "max_score: 3",
            },
            "require_pass names 'secret/b', which is no group before this one",
        ),
        (
            {
                "data/secret/a/test_group.yaml": "max_score: 3\nscore_aggregation: sum",
                "data/secret/b/test_group.yaml": "max_score: 3\nrequire_pass: secret/a",
            },
            "require_pass names 'secret/a', which is not pass-fail",
        ),
        (
            {
                "data/secret/test_group.yaml": "require_pass: secret/a",
                "data/secret/a/test_group.yaml": "max_score: 3",
                "data/secret/b/test_group.yaml": "max_score: 3",
            },
            "secret may only need sample",
        ),
        (
            {"data/sample/test_group.yaml": "static_validation_score: pass-fail"},
            "asks for static validation, and the package has no",
        ),
        ({"data/sample/test_group.yaml": "static_validator_args: [x]"}, "static_validator_args needs static_validation_score"),
    ],
)
def test_what_contradicts_itself(groups, files, said):
    refused(groups, {"problem.yaml": NEW, **TWO, **files}, said)


def test_static_validation(groups):
    files = {
        "problem.yaml": NEW, "static_validator/v.py": "x", **TWO,
        "data/secret/a/test_group.yaml": "max_score: 30\nscore_aggregation: sum\nstatic_validation_score: 10\n"
        "static_validator_args: [q]",
        "data/secret/b/test_group.yaml": "max_score: 70\nstatic_validation_score: pass-fail",
    }  # fmt: skip
    found = groups(files)
    assert (found["secret/a"].accept_score, found["secret/a"].static_validation, found["secret/a"].static_arguments) == (
        10,
        10,
        ("q",),
    )
    assert found["secret/b"].static_validation == 0
    assert found["sample"].static_validation is None
    bad = {**files, "data/secret/a/test_group.yaml": "max_score: 30\nscore_aggregation: sum\nstatic_validation_score: 40"}
    refused(groups, bad, "static_validation_score 40 is more than max_score 30")
    bad = {**files, "data/secret/a/test_group.yaml": "max_score: 30\nscore_aggregation: sum\nstatic_validation_score: pass-fail"}
    refused(groups, bad, "static_validation_score is pass-fail, and the group is not")
    bad = {**files, "data/secret/a/test_group.yaml": "max_score: 30\nstatic_validation_score: 4"}
    refused(groups, bad, "is pass-fail; its static validation can have no score")


def test_scores_are_not_for_samples(groups):
    files = {"problem.yaml": NEW, **cases("sample/1", "secret/1"), "data/sample/test_group.yaml": "max_score: 3"}
    assert "max_score is not permitted in sample" in groups(files)["problem"].warnings[0]


# 2023-07-draft


def test_drafts_that_count_as_legacy_does(groups):
    files = {"problem.yaml": NEW.replace("2025-09", "2023-07-draft"), **TWO, "data/secret/a/testdata.yaml": "accept_score: 7"}
    found = groups(files)
    assert found["secret/a"].accept_score == 7
    assert not found[""].bounded_cases


def test_later_drafts_share_what_is_left(groups):
    files = {
        "problem.yaml": NEW.replace("2025-09", "2023-07-draft"), **TWO, **cases("secret/c/1"),
        "data/secret/a/testdata.yaml": "scoring: {score: 40, aggregation: sum, require-pass: sample}\n"
        "output_validator_args: x y\n",
    }  # fmt: skip
    found = groups(files)
    assert (found["secret/a"].max_score, found["secret/a"].accept_score, found["secret/a"].require_pass) == (40, 20, ("sample",))
    assert (found["secret/b"].max_score, found["secret/c"].max_score) == (30, 30)
    assert found["secret/a"].cases[0].validator_arguments == ("x", "y")
    assert found["problem"].warnings == ()
    refused(groups, {**files, "data/secret/a/testdata.yaml": "scoring: {score: 140}"}, "its groups have more than its 100 points")
