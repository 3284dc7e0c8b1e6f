"""Problem packages of ICPC and Kattis: legacy, 2023-07-draft and 2025-09, with what DOMjudge adds.

Source: https://www.kattis.com/problem-package-format/spec/, DOMjudge manual "Problem format".
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from sandbox.grader.model import Group, JudgeProgram, Limits, Problem
from sandbox.grader.packages import legacy, modern, programs, submissions
from sandbox.grader.packages.files import Folder
from sandbox.grader.packages.settings import Settings, number, shortened
from sandbox.grader.packages.testdata import Node, Reading, drop_empty, scan
from sandbox.grader.packages.yamls import mapping
from sandbox.model.errors import ProblemError

YAML = "problem.yaml"
INI = "domjudge-problem.ini"
_TIMELIMIT = ".timelimit"
VERSIONS = ("legacy", "2023-07-draft", "2025-09")
_SAME_AS = {"legacy-icpc": "legacy", "2023-07": "2023-07-draft", "2025-09-draft": "2025-09", "draft": "2025-09"}
_TYPES = ("pass-fail", "scoring", "multi-pass", "interactive", "submit-answer")
_APART = (("pass-fail", "scoring"), ("multi-pass", "submit-answer"), ("interactive", "submit-answer"))
_FOR_PEOPLE = (
    "uuid", "version", "author", "credits", "source", "source_url", "license", "rights_owner", "embargo_until", "keywords",
)  # fmt: skip
_MAX_SECONDS = 3600
_MOST_UNITS = 1 << 20  # of a size, in the unit that it is given in


@dataclass(frozen=True, slots=True)
class _Domjudge:
    """What DOMjudge's own files say."""

    is_here: bool = False
    name: str = ""
    time_s: float | None = None
    file: str = ""


def read(root: Path) -> Problem:
    """Reads the package in a folder.

    Raises:
        ProblemError: what is wrong, with the file.
    """
    folder = Folder(root)
    domjudge = _domjudge(folder)
    settings = Settings(mapping(folder.read(YAML), YAML) if folder.is_file(YAML) else {}, YAML)
    reading = Reading(folder, _version(settings), constants=_constants(settings))
    limits_settings = settings.below("limits")
    validation, kinds = _kinds(settings)
    reading.scoring = "scoring" in kinds
    limits = _limits(limits_settings, reading, domjudge)
    arguments = settings.arguments("validator_flags")
    custom = None if reading.version != "legacy" and not validation else validation[:1] == ("custom",)
    if reading.version != "legacy" and kinds & {"interactive", "multi-pass"}:
        custom = True
    validator = programs.output_validator(reading, custom=custom, arguments=arguments)
    reading.needs_answers = validator.source is None
    is_modern, tests = _tests(reading, settings, domjudge, arguments)
    grader = programs.found(reading, "graders")
    if len(grader) > 1:
        raise ProblemError("holds several programs; there may be one", file="graders")
    if any(group.score_aggregation == "custom" for group in _all_groups(tests)) and not grader:
        raise ProblemError("asks for the grader of the package, and graders/ has none", file="data/testdata.yaml")
    static = programs.single(reading, "static_validator")
    problem = Problem(
        name=_name(settings, domjudge, folder),
        format=reading.version,
        kinds=kinds,
        limits=limits,
        tests=tests,
        validator=validator,
        root=folder.root,
        input_validators=programs.input_validators(reading),
        static_validator=JudgeProgram(static, builtin="", protocol="ppf", name="static_validator") if static else None,
        grader=JudgeProgram(grader[0], builtin="", protocol="ppf") if grader else None,
        include=programs.included(reading),
        submissions=submissions.read(reading, legacy=reading.version == "legacy" or (reading.scoring and not is_modern)),
        allow_file_writing=settings.flag("allow_file_writing", reading.version != "2025-09"),
        languages=_languages(settings),
        dialect="domjudge" if domjudge.is_here and reading.version == "legacy" else "",
        objective=_objective(settings),
    )
    said = [*settings.unknown(_FOR_PEOPLE), *reading.warnings]
    return dataclasses.replace(problem, warnings=shortened(said))


def _version(settings: Settings) -> str:
    given = settings.text("problem_format_version", "legacy")
    version = _SAME_AS.get(given, given)
    if version not in VERSIONS:
        raise settings.error("problem_format_version", f"is {given!r}; {', '.join(VERSIONS)} can be read")
    return version


