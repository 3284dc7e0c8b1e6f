"""The example submissions of a package, with what they claim."""

from __future__ import annotations

import dataclasses

from sandbox.grader.model import Expectation, Source
from sandbox.grader.packages import expectations
from sandbox.grader.packages.testdata import Reading
from sandbox.grader.packages.yamls import mapping
from sandbox.model.errors import ProblemError

MAX_SUBMISSIONS = 2_000
_RULES = "submissions/submissions.yaml"
_DOMJUDGE = "submissions.json"
# What lies beside submissions and is none.
_NO_PROGRAM = (
    ".md", ".txt", ".yaml", ".yml", ".json", ".pdf", ".class", ".o", ".pyc", ".exe", ".out", ".orig",
    ".disabled", ".template", "~",
)  # fmt: skip
_NO_PROGRAM_NAMES = ("readme", "license", "makefile")


def read(reading: Reading, *, legacy: bool) -> tuple[tuple[str, Source, Expectation], ...]:
    """(path below submissions/, source, expectation) of every submission, in order."""
    folder = reading.folder
    rules = expectations.Rules({}, _RULES)
    if folder.is_file(_RULES):
        rules = expectations.Rules(mapping(folder.read(_RULES), _RULES), _RULES)
    entries = _domjudge_entries(reading)
    found: list[tuple[str, Source, Expectation]] = []
    for directory in folder.names("submissions"):
        if not folder.is_folder(f"submissions/{directory}"):
            if directory != _RULES.rpartition("/")[2] and not directory.lower().endswith(_NO_PROGRAM):
                reading.warnings.append(f"submissions/{directory}: is in no folder that says what it claims, and was left out")
            continue
        for name in folder.names(f"submissions/{directory}"):
            path = f"{directory}/{name}"
            if _is_program(reading, path):
                found.append((path, *_submission(reading, path, rules, entries.get(path, ""), legacy=legacy)))
        known = expectations.is_known(directory) or any(expectations.matches(pattern, directory) for pattern, _ in rules.rules)
        if not known and any(path.startswith(f"{directory}/") for path, _, _ in found):
            reading.warnings.append(
                f"submissions/{directory}: this folder claims nothing that is known; its submissions are free"
            )
        if len(found) > MAX_SUBMISSIONS:
            raise ProblemError(f"holds more than {MAX_SUBMISSIONS} submissions", file="submissions")
    reading.warnings += rules.warnings()
    for pattern, _ in rules.rules:
        if not any(expectations.matches(pattern, path) for path, _, _ in found):
            reading.warnings.append(f"{_RULES}: {pattern!r} matches no submission")
    return tuple(found)


def _is_program(reading: Reading, path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    if reading.folder.is_folder(f"submissions/{path}") and not name.endswith(".disabled"):
        return True
    if name.endswith(_NO_PROGRAM) or name.startswith(_NO_PROGRAM_NAMES):
        reading.warnings.append(f"submissions/{path}: was not taken for a submission")
        return False
    return reading.folder.is_file(f"submissions/{path}")


def _domjudge_entries(reading: Reading) -> dict[str, str]:
    """Submission → its entry point, as DOMjudge's own file says it. Source: DOMjudge manual, "Importing problems"."""
    if not reading.folder.is_file(_DOMJUDGE):
        return {}
    entries = {}
    for name, value in mapping(reading.folder.read(_DOMJUDGE), _DOMJUDGE).items():
        entry = value.get("entry_point") if isinstance(value, dict) else None
        if isinstance(entry, str):
            entries[name.removeprefix("submissions/").strip("/")] = entry
    return entries


def _submission(
    reading: Reading, path: str, rules: expectations.Rules, entry_point: str, *, legacy: bool
) -> tuple[Source, Expectation]:
    source = reading.folder.program(f"submissions/{path}", reading.constants)
    language, entry = rules.source(path)
    source = dataclasses.replace(source, language=language, entry_point=entry or entry_point)
    claim = rules.expectation(path, legacy=legacy)
    tags = expectations.with_tags(claim, source.files.values(), reading.warnings, path)
    return source, tags
