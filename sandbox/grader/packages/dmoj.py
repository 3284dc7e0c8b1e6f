"""DMOJ's problems: init.yml beside the data, or beside an archive with the data.

A batch is all or nothing; a case or batch of 0 points ends the judging when it fails. What needs DMOJ's own judge (checkers and
graders in its Python, generators, regular expressions of strangers) is refused by name.

Source: DMOJ documentation, "Problem format", "Custom checkers", "Custom graders".
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sandbox.grader.model import Case, Group, JudgeProgram, Limits, Problem, Source
from sandbox.grader.packages.archive import Unpacked, unpack
from sandbox.grader.packages.files import Folder
from sandbox.grader.packages.plain import in_order
from sandbox.grader.packages.settings import Settings, shortened
from sandbox.grader.packages.testdata import MAX_CASES
from sandbox.grader.packages.yamls import mapping
from sandbox.model.errors import ProblemError

YAML = "init.yml"
CHECKERS = (
    "standard", "easy", "floats", "floatsabs", "floatsrel", "identical", "linecount", "linematches", "rstripped", "sorted",
    "unordered",
)  # fmt: skip
_REFUSED = {
    "generator": "test data that a generator makes",
    "custom_judge": "graders for DMOJ's own judge",
    "grader": "graders for DMOJ's own judge",
    "signature_grader": "signature graders",
    "io_redirects": "input and output by files",
    "file_io": "input and output by files",
}
_IGNORED = ("unbuffered", "pretest_test_cases", "wall_time_factor", "output_prefix_length", "hints", "meta", "symlinks", "points")
_CASE_KEYS = ("points", "batched", "dependencies", "output_prefix_length", "output_limit_length")
_PROTOCOLS = {"default": "dmoj", "testlib": "testlib"}
_NO_INPUT = Path(os.devnull)
_DEFAULT_OUTPUT = 25_165_824


class _Data:
    """The files of the problem: its folder, and behind it the archive."""

    def __init__(self, root: Path) -> None:
        self.folder = Folder(root)
        self.owner: Unpacked | None = None
        self._archive: Folder | None = None

    def open_archive(self, name: str) -> None:
        self.owner = unpack(self.folder.file(name))
        self._archive = Folder(self.owner.root)

    def file(self, name: str) -> Path:
        if self._archive is not None and self.folder.find(name) is None:
            return self._archive.file(name)
        return self.folder.file(name)

    def names(self) -> list[str]:
        """Names of all files that may be test data."""
        return [*(self._archive.walk("") if self._archive else self.folder.walk(""))]


def read(root: Path) -> Problem:
    """Reads the problem in a folder.

    Raises:
        ProblemError: what is wrong or has no meaning here, with its key.
    """
    data = _Data(root)
    settings = Settings(mapping(data.folder.read(YAML), YAML), YAML)
    _refuse(settings)
    archive = settings.text("archive")
    if archive:
        data.open_archive(archive)
    try:
        return _problem(data, settings)
    except BaseException:
        if data.owner:
            data.owner.close()
        raise


def _problem(data: _Data, settings: Settings) -> Problem:
    warnings = ["the format has no limits: 1 s of CPU time is allowed"]
    interactor = settings.below("interactive") if "interactive" in settings else None
    validator = _checker(data, settings) if interactor is None else _bridged(data, interactor)
    found = _Found()
    tests = _tests(data, settings, found, needs_answers=validator.source is None)
    kinds = {"scoring"} | ({"interactive"} if interactor else set())
    limits = Limits(output_bytes=settings.whole("output_limit_length", _DEFAULT_OUTPUT, low=1))
    warnings += [*settings.unknown(_IGNORED), *found.warnings]
    return Problem(
        name=data.folder.root.name,
        format="dmoj",
        kinds=frozenset(kinds),
        limits=limits,
        tests=tests,
        validator=validator,
        root=data.folder.root,
        warnings=shortened(warnings),
        owner=data.owner,
    )


def _refuse(settings: Settings) -> None:
    for key, what in _REFUSED.items():
        if settings.raw(key) not in (None, "", []):
            raise settings.error(key, f"asks for {what}, which cannot be judged here")


def _checker(data: _Data, settings: Settings) -> JudgeProgram:
    value = settings.raw("checker")
    if value is None:
        return JudgeProgram(builtin="standard")
    below = Settings({}, settings.file) if isinstance(value, str) else settings.below("checker")
    name = value if isinstance(value, str) else below.text("name", "standard")
    arguments = below.below("args")
    if name == "bridged":
        return _bridged(data, arguments)
    if name not in CHECKERS:
        known = f"known are {', '.join((*CHECKERS, 'bridged'))}"
        what = "is a module for DMOJ's own judge" if name.endswith(".py") else "is not known"
        raise ProblemError(f"the checker {name!r} {what}", file=YAML, hint=f"{known}; a program of its own is a bridged checker")
    return JudgeProgram(builtin=name, arguments=tuple(f"{key}={arguments.text(key)}" for key in arguments.values))


def _bridged(data: _Data, settings: Settings) -> JudgeProgram:
    """A checker or interactor that is a program."""
    kind = settings.text("type", "default")
    if kind not in _PROTOCOLS:
        raise settings.error("type", f"is {kind!r}; it has to be one of {', '.join(_PROTOCOLS)}")
    names = settings.strings("files")
    if not names:
        raise settings.error("files", "is missing: the program")
    files = {name.rpartition("/")[2]: data.folder.read(name) for name in names}
    source = Source(files, origin=names[0], language=_language(settings.text("lang")))
    return JudgeProgram(source, builtin="", protocol="dmoj" if kind == "default" else "testlib", name=names[0])


def _language(given: str) -> str:
    """Ours for DMOJ's id; "" lets the file say it."""
    name = given.lower()
    if name.startswith(("cpp", "c++")):
        return "cpp"
    return {"c": "c", "c11": "c", "py3": "python3", "java": "java", "java8": "java"}.get(name, "")