def _constants(settings: Settings) -> dict[str, str]:
    """Name → value. A mapping gives a value and other forms: {{name}} and {{name.value}} are one, {{name.tex}} another."""
    below = settings.below("constants")
    found = {}
    for name, given in below.values.items():
        variants = below.below(name) if isinstance(given, dict) else Settings({"value": below.text(name)}, YAML)
        if "value" not in variants:
            raise below.error(name, "has no `value`")
        found[name] = variants.text("value")
        found |= {f"{name}.{variant}": variants.text(variant) for variant in variants.values}
    return found


def _kinds(settings: Settings) -> tuple[tuple[str, ...], frozenset[str]]:
    """The words of `validation`, and the types of the problem."""
    value = settings.raw("type")
    words = value.split() if isinstance(value, str) else list(settings.strings("type"))
    validation = settings.words("validation")
    if validation and validation[0] not in {"default", "custom"}:
        raise settings.error("validation", f"is {' '.join(validation)!r}; it has to begin with default or custom")
    words += [word for word in validation[1:] if word in {"interactive", "multi-pass"}]
    for word in words:
        if word not in _TYPES:
            raise settings.error("type", f"names {word!r}; it has to be of {', '.join(_TYPES)}")
    if "scoring" not in words:
        words.append("pass-fail")
    for one, other in _APART:
        if one in words and other in words:
            raise settings.error("type", f"names {one} and {other}, which exclude each other")
    return validation, frozenset(words)


def _limits(settings: Settings, reading: Reading, domjudge: _Domjudge) -> Limits:
    default = Limits()
    is_legacy = reading.version == "legacy"
    multipliers = settings.below("time_multipliers")
    ac = multipliers.number("ac_to_time_limit", 5.0 if is_legacy else 2.0, low=1)
    tle = multipliers.number("time_limit_to_tle", 2.0 if is_legacy else 1.5, low=1)
    if is_legacy:
        ac = settings.number("time_multiplier", ac, low=1)
        tle = settings.number("time_safety_margin", tle, low=1)
    time_s = settings.number("time_limit", 0.0, low=0.001, high=_MAX_SECONDS) if "time_limit" in settings else domjudge.time_s
    if domjudge.time_s is not None and time_s != domjudge.time_s:
        reading.warnings.append(f"{YAML}: limits.time_limit {time_s:g} s goes before {domjudge.time_s:g} s of {domjudge.file}")
    limits = Limits(
        time_s=default.time_s if time_s is None else time_s,
        time_is_given=time_s is not None,
        ac_to_time_limit=ac,
        time_limit_to_tle=tle,
        time_resolution=settings.number("time_resolution", 1.0, low=0.001, high=_MAX_SECONDS),
        memory_bytes=_size(settings, "memory", default.memory_bytes, 20),
        output_bytes=_size(settings, "output", default.output_bytes, 20),
        code_bytes=_size(settings, "code", default.code_bytes, 10),
        compilation_s=settings.number("compilation_time", default.compilation_s, low=1, high=_MAX_SECONDS),
        compilation_memory_bytes=_size(settings, "compilation_memory", default.compilation_memory_bytes, 20),
        validation_s=settings.number("validation_time", default.validation_s, low=1, high=_MAX_SECONDS),
        validation_memory_bytes=_size(settings, "validation_memory", default.validation_memory_bytes, 20),
        validation_output_bytes=_size(settings, "validation_output", default.validation_output_bytes, 20),
        validation_passes=settings.whole("validation_passes", default.validation_passes, low=1, high=1_000),
    )
    reading.warnings += [*settings.unknown(), *multipliers.unknown()]
    return limits


def _size(settings: Settings, key: str, default: int, shift: int) -> int:
    """A size that is given in MiB or KiB (`shift` is 20 or 10), in bytes."""
    unit = "MiB" if shift == 20 else "KiB"
    given = settings.number(key, default / (1 << shift), high=math.inf)
    size = given * (1 << shift)
    if not 1 <= size <= _MOST_UNITS << shift:
        allowed = f"it has to be more than 0 (at least one byte) and at most {_MOST_UNITS} {unit}"
        raise settings.error(key, f"is {settings.raw(key)} {unit}; {allowed}")
    return math.ceil(size)


