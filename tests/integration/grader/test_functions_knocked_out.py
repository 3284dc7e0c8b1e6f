"""The attacks of `test_functions` with a defence taken away: they succeed then, so it is the defence that holds them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.grader import function_asked, function_place
from sandbox.grader.functions import FunctionResult, Sample, evaluate
from sandbox.grader.model import Verdict
from tests.support.hostile_functions import FORGERIES, LEFTOVERS, SPY
from tests.support.require import require

pytestmark = pytest.mark.requires("system python")

TEST = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 9\n    assert not candidate(0)\n"
UNITTEST = (
    "import unittest\nclass Test(unittest.TestCase):\n    def test_it(self):\n        self.assertEqual(square(2), 4)\n"
    "        self.assertEqual(square(3), 9)\n"
)
# As many graders do it: tests and completion in one process, whose exit code is the verdict.
ONE_PROCESS = """
import json, os, sys, unittest

def part():
    return os.read(0, int(os.read(0, 16), 16))

def main():
    part()
    source, task = part().decode(), json.loads(part())
    child = os.fork()
    if child == 0:
        space = {"__name__": "solution"}
        exec(source, space)
        exec(task["tests"], space)
        if "check" in space:
            space["check"](space["square"])
        if "Test" in space:
            result = unittest.TestResult()
            unittest.TestSuite([space["Test"]("test_it")]).run(result)
            assert result.wasSuccessful()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(json.dumps({"proof": task["token"], "verdict": "WA" if status else "AC", "reason": "", "calls": 2,
                      "cpu_s": 0, "wall_s": 0, "memory_bytes": 0}))
"""
# They forge a pass of a grader that is one process.
IN_ONE_PROCESS = (
    "exits at once",
    "exits when called",
    "sys.exit at once",
    "sys.exit when called",
    "stops with an exit function",
    "equal to everything",
    "a number equal to everything",
    "a class that lies about its class",
    "swallows the failure of a comparison",
    "replaces what runs the tests",
    "patches unittest",
    "becomes another program",
)


@pytest.fixture
def changed(monkeypatch):
    """Change the text of the program that is mounted into sandboxes."""

    def change(*edits: Callable[[str], str]) -> None:
        copied = function_place.copied

        def edited(place: Path):
            mount = copied(place)
            file = place / "inside" / "function_judge.py"
            text = file.read_text()
            for edit in edits:
                before, text = text, edit(text)
                assert text != before, "there is no such line any more"
            file.write_text(text)
            shutil.rmtree(place / "inside" / "__pycache__")  # of the text that it was
            return mount

        monkeypatch.setattr(function_place, "copied", edited)

    return change


@pytest.fixture
def grade(degraded: bool):
    def call(*programs: str, test: str = TEST, batch: int = 1) -> list[FunctionResult]:
        samples = [Sample("t", program, test, entry_points=("square",)) for program in programs]
        return evaluate(samples, time_limit_s=10.0, batch=batch, jobs=1, allow_degraded=degraded)

    return call


@pytest.mark.claim("SEC-FG-01", knocked_out=True)
@pytest.mark.parametrize("name", IN_ONE_PROCESS)
def test_in_one_process_it_passes(changed, grade, name):
    changed(lambda _: ONE_PROCESS)
    test = UNITTEST if "unittest" in name else TEST

    wrong, forged = grade("def square(x):\n    return 5\n", FORGERIES[name][0], test=test)

    assert wrong.verdict is Verdict.WA
    assert forged.passed


def nursery_after_reading(text: str) -> str:
    """The process of the completion is forked when standard input is in memory already."""
    opened = '    _STDIN = open(os.dup(0), "rb")  # noqa: SIM115\n'
    forked = "    gc.freeze()"
    assert opened in text
    return text.replace(opened, "").replace(forked, f"{opened}    _STDIN.peek()\n{forked}")


READS_THE_TESTS = """
import re
import inside.function_judge as judge

def square(x):
    seen = judge._STDIN.peek().decode() if judge._STDIN else ""
    found = re.search(rf"candidate\\({x}\\) == (\\d+)", seen)
    return int(found[1]) if found else 0
