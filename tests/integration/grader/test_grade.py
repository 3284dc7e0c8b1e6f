"""Whole gradings: events, cancel, early stop, scores, time limits, and the same verdict every time."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from contextlib import aclosing

import pytest

from sandbox.grader import limit
from sandbox.grader.cancel import Cancel
from sandbox.grader.grade import agrade, grade, verify_all
from sandbox.grader.model import Case, Expectation, Group, JudgeProgram, Verdict
from sandbox.model.errors import RequestError
from tests.support.clock import seconds
from tests.support.forms import ALL
from tests.support.problems import c, graded_with_room, judge, make, python, source

pytestmark = pytest.mark.requires("cgroup")

RIGHT = "print(2 * int(input()))"
CASES = {str(number): (f"{number}\n", f"{2 * number}\n") for number in range(1, 7)}
LIMITS = {"time_s": 10.0}


def verdicts(report):
    return " ".join(case.verdict.value for case in report.all_cases())


@pytest.mark.vm
def test_events_come_as_cases_end(tmp_path):
    events = []

    report = grade(make(tmp_path, CASES, limits=LIMITS), python(RIGHT), on_event=events.append)

    assert [event.kind for event in events] == ["compiling", "compiled", *["case"] * 6, "finished"]
    assert [event.done for event in events if event.kind == "case"] == [1, 2, 3, 4, 5, 6]
    assert {event.case.case.name for event in events if event.case} == {f"secret/{name}" for name in CASES}
    assert events[-1].report is report
    assert (report.verdict, report.decided_by, report.language) == (Verdict.AC, "", "python3")


@pytest.mark.vm
@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_the_first_failure_in_order_decides(tmp_path, jobs):
    program = "n = int(input())\nif n == 3: print(0)\nelif n == 4: 1 / 0\nelse: print(2 * n)"

    report = grade(make(tmp_path, CASES, limits=LIMITS), python(program), jobs=jobs)

    assert (report.verdict, report.decided_by) == (Verdict.WA, "secret/3")
    assert verdicts(report) == "AC AC WA SKIPPED SKIPPED SKIPPED"


@pytest.mark.vm
def test_mode_all_runs_everything(tmp_path):
    program = "n = int(input())\nif n == 3: print(0)\nelif n == 4: 1 / 0\nelse: print(2 * n)"

    report = grade(make(tmp_path, CASES, limits=LIMITS), python(program), mode="all")

    assert report.verdict is Verdict.WA
    assert [case.verdict.value for case in report.all_cases()].count("SKIPPED") == 0
    assert report.all_cases()[3].verdict is Verdict.RTE


def test_the_second_time_it_comes_from_the_store(tmp_path):
    program = c(f'#include <stdio.h>\n/* {time.time_ns()} */\nint main(void){{int n; scanf("%d", &n); printf("%d\\n", 2*n);}}')
    problem = make(tmp_path, limits=LIMITS)

    first, second = grade(problem, program), grade(problem, program)

    assert (first.verdict, second.verdict) == (Verdict.AC, Verdict.AC)
    assert (first.cached, second.cached) == (False, True)


def test_a_compile_error_has_what_the_compiler_said(tmp_path):
    report = grade(make(tmp_path), c("int main(void) { return undeclared; }"))

    assert report.verdict is Verdict.CE
    assert "undeclared" in report.compile_output
    assert report.all_cases() == ()


def test_a_cancel_from_another_thread(tmp_path):
    cancel = Cancel()
    begun = threading.Event()
    started = time.monotonic()

    def on_event(event):
        if event.kind == "compiled":
            begun.set()

    def stop():
        begun.wait()
        cancel.cancel()

    thread = threading.Thread(target=stop)
    thread.start()
    report = grade(make(tmp_path, CASES, limits={"time_s": 60.0}), python("while True: pass"), on_event=on_event, cancel=cancel)
    thread.join()

    assert (report.verdict, report.reason) == (Verdict.SKIPPED, "the grading was canceled")
    assert time.monotonic() - started < seconds(30)


SLOW_TO_COMPILE = "constexpr long f(long n) { long s = 0; for (long i = 0; i < n; ++i) s += i % 7; return s; }\n" + "".join(
    f"constexpr long v{number} = f(4000000);\n" for number in range(2000)
)


@pytest.mark.requires("g++")
@pytest.mark.parametrize("what", ["compiler", "time limit"])
def test_a_cancel_ends_a_compiler_and_the_search_for_the_time_limit(tmp_path, what):
    accepted = Expectation(permitted=frozenset({Verdict.AC}), use_for_time_limit="lower")
    endless = ("accepted/a.py", python("while True: pass"), accepted)
    problem, submission = make(tmp_path, limits={"compilation_s": 600.0}), source("a.cc", SLOW_TO_COMPILE + "int main() {}")
    if what == "time limit":
        problem, submission = make(tmp_path, limits={"time_is_given": False}, submissions=(endless,)), python(RIGHT)
    cancel = Cancel()
    timer = threading.Timer(1.0, cancel.cancel)
    timer.start()
    started = time.monotonic()

    report = grade(problem, submission, cancel=cancel)

    timer.join()
    assert (report.verdict, report.reason) == (Verdict.SKIPPED, "the grading was canceled")
    assert time.monotonic() - started < seconds(15)
    assert limit._key(problem) not in limit._found


def test_a_language_file_that_is_wrong_is_the_judges_failure(tmp_path, monkeypatch):
    place = tmp_path / "config" / "sandbox" / "languages"
    place.mkdir(parents=True)
    (place / "own.toml").write_text("name = 3\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    report = grade(make(tmp_path), python(RIGHT))

    assert report.verdict is Verdict.JE
    assert "own.toml" in report.reason


def test_the_asynchronous_twin(tmp_path):
    async def collect():
        return [event async for event in agrade(make(tmp_path, CASES, limits=LIMITS), python(RIGHT))]

    events = asyncio.run(collect())

    assert [event.kind for event in events][:3] == ["compiling", "compiled", "case"]
    assert events[-1].report.verdict is Verdict.AC


def test_who_leaves_the_loop_early_ends_the_grading(tmp_path):
    async def leave():
        async with aclosing(agrade(make(tmp_path, CASES, limits={"time_s": 60.0}), python("while True: pass"))) as events:
            async for event in events:
                if event.kind == "compiled":
                    return

    started = time.monotonic()
    asyncio.run(leave())
    assert time.monotonic() - started < seconds(30)


def test_an_error_comes_out_of_the_asynchronous_twin(tmp_path):
    async def collect():
        return [event async for event in agrade(make(tmp_path), tmp_path / "missing.py")]

    with pytest.raises(RequestError, match=r"missing\.py"):
        asyncio.run(collect())


def test_a_submission_that_is_a_trap_is_a_compile_error(tmp_path):
    folder = tmp_path / "trap"
    folder.mkdir()
    (folder / "solution.py").symlink_to("/etc/passwd")

    report = grade(make(tmp_path), folder)

    assert report.verdict is Verdict.CE
    assert "solution.py" in report.reason


@pytest.mark.parametrize("wrong", [{"mode": "some"}, {"jobs": 0}])
def test_wrong_arguments(tmp_path, wrong):
    with pytest.raises(RequestError):
        grade(make(tmp_path), python(RIGHT), **wrong)


BUSY = """
    #include <stdio.h>
    #include <time.h>
    int main(void) {
        struct timespec t;
        int n;
        scanf("%d", &n);
        do clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); while (t.tv_sec * 1000 + t.tv_nsec / 1000000 < MILLISECONDS);
        printf("%d\\n", 2 * n);
    }
