"""DMOJ's init.yml, and plain folders of test cases."""

from __future__ import annotations

import gc
import os
import tempfile

import pytest

from sandbox.grader import packages, scoring
from sandbox.grader.model import CaseResult, Verdict
from sandbox.model.errors import ProblemError
from tests.support.problem_files import write, zipped

AC, WA, SKIPPED = Verdict.AC, Verdict.WA, Verdict.SKIPPED
DATA = {name: name for number in "123456" for name in (f"{number}.in", f"{number}.out")}
BATCHES = """
test_cases:
- {in: 1.in, out: 1.out, points: 0}
- {in: 2.in, out: 2.out, points: 10}
- points: 20
  batched:
  - {in: 3.in, out: 3.out}
  - {in: 4.in, out: 4.out}
- points: 30
  batched: [{in: 5.in, out: 5.out}]
  dependencies: [1]
"""


@pytest.fixture
def load(tmp_path):
    def loaded(text, **files):
        return packages.load(write(tmp_path / "hello", {"init.yml": text, **DATA, **files}))

    return loaded


def judged(problem, **verdicts):
    """Results by number of the input; the rest is accepted."""
    found = {}
    for case in problem.tests.all_cases():
        found[case.name] = CaseResult(case, verdicts.get(f"n{case.name[-1]}", AC))
    root = scoring.judge_group(problem.tests, found)
    return scoring.final(problem, root), {group.name: group.verdict for group in root.groups}


def test_cases_and_batches(load):
    problem = load(BATCHES)
    assert (problem.format, problem.kinds, problem.validator.builtin) == ("dmoj", {"scoring"}, "standard")
    assert [case.name for case in problem.tests.all_cases()] == ["case1/1", "case2/2", "batch1/3", "batch1/4", "batch2/5"]
    assert problem.tests.all_cases()[0].answer.read_text() == "1.out"
    assert scoring.full_score(problem) == 60
    assert problem.warnings == ("the format has no limits: 1 s of CPU time is allowed",)


def test_points_of_cases_and_batches(load):
    problem = load(BATCHES)
    assert judged(problem)[0] == (AC, 60)
    assert judged(problem, n2=WA)[0] == (WA, 50)
    assert judged(problem, n4=WA) == ((WA, 10), {"case1": AC, "case2": AC, "batch1": WA, "batch2": SKIPPED})
    assert judged(problem, n5=WA)[0] == (WA, 30)


def test_a_case_of_no_points_ends_the_judging(load):
    verdict, groups = judged(load(BATCHES), n1=WA)
    assert verdict == (WA, 0)
    assert groups == {"case1": WA, "case2": SKIPPED, "batch1": SKIPPED, "batch2": SKIPPED}


def test_many_cases_of_one_name_and_of_no_points_are_read_in_no_time(load):
    """Neither their names nor what each waits for grows with the square of their number."""
    problem = load("test_cases:\n" + "- {in: 1.in, out: 1.out, points: 0}\n" * 6000)

    cases = problem.tests.all_cases()
    assert len({case.name for case in cases}) == 6000
    assert [group.require_pass for group in problem.tests.groups[:3]] == [(), ("case1",), ("case2",)]
    assert max(len(group.require_pass) for group in problem.tests.groups) == 1


def test_a_case_of_no_points_ends_the_judging_of_all_after_it(load):
    problem = load(
        "test_cases:\n" + "".join(f"- {{in: {n}.in, out: {n}.out, points: {0 if n < 4 else 9}}}\n" for n in range(1, 7))
    )
    assert judged(problem, n1=WA)[1] == {f"case{n}": WA if n == 1 else SKIPPED for n in range(1, 7)}
    assert judged(problem, n2=WA)[1] == {f"case{n}": {1: AC, 2: WA}.get(n, SKIPPED) for n in range(1, 7)}


def test_points_for_all_and_the_same_file_twice(load):
    problem = load("points: 5\ntest_cases:\n- &a {in: 1.in, out: 1.out}\n- {<<: *a, points: 2}\n- batched: [*a, *a]\n")
    assert [group.accept_score for group in problem.tests.groups] == [5, 2, 5]
    assert [case.name for case in problem.tests.all_cases()] == ["case1/1", "case2/1", "batch1/1", "batch1/1#2"]


