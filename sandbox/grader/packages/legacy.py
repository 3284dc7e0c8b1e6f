"""Test groups as the legacy format counts them: testdata.yaml, inherited from folder to folder, and flags of its default grader.

Keys that a folder does not give come from the folder above, as problemtools has it; the text of the format would start again from
the defaults. DOMjudge reads the same files otherwise: nothing is inherited, and accept_score is what a whole group is worth.

Source: problem package format, legacy: "Test Data Groups", "Default Grader Specification".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from sandbox.grader.model import Group
from sandbox.grader.packages import settings as values
from sandbox.grader.packages.settings import Settings
from sandbox.grader.packages.testdata import CaseSettings, Node, Reading, group_settings, input_arguments, read_case

Aggregation = Literal["pass-fail", "sum", "min", "max", "avg", "custom"]
VerdictOf = Literal["first_error", "worst_error", "always_accept", "accept_if_any_accepted"]
_VERDICTS = ("worst_error", "first_error", "always_accept")
_SCORES = ("sum", "avg", "min", "max")
_FLAGS = ("ignore_sample", "accept_if_any_accepted")


@dataclass(frozen=True, slots=True)
class Legacy:
    """What problem.yaml says about every group.

    Attributes:
        validator_flags: come before those of the group.
        overrides: keys of the old `grading` in problem.yaml; they win over testdata.yaml.
        domjudge: count scores as DOMjudge does.
    """

    validator_flags: tuple[str, ...] = ()
    overrides: Mapping[str, str] = field(default_factory=dict)
    domjudge: bool = False


def groups(reading: Reading, root: Node, legacy: Legacy) -> Group:
    """The root group."""
    return _group(reading, root, {}, legacy, ignored=False)


def _group(reading: Reading, node: Node, above: Mapping[str, Any], legacy: Legacy, *, ignored: bool) -> Group:
    own = group_settings(reading, node.name)
    given = dict(own.values) if own else {}
    inherited = {} if legacy.domjudge and reading.scoring else above
    settings = Settings({**inherited, **given, **legacy.overrides}, own.file if own else f"data/{node.name}")
    flags = settings.words("grader_flags")
    verdict_of, otherwise = _verdict_mode(flags)
    low, high = _range(settings)
    cases = _case_settings(settings, legacy, node)
    aggregation, accept = _scores(settings, flags, reading)
    if legacy.domjudge and reading.scoring and "accept_score" in given and not node.folders:
        aggregation = "min"  # all cases, or nothing: what the sum of the group would be has no meaning there
    below = {key: value for key, value in settings.values.items() if key not in legacy.overrides}
    # ignore_sample is a flag of the root alone
    below["grader_flags"] = " ".join(flag for flag in flags if flag != "ignore_sample")
    group = Group(
        name=node.name,
        cases=tuple(read_case(reading, name, cases) for name in node.cases),
        groups=tuple(
            _group(reading, inner, below, legacy, ignored=_is_ignored(reading, inner, flags, legacy)) for inner in node.folders
        ),
        score_aggregation=aggregation,
        accept_score=accept,
        reject_score=settings.number("reject_score", 0.0) if reading.scoring else 0.0,
        max_score=high if reading.scoring else None,
        min_score=low if reading.scoring else None,
        on_reject=cast("Literal['break', 'continue']", settings.choice("on_reject", ("break", "continue"), "break")),
        verdict_of=verdict_of,
        otherwise=otherwise,
        ignored=ignored,
        grader_arguments=flags if aggregation == "custom" else (),
    )
    if own:
        _warn(reading, own, settings, flags, aggregation)
    return group


def _warn(reading: Reading, own: Settings, settings: Settings, flags: tuple[str, ...], aggregation: Aggregation) -> None:
    reading.warnings += settings.unknown(among=own.values)
    if aggregation != "custom" and "grader_flags" in own:
        known = {*_VERDICTS, *_SCORES, *_FLAGS}
        reading.warnings += [f"{own.file}: the grader has no flag {flag!r}" for flag in flags if flag not in known]


def _is_ignored(reading: Reading, node: Node, flags: tuple[str, ...], legacy: Legacy) -> bool:
    if node.name != "sample":
        return False
    # DOMjudge counts only groups that have settings of their own.
    alone = legacy.domjudge and reading.scoring and group_settings(reading, "sample") is None
    return "ignore_sample" in flags or alone


def _verdict_mode(flags: tuple[str, ...]) -> tuple[VerdictOf, Literal["first_error", "worst_error"]]:
    """The last one counts."""
    mode = next((flag for flag in reversed(flags) if flag in _VERDICTS), "worst_error")
    if "accept_if_any_accepted" in flags and mode != "always_accept":
        return "accept_if_any_accepted", "first_error" if mode == "first_error" else "worst_error"
    return cast("VerdictOf", mode), "worst_error"


def _scores(settings: Settings, flags: tuple[str, ...], reading: Reading) -> tuple[Aggregation, float]:
    grading = settings.choice("grading", ("default", "custom"), "default")
    accept = settings.number("accept_score", 1.0) if reading.scoring else 1.0
    if grading == "custom":
        return "custom", accept
    if not reading.scoring:
        return "pass-fail", accept
    return cast("Aggregation", next((flag for flag in reversed(flags) if flag in _SCORES), "sum")), accept


def _range(settings: Settings) -> tuple[float | None, float | None]:
    """Source: "Two floating-point numbers A and B (inf, -inf, +inf are allowed)"."""
    words = settings.words("range")
    if not words:
        return None, None
    found = [number for number in map(values.number, words) if number is not None]
    if len(words) != 2 or len(found) != 2 or found[0] > found[1]:
        raise settings.error("range", f"is {' '.join(words)!r}; it has to be two numbers, the smaller one first")
    low, high = found
    return (low if math.isfinite(low) else None), (high if math.isfinite(high) else None)


def _case_settings(settings: Settings, legacy: Legacy, node: Node) -> CaseSettings:
    key = "output_validator_args" if "output_validator_args" in settings else "output_validator_flags"
    output = settings.raw(key)
    if isinstance(output, dict):
        output = output.get("flags") or ""
    if isinstance(output, list) and all(isinstance(item, str) for item in output):
        arguments = tuple(output)
    elif output is None or isinstance(output, str):
        arguments = values.command_line(output or "")
    else:
        raise settings.error(key, "has to be a string of arguments")
    inputs = input_arguments(settings, "input_validator_args") or input_arguments(settings, "input_validator_flags")
    return CaseSettings(
        validator_arguments=(*legacy.validator_flags, *arguments) if arguments else None,
        input_arguments=inputs,
        full_feedback=settings.flag("full_feedback", node.name.startswith("sample")),
    )
