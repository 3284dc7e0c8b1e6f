"""What submissions claim, and whether it holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.grader import packages, scoring, verify
from sandbox.grader.model import Case, CaseResult, Expectation, Group, Report, Verdict
from sandbox.grader.packages import expectations
from sandbox.model.errors import ProblemError
from tests.support.problem_files import cases, write

NEW = "problem_format_version: 2025-09\nname: x\n"
AC, WA, TLE, RTE, MLE, OLE, PAC, SV, CE, JE, SKIPPED = (
    Verdict.AC, Verdict.WA, Verdict.TLE, Verdict.RTE, Verdict.MLE, Verdict.OLE, Verdict.PAC, Verdict.SV, Verdict.CE, Verdict.JE,
    Verdict.SKIPPED,
)  # fmt: skip


@pytest.fixture
def claims(tmp_path):
    def read(files, yaml=""):
        problem = packages.load(write(tmp_path / "hello", {"problem.yaml": yaml, **cases("sample/1", "secret/1"), **files}))
        return {path: claim for path, _, claim in problem.submissions} | {"problem": problem}

    return read


def report(verdict, score=None, **verdicts):
    """A report with cases secret/…; `verdicts` may be (verdict, judge message)."""
    found = []
    for name, value in verdicts.items():
        got, message = value if isinstance(value, tuple) else (value, "")
        found.append(CaseResult(Case(f"secret/{name}", Path("/x")), got, message=message))
    tests = Group("", groups=(Group("secret", tuple(result.case for result in found), on_reject="continue"),))
    root = scoring.judge_group(tests, {result.case.name: result for result in found})
    return Report("p", "s", "c", verdict, score, "", root)


def holds(claim, verdict, score=None, **verdicts):
    return not verify.judge(report(verdict, score, **verdicts), claim)


# folders


@pytest.mark.parametrize(
    ("directory", "final"),
    [
        ("accepted", {AC}),
        ("wrong_answer", {WA, OLE}),
        ("wrong-answer", {WA, OLE}),
        ("time_limit_exceeded", {TLE, OLE}),
        ("timelimit", {TLE, OLE}),
        ("run_time_error", {RTE, MLE, OLE, SV}),
        ("run-error", {RTE, MLE, OLE, SV}),
        ("memory_limit", {MLE}),
        ("compiler-error", {CE}),
        ("no-output", {WA, OLE}),
        ("partially_accepted", {PAC}),
        ("rejected", {WA, OLE, TLE, RTE, MLE, SV}),
        ("brute_force", {TLE, RTE, MLE, OLE, SV}),
        ("mixed-verdicts", set()),
        ("whatever", set()),
    ],
)
def test_legacy_folders(directory, final):
    assert expectations.of_directory(directory, legacy=True).final == final


def test_a_folder_that_claims_nothing_is_named(claims):
    problem = claims({"submissions/whatever/a.py": "", "submissions/mixed-verdicts/b.py": ""})["problem"]
    assert problem.warnings == ("submissions/whatever: this folder claims nothing that is known; its submissions are free",)


@pytest.mark.parametrize(
    ("directory", "good", "bad"),
    [
        ("accepted", [(AC, {"a": AC})], [(WA, {"a": AC, "b": WA}), (CE, {}), (JE, {"a": JE}), (SKIPPED, {"a": SKIPPED})]),
        ("rejected", [(WA, {"a": WA}), (RTE, {"a": MLE})], [(AC, {"a": AC}), (CE, {})]),
        (
            "wrong_answer",
            [(WA, {"a": AC, "b": WA}), (WA, {"a": WA, "b": SKIPPED})],
            [(TLE, {"a": WA, "b": TLE}), (AC, {"a": AC})],
        ),
        ("time_limit_exceeded", [(TLE, {"a": AC, "b": TLE})], [(WA, {"a": WA, "b": TLE})]),
        ("run_time_error", [(RTE, {"a": SV}), (RTE, {"a": MLE})], [(WA, {"a": WA})]),
        ("brute_force", [(TLE, {"a": TLE, "b": RTE})], [(WA, {"a": TLE, "b": WA}), (AC, {"a": AC})]),
    ],
)
def test_folders_of_2025_09(directory, good, bad):
    claim = expectations.of_directory(directory, legacy=False)
    for verdict, found in good:
        assert holds(claim, verdict, **found), (verdict, found)
    for verdict, found in bad:
        assert not holds(claim, verdict, **found), (verdict, found)


def test_an_accepted_submission_has_the_full_score():
    for legacy in (True, False):
        claim = expectations.of_directory("accepted", legacy=legacy)
        assert verify.judge(report(PAC, 50.0, a=AC), claim) == ["got PAC, expected AC (by submissions/accepted)"]


def test_who_is_used_for_the_time_limit():
    used = {
        name: expectations.of_directory(name, legacy=True).use_for_time_limit for name in ("accepted", "wrong_answer", "rejected")
    }
    assert used == {"accepted": "lower", "wrong_answer": "", "rejected": ""}
    used = {name: expectations.of_directory(name, legacy=False).use_for_time_limit for name in (*used, "time_limit_exceeded")}
    assert used == {"accepted": "lower", "wrong_answer": "lower", "rejected": "", "time_limit_exceeded": "upper"}


# tags


@pytest.mark.parametrize(
    ("directory", "tag", "final"),
    [
        ("mixed", "CORRECT", {AC, PAC}),
        ("mixed", "WRONG-ANSWER, TIMELIMIT", {WA, OLE, TLE}),
        ("mixed", "wrong_answer,Run_Time_Error", {WA, OLE, RTE, MLE, SV}),
        ("mixed", "COMPILER-ERROR */", {CE}),
        ("mixed", "NO-OUTPUT", {WA, OLE}),
        ("accepted", "ACCEPTED", {AC}),
        ("wrong_answer", "TIMELIMIT", {TLE, OLE}),
    ],
)
def test_tags_go_before_the_folder(claims, directory, tag, final):
    claim = claims({f"submissions/{directory}/a.c": f"/* @EXPECTED_RESULTS@: {tag}\n */"})[f"{directory}/a.c"]
    assert claim.final == final
    assert claim.origin == f"@EXPECTED_RESULTS@ in submissions/{directory}/a.c"


def test_tags_with_a_score(claims):
    text = "# @EXPECTED_RESULTS@: WRONG-ANSWER\n# @EXPECTED_SCORE@: 20\n"
    claim = claims({"submissions/partial/a.py": text}, "type: scoring")["partial/a.py"]
    assert holds(claim, WA, 20.0, a=WA)
    assert verify.judge(report(WA, 30.0, a=WA), claim) == [
        "got score 30, expected 20 (by @EXPECTED_RESULTS@ in submissions/partial/a.py)"
    ]
    assert not holds(claim, WA, None, a=WA)


def test_an_unknown_tag_is_named(claims):
    found = claims({"submissions/accepted/a.py": "# @EXPECTED_RESULTS@: PERFECT\n"})
    assert found["accepted/a.py"].final == {AC}
    assert "@EXPECTED_RESULTS@ has an unknown result in 'PERFECT'" in found["problem"].warnings[0]


def test_folders_and_beside(claims):
    files = {
        "submissions/accepted/two/a.c": "1", "submissions/accepted/two/b.h": "2", "submissions/accepted/one.py": "3",
        "submissions/accepted/README.md": "", "submissions/accepted/.hidden.py": "", "submissions/loose.py": "",
    }  # fmt: skip
    problem = claims(files)["problem"]
    assert [(path, dict(source.files)) for path, source, _ in problem.submissions] == [
        ("accepted/one.py", {"one.py": b"3"}),
        ("accepted/two", {"a.c": b"1", "b.h": b"2"}),
    ]
    assert problem.warnings == (
        "submissions/accepted/README.md: was not taken for a submission",
        "submissions/loose.py: is in no folder that says what it claims, and was left out",
    )


def test_what_is_laid_aside_is_no_submission(claims):
    files = {
        "submissions/accepted/a.py": "",
        "submissions/accepted/b.cs.disabled": "",
        "submissions/accepted/c.disabled/c.pl": "",
    }
    problem = claims(files)["problem"]
    assert [path for path, _, _ in problem.submissions] == ["accepted/a.py"]
    assert [said.partition(":")[0] for said in problem.warnings] == [
        "submissions/accepted/b.cs.disabled",
        "submissions/accepted/c.disabled",
    ]


# patterns


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("accepted", "accepted/a.py", True),
        ("accepted/*", "accepted/a.py", True),
        ("accepted/*.py", "accepted/a.cpp", False),
        ("accepted/{a,b}.py", "accepted/b.py", True),
        ("{accepted,wrong}/x.{py,cpp}", "wrong/x.cpp", True),
        ("secret/*{ 4 }{ 1, 2 }", "secret/x42", True),
        ("a{", "a{", True),
        ("*", "accepted/a.py", True),
        ("*.py", "accepted/a.py", False),
        ("secret/*-easy", "secret/1-easy", True),
        ("secret/group1", "secret/group1/deep/2", True),
        ("secret/group1", "secret/group10/2", False),
        ("a[12]", "a1", False),
        ("a[12]", "a[12]", True),
        ("a?", "ab", False),
        ("**/a.py", "x/y/a.py", False),
    ],
)
def test_patterns(pattern, path, expected):
    assert expectations.matches(pattern, path) is expected


def test_a_bomb_of_braces_is_refused():
    with pytest.raises(ProblemError, match="has more than 64 alternatives"):
        expectations.matches("{a,b}" * 30, "x")


def test_a_row_of_stars_takes_no_time():
    assert not expectations.matches("*" * 5000 + "b", "a" * 200)


# submissions.yaml


def test_claims_of_submissions_yaml(claims):
    rules = """