def test_data_in_an_archive_goes_with_the_problem(tmp_path, monkeypatch):
    private = tmp_path / "temporary"
    private.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(private))
    root = write(tmp_path / "hello", {"init.yml": "archive: d.zip\ntest_cases:\n- {in: a/1.in, out: a/1.out}\n"})
    zipped(root / "d.zip", {"a/1.in": "one", "a/1.out": "two"})
    problem = packages.load(root)
    (case,) = problem.tests.all_cases()
    assert (case.input.read_text(), case.answer.read_text()) == ("one", "two")
    del problem
    gc.collect()
    assert os.listdir(private) == []
    (root / "init.yml").write_text("archive: d.zip\ntest_cases:\n- {in: b, out: b}\n")
    with pytest.raises(ProblemError, match="b: is missing"):
        packages.load(root)
    assert os.listdir(private) == []


def test_an_archive_in_an_archive(tmp_path):
    inner = zipped(tmp_path / "d.zip", {"1.in": "one", "1.out": "two"}).read_bytes()
    outer = zipped(tmp_path / "p.zip", {"init.yml": "archive: d.zip\ntest_cases:\n- {in: 1.in, out: 1.out}\n", "d.zip": inner})
    problem = packages.load(outer)
    (case,) = problem.tests.all_cases()
    assert (problem.name, case.input.read_text()) == ("p", "one")
    packages.close(problem)
    assert not case.input.exists()


@pytest.mark.parametrize(
    ("checker", "builtin", "arguments"),
    [
        ("identical", "identical", ()),
        ("{name: floats, args: {precision: 4, error_mode: relative}}", "floats", ("precision=4", "error_mode=relative")),
        ("{name: sorted}", "sorted", ()),
    ],
)
def test_checkers(load, checker, builtin, arguments):
    program = load(f"checker: {checker}\ntest_cases:\n- {{in: 1.in, out: 1.out}}\n").validator
    assert (program.source, program.builtin, program.arguments) == (None, builtin, arguments)


@pytest.mark.parametrize(("kind", "protocol"), [("", "dmoj"), ("type: testlib, ", "testlib")])
def test_bridged_programs(load, kind, protocol):
    text = f"checker: {{name: bridged, args: {{{kind}files: [c.cpp, lib.h], lang: CPP17}}}}\ntest_cases:\n- {{in: 1.in}}\n"
    program = load(text, **{"c.cpp": "1", "lib.h": "2"}).validator
    assert (program.protocol, program.source.language) == (protocol, "cpp")
    assert dict(program.source.files) == {"c.cpp": b"1", "lib.h": b"2"}
    problem = load(f"interactive: {{{kind}files: c.cpp, lang: CPP17}}\ntest_cases:\n- {{in: 1.in}}\n", **{"c.cpp": "1"})
    assert problem.kinds == {"scoring", "interactive"}
    assert (problem.validator.protocol, problem.tests.all_cases()[0].answer) == (protocol, None)


def test_cases_are_found_by_their_names(load, tmp_path):
    names = ("1.in", "2.1.in", "2.2.in", "10.in", "1.out", "2.1.out", "2.2.out", "10.out")
    files = {"init.yml": "archive: d.zip\n"}
    root = write(tmp_path / "named", files)
    zipped(root / "d.zip", dict.fromkeys(names, "x"))
    problem = packages.load(root)
    assert [case.name for case in problem.tests.all_cases()] == ["case1/1", "batch1/2.1", "batch1/2.2", "case3/10"]


