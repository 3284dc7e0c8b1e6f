"""The folder data/: which test cases and groups there are, and what each case consists of. How groups count is not known here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.grader.model import Case
from sandbox.grader.packages.files import MAX_DEPTH, Folder, with_constants
from sandbox.grader.packages.settings import Settings, command_line
from sandbox.grader.packages.yamls import mapping
from sandbox.model.errors import ProblemError

MAX_CASES = 20_000
_MAX_ARGUMENT_BYTES = 64 << 10
_MAX_SETTINGS_BYTES = 4 << 20
# Folders below sample/ that are for the statement only (2023-07-draft, "Samples").
_NOT_JUDGED = ("statement", "download")
_ALONE = (".ans", ".args", ".files")


@dataclass(frozen=True, slots=True)
class Node:
    """A folder of test data: its name below data/ ("" for data itself), names of its cases, and folders below."""

    name: str
    cases: tuple[str, ...] = ()
    folders: tuple[Node, ...] = ()

    def all_cases(self) -> Iterator[str]:
        """Names of all cases below."""
        yield from self.cases
        for inner in self.folders:
            yield from inner.all_cases()


@dataclass(slots=True)
class Reading:
    """What is needed, and collected, while a package is read.

    Attributes:
        version: of the format.
        scoring: the problem has scores.
        settings_name: of the files that configure groups, "testdata.yaml" or "test_group.yaml".
        needs_answers: every case must have an answer file.
        constants: of 2025-09.
        warnings: what was found odd so far.
    """

    folder: Folder
    version: str
    scoring: bool = False
    settings_name: str = "testdata.yaml"
    needs_answers: bool = True
    constants: Mapping[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CaseSettings:
    """What a group, or the file of a case, says about how cases are run."""

    arguments: tuple[str, ...] = ()
    validator_arguments: tuple[str, ...] | None = None
    input_arguments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    full_feedback: bool = False
    hint: str = ""
    description: str = ""


def scan(reading: Reading) -> Node:
    """The tree of data/sample and data/secret.

    Raises:
        ProblemError: there are no test cases, or too many.
    """
    folder = reading.folder
    if not folder.is_folder("data"):
        raise ProblemError("is missing: the package has no test data", file="data")
    found = [_scan(reading, name, MAX_DEPTH) for name in ("sample", "secret") if folder.is_folder(f"data/{name}")]
    root = Node("", (), tuple(node for node in found if node.name == "secret" or any(node.all_cases())))
    count = sum(1 for _ in root.all_cases())
    if count == 0:
        raise ProblemError("holds no test case: neither sample/ nor secret/ has a file *.in", file="data")
    if count > MAX_CASES:
        raise ProblemError(f"holds {count} test cases; {MAX_CASES} are allowed", file="data")
    if not any(node.name == "secret" and any(node.all_cases()) for node in root.folders):
        reading.warnings.append("data/secret: there are no secret test cases; only the samples judge")
        root = Node("", (), tuple(node for node in root.folders if node.name == "sample"))
    return root


def _scan(reading: Reading, name: str, depth: int) -> Node:
    if depth == 0:
        raise ProblemError(f"is deeper than {MAX_DEPTH} folders", file=f"data/{name}")
    folder = reading.folder
    listed = folder.names(f"data/{name}")
    cases, folders = [], []
    stems = {entry[:-3] for entry in listed if entry.endswith(".in")}
    for entry in listed:
        path = f"data/{name}/{entry}"
        if folder.is_folder(path):
            is_group = not entry.endswith(".files") and not (name == "sample" and entry in _NOT_JUDGED)
            if is_group:
                folders.append(_scan(reading, f"{name}/{entry}", depth - 1))
        elif entry.endswith(".in") and len(entry) > 3:
            cases.append(f"{name}/{entry[:-3]}")
        stem = next((entry[: -len(end)] for end in _ALONE if entry.endswith(end)), None)
        if stem is not None and stem not in stems:
            reading.warnings.append(f"{path}: there is no {stem}.in, so it belongs to no test case")
    for inner in folders:
        if inner.name in cases:
            raise ProblemError("is a folder and a test case", file=f"data/{inner.name}")
    return Node(name, tuple(sorted(cases)), tuple(folders))


def group_settings(reading: Reading, name: str) -> Settings | None:
    """The settings in a folder of test data; None when it has none of its own."""
    file = "/".join(part for part in ("data", name, reading.settings_name) if part)
    if not reading.folder.is_file(file):
        return None
    return _settings(reading, file)


def _settings(reading: Reading, file: str) -> Settings:
    return Settings(_Constants(reading.constants, file).put_into(mapping(reading.folder.read(file), file)), file)


class _Constants:
    """Puts constants into the texts of a file of settings, which all together have room for so much."""

    def __init__(self, constants: Mapping[str, str], file: str) -> None:
        self._constants = constants
        self._file = file
        self._room = _MAX_SETTINGS_BYTES

    def put_into(self, value: Any) -> Any:
        if not self._constants:
            return value
        if isinstance(value, str):
            text = with_constants(value.encode("utf-8", "surrogatepass"), self._constants, self._room, self._file)
            self._room -= len(text)
            return text.decode("utf-8", "surrogatepass")
        if isinstance(value, list):
            return [self.put_into(item) for item in value]
        if isinstance(value, dict):
            return {key: self.put_into(item) for key, item in value.items()}
        return value


def input_arguments(settings: Settings, key: str) -> dict[str, tuple[str, ...]]:
    """Arguments of input validators: for all, or by name of the validator.

    Legacy gives strings of words (also as {name: …, flags: …}), 2025-09 sequences.
    """

    def arguments(value: Any) -> tuple[str, ...]:
        if isinstance(value, str):
            return command_line(value)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise settings.error(key, "has to be arguments, or arguments by name of the input validator")

    value = settings.raw(key)
    if isinstance(value, dict):
        if set(value) <= {"name", "flags"} and isinstance(value.get("name"), str):
            return {value["name"]: arguments(value.get("flags") or "")}
        return {name: arguments(inner or "") for name, inner in value.items()}
    return {"": arguments(value)} if value is not None else {}


def read_case(reading: Reading, name: str, settings: CaseSettings) -> Case:
    """One test case with its files; what its own .yaml says goes before the settings of its group."""
    folder, base = reading.folder, f"data/{name}"
    if reading.version != "legacy" and folder.is_file(f"{base}.yaml"):
        settings = _own_settings(reading, f"{base}.yaml", settings)
    answer: Path | None = None
    if folder.is_file(f"{base}.ans"):
        answer = folder.file(f"{base}.ans")
    elif reading.needs_answers:
        raise ProblemError("has no answer file", file=f"{base}.in", hint=f"add {base}.ans")
    else:
        reading.warnings.append(f"{base}.in: has no answer file; the validator of the package is given an empty one")
    arguments = settings.arguments
    if reading.version != "2025-09" and folder.is_file(f"{base}.args"):
        arguments = command_line(folder.text(f"{base}.args", _MAX_ARGUMENT_BYTES))
    files = {}
    if folder.is_folder(f"{base}.files"):
        files = {inner: folder.file(f"{base}.files/{inner}") for inner in folder.walk(f"{base}.files")}
    return Case(
        name=name,
        input=folder.file(f"{base}.in"),
        answer=answer,
        arguments=arguments,
        files=files,
        validator_arguments=settings.validator_arguments,
        hint=settings.hint or _note(folder, f"{base}.hint"),
        description=settings.description or _note(folder, f"{base}.desc"),
        input_arguments=settings.input_arguments,
        full_feedback=settings.full_feedback,
    )


def _note(folder: Folder, name: str) -> str:
    return folder.text(name).strip() if folder.is_file(name) else ""


def _own_settings(reading: Reading, file: str, group: CaseSettings) -> CaseSettings:
    settings = _settings(reading, file)
    found = refined(settings, group)
    reading.warnings += settings.unknown(("input_visualizer_args", "output_visualizer_args"))
    return found


def refined(settings: Settings, above: CaseSettings) -> CaseSettings:
    """What a file says of running cases, over what holds above it (2025-09)."""
    given = settings.raw("output_validator_args")
    if isinstance(given, str):  # the drafts have a string of words
        given = list(command_line(given))
        settings.values["output_validator_args"] = given
    inputs = input_arguments(settings, "input_validator_args")
    return CaseSettings(
        arguments=settings.strings("args", one=False) if "args" in settings else _asked(settings, "args", above.arguments),
        validator_arguments=settings.strings("output_validator_args") if given is not None else above.validator_arguments,
        input_arguments=inputs or above.input_arguments,
        full_feedback=settings.flag("full_feedback", above.full_feedback),
        hint=settings.text("hint", above.hint),
        description=settings.text("description", above.description),
    )


def _asked(settings: Settings, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    settings.raw(key)
    return default


def drop_empty(node: Node) -> None:
    """Refuses groups without test cases: nothing could be said about who passes them."""
    for inner in node.folders:
        if not any(inner.all_cases()):
            raise ProblemError(
                "is a test group without test cases", file=f"data/{inner.name}", hint="remove the folder, or fill it"
            )
        drop_empty(inner)