accepted:
  message: fine
time_limit_exceeded:
  permitted: [AC, WA, TLE]
"*/odd.py":
  required: [WA]
  language: python3
  entrypoint: main
  score: [10, 20.5]
"""
    files = {
        "submissions/submissions.yaml": rules,
        "submissions/accepted/a.py": "",
        "submissions/time_limit_exceeded/odd.py": "",
    }
    found = claims(files, NEW)
    accepted, odd = found["accepted/a.py"], found["time_limit_exceeded/odd.py"]
    assert (accepted.permitted, accepted.message, accepted.use_for_time_limit) == ({AC, PAC}, "fine", "lower")
    assert (odd.permitted, odd.required, odd.use_for_time_limit) == ({AC, PAC, WA, OLE, TLE}, {TLE, OLE}, "upper")
    assert (odd.also[0].required, odd.also[0].score) == ({WA, OLE}, (10, 20.5))
    source = found["problem"].submissions[1][1]
    assert (source.language, source.entry_point) == ("python3", "main")
    assert holds(odd, TLE, 15.0, a=TLE, b=WA)
    assert not holds(odd, TLE, 15.0, a=TLE, b=AC)
    assert not holds(odd, TLE, 25.0, a=TLE, b=WA)
    assert found["problem"].warnings == ()


@pytest.mark.parametrize(
    ("claim", "use"),
    [
        ("permitted: [AC, WA]", "lower"),
        ("permitted: [AC, TLE]", ""),
        ("required: [TLE]", "upper"),
        ("required: [TLE, RTE]", ""),
        ("required: [TLE]\n  use_for_time_limit: false", ""),
        ("use_for_time_limit: lower", "lower"),
    ],
)
def test_time_limits_from_claims(claims, claim, use):
    files = {"submissions/submissions.yaml": f"own/a.py:\n  {claim}\n", "submissions/own/a.py": ""}
    assert claims(files, NEW)["own/a.py"].use_for_time_limit == use


def test_claims_of_groups_and_cases(claims):
    rules = """