"""


@pytest.mark.timeout(900)  # twenty times half a second of CPU time, of which a busy host gives little
@pytest.mark.requires("gcc")
def test_gradings_at_nine_tenths_of_the_limit_are_one_verdict(tmp_path):
    """Twenty in the long form."""
    count = 20 if ALL else 4
    problem = make(tmp_path, limits={"time_s": 0.5})
    program = c(BUSY.replace("MILLISECONDS", "465"))

    reports = [graded_with_room(problem, program) for _ in range(count)]

    assert [report.verdict for report in reports] == [Verdict.AC] * count
    timing = next(it for it in (report.all_cases()[0].timing for report in reports) if min(it.runs) > 0.46)  # whole runs
    assert len(timing.runs) == 2  # measured again, for the spread
    assert timing.cpu_s == min(timing.runs)
    assert timing.spread_s < 0.25


@pytest.mark.requires("gcc")
def test_just_above_the_limit_is_measured_three_times_and_still_too_slow(tmp_path):
    report = graded_with_room(make(tmp_path, limits={"time_s": 0.5}), c(BUSY.replace("MILLISECONDS", "525")))

    case = report.all_cases()[0]
    assert report.verdict is Verdict.TLE
    assert 2 <= len(case.timing.runs) <= 3
    assert case.timing.cpu_s > 0.5


@pytest.mark.requires("gcc")
def test_a_time_limit_that_is_not_given_is_found_once(tmp_path):
    limits = {"time_is_given": False, "time_resolution": 0.1, "ac_to_time_limit": 2.0}
    accepted = Expectation(permitted=frozenset({Verdict.AC}), use_for_time_limit="lower")
    problem = make(tmp_path, limits=limits, submissions=(("accepted/a.c", c(BUSY.replace("MILLISECONDS", "300")), accepted),))

    slow = graded_with_room(problem, c(BUSY.replace("MILLISECONDS", "2000")))
    started = time.monotonic()
    quick = grade(problem, c(BUSY.replace("MILLISECONDS", "100")))

    assert 0.6 <= slow.limits.time_s <= 1.2
    assert slow.verdict is Verdict.TLE
    assert (quick.verdict, quick.limits.time_s) == (Verdict.AC, slow.limits.time_s)
    assert time.monotonic() - started < seconds(10)
    assert any("time limit" in warning for warning in quick.warnings)


@pytest.mark.requires("gcc")
def test_where_a_time_limit_comes_from_is_told(tmp_path):
    submissions = (("accepted/broken.c", c("int main( {"), Expectation(use_for_time_limit="lower")),)
    (none,) = verify_all(make(tmp_path, limits={"time_is_given": False}, submissions=submissions))
    assert any("by default" in note and "accepted/broken.c" in note for note in none.report.warnings)


@pytest.mark.requires("gcc")
def test_who_has_to_be_too_slow_has_to_be_so_by_a_margin(tmp_path):
    limits = {"time_is_given": False, "time_resolution": 0.1, "ac_to_time_limit": 1.0, "time_limit_to_tle": 2.0}
    accepted = Expectation(permitted=frozenset({Verdict.AC}), use_for_time_limit="lower")
    slow = Expectation(required=frozenset({Verdict.TLE}), use_for_time_limit="upper")
    programs = {"accepted/a.c": ("390", accepted), "slow/near.c": ("600", slow), "slow/far.c": ("5000", slow)}
    submissions = [(name, c(BUSY.replace("MILLISECONDS", text)), claim) for name, (text, claim) in programs.items()]
    submissions.append(("slow/sleeps.py", python("import time\ntime.sleep(1000)"), slow))
    problem = make(tmp_path, limits=limits, submissions=tuple(submissions))

    found = {item.name: item for item in verify_all(problem)}

    assert found["accepted/a.c"].complaints == ()
    assert [item.report.verdict.value for item in found.values()][:3] == ["AC", "TLE", "TLE"]
    assert found["slow/far.c"].complaints == ()
    # its CPU time says nothing of how slow it is (and on a busy host it may have no verdict)
    assert not any("has to be slower" in said for said in found["slow/sleeps.py"].complaints)
    assert "has to be slower" in found["slow/near.c"].complaints[0]


def test_all_submissions_of_a_package_are_held_against_what_they_claim(tmp_path):
    right = Expectation(permitted=frozenset({Verdict.AC}))
    wrong = Expectation(permitted=frozenset({Verdict.AC, Verdict.WA}), required=frozenset({Verdict.WA}))
    problem = make(
        tmp_path,
        limits=LIMITS,
        submissions=(
            ("accepted/a.py", python(RIGHT), right),
            ("wrong_answer/b.py", python("print(0)"), wrong),
            ("accepted/liar.py", python("print(1)"), right),
        ),
    )

    found = verify_all(problem)

    assert [item.name for item in found] == ["accepted/a.py", "wrong_answer/b.py", "accepted/liar.py"]
    assert [bool(item.complaints) for item in found] == [False, False, True]
    assert [item.report.submission for item in found] == [item.name for item in found]


def test_scores_of_groups(tmp_path):
    problem = make(tmp_path, CASES, limits=LIMITS, kinds=("scoring",))
    cases = problem.tests.groups[0].cases
    secret = Group(
        "secret",
        groups=(
            Group("secret/a", cases=cases[:2], max_score=30.0),
            Group("secret/b", cases=cases[2:4], max_score=70.0),
            Group("secret/c", cases=cases[4:], max_score=0.0, require_pass=("secret/b",)),
        ),
        score_aggregation="sum",
        on_reject="continue",
    )
    problem = dataclasses.replace(
        problem, tests=Group("", groups=(secret,), score_aggregation="sum", on_reject="continue", bounded_cases=True)
    )

    report = grade(problem, python("n = int(input()); print(2 * n if n < 4 else 0)"))

    assert report.score == 30.0
    assert verdicts(report) == "AC AC AC WA SKIPPED SKIPPED"


STATIC = """
    import os, sys
    language, entry, feedback = sys.argv[1:4]
    text = open(entry).read()
    open(feedback + "judgemessage.txt", "w").write(f"{language} {entry} {len(text)} {sys.argv[4:]}")
    sys.exit(43 if "import" in text else 42)