def _tests(data: _Data, settings: Settings, found: _Found, *, needs_answers: bool) -> Group:
    value = settings.raw("test_cases")
    if isinstance(value, dict):
        below = settings.below("test_cases")
        if below.raw("input_format") or below.raw("output_format"):
            raise settings.error(
                "test_cases", "has regular expressions of its own, which are not run here; name the cases in a list"
            )
    entries = value if isinstance(value, list) else list(_guessed(data, settings))
    if not entries:
        raise settings.error("test_cases", "is empty: there is nothing to judge")
    groups: list[Group] = []
    essential: list[str] = []
    batches: list[str] = []
    for entry in entries:
        if not isinstance(entry, dict):
            raise settings.error("test_cases", f"holds {str(entry)[:50]!r}; each of them has to be a mapping")
        at = Settings(entry, YAML, f"test_cases[{len(groups)}].")
        _refuse(at)
        is_batch = "batched" in at
        name = f"batch{len(batches) + 1}" if is_batch else f"case{len(groups) + 1}"
        # The last of those that end the judging is enough: it was not run unless those before it passed.
        needs = [*essential[-1:], *(_dependencies(at, batches) if is_batch else ())]
        points = at.number("points", settings.number("points", 1.0, low=0), low=0)
        groups.append(_group(data, at, name, points, needs, found, needs_answers=needs_answers))
        if points == 0:
            essential.append(name)
        if is_batch:
            batches.append(name)
    return Group(
        "",
        groups=tuple(groups),
        score_aggregation="sum",
        bounded_cases=True,
        on_reject="continue",
        verdict_of="worst_error",
    )


