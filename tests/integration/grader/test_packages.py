"""Shapes that real packages have, from the folder to the verdict: programs that build themselves, helpers, input validators."""

from __future__ import annotations

import re

import pytest

from sandbox.grader import packages
from sandbox.grader.grade import grade
from sandbox.grader.inputs import InputMistake, check_inputs
from sandbox.grader.model import Source, Verdict
from tests.support.problem_files import write

pytestmark = pytest.mark.requires("cgroup")

NEW = "problem_format_version: 2025-09\nname: x\nlimits: {time_limit: 10}\n"
DATA = {"data/secret/1.in": "1\n", "data/secret/1.ans": "", "data/secret/2.in": "22\n", "data/secret/2.ans": ""}
ECHO = Source({"echo.py": b"print(input())"}, "echo.py")
# Accepts what is equal to the input; the C program is made by `build`, and `run` finds it beside itself.
MADE = {
    "output_validator/build": "#!/bin/sh\nset -e\nmkdir -p bin\ncc -o bin/same same.c\n",
    "output_validator/run": '#!/usr/bin/env sh\n"$(dirname "$0")/bin/same" "$1"\n',
    "output_validator/same.c": """
        #include <stdio.h>
        int main(int argc, char **argv) {
            int a = -1, b = -2;
            FILE *file = fopen(argv[1], "r");
            return file && fscanf(file, "%d", &a) == 1 && scanf("%d", &b) == 1 && a == b ? 42 : 43;
        }""",
}


def judged(tmp_path, files, submission=ECHO):
    return grade(packages.load(write(tmp_path / "p", {"problem.yaml": NEW, **DATA, **files})), submission)


def test_a_validator_that_builds_itself(tmp_path):
    wrong = Source({"a.py": b"print(1)"}, "a.py")
    assert judged(tmp_path, MADE).verdict is Verdict.AC
    report = judged(tmp_path, MADE, wrong)
    assert (report.verdict, report.decided_by) == (Verdict.WA, "secret/2")


def test_a_validator_whose_run_is_made_by_its_build(tmp_path):
    files = {"output_validator/build": "echo exit 42 > made\n(echo '#!/bin/sh'; cat made) > run\n"}
    assert judged(tmp_path, files).verdict is Verdict.AC


@pytest.mark.parametrize(
    ("build", "words"),
    [("exit 3", "exit code 3"), ("true", "exit code 1"), ("sleep 1000", "waits for|did not end")],
)
def test_a_build_that_fails_is_a_judge_error(tmp_path, build, words):
    yaml = NEW.replace("10}", "10, compilation_time: 1}")
    report = judged(tmp_path, {"problem.yaml": yaml, "output_validator/build": f"#!/bin/sh\n{build}\n"})
    assert report.verdict is Verdict.JE
    assert re.search(words, report.reason)


def test_a_submission_builds_nothing_by_itself(tmp_path):
    report = judged(tmp_path, {}, Source({"build": b"#!/bin/sh\n", "run": b"#!/bin/sh\ncat\n"}, "both"))
    assert report.verdict is Verdict.CE
    report = judged(tmp_path, {}, Source({"run": b"#!/bin/sh\ncat\n"}, "run", language="scripts"))
    assert report.verdict is Verdict.CE


def test_validators_with_helpers_beside_them(tmp_path):
    python = {
        "output_validator/common.py": "import sys\ndef end(right): sys.exit(42 if right else 43)\n",
        "output_validator/validate.py": "import sys\nfrom common import end\nend(open(sys.argv[1]).read() == sys.stdin.read())\n",
    }
    assert judged(tmp_path, python).verdict is Verdict.AC
    cpp = {
        "output_validator/v.cc": '#include "v.h"\nint main(int, char** argv) { return same(argv[1]) ? 42 : 43; }\n',
        "output_validator/v.h": "#include <fstream>\n#include <iostream>\ninline bool same(const char* name)"
        " { std::ifstream in(name); int a, b; return in >> a && std::cin >> b && a == b; }\n",
    }
    assert judged(tmp_path / "cpp", cpp).verdict is Verdict.AC


def test_input_validators_look_at_every_input(tmp_path):
    files = {
        "data/secret/test_group.yaml": "input_validator_args: {short.py: ['2'], b: ['5']}",
        "input_validators/short.py": "import sys\nsys.exit(42 if len(sys.stdin.read()) <= int(sys.argv[1]) else 43)\n",
        "input_validators/b/run": '#!/bin/sh\ntest "$1" = 5 && exit 42\n',
        "input_validators/c.py": "1 +\n",
        "input_validators/d.ctd": "INT(1, 2)\n",
    }
    problem = packages.load(write(tmp_path, {"problem.yaml": NEW, **DATA, **files}))
    found = check_inputs(problem)
    assert [(mistake.validator, mistake.case) for mistake in found] == [("c.py", ""), ("short.py", "secret/2")]
    assert found[1] == InputMistake("short.py", "secret/2", "the input validator ended with exit code 43")
    assert "does not compile" in found[0].reason


@pytest.mark.requires("javac")
def test_java_in_a_file_of_any_name(tmp_path):
    says = "System.out.println(new java.util.Scanner(System.in).next());"
    program = f"public class Solution {{ public static void main(String[] a) {{ {says} }} }}"
    assert judged(tmp_path, {}, Source({"my-solution.java": program.encode()}, "s")).verdict is Verdict.WA
    answers = {"data/secret/1.ans": "1\n", "data/secret/2.ans": "22\n"}
    assert judged(tmp_path / "right", answers, Source({"my-solution.java": program.encode()}, "s")).verdict is Verdict.AC
    without = Source({"a.java": b"public class a { int main() { return 0; } }"}, "s")
    assert judged(tmp_path / "without", answers, without).verdict is Verdict.RTE


@pytest.mark.requires("gcc")
def test_who_starts_a_hundred_children_is_no_fork_bomb(tmp_path):
    program = """
        #include <stdio.h>
        #include <unistd.h>
        int main(void) {
            int failed = 0;
            for (int i = 0; i < 100; i++) {
                int child = fork();
                if (child == 0) { sleep(60); _exit(0); }
                failed += child < 0;
            }
            printf("%d\\n", failed);
            return 0;
        }"""
    answers = {"data/secret/1.ans": "0\n", "data/secret/2.ans": "0\n"}
    assert judged(tmp_path, answers, Source({"a.c": program.encode()}, "a.c")).verdict is Verdict.AC