"""


def test_a_static_validator_reads_the_source(tmp_path):
    problem = make(
        tmp_path,
        limits=LIMITS,
        group={"static_validation": 0.0, "static_arguments": ("strict",)},
        static_validator=judge(STATIC),
    )

    accepted = grade(problem, python(RIGHT))
    rejected = grade(problem, source("A.PY", "import sys\n" + RIGHT))

    assert (accepted.verdict, rejected.verdict) == (Verdict.AC, Verdict.WA)
    assert "strict" in rejected.all_cases()[0].message


def test_a_grader_program_of_the_legacy_format(tmp_path):
    text = "import sys\nlines = sys.stdin.read().split()\nprint('AC', sum(map(float, lines[1::2])) * int(sys.argv[1]))"
    problem = make(tmp_path, CASES, limits=LIMITS, kinds=("scoring",), format="legacy")
    secret = dataclasses.replace(
        problem.tests.groups[0], score_aggregation="custom", accept_score=2.0, on_reject="continue", grader_arguments=("3",)
    )
    tests = Group("", groups=(secret,), score_aggregation="sum", on_reject="continue", verdict_of="accept_if_any_accepted")
    problem = dataclasses.replace(problem, tests=tests, grader=judge(text))

    report = grade(problem, python(RIGHT))

    assert (report.verdict.value in ("AC", "PAC"), report.score) == (True, 36.0)
    broken = dataclasses.replace(problem, grader=judge("print('AC')"))
    failed = grade(broken, python(RIGHT))
    assert failed.verdict is Verdict.JE
    assert "a verdict and a score" in failed.reason


def test_inputs_are_validated(tmp_path):
    from sandbox.grader.validators import Judge, input_mistake, prepare

    text = "import sys; n = int(sys.stdin.read()); assert n < int(sys.argv[1]), 'too large'; sys.exit(42)"
    problem = make(tmp_path, {"1": ("5\n", ""), "2": ("50\n", "")})
    ready = prepare(judge(text, arguments=("10",)), problem.limits)
    assert isinstance(ready, Judge)

    found = [input_mistake(ready, case) for case in problem.tests.all_cases()]

    assert found[0] == ""
    assert "too large" in found[1]
    named = dataclasses.replace(problem.tests.all_cases()[1], input_arguments={"": ("100",)})
    assert input_mistake(ready, named) == ""


def test_the_problem_decides_about_languages_and_included_files(tmp_path):
    problem = make(
        tmp_path, limits=LIMITS, languages=("python3",), include={"default": {"helper.py": b"def f(n): return 2 * n\n"}}
    )

    assert grade(problem, python("from helper import f; print(f(int(input())))")).verdict is Verdict.AC
    refused = grade(problem, source("a.c", "int main(void) { return 0; }"))
    assert refused.verdict is Verdict.CE
    assert "not allowed" in refused.reason


def test_a_checker_that_does_not_know_its_flags_is_a_judge_error(tmp_path):
    problem = make(tmp_path, validator=JudgeProgram(arguments=("no_such_flag",)), limits=LIMITS)

    assert grade(problem, python(RIGHT)).verdict is Verdict.JE


def test_a_case_without_an_answer(tmp_path):
    problem = make(tmp_path, {"1": ("", "")}, limits=LIMITS)
    case = Case("secret/1", tmp_path / "1.in", None)
    tests = dataclasses.replace(problem.tests, groups=(dataclasses.replace(problem.tests.groups[0], cases=(case,)),))

    assert grade(dataclasses.replace(problem, tests=tests), python("pass")).verdict is Verdict.AC
