"""Gradings on hosts with and without control groups: the same verdicts, and where something stood in, the report says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sandbox.grader import packages
from sandbox.grader.grade import grade
from sandbox.grader.model import Verdict
from sandbox.model.errors import ProblemError, UnsupportedHostError
from tests.support.clock import SLOWNESS
from tests.support.problem_files import cases, write
from tests.support.problems import VALIDATOR, c, graded_with_room, judge, make, python

pytestmark = pytest.mark.requires("system python")
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.requires("gcc")
@pytest.mark.parametrize(
    ("submission", "verdict"),
    [
        (python("print(2 * int(input()))"), Verdict.AC),
        (python("print(3 * int(input()))"), Verdict.WA),
        (python("1 / 0"), Verdict.RTE),
        (python("while True: pass"), Verdict.TLE),
        (python("x = []\nwhile True: x.append(bytes(1 << 20))"), Verdict.MLE),
        (python("while True: print('x' * 1000)"), Verdict.OLE),
        (c('#include <stdio.h>\nint main(void) { int n; scanf("%d", &n); printf("%d\\n", 2 * n); }'), Verdict.AC),
        (c("int main(void) { return x; }"), Verdict.CE),
    ],
    ids="right wrong fails loops memory output compiled not-compiled".split(),
)
def test_the_verdict_is_the_same(tmp_path, degraded, submission, verdict):
    limits = {"time_s": 1.0 * SLOWNESS, "output_bytes": 1 << 20}
    problem = make(tmp_path, validator=judge(VALIDATOR), limits=limits)

    report = graded_with_room(problem, submission, allow_degraded=degraded)

    if degraded and verdict is Verdict.MLE and report.verdict is Verdict.RTE:
        verdict = Verdict.RTE  # between two samples of its memory it gave up: nothing proves why
    assert report.verdict is verdict, report.reason
    assert bool(report.degraded) is (degraded and verdict is not Verdict.CE)


@pytest.mark.requires("no control groups")
def test_nobody_is_blamed_for_what_the_host_lacks(tmp_path):
    for submission in (python("print(2 * int(input()))"), python("print(1")):
        with pytest.raises(UnsupportedHostError, match="cgroup"):
            grade(make(tmp_path), submission)


def test_what_the_host_can_compile_is_told_in_any_case(tmp_path):
    command = [sys.executable, "-m", "sandbox.cli", "languages", "--json"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {row["id"]: row for row in json.loads(done.stdout)}
    assert found["python3"]["available"]
    assert found["python3"]["version"].startswith("Python 3.")


@pytest.mark.requires("user")
@pytest.mark.parametrize("name", ["problem.yaml", "data/secret/1.ans", "data/secret", "output_validators/check.py"])
def test_a_package_that_cannot_be_read_says_so(tmp_path, degraded, name):
    files = {
        "problem.yaml": "validation: custom\n",
        "output_validators/check.py": textwrap.dedent(VALIDATOR),
        **cases("secret/1"),
    }
    root = write(tmp_path / "hello", files)
    place = root / name
    mode = place.stat().st_mode
    place.chmod(0)
    try:
        report = grade(packages.load(root), python("print(1)"), allow_degraded=degraded)
    except ProblemError as error:
        said = str(error)
    else:
        assert report.verdict is Verdict.JE, report.reason
        said = report.reason
    finally:
        place.chmod(mode)
    assert os.path.basename(name) in said
    assert "read" in said or "denied" in said