class _Found:
    """What is collected while cases are read: names that are taken, and warnings."""

    def __init__(self) -> None:
        self._used: dict[str, int] = {}  # name → the number that the next of that name is tried with
        self.warnings: list[str] = []

    def name(self, wanted: str) -> str:
        """The name of a case: the one that is wanted, with a number where it is taken."""
        if len(self._used) >= MAX_CASES:
            raise ProblemError(f"holds more than {MAX_CASES} test cases", file=YAML)
        name, number = wanted, self._used.get(wanted, 2)
        while name in self._used:
            name, number = f"{wanted}#{number}", number + 1
        self._used[wanted] = number
        self._used.setdefault(name, 2)
        return name


def _dependencies(settings: Settings, batches: list[str]) -> list[str]:
    found = []
    for text in settings.strings("dependencies"):
        if not re.fullmatch(r"[0-9]{1,6}", text, re.ASCII) or not 1 <= int(text) <= len(batches):
            raise settings.error("dependencies", f"names {text!r}; it has to be the number of a batch before this one")
        found.append(batches[int(text) - 1])
    return found


def _group(
    data: _Data, settings: Settings, name: str, points: float, needs: list[str], found: _Found, *, needs_answers: bool
) -> Group:
    """A batch, or a case by itself."""
    entries: list[Any] = [settings.values]
    if "batched" in settings:
        entries = settings.raw("batched")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise settings.error("batched", "has to be a list of test cases")
    if not entries:
        raise settings.error("batched", "is empty: a batch needs a test case")
    cases = []
    for index, entry in enumerate(entries):
        at = Settings(entry, YAML, f"{settings.where}batched[{index}]." if "batched" in settings else settings.where)
        if "batched" in settings and "batched" in at:
            raise at.error("batched", "is a batch in a batch")
        _refuse(at)
        if at.raw("checker") is not None:
            raise at.error("checker", "is of one case; only one checker for the whole problem can be used here")
        cases.append(_case(data, at, name, found, needs_answers=needs_answers))
    return Group(
        name,
        tuple(cases),
        score_aggregation="min",
        accept_score=points,
        bounded_cases=True,
        on_reject="break",
        require_pass=tuple(dict.fromkeys(needs)),
    )


def _case(data: _Data, settings: Settings, group: str, found: _Found, *, needs_answers: bool) -> Case:
    given, answer = settings.text("in"), settings.text("out")
    if needs_answers and not answer:
        raise settings.error("out", "is missing: the answer file")
    stem = given.rpartition("/")[2].removesuffix(".in") or "no input"
    found.warnings += settings.unknown(_CASE_KEYS)
    return Case(
        found.name(f"{group}/{stem}"),
        data.file(given) if given else _NO_INPUT,
        data.file(answer) if answer else None,
    )


def _guessed(data: _Data, settings: Settings) -> Iterator[dict[str, Any]]:
    """Cases by names of files, as DMOJ's default expressions find them: the last number is the case, one before it the batch."""
    points = settings.below("test_cases").raw("case_points") if isinstance(settings.raw("test_cases"), dict) else None
    inputs, outputs = {}, {}
    for name in data.names():
        numbers = tuple(int(text) for text in re.findall(r"[0-9]{1,9}", name.rpartition("/")[2]))[-2:]
        base = name.rpartition("/")[2]
        if numbers and (".in" in base or base.startswith("in")):
            inputs[numbers] = name
        elif numbers and (".out" in base or base.startswith("out")):
            outputs[numbers] = name
    batches: dict[int, list[dict[str, Any]]] = {}
    for numbers in sorted(inputs, key=lambda key: (key[0], *in_order(inputs[key]))):
        if numbers not in outputs:
            raise ProblemError("has no output file with the same numbers", file=inputs[numbers])
        batches.setdefault(numbers[0], []).append({"in": inputs[numbers], "out": outputs[numbers]})
    for position, (number, entries) in enumerate(sorted(batches.items())):
        worth = points[position] if isinstance(points, list) and position < len(points) else "1"
        is_batch = any(len(numbers) == 2 and numbers[0] == number for numbers in inputs)
        yield {"batched": entries, "points": worth} if is_batch else {**entries[0], "points": worth}