def _tests(reading: Reading, settings: Settings, domjudge: _Domjudge, arguments: tuple[str, ...]) -> tuple[bool, Group]:
    """Whether groups count as 2025-09 has it, and the root group."""
    is_modern = reading.version == "2025-09" or (reading.version != "legacy" and _is_later_draft(reading))
    other = "testdata.yaml"
    if is_modern and reading.folder.is_folder("data"):
        reading.settings_name = "test_group.yaml" if reading.version == "2025-09" else reading.settings_name
    if reading.settings_name == other:
        other = "test_group.yaml"
    root = scan(reading)
    for name in _folders(root):
        file = f"data/{name}/{other}" if name else f"data/{other}"
        if reading.folder.is_file(file):
            reading.warnings.append(f"{file}: was ignored; in {reading.version} these settings are in {reading.settings_name}")
    grading = settings.below("grading")
    overrides = {key: grading.text(key) for key in ("accept_score", "reject_score", "range", "on_reject") if key in grading}
    if "on_reject" in overrides:  # before the format was called legacy
        overrides["on_reject"] = "continue" if overrides["on_reject"] == "grade" else "break"
    if not is_modern:
        rules = legacy.Legacy(arguments, overrides, domjudge.is_here and reading.version == "legacy")
        drop_empty(root)
        return False, legacy.groups(reading, root, rules)
    has_static = bool(reading.folder.names("static_validator"))
    drop_empty(root)
    return True, modern.groups(reading, root, has_static_validator=has_static)


def _folders(node: Node) -> list[str]:
    return [node.name, *(name for inner in node.folders for name in _folders(inner))]


def _is_later_draft(reading: Reading) -> bool:
    """Whether a draft of 2023-07 is one of those that count like 2025-09: they have a mapping `scoring`, or test_group.yaml."""
    for name in ("", "sample", "secret", *(f"secret/{inner}" for inner in reading.folder.names("data/secret"))):
        below = f"data/{name}".rstrip("/")
        if reading.folder.is_file(f"{below}/test_group.yaml"):
            reading.settings_name = "test_group.yaml"
            return True
        file = f"{below}/testdata.yaml"
        if reading.folder.is_file(file) and isinstance(mapping(reading.folder.read(file), file).get("scoring"), dict):
            return True
    return False


def _all_groups(group: Group) -> list[Group]:
    return [group, *(found for inner in group.groups for found in _all_groups(inner))]


def _name(settings: Settings, domjudge: _Domjudge, folder: Folder) -> str:
    """English, or the first one."""
    value = settings.raw("name")
    if isinstance(value, dict):
        names = settings.below("name")
        return names.text("en") or next((names.text(key) for key in names.values), folder.root.name)
    return settings.text("name") or domjudge.name or folder.root.name


def _languages(settings: Settings) -> tuple[str, ...]:
    value = settings.raw("languages")
    words = tuple(value.split()) if isinstance(value, str) else settings.strings("languages")
    return () if words == ("all",) else words


def _objective(settings: Settings) -> Literal["max", "min"]:
    grading = settings.below("grading")
    return cast("Literal['max', 'min']", grading.choice("objective", ("max", "min"), "max"))


def _domjudge(folder: Folder) -> _Domjudge:
    """Source: DOMjudge manual: `key = value` lines with or without quotes; .timelimit holds seconds."""
    found = {}
    if folder.is_file(INI):
        for line in folder.text(INI).splitlines():
            key, separator, value = line.partition("=")
            if separator and not line.lstrip().startswith((";", "#")):
                found[key.strip()] = value.strip().strip("'\"")
    given, file = found.get("timelimit"), INI
    if given is None and folder.is_file(_TIMELIMIT):
        given, file = folder.text(_TIMELIMIT, 1024).strip(), _TIMELIMIT
    if given is None:
        return _Domjudge(folder.is_file(INI), found.get("name", ""))
    seconds = number(given)
    if seconds is None or not 0 < seconds <= _MAX_SECONDS:
        raise ProblemError(f"the time limit is {given[:50]!r}; it has to be seconds, at most {_MAX_SECONDS}", file=file)
    return _Domjudge(is_here=True, name=found.get("name", ""), time_s=seconds, file=file)
