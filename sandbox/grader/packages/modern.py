"""Test groups as 2025-09 counts them: test_group.yaml, maximum scores, groups that need others to pass.

Later drafts of 2023-07 say it in a mapping `scoring` of testdata.yaml and share out what is not given; they are read here too.

Source: problem package format 2025-09: "Test data configuration", "Result aggregation", "Static validation test cases".
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

from sandbox.grader.model import Group
from sandbox.grader.packages.settings import Settings
from sandbox.grader.packages.testdata import CaseSettings, Node, Reading, group_settings, read_case, refined
from sandbox.model.errors import ProblemError

Aggregation = Literal["pass-fail", "sum", "min"]
_SCORE_KEYS = ("max_score", "score_aggregation", "require_pass")
_VISUALIZERS = ("input_visualizer_args", "output_visualizer_args")
_DEFAULT_MAXIMUM = 100.0  # of secret


@dataclass(frozen=True, slots=True)
class _Rules:
    """How a group counts, as its file says it.

    Attributes:
        maximum: infinite: unbounded; None: not given.
        static: the maximum of the static validation here; None: there is none.
    """

    file: str
    maximum: float | None = None
    aggregation: Aggregation | None = None
    require: tuple[str, ...] = ()
    static: float | None = None
    static_arguments: tuple[str, ...] = ()
    static_is_pass_fail: bool = False


def groups(reading: Reading, root: Node, *, has_static_validator: bool) -> Group:
    """The root group."""
    _, above = _read(reading, root, CaseSettings())
    inner = []
    for node in root.folders:
        rules, cases = _read(reading, node, above)
        if rules.static is not None and not has_static_validator:
            raise ProblemError("asks for static validation, and the package has no static_validator/", file=rules.file)
        inner.append(_sample(reading, node, rules, cases) if node.name == "sample" else _secret(reading, node, rules, cases))
    if not reading.scoring:
        return Group("", groups=tuple(inner))
    _check_requirements(inner)
    # The score of secret is that of the submission; a sample that fails stops nothing by itself.
    return Group("", groups=tuple(inner), score_aggregation="sum", on_reject="continue", bounded_cases=True)


def _read(reading: Reading, node: Node, above: CaseSettings) -> tuple[_Rules, CaseSettings]:
    file = f"data/{node.name}".rstrip("/")
    settings = group_settings(reading, node.name)
    if settings is None:
        return _Rules(file), CaseSettings(
            above.arguments, above.validator_arguments, above.input_arguments, above.full_feedback or node.name == "sample"
        )
    cases = refined(settings, above if node.name != "sample" or "full_feedback" in settings else _shown(above))
    rules = _rules(reading, settings, allowed=node.name.startswith("secret"))
    reading.warnings += settings.unknown((*_VISUALIZERS, *_SCORE_KEYS))
    return rules, cases


def _shown(above: CaseSettings) -> CaseSettings:
    return CaseSettings(above.arguments, above.validator_arguments, above.input_arguments, full_feedback=True)


def _rules(reading: Reading, settings: Settings, *, allowed: bool) -> _Rules:
    static, static_arguments = _static(reading, settings)
    draft = settings.below("scoring") if "scoring" in settings else None
    maximum_key, aggregation_key, require_key = _SCORE_KEYS
    if draft is not None:
        maximum_key, aggregation_key = "score", "aggregation"
        require_key = "require-pass" if "require-pass" in draft else "require_pass"
    found = draft or settings
    given = [key for key in (maximum_key, aggregation_key, require_key) if key in found]
    if given and not (allowed and reading.scoring):
        where = "in sample and in data itself" if reading.scoring else "for problems that are not of the type scoring"
        reading.warnings.append(f"{settings.file}: {', '.join(given)} is not permitted {where} and was ignored")
        return _Rules(settings.file, static=static, static_arguments=static_arguments)
    maximum: float | None = None
    if maximum_key in found:
        unbounded = found.raw(maximum_key) == "unbounded"
        maximum = math.inf if unbounded else float(found.whole(maximum_key, 0))
    aggregation = cast("Aggregation | Literal['']", found.choice(aggregation_key, ("pass-fail", "sum", "min", ""), ""))
    require = found.strings(require_key)
    if draft is not None:
        reading.warnings += draft.unknown()
    is_pass_fail = settings.raw("static_validation_score") == "pass-fail"
    return _Rules(settings.file, maximum, aggregation or None, require, static, static_arguments, is_pass_fail)


def _static(reading: Reading, settings: Settings) -> tuple[float | None, tuple[str, ...]]:
    """Source: static_validation_score, static_validator_args; the drafts: static_validation: true, or {args, score}."""
    draft = settings.raw("static_validation")
    if isinstance(draft, dict):
        below = settings.below("static_validation")
        found = below.number("score", 0.0, low=0), below.words("args")
        reading.warnings += below.unknown()
        return found
    if draft is not None and settings.flag("static_validation", default=False):
        return 0.0, ()
    arguments = settings.strings("static_validator_args", one=False)
    given = settings.raw("static_validation_score")
    if given is None:
        if arguments:
            raise settings.error("static_validator_args", "needs static_validation_score")
        return None, ()
    return 0.0 if given == "pass-fail" else float(settings.whole("static_validation_score", 0)), arguments


def _sample(reading: Reading, node: Node, rules: _Rules, cases: CaseSettings) -> Group:
    return Group(
        "sample",
        tuple(read_case(reading, name, cases) for name in node.all_cases()),
        static_validation=None if rules.static is None else 0.0,
        static_arguments=rules.static_arguments,
    )


def _secret(reading: Reading, node: Node, rules: _Rules, cases: CaseSettings) -> Group:
    if node.cases and node.folders:
        mistake = "has test cases and groups side by side; it may have one or the other"
        if reading.scoring:
            raise ProblemError(mistake, file="data/secret")
        reading.warnings.append(f"data/secret: {mistake}")
    if not reading.scoring:
        parts = [_read(reading, inner, cases) for inner in node.folders]
        return Group(
            "secret",
            tuple(read_case(reading, name, cases) for name in node.cases),
            tuple(_leaf(reading, inner, *part, None, None) for inner, part in zip(node.folders, parts, strict=True)),
            static_validation=rules.static,
            static_arguments=rules.static_arguments,
        )
    maximum = _DEFAULT_MAXIMUM if rules.maximum is None else rules.maximum
    aggregation = rules.aggregation or "sum"
    if not node.folders:
        return _leaf(reading, node, rules, cases, aggregation, maximum)
    parts = [_read(reading, inner, cases) for inner in node.folders]
    shared = _shared(reading, maximum, aggregation, [part[0] for part in parts], rules.static or 0.0)
    inner_groups = []
    for inner, (inner_rules, inner_cases) in zip(node.folders, parts, strict=True):
        inner_aggregation = inner_rules.aggregation or "pass-fail"
        inner_maximum = shared if inner_rules.maximum is None else inner_rules.maximum
        if aggregation == "pass-fail" and inner_aggregation != "pass-fail":
            raise ProblemError("has to be pass-fail as secret is", file=inner_rules.file)
        if maximum < math.inf and inner_maximum == math.inf:
            raise ProblemError(
                "has no max_score",
                file=inner_rules.file,
                hint=f"secret has at most {maximum:g}: give every group a max_score, or let secret be unbounded",
            )
        inner_groups.append(_leaf(reading, inner, inner_rules, inner_cases, inner_aggregation, inner_maximum))
    if aggregation == "pass-fail" and maximum == math.inf:
        raise ProblemError("is pass-fail and unbounded; it needs a max_score", file=rules.file)
    return Group(
        "secret",
        groups=tuple(inner_groups),
        score_aggregation=aggregation,
        bounded_cases=True,
        max_score=None if maximum == math.inf else maximum,
        on_reject="continue" if aggregation == "sum" else "break",
        require_pass=rules.require,
        static_validation=rules.static,
        static_arguments=rules.static_arguments,
    )


def _shared(reading: Reading, maximum: float, aggregation: Aggregation, inner: list[_Rules], static: float) -> float:
    """The maximum of a group that gives none: unbounded; in the drafts its share of what the others leave.

    Source: 2023-07-draft, "Maximum Score Inference".
    """
    silent = sum(1 for rules in inner if rules.maximum is None)
    if reading.version == "2025-09" or maximum == math.inf or not silent:
        return math.inf
    if aggregation == "min":
        return maximum
    left = maximum - static - sum(rules.maximum or 0.0 for rules in inner)
    if left < 0:
        raise ProblemError(f"its groups have more than its {maximum:g} points", file="data/secret")
    return left / silent


def _leaf(
    reading: Reading, node: Node, rules: _Rules, cases: CaseSettings, aggregation: Aggregation | None, maximum: float | None
) -> Group:
    """A group of test cases; folders further down are only folders. Without `aggregation` the problem has no scores."""
    names = sorted(node.all_cases())
    static = rules.static or 0.0
    each = 1.0
    if aggregation is not None and maximum is not None:
        if aggregation == "pass-fail" and maximum == math.inf:
            raise ProblemError("is pass-fail and unbounded; it needs a max_score", file=rules.file)
        if aggregation == "pass-fail" and static:
            raise ProblemError("is pass-fail; its static validation can have no score", file=rules.file)
        if aggregation == "sum":
            each = (maximum - static) / max(len(names), 1)
        elif aggregation == "min":
            each = maximum
        if aggregation != "pass-fail" and rules.static_is_pass_fail:
            raise ProblemError("static_validation_score is pass-fail, and the group is not", file=rules.file)
        if each < 0:
            raise ProblemError(f"static_validation_score {static:g} is more than max_score {maximum:g}", file=rules.file)
    return Group(
        node.name,
        tuple(read_case(reading, name, cases) for name in names),
        score_aggregation=aggregation or "pass-fail",
        accept_score=each,
        bounded_cases=aggregation is not None,
        max_score=None if maximum is None or maximum == math.inf else maximum,
        on_reject="continue" if aggregation == "sum" else "break",
        require_pass=rules.require,
        static_validation=rules.static,
        static_arguments=rules.static_arguments,
    )


def _check_requirements(top: Iterable[Group]) -> None:
    """Source: "Group dependencies"."""
    known: dict[str, Group] = {}
    for group in top:
        for inner in (group, *group.groups):
            for name in inner.require_pass:
                file = f"data/{inner.name}"
                if inner.name == "secret" and name != "sample":
                    raise ProblemError(f"require_pass names {name!r}; secret may only need sample", file=file)
                if name not in known or name == "secret":
                    raise ProblemError(f"require_pass names {name!r}, which is no group before this one", file=file)
                if known[name].score_aggregation != "pass-fail":
                    raise ProblemError(f"require_pass names {name!r}, which is not pass-fail", file=file)
            known[inner.name] = inner
