"""Interactive problems: every way in which one of the two can end first."""

from __future__ import annotations

import pytest

from sandbox.grader.grade import grade
from sandbox.grader.model import JudgeProgram
from tests.support.clock import seconds
from tests.support.problems import graded_with_room, judge, make, python

pytestmark = pytest.mark.requires("cgroup")

# The submission finds a number from 0 to 100: "? n" is answered with < or >= , "! n" is the last word.
INTERACTOR = """
    import sys
    secret, feedback = int(open(sys.argv[1]).read()), sys.argv[3]
    def end(code, why):
        open(feedback + "judgemessage.txt", "a").write(why)
        sys.exit(code)
    for _ in range(12):
        words = sys.stdin.readline().split()
        if len(words) != 2:
            end(43, f"no question but {words}")
        if words[0] == "!":
            end(42 if int(words[1]) == secret else 43, f"answer {words[1]}")
        print("<" if secret < int(words[1]) else ">=", flush=True)
    end(43, "too many questions")
"""
SEARCH = """
    low, high = 0, 100
    while high - low > 1:
        middle = (low + high) // 2
        print("?", middle, flush=True)
        if input() == "<":
            high = middle
        else:
            low = middle
    print("!", low, flush=True)
"""


@pytest.fixture
def problem(tmp_path):
    return make(
        tmp_path,
        {"1": ("37\n", ""), "2": ("99\n", "")},
        validator=judge(INTERACTOR),
        kinds=("pass-fail", "interactive"),
        limits={"time_s": 2.0},
    )


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (SEARCH, "AC"),
        ("print('! 1', flush=True)", "WA"),
        ("print('hello', flush=True)\nwhile True: pass", "WA"),  # rejected first: what it does then does not matter
        ("print('! 1', flush=True)\nwhile True: print('?', flush=True)", "WA"),
        ("while True: print('? 50', flush=True)", "WA"),
        ("pass", "WA"),
        ("import os; os._exit(3)", "RTE"),
        ("import os; os.close(1); 1 / 0", "RTE"),
        ("print('? 50', flush=True); input(); import os; os.kill(os.getpid(), 11)", "RTE"),
        ("while True: pass", "TLE"),
        ("print('? 50', flush=True); input()\nwhile True: pass", "TLE"),
        ("input()", "TLE"),  # both wait
        ("import sys; print('? 50'); sys.stdin.readline()", "TLE"),  # forgot to flush
        ("x = []\nwhile True: x.append(bytes(1 << 20))", "MLE"),
    ],
    ids=(
        "right wrong rejected-then-loops rejected-then-writes too-many-questions silent exit-3 closed-output crashes loops "
        "loops-later deadlock no-flush memory"
    ).split(),
)
def test_who_ends_how(problem, program, expected):
    report = graded_with_room(problem, python(program))

    assert report.verdict.value == expected, report.reason
    assert report.wall_s < seconds(60)


def test_a_wrong_answer_has_the_transcript_and_the_message(problem):
    case = grade(problem, python("print('? 50', flush=True); print('!', input() and 5, flush=True)")).all_cases()[0]

    assert case.message == "answer 5"
    assert [(who, data) for who, data, _ in case.transcript] == [("<", b"? 50\n"), (">", b"<\n"), ("<", b"! 5\n")]


def test_a_judge_that_has_said_everything_still_listens(tmp_path):
    """Its stdout is closed: the submission reads to the end, and answers then."""
    interactor = """
        import os, sys
        print("1\\n2", flush=True)
        os.close(1)
        sys.exit(42 if sys.stdin.readline() == "3\\n" and sys.stdin.read() == "" else 43)
    """
    problem = make(tmp_path, {"1": ("", "")}, validator=judge(interactor), kinds=("pass-fail", "interactive"))

    assert grade(problem, python("import sys\nprint(sum(map(int, sys.stdin)))")).verdict.value == "AC"
    assert grade(problem, python("print(4)")).verdict.value == "WA"


def test_after_it_was_accepted_a_submission_still_has_to_end(problem):
    assert graded_with_room(problem, python(SEARCH + "    while True: pass\n")).verdict.value == "TLE"
    assert grade(problem, python(SEARCH + "    1 / 0\n")).verdict.value == "RTE"


READS = "input(); input(); input()"
ASKS = "print('? 50', flush=True); input(); input()"


@pytest.mark.parametrize(
    ("text", "said", "program"),
    [
        ("1 / 0", "ZeroDivisionError", READS),
        ("1 / 0", "ZeroDivisionError", ASKS),
        ("import sys; sys.stdin.readline(); sys.exit(0)", "exit code 0", ASKS),
        ("import sys; sys.stdin.readline(); import os; os.kill(os.getpid(), 6)", "SIGABRT", ASKS),
        ("while True: pass", "CPU time", READS),
        ("while True: pass", "CPU time", ASKS),
        ("import sys\nwhile True: sys.stdout.write('x' * 65536)", "output", READS),
    ],
    ids="crashes crashes-late exit-0 aborts loops loops-late floods".split(),
)
def test_an_interactor_that_fails_is_a_judge_error(tmp_path, text, said, program):
    # So little CPU time that a busy host gives it before its elapsed time is over.
    limits = {"time_s": 2.0, "validation_s": 0.5, "validation_output_bytes": 1 << 20}
    problem = make(tmp_path, validator=judge(text), kinds=("pass-fail", "interactive"), limits=limits)

    report = graded_with_room(problem, python(program))

    assert report.verdict.value == "JE", report.reason
    assert said in report.reason


def test_interactive_and_multi_pass(tmp_path):
    text = """
        import os, sys
        given, answer, feedback = sys.argv[1:4]
        n = int(open(given).read())
        print(n, flush=True)
        said = int(sys.stdin.readline())
        if said != n + 1:
            sys.exit(43)
        if n < 3:
            open(feedback + "nextpass.in", "w").write(str(n + 1))
        sys.exit(42)
    """
    problem = make(
        tmp_path,
        {"1": ("1\n", "")},
        validator=judge(text),
        kinds=("pass-fail", "interactive", "multi-pass"),
        limits={"time_s": 5.0, "validation_passes": 3},
    )

    right = grade(problem, python("print(int(input()) + 1, flush=True)"))
    wrong = grade(problem, python("n = int(input()); print(n + 1 if n < 3 else 0, flush=True)"))

    assert (right.verdict.value, right.all_cases()[0].passes) == ("AC", 3)
    assert [data for _, data, _ in right.all_cases()[0].transcript] == [b"1\n", b"2\n", b"", b"2\n", b"3\n", b"", b"3\n", b"4\n"]
    assert (wrong.verdict.value, wrong.all_cases()[0].passes) == ("WA", 3)


def test_an_interactor_made_with_testlib(tmp_path):
    text = (
        "import sys; print(open(sys.argv[1]).read(), end='', flush=True); sys.exit(0 if sys.stdin.readline() == '42\\n' else 1)"
    )
    problem = make(tmp_path, validator=judge(text, "testlib"), kinds=("pass-fail", "interactive"), limits={"time_s": 5.0})

    assert grade(problem, python("print(2 * int(input()), flush=True)")).verdict.value == "AC"
    assert grade(problem, python("print(int(input()), flush=True)")).verdict.value == "WA"


def test_an_interactive_problem_without_a_program_is_a_judge_error(tmp_path):
    problem = make(tmp_path, validator=JudgeProgram(), kinds=("pass-fail", "interactive"))

    assert grade(problem, python("pass")).verdict.value == "JE"