"""


@pytest.mark.claim("SEC-FG-01", knocked_out=True)
def test_forked_before_the_tests_are_read_it_cannot_read_them(changed, grade):
    (kept,) = grade(READS_THE_TESTS)
    assert kept.verdict is Verdict.WA
    changed(nursery_after_reading)
    (read,) = grade(READS_THE_TESTS)
    assert read.passed


def with_standard_output(text: str) -> str:
    """The process of the completion keeps the stream that verdicts are written to."""
    return text.replace("        os.dup2(null, 0)\n        os.dup2(2, 1)\n", "        os.dup2(null, 0)\n", 1)


PRINTS_A_PROOF = """
import json, os, sys
def square(x):
    proof = {"proof": "x", "verdict": "AC", "reason": "", "calls": 9, "cpu_s": 0, "wall_s": 0, "memory_bytes": 0}
    os.write(1, json.dumps(proof).encode() + b"\\n")
    os.kill(-1, 9)
"""


@pytest.mark.claim("SEC-FG-01", knocked_out=True)
@pytest.mark.parametrize(("token", "stream"), [(False, False), (True, False), (False, True), (True, True)])
def test_a_printed_proof_needs_the_token_and_the_stream(changed, grade, monkeypatch, token, stream):
    """Two layers: each of them is enough; without both the proof is believed."""
    if token:
        monkeypatch.setattr(function_asked.secrets, "token_hex", lambda _: "x")
    if stream:
        changed(with_standard_output)

    (result,) = grade(PRINTS_A_PROOF)

    assert result.passed is (token and stream)


def opened(text: str) -> str:
    """The judge stays dumpable."""
    text = text.replace("_prctl(_PR_SET_DUMPABLE, 0)\n", "_prctl(_PR_SET_DUMPABLE, 1)\n")
    return text.replace("if _prctl(_PR_GET_DUMPABLE, 0) != 0:", "if _prctl(_PR_GET_DUMPABLE, 0) != 1:")


@pytest.mark.claim("SEC-FG-01", knocked_out=True)
def test_a_dumpable_judge_can_be_looked_into(changed, grade):
    test = "def check(candidate):\n    assert candidate() == [], candidate()\n"
    spy = SPY.replace("def spy", "def square")
    (blind,) = grade(spy, test=test)
    assert blind.passed, blind.reason
    changed(opened)
    (seeing,) = grade(spy, test=test)
    assert seeing.verdict is Verdict.WA
    assert "/mem" in seeing.reason or "/fd/" in seeing.reason


@pytest.mark.claim("SEC-FG-02", knocked_out=True)
@pytest.mark.parametrize("name", LEFTOVERS)
def test_who_looks_for_what_was_left_finds_it_only_when_nobody_else_looked(changed, grade, name):
    if name == "shared memory":
        require("cgroup")  # nobody counts it otherwise, and it is refused
    leaves, looks, layer = LEFTOVERS[name]
    left, kept = grade(leaves, looks, batch=2)
    assert (left.verdict, kept.verdict) == (Verdict.AC, Verdict.AC), (left.reason, kept.reason)
    changed(lambda text: text.replace(*layer))
    left, met = grade(leaves, looks, batch=2)
    assert (left.verdict, met.verdict) == (Verdict.AC, Verdict.WA), (left.reason, met.reason)


@pytest.mark.claim("SEC-FG-02", knocked_out=True)
def test_tests_that_change_the_interpreter_change_it_for_others_when_nobody_looks(changed, degraded):
    changing = "import builtins\nbuiltins.abs = lambda x: -1\nassert square(2) == 4\n"
    using = "assert abs(square(2)) == 4\n"
    samples = [Sample("t", "def square(x):\n    return x * x\n", text, entry_points=("square",)) for text in (changing, using)]
    assert [one.verdict for one in evaluate(samples, batch=2, jobs=1, allow_degraded=degraded)] == [Verdict.AC, Verdict.AC]
    changed(lambda text: text.replace(" or _interpreter() != before", ""))
    assert [one.verdict for one in evaluate(samples, batch=2, jobs=1, allow_degraded=degraded)] == [Verdict.AC, Verdict.WA]
