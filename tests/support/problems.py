"""Small problems for tests, made in memory and in a temporary folder."""

from __future__ import annotations

import dataclasses
import textwrap
import time
from pathlib import Path
from typing import Any

from sandbox.grader.grade import grade
from sandbox.grader.model import Case, Group, JudgeProgram, Limits, Problem, Report, Source, Verdict
from tests.support.clock import seconds

# Reads n, wants 2 n. As a validator it says what it saw.
VALIDATOR = """
    import sys
    given, answer, feedback = sys.argv[1:4]
    said = sys.stdin.read().split()
    right = open(answer).read().split()
    open(feedback + "judgemessage.txt", "a").write(f"said {said}, right {right}")
    sys.exit(42 if said == right else 43)
"""


def source(name: str, text: str, **more: str) -> Source:
    """One source file; `more` are further files, with "_" for "."."""
    files = {name: textwrap.dedent(text).encode()}
    files.update({other.replace("_", "."): textwrap.dedent(data).encode() for other, data in more.items()})
    return Source(files, name)


def python(text: str) -> Source:
    """A Python program."""
    return source("solution.py", text)


def c(text: str) -> Source:
    """A C program."""
    return source("solution.c", text)


def judge(text: str, protocol: Any = "ppf", arguments: tuple[str, ...] = ()) -> JudgeProgram:
    """A judge's program in Python."""
    return JudgeProgram(source("validator.py", text), protocol=protocol, arguments=arguments)


def graded_with_room(problem: Problem, submission: Source, **options: Any) -> Report:
    """`grade`, again where others had the cores: that tells nothing about a submission that waits, and the report says so."""
    until = time.monotonic() + seconds(75)
    while True:
        report = grade(problem, submission, **options)
        busy = report.verdict is Verdict.JE and report.reason.startswith("the host was too busy")
        if not busy or time.monotonic() > until:
            return report


def make(
    folder: Path,
    cases: dict[str, tuple[str, str]] | None = None,
    *,
    validator: JudgeProgram | None = None,
    kinds: tuple[str, ...] = ("pass-fail",),
    limits: dict[str, Any] | None = None,
    group: dict[str, Any] | None = None,
    **fields: Any,
) -> Problem:
    """A problem with the cases name → (input, answer) in the group "secret"."""
    made = []
    for name, (given, answer) in (cases or {"1": ("21\n", "42\n")}).items():
        paths = folder / f"{name}.in", folder / f"{name}.ans"
        for path, data in zip(paths, (given, answer), strict=True):
            path.write_text(data)
        made.append(Case(f"secret/{name}", paths[0], paths[1]))
    tests = Group("", groups=(Group("secret", cases=tuple(made), **(group or {})),))
    values = {"time_s": 1.0, "memory_bytes": 256 << 20, "validation_s": 10.0, "validation_memory_bytes": 512 << 20}
    problem = Problem(
        name="double",
        format="2025-09",
        kinds=frozenset(kinds),
        limits=Limits(**{**values, **(limits or {})}),
        tests=tests,
        validator=validator or JudgeProgram(),
        root=folder,
    )
    return dataclasses.replace(problem, **fields)
