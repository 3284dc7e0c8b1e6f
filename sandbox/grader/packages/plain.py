"""A folder of test cases and nothing else: `1.in` with `1.out` or `1.ans`. Every case has to pass."""

from __future__ import annotations

import re
from pathlib import Path

from sandbox.grader.model import Case, Group, JudgeProgram, Limits, Problem
from sandbox.grader.packages.files import Folder
from sandbox.grader.packages.testdata import MAX_CASES
from sandbox.model.errors import ProblemError

_ANSWERS = (".ans", ".out")


def in_order(name: str) -> list[tuple[int, str]]:
    """A key that sorts 2 before 10."""
    return [(int(part), "") if part.isdecimal() and part.isascii() else (-1, part) for part in re.split(r"([0-9]{1,18})", name)]


def read(root: Path, *, shown: str) -> Problem:
    """Reads the test cases in a folder, which messages about all of it call `shown`.

    Raises:
        ProblemError: there are none, or one has no answer.
    """
    folder = Folder(root)
    names = folder.names("")
    stems = sorted((name[:-3] for name in names if name.endswith(".in") and len(name) > 3), key=in_order)
    if not stems:
        raise ProblemError("holds no test case: no file *.in", file=shown)
    if len(stems) > MAX_CASES:
        raise ProblemError(f"holds {len(stems)} test cases; {MAX_CASES} are allowed", file=shown)
    cases = []
    for stem in stems:
        answers = [stem + end for end in _ANSWERS if stem + end in names]
        if len(answers) != 1:
            found = "two answer files" if answers else "no answer file"
            raise ProblemError(f"has {found}", file=f"{stem}.in", hint=f"{stem}.out or {stem}.ans has to be beside it")
        cases.append(Case(f"secret/{stem}", folder.file(f"{stem}.in"), folder.file(answers[0])))
    warnings = ["a folder of test cases has no time limit: 1 s of CPU time is allowed"]
    return Problem(
        name=folder.root.name,
        format="plain",
        kinds=frozenset({"pass-fail"}),
        limits=Limits(),
        tests=Group("", groups=(Group("secret", tuple(cases)),)),
        validator=JudgeProgram(),
        root=folder.root,
        warnings=tuple(warnings),
    )
