"""Completions that are right, wrong, and hostile, against tests of every form; what one leaves behind, none after it meets."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.grader import functions
from sandbox.grader.functions import FunctionResult, Sample, evaluate, sample
from sandbox.kernel import namespaces
from sandbox.model.errors import ResourceError
from sandbox.runtime.launcher import LauncherProcess
from tests.support.clock import SLOWNESS
from tests.support.forms import ALL
from tests.support.hostile_functions import FORGERIES, INTERFERENCE, SPY

pytestmark = pytest.mark.requires("system python")

TASKS = Path(__file__).resolve().parents[2] / "cases" / "functions" / "tasks.jsonl"
TEST = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 9\n    assert not candidate(0)\n"
RIGHT = "def square(x):\n    return x * x\n"


@pytest.fixture
def grade(degraded: bool):
    def call(programs: list[str | Sample] | Iterator[Sample], **options: Any) -> list[FunctionResult]:
        samples: Any = programs
        if isinstance(programs, list):
            samples = [one if isinstance(one, Sample) else Sample("t", one, TEST, entry_points=("square",)) for one in programs]
        return evaluate(samples, allow_degraded=degraded, **{"time_limit_s": 3.0, **options})

    return call


def test_right_solutions_of_every_form_pass(grade):
    rows = [json.loads(line) for line in TASKS.read_text().splitlines()]
    results = grade([sample(row) for row in rows], batch=32)
    assert [(result.task_id, result.verdict, result.reason) for result in results] == [(row["task_id"], "AC", "") for row in rows]
    assert all(result.calls > 1 and result.wall_s > 0 for result in results)


@pytest.mark.claim("SEC-FG-01")
@pytest.mark.parametrize("batch", [1, 8] if ALL else [8])
@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_pass_is_none(grade, name, batch):
    """The right solution beside it, in the same sandbox where there are batches, still passes."""
    program, allowed = FORGERIES[name]
    limit = (1.0 if "TLE" in allowed else 3.0) * SLOWNESS
    before, forged, after = grade([RIGHT, program, RIGHT], batch=batch, time_limit_s=limit)
    assert forged.verdict in allowed, (forged.verdict, forged.reason)
    assert not forged.passed
    assert before.passed, before.reason
    assert after.passed, after.reason


@pytest.mark.claim("SEC-FG-02")
@pytest.mark.parametrize("name", INTERFERENCE)
def test_what_a_sample_leaves_or_kills_harms_no_other(grade, name):
    program, allowed = INTERFERENCE[name]
    results = grade([RIGHT, RIGHT, program, RIGHT, RIGHT], batch=8, jobs=1)
    assert results[2].verdict in allowed, (results[2].verdict, results[2].reason)
    assert [result.verdict for result in results[:2] + results[3:]] == ["AC"] * 4


@pytest.mark.claim("SEC-FG-02")
def test_by_default_each_sample_has_a_sandbox_of_its_own(grade, monkeypatch):
    together = []

    def results_of(answer):
        together.append(len(answer.request.items))
        return results_of_each(answer)

    results_of_each = functions.results_of
    monkeypatch.setattr(functions, "results_of", results_of)
    assert all(result.passed for result in grade([RIGHT] * 3))
    assert together == [1, 1, 1]
    assert all(result.passed for result in grade([RIGHT] * 3, batch=3, jobs=1))
    assert together[3:] == [3]


def test_a_list_is_shared_out_as_judges_get_through_it_and_an_iterable_as_it_comes(grade):
    """More samples than a sandbox may have, and one among them that ends its sandbox."""
    leaves, _ = INTERFERENCE["leaves files"]
    wrong = RIGHT.replace("*", "+")
    programs = [wrong if number % 7 == 3 else leaves if number == 5 else RIGHT for number in range(40)]
    samples = [Sample(f"t{number}", program, TEST, entry_points=("square",)) for number, program in enumerate(programs)]
    expected = ["WA" if number % 7 == 3 else "AC" for number in range(40)]
    for given in (samples, iter(samples)):
        results = grade(given, batch=12, jobs=2)
        assert [result.verdict for result in results] == expected
        assert [result.task_id for result in results] == [f"t{number}" for number in range(40)]


@pytest.mark.claim("SEC-FG-01")
def test_a_completion_cannot_look_into_the_judge(grade):
    test = "def check(candidate):\n    assert candidate() == [], candidate()\n"
    (result,) = grade([Sample("t", SPY, test, entry_points=("spy",))])
    assert result.passed, result.reason


def test_tests_are_judged_too(grade):
    def one(test: str, points: tuple[str, ...] = ("square",), prompt: str = "") -> Sample:
        return Sample("t", RIGHT + "def helper(x):\n    return 4\n", test, prompt, points)

    results = grade(
        [
            one("assert square(2) == "),
            one("def check(candidate):\n    assert True\n"),
            one("assert square(2) == helper(2)"),
            one("assert square(2) == helper(2)", points=()),
            one("assert square(2) == helper(2)", points=("square", "helper")),
            one("assert math.isclose(square(2), 4)", points=()),
            one("assert cube(2) == 8", points=("cube",)),
            one("def test_it():\n    assert square(2) == 5\n"),
        ]
    )
    words = [(result.verdict.value, result.reason) for result in results]
    assert [verdict for verdict, _ in words] == ["JE", "JE", "JE", "JE", "AC", "AC", "WA", "WA"]
    assert "prove nothing" in words[1][1]
    assert "helper" in words[2][1]
    assert "several names" in words[3][1]
    assert "does not define 'cube'" in words[6][1]
    assert "assert square(2) == 5" in words[7][1]


def test_what_the_completion_lacks_is_no_fault_of_the_tests(grade):
    one = "assert square(2) == 4"
    results = grade(
        [
            Sample("t", "def square(x):\n    return y * x\n", TEST, entry_points=("square",)),
            Sample("t", "def square(x):\n    return undefined(x)\n", one),
            Sample("t", "def sqare(x):\n    return x * x\n", one),
            Sample("t", "", one),
        ],
        batch=4,
    )
    assert [result.verdict.value for result in results] == ["WA"] * 4
    assert "NameError: name 'y' is not defined" in results[0].reason
    assert "does not define 'square'" in results[2].reason


@pytest.mark.claim("SEC-FG-01")
@pytest.mark.parametrize("raised", ["StopIteration", "StopIteration(9)", "StopAsyncIteration"])
def test_a_completion_does_not_end_the_loops_of_the_tests(grade, raised):
    """`all` and `for` over a `map` would take it for the end, and find nothing wrong."""
    program = f"def square(x):\n    raise {raised}\n"
    texts = (
        "assert all(map(lambda x: square(x) == x * x, [2, 3]))",
        "for number, found in zip([2, 3], map(square, [2, 3])):\n    assert found == number * number",
    )
    results = grade([Sample("t", program, text, entry_points=("square",)) for text in texts], batch=2)
    assert [result.verdict.value for result in results] == ["WA", "WA"], [result.reason for result in results]


def test_tests_that_change_the_interpreter_are_the_last_of_their_batch(grade):
    test = "import builtins\nbuiltins.abs = None\nassert square(2) == 4\n"
    plain = "assert abs(square(2)) == 4\n"
    results = grade([Sample("t", RIGHT, text, entry_points=("square",)) for text in (plain, test, plain)], jobs=1, batch=3)
    assert [result.verdict for result in results] == ["AC"] * 3


LEFT = "open('left', 'w').close()\n"


@pytest.mark.parametrize(
    ("program", "tests", "verdict"),
    [
        (f"{LEFT}def square(x):\n    return 0\n", TEST, "WA"),
        (f"{LEFT}{RIGHT}", "def check(candidate):\n    assert candidate(2) ==\n", "JE"),
        ("def square(x):\n    return 0\n", f"import sys\nsys.setrecursionlimit(5000)\n{TEST}", "WA"),
        ("square = abs\n", TEST, "WA"),
        ("square = sum\n", "def check(candidate):\n    assert candidate([2, 2]) == 4\n", "AC"),
        ("square = sorted\n", "def check(candidate):\n    assert candidate([2, 1], reverse=True) == [2, 1]\n", "AC"),
    ],
    ids=["wrong and left", "tests and left", "wrong and tests that change", "wrong alias", "alias", "alias with names"],
)
@pytest.mark.parametrize("batch", [1, 8])
def test_what_is_left_behind_and_what_is_a_builtin_change_no_verdict(grade, program, tests, verdict, batch):
    results = grade([Sample("t", program, tests, entry_points=("square",)), RIGHT], batch=batch, jobs=1)
    assert [result.verdict for result in results] == [verdict, "AC"], results


def test_a_builtin_of_the_judges_side_is_none_of_the_completions(grade):
    """A completion that speaks the wire itself cannot have the judge call a function of its own for it."""
    said = [["ready", None, ["square"]], ["value", {"builtin": "abs"}, None]]
    lines = "".join(f"{json.dumps(message)}\n" for message in said)
    program = f"import os, time\nos.write(3, {lines.encode()!r})\ntime.sleep(1)\n"
    (result,) = grade([Sample("t", program, "def check(candidate):\n    assert candidate(-2) == 2\n", entry_points=("square",))])
    assert result.verdict == "RTE", result


def test_a_profile_without_a_warm_interpreter_grades_alike(grade):
    results = grade([RIGHT, "def square(x):\n    return 4\n"], profile="python")
    assert [result.verdict for result in results] == ["AC", "WA"]


def test_tests_that_read_find_an_end_and_no_other_sample(grade):
    reads = "import sys\nassert sys.stdin.read() == ''\nassert square(2) == 4\n"
    samples = [Sample("t", RIGHT, text, entry_points=("square",)) for text in (reads, TEST, reads)]
    assert [result.verdict for result in grade(samples, batch=3, jobs=1)] == ["AC"] * 3


@pytest.mark.parametrize("batch", [1, 16])
def test_runs_that_cannot_be_started_are_judge_errors_and_have_an_end(grade, monkeypatch, batch):
    def fails(*_):
        raise ResourceError("there is nothing left")

    monkeypatch.setattr(LauncherProcess, "launch", fails)
    results = grade([RIGHT] * 10, batch=batch)
    assert [result.verdict for result in results] == ["JE"] * 10
    assert all("there is nothing left" in result.reason for result in results)


def test_a_launcher_that_dies_costs_no_sample_its_verdict(grade, monkeypatch):
    launch, calls = LauncherProcess.launch, []

    def killed(self, *args):
        calls.append(self)
        if len(calls) == 2:
            namespaces.send_signal(self._keeper._pidfd, signal.SIGKILL)
        return launch(self, *args)

    monkeypatch.setattr(LauncherProcess, "launch", killed)
    assert [result.verdict for result in grade([RIGHT] * 20, batch=5, jobs=1)] == ["AC"] * 20