own/a.py:
  sample: {permitted: [AC]}
  secret/*-hard: {permitted: [AC, TLE], required: [TLE]}
"""
    claim = claims({"submissions/submissions.yaml": rules, "submissions/own/a.py": ""}, NEW)["own/a.py"]
    (own,) = claim.also
    assert set(own.groups) == {"sample", "secret/*-hard"}
    hard = Expectation(groups={"secret/*-hard": own.groups["secret/*-hard"]})
    easy, slow = CaseResult(Case("secret/1-easy", Path("/x")), WA), CaseResult(Case("secret/2-hard", Path("/x")), TLE)
    tests = Group("", groups=(Group("secret", (easy.case, slow.case), on_reject="continue"),))
    root = scoring.judge_group(tests, {"secret/1-easy": easy, "secret/2-hard": slow})
    assert verify.judge(Report("p", "s", "c", WA, None, "", root), hard) == []
    assert verify.judge(report(AC, a=AC), hard)[0].startswith("'secret/*-hard' matches no test case or group")


def test_the_score_of_a_group_is_claimed():
    group = Group("secret/a", (Case("secret/a/1", Path("/x")),), score_aggregation="sum", accept_score=7.0)
    tests = Group("", groups=(Group("secret", groups=(group,), score_aggregation="sum"),), score_aggregation="sum")
    root = scoring.judge_group(tests, {"secret/a/1": CaseResult(group.cases[0], AC)})
    found = Report("p", "s", "c", AC, 7.0, "", root)
    assert verify.judge(found, Expectation(groups={"secret/a": Expectation(score=(7.0, 7.0))})) == []
    assert verify.judge(found, Expectation(groups={"secret/*": Expectation(score=(0.0, 6.0))})) == [
        "got score 7 in 'secret/a', expected 0 to 6"
    ]


def test_messages():
    claim = Expectation(message="too long")
    assert holds(claim, WA, a=AC, b=(WA, "the path is too long by 3"))
    assert not holds(claim, WA, a=(WA, "Too Long"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("accepted: 3", "accepted has to be a mapping"),
        ("accepted: {permitted: [OK]}", "permitted names 'OK'"),
        ("accepted: {score: [1, 2, 3]}", "score has to be a number, or the lowest and the highest one"),
        ("accepted: {score: high}", "score is 'high'"),
        ("accepted: {use_for_time_limit: maybe}", "use_for_time_limit is 'maybe'"),
        ("accepted: {secret/a: 3}", "secret/a has to be a mapping"),
    ],
)
def test_what_is_wrong_in_submissions_yaml(claims, text, said):
    with pytest.raises(ProblemError) as caught:
        claims({"submissions/submissions.yaml": text, "submissions/accepted/a.py": ""}, NEW)
    assert said in str(caught.value)
    assert "submissions/submissions.yaml" in str(caught.value)


def test_what_matches_nothing_and_what_nobody_knows_is_named(claims):
    rules = "accepted: {permited: [AC]}\nwrong/*: {required: [WA]}\n"
    problem = claims({"submissions/submissions.yaml": rules, "submissions/accepted/a.py": ""}, NEW)["problem"]
    assert problem.warnings == (
        "submissions/submissions.yaml: accepted: permited is not known and was ignored (did you mean 'permitted'?)",
        "submissions/submissions.yaml: 'wrong/*' matches no submission",
    )


# judge errors and compile errors


def test_a_judge_error_fulfils_nothing_and_is_said_once():
    failed = Report("p", "s", "c", JE, None, "the validator crashed", None)
    assert verify.judge(failed, Expectation()) == [
        "the judge failed, so nothing is known of the submission: the validator crashed"
    ]


def test_a_compile_error_where_cases_were_expected():
    broken = Report("p", "s", "c", CE, None, "", None)
    assert verify.judge(broken, expectations.of_directory("wrong_answer", legacy=False)) == [
        "got CE, and cases were expected to be AC or PAC or WA or OLE (by submissions/wrong_answer)"
    ]
    assert verify.judge(broken, Expectation(final=frozenset({CE}))) == []
    assert verify.judge(broken, Expectation()) == []
