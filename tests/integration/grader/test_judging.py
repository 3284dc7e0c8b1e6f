"""Verdicts of whole gradings: validators of every protocol, passes, and judges that fail."""

from __future__ import annotations

import dataclasses
import time

import pytest

from sandbox.grader.grade import grade
from sandbox.grader.model import JudgeProgram, Source, Verdict
from tests.support.clock import seconds
from tests.support.problems import VALIDATOR, c, judge, make, python

pytestmark = pytest.mark.requires("cgroup")

RIGHT = "print(2 * int(input()))"
SLOW_START = {"time_s": 10.0}  # an interpreter on a busy host


def verdict(problem, program, **options):
    report = grade(problem, python(program), **options)
    return report.verdict.value, report


@pytest.mark.parametrize(("program", "expected"), [(RIGHT, "AC"), ("print(1)", "WA"), ("1 / 0", "RTE"), ("x =", "CE")])
@pytest.mark.parametrize("validator", [JudgeProgram(), judge(VALIDATOR)], ids=["built-in", "ppf"])
def test_the_common_verdicts(tmp_path, program, expected, validator):
    found, report = verdict(make(tmp_path, validator=validator, limits=SLOW_START), program)

    assert found == expected, report.reason


def test_a_case_has_its_evidence(tmp_path):
    problem = make(tmp_path, validator=judge(VALIDATOR), limits=SLOW_START)

    case = verdict(problem, RIGHT)[1].all_cases()[0]

    assert case.message == "said ['42'], right ['42']"
    assert (case.stdout, case.expected) == (b"42\n", b"42\n")
    assert case.timing.cpu_s > 0
    assert case.timing.wall_s > 0
    assert case.memory_bytes > 0
    assert case.run is not None
    assert case.judge is not None


def test_arguments_and_files_of_a_case(tmp_path):
    problem = make(tmp_path, {"1": ("", "one two|hello\n")}, limits=SLOW_START)
    (tmp_path / "note").write_text("hello")
    group = problem.tests.groups[0]
    case = dataclasses.replace(group.cases[0], arguments=("one two",), files={"note.txt": tmp_path / "note"})
    tests = dataclasses.replace(problem.tests, groups=(dataclasses.replace(group, cases=(case,)),))
    program = "import sys; print(sys.argv[1], open('note.txt').read(), sep='|')"

    for allowed in (True, False):
        found = verdict(dataclasses.replace(problem, tests=tests, allow_file_writing=allowed), program)
        assert found[0] == "AC", found[1].reason


@pytest.mark.parametrize(
    ("text", "expected", "said"),
    [
        ("import sys; sys.exit(0)", "AC", ""),
        ("import sys; sys.stderr.write('wrong answer differs'); sys.exit(1)", "WA", "differs"),
        ("import sys; sys.stderr.write('bad form'); sys.exit(2)", "WA", "form"),
        ("import sys; sys.stderr.write('FAIL no token'); sys.exit(3)", "JE", "no token"),
        ("import sys; sys.exit(0 if open(sys.argv[2]).read() == open(sys.argv[3]).read() == '42\\n' else 3)", "AC", ""),
        ("import sys; sys.exit(0 if open(sys.argv[1]).read() == '21\\n' else 3)", "AC", ""),
    ],
)
def test_testlib_checkers(tmp_path, text, expected, said):
    found, report = verdict(make(tmp_path, validator=judge(text, "testlib"), limits=SLOW_START), RIGHT)

    assert found == expected, report.reason
    assert said in report.all_cases()[0].message


BAD_VALIDATORS = {
    "crashes": ("raise KeyError(3)", "KeyError"),
    "exit-0": ("pass", "exit code 0"),
    "loops": ("while True: pass", "CPU time"),
    "segfault": ("import os; os.kill(os.getpid(), 11)", "SIGSEGV"),
    "prints-1-GB": ("import sys\nfor _ in range(1024): sys.stdout.write('x' * (1 << 20))\nsys.exit(42)", "output"),
    "eats-memory": ("x = []\nwhile True: x.append(bytes(1 << 20))", "memory"),
    "score-twice": ("import sys\nfor _ in '12': open(sys.argv[3] + 'score.txt', 'a').write('10\\n')\nsys.exit(42)", "score.txt"),
    "both-scores": (
        "import sys\nfor n in ('score.txt', 'score_multiplier.txt'): open(sys.argv[3] + n, 'w').write('1')\nsys.exit(42)",
        "both",
    ),
    "link": ("import os, sys; os.symlink('/etc/passwd', sys.argv[3] + 'judgemessage.txt'); sys.exit(42)", "judgemessage.txt"),
    "pipe": ("import os, sys; os.mkfifo(sys.argv[3] + 'judgemessage.txt'); sys.exit(43)", "judgemessage.txt"),
    "huge-message": (
        "import sys\nf = open(sys.argv[3] + 'judgemessage.txt', 'w')\nfor _ in range(100): f.write('x' * 1048576)\nsys.exit(43)",
        "judgemessage.txt",
    ),
    "syntax": ("def", "does not compile"),
}


@pytest.mark.parametrize("name", BAD_VALIDATORS)
def test_a_validator_that_fails_is_a_judge_error_with_its_reason(tmp_path, name):
    text, said = BAD_VALIDATORS[name]
    limits = {**SLOW_START, "validation_s": 1.0, "validation_memory_bytes": 256 << 20}
    started = time.monotonic()

    found, report = verdict(make(tmp_path, validator=judge(text), limits=limits), RIGHT)

    assert found == "JE"
    assert said in report.reason
    assert time.monotonic() - started < seconds(60)