ONE = "test_cases:\n- {in: 1.in, out: 1.out}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"generator: g.cpp\n{ONE}",
            "init.yml: generator asks for test data that a generator makes, which cannot be judged here",
        ),
        (f"custom_judge: j.py\n{ONE}", "custom_judge asks for graders for DMOJ's own judge"),
        (f"signature_grader: {{entry: a.c}}\n{ONE}", "signature_grader asks for"),
        ("test_cases:\n- {in: 1.in, out: 1.out, generator: g}\n", "generator asks for"),
        ("test_cases:\n- {in: 1.in, out: 1.out, checker: floats}\n", "only one checker for the whole problem"),
        (f"checker: mine.py\n{ONE}", "the checker 'mine.py' is a module for DMOJ's own judge"),
        (f"checker: best\n{ONE}", "the checker 'best' is not known; known are standard"),
        (f"checker: {{name: bridged, args: {{type: peg, files: c.cpp}}}}\n{ONE}", "checker.args.type is 'peg'"),
        (f"checker: {{name: bridged}}\n{ONE}", "checker.args.files is missing"),
        ("test_cases: []\n", "test_cases is empty"),
        ("test_cases: {input_format: (a+)+b}\n", "regular expressions of its own"),
        ("test_cases: [x]\n", "has to be a mapping"),
        ("test_cases:\n- {in: 1.in}\n", "test_cases[0].out is missing: the answer file"),
        ("test_cases:\n- {in: 9.in, out: 1.out}\n", "9.in: is missing"),
        ("test_cases:\n- {in: /etc/passwd, out: 1.out}\n", "/etc/passwd: leads out of the package"),
        ("test_cases:\n- {in: ../../x, out: 1.out}\n", "x"),
        ("test_cases:\n- {batched: []}\n", "batched is empty"),
        ("test_cases:\n- {batched: [{batched: []}]}\n", "is a batch in a batch"),
        ("test_cases:\n- {batched: [{in: 1.in, out: 1.out}], dependencies: [1]}\n", "dependencies names '1'"),
        ("test_cases:\n- {in: 1.in, out: 1.out, points: -1}\n", "points is -1"),
        (f"archive: 1.in\n{ONE}", "1.in: is not a sound zip archive"),
        (f"archive: ../x.zip\n{ONE}", "../x.zip: is missing"),
        ("- a", "init.yml: has to be a mapping"),
    ],
)
def test_what_cannot_be_judged_is_refused_by_name(load, text, said):
    with pytest.raises(ProblemError) as caught:
        load(text)
    assert said in str(caught.value)


def test_more_points_than_a_case_has_are_a_judge_error(load):
    problem = load("test_cases:\n- {in: 1.in, out: 1.out, points: 5}\n")
    (case,) = problem.tests.all_cases()
    for score, expected in ((3.0, (Verdict.PAC, 3.0)), (5.0, (AC, 5.0)), (6.0, (Verdict.JE, None))):
        root = scoring.judge_group(problem.tests, {case.name: CaseResult(case, Verdict.PAC, score=score)})
        assert scoring.final(problem, root) == expected


def test_keys_that_change_nothing_and_those_that_are_unknown(load):
    problem = load(
        f"unbuffered: true\nwall_time_factor: 3\noutput_limit_length: 1000\nodd: 1\n{ONE}- {{in: 1.in, out: 1.out, point: 3}}\n"
    )
    assert problem.limits.output_bytes == 1000
    assert problem.warnings[1:] == (
        "init.yml: odd is not known and was ignored",
        "init.yml: test_cases[1].point is not known and was ignored (did you mean 'points'?)",
    )


# plain folders


def test_a_plain_folder(tmp_path):
    files = {"10.in": "a", "10.out": "b", "2.in": "c", "2.ans": "d", "notes.txt": ""}
    problem = packages.load(write(tmp_path / "cases", files))
    assert [case.name for case in problem.tests.all_cases()] == ["secret/2", "secret/10"]
    assert [case.answer.read_text() for case in problem.tests.all_cases()] == ["d", "b"]
    assert (problem.name, problem.format, problem.kinds, problem.validator.builtin) == (
        "cases",
        "plain",
        {"pass-fail"},
        "default",
    )
    assert problem.warnings == ("a folder of test cases has no time limit: 1 s of CPU time is allowed",)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"1.in": ""}, "1.in: has no answer file; 1.out or 1.ans has to be beside it"),
        ({"1.in": "", "1.out": "", "1.ans": ""}, "1.in: has two answer files"),
        ({"readme": ""}, "is no problem: it has neither problem.yaml nor init.yml nor files *.in"),
        ({".in": ""}, "holds no test case"),
    ],
)
def test_plain_folders_that_are_none(tmp_path, files, said):
    with pytest.raises(ProblemError) as caught:
        packages.load(write(tmp_path / "cases", files))
    assert said in str(caught.value)


def test_a_plain_folder_in_an_archive(tmp_path):
    problem = packages.load(zipped(tmp_path / "c.zip", {"tests/1.in": "a", "tests/1.out": "b"}))
    assert [case.input.read_text() for case in problem.tests.all_cases()] == ["a"]