def test_a_validator_that_does_not_compile_leaves_the_submission_its_language_and_its_compiler(tmp_path):
    submission = c(f"#warning mine\nint main(void) {{ return 0; }} /* {time.time_ns()}: not from the store */")

    report = grade(make(tmp_path, validator=judge("def theirs")), submission)

    assert (report.verdict.value, report.language) == ("JE", "c")
    assert report.reason == "validator.py of the problem does not compile: the compiler ended with exit code 1"
    assert "mine" in report.compile_output
    assert "theirs" not in report.compile_output
    assert "theirs" in report.judge_output
    assert "mine" not in report.judge_output


def test_a_checker_that_gives_points_for_a_part(tmp_path):
    problem = make(tmp_path, {"1": ("2\n", "a\nb\n")}, validator=JudgeProgram(builtin="linecount"), limits=SLOW_START)

    case = verdict(problem, "print('a'); print('c')")[1].all_cases()[0]

    assert (case.verdict, case.multiplier) == (Verdict.PAC, 0.5)


def test_a_missing_validator_is_a_judge_error(tmp_path):
    problem = make(tmp_path, validator=JudgeProgram(builtin="missing"), limits=SLOW_START)

    assert verdict(problem, RIGHT)[0] == "JE"


def test_an_answer_without_an_end_is_a_judge_error(tmp_path):
    problem = make(tmp_path, limits=SLOW_START)
    with open(tmp_path / "1.ans", "wb") as file:
        file.truncate(1 << 40)

    found, report = verdict(problem, RIGHT)

    assert found == "JE"
    assert "64 MiB" in report.reason


def test_data_that_vanished_is_a_judge_error(tmp_path):
    problem = make(tmp_path, limits=SLOW_START)
    (tmp_path / "1.in").unlink()

    found, report = verdict(problem, RIGHT)

    assert found == "JE"
    assert "secret/1" in report.reason


MULTI_PASS = """
    import os, sys
    given, answer, feedback = sys.argv[1:4]
    count = int(open(feedback + "state").read()) if os.path.exists(feedback + "state") else 0
    open(feedback + "state", "w").write(str(count + 1))
    n, said = int(open(given).read()), int(sys.stdin.read())
    open(feedback + "judgemessage.txt", "a").write(f"{n}->{said} ")
    assert not os.path.exists(feedback + "nextpass.in")
    if said != 2 * n:
        sys.exit(43)
    if count + 1 < PASSES:
        open(feedback + "nextpass.in", "w").write(str(said))
    sys.exit(42)
"""


@pytest.mark.parametrize(
    ("wanted", "program", "expected", "message"),
    [
        (1, RIGHT, "AC", "21->42 "),
        (3, RIGHT, "AC", "21->42 42->84 84->168 "),
        (3, "n = int(input()); print(2 * n if n < 84 else 0)", "WA", "21->42 42->84 84->0 "),
        (3, "n = int(input()); print(2 * n if n < 42 else 1 / 0)", "RTE", ""),
        (4, RIGHT, "JE", "21->42 42->84 84->168 "),
    ],
)
def test_multi_pass(tmp_path, wanted, program, expected, message):
    validator = judge(MULTI_PASS.replace("PASSES", str(wanted)))
    problem = make(
        tmp_path, validator=validator, kinds=("pass-fail", "multi-pass"), limits={**SLOW_START, "validation_passes": 3}
    )

    found, report = verdict(problem, program)

    assert (found, report.all_cases()[0].message) == (expected, message), report.reason


def test_answers_that_were_handed_in(tmp_path):
    problem = make(
        tmp_path, {"1": ("", "4\n"), "2": ("", "9\n")}, kinds=("pass-fail", "submit-answer"), group={"on_reject": "continue"}
    )

    right = grade(problem, Source({"1.out": b"4", "2.out": b"9"}, "answers.zip"))
    wrong = grade(problem, Source({"1.out": b"4", "2.out": b"8"}, "answers.zip"))
    partly = grade(problem, Source({"1.out": b"4", "3.out": b"9"}, "answers.zip"))

    assert [report.verdict for report in (right, wrong, partly)] == [Verdict.AC, Verdict.WA, Verdict.WA]
    assert "no answer" in partly.reason


def test_a_large_submission_is_a_compile_error(tmp_path):
    found, report = verdict(make(tmp_path), "#" + "x" * (10 << 20))

    assert found == "CE"
    assert "131072" in report.reason or "128" in report.reason


def test_an_unknown_language_is_a_compile_error(tmp_path):
    report = grade(make(tmp_path), Source({"program.xyz": b"?"}, "program.xyz"))

    assert report.verdict is Verdict.CE
    assert report.reason


@pytest.mark.requires("gcc")
@pytest.mark.parametrize(
    "text",
    ["#include </dev/zero>\nint main(void){}", '#include "solution.c"\n#include "solution.c"\nint main(void){}'],
    ids=["dev-zero", "includes-itself"],
)
def test_a_compile_bomb_is_a_compile_error(tmp_path, text):
    started = time.monotonic()

    report = grade(make(tmp_path, limits={"compilation_s": 5.0, "compilation_memory_bytes": 256 << 20}), c(text))

    assert report.verdict is Verdict.CE
    assert report.reason
    assert time.monotonic() - started < seconds(60)


def test_a_problem_without_cases_is_a_judge_error(tmp_path):
    problem = make(tmp_path)
    empty = dataclasses.replace(problem.tests, groups=(dataclasses.replace(problem.tests.groups[0], cases=()),))

    assert verdict(dataclasses.replace(problem, tests=empty), RIGHT)[0] == "JE"
