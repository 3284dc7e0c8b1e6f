"""The built-in checkers: pure functions of the output and the answer, linear in their size.

"default" is the default output validator of the problem package format, with its flags as words ("case_sensitive",
"float_tolerance 1e-6"). "exact", "lines", "unordered" and "unordered_lines" are plain comparisons. The others are DMOJ's, by
its names, with arguments as "key=value" words.

Source: problem package format, "Default Output Validator"; problemtools `default_validator.cc`; DMOJ `dmoj/checkers/`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sandbox.grader import comparing
from sandbox.grader.comparing import Checked, Same, finite, wrong
from sandbox.model.errors import RequestError

_TOLERANCES = ("float_relative_tolerance", "float_absolute_tolerance", "float_tolerance")
_SWITCHES = ("case_sensitive", "space_change_sensitive")
_INTEGER = re.compile(r"\d{1,3}")
_MAX_WEIGHTS = 100_000


@dataclass(frozen=True, slots=True)
class _Flags:
    """Flags of the default checker. A negative tolerance is none."""

    case_sensitive: bool = False
    space_change_sensitive: bool = False
    relative: float = -1.0
    absolute: float = -1.0


_Arguments = Mapping[str, str]
_Checker = Callable[[bytes, bytes, _Arguments], Checked]


def names() -> tuple[str, ...]:
    """Every built-in checker."""
    return ("default", *_CHECKERS)


def validate(name: str, arguments: Sequence[str] = ()) -> None:
    """Raises RequestError for an unknown checker or flags that it does not know (a judge error, found before any run)."""
    _prepared(name, arguments)


def check(name: str, output: bytes, answer: bytes, arguments: Sequence[str] = ()) -> tuple[bool, str]:
    """(whether the output is right, where the first difference is). Raises RequestError as `validate`.

    Args:
        name: one of `names()`.
        output: of the submission.
        answer: the judge's.
        arguments: flags of the checker.
    """
    checked = _prepared(name, arguments)(output, answer)
    return not checked.message, checked.message


def part(name: str, output: bytes, answer: bytes, arguments: Sequence[str] = ()) -> float:
    """The part of a case's points that the output gets, from 0 to 1: less than all for DMOJ's linecount and linematches only."""
    return _prepared(name, arguments)(output, answer).part


def _prepared(name: str, arguments: Sequence[str]) -> Callable[[bytes, bytes], Checked]:
    """The checker with its arguments understood."""
    if name == "default":
        flags = _flags(arguments)
        return lambda output, answer: _default(output, answer, flags)
    found = _CHECKERS.get(name)
    if found is None:
        raise RequestError(f"there is no checker {name!r}", hint=f"there are {', '.join(names())}")
    checker, keys = found
    given = _pairs(name, arguments, keys)
    return lambda output, answer: checker(output, answer, given)


def _flags(arguments: Sequence[str]) -> _Flags:
    values: dict[str, bool | float] = {}
    words = iter(arguments)
    for word in words:
        if word in _SWITCHES:
            values[word] = True
        elif word in _TOLERANCES:
            number = finite(next(words, "").encode())
            if number is None or number < 0:
                raise RequestError(f"checker default: {word} needs a number of at least 0", hint=f"such as {word} 1e-6")
            if word != "float_absolute_tolerance":
                values["relative"] = number
            if word != "float_relative_tolerance":
                values["absolute"] = number
        else:
            raise RequestError(
                f"checker default: there is no flag {word!r}", hint=f"there are {', '.join((*_SWITCHES, *_TOLERANCES))}"
            )
    return _Flags(**values)  # type: ignore[arg-type]


def _pairs(name: str, arguments: Sequence[str], keys: Mapping[str, str]) -> dict[str, str]:
    """Words as key → value, over the defaults. An empty pattern of values takes any."""
    given: dict[str, str] = {}
    for word in arguments:
        key, _, value = word.partition("=")
        if key not in keys:
            hint = f"it knows {', '.join(keys)}" if keys else "it takes none"
            raise RequestError(f"checker {name}: there is no argument {key!r}", hint=hint)
        if not re.fullmatch(keys[key], value):
            raise RequestError(f"checker {name}: {key} cannot be {value!r}")
        given[key] = value
    return given


def _default(output: bytes, answer: bytes, flags: _Flags) -> Checked:
    """Source: problemtools `default_validator.cc`."""
    if output == answer:  # the usual case, at a thousandth of the price
        return Checked("")
    same = _same_token(flags)
    if flags.space_change_sensitive:
        return comparing.pieces(output, answer, same)
    return comparing.tokens(output, answer, same)


def _same_token(flags: _Flags) -> Same:
    """Whether two tokens that are not the same bytes are equal all the same; why not, in words."""
    use_floats = flags.relative >= 0 or flags.absolute >= 0

    def same(got: bytes, expected: bytes) -> str:
        if use_floats and (wanted := finite(expected)) is not None:
            found = finite(got)
            if found is None:
                return "a number is expected"
            difference = abs(wanted - found)
            if difference <= flags.absolute or difference <= flags.relative * abs(wanted):
                return ""
            return f"the difference of {difference:.3g} is too large"
        if not flags.case_sensitive and got.lower() == expected.lower():
            return ""
        return "they differ"

    return same


def _floats(output: bytes, answer: bytes, given: _Arguments) -> Checked:
    """DMOJ's floats: numbers within a tolerance, other tokens as they are, line by line without empty lines."""
    epsilon = 10.0 ** -int(given.get("precision", "6"))
    mode = given.get("error_mode", "default")

    def same(got: bytes, expected: bytes) -> str:
        wanted = finite(expected)
        if wanted is None:
            return "they differ"
        found = finite(got)
        if found is None:
            return "a number is expected"
        difference = abs(found - wanted)
        relative_ok = difference <= epsilon * abs(wanted)
        if mode == "absolute":
            good = difference <= epsilon
        elif mode == "relative":
            good = relative_ok
        else:
            good = difference <= epsilon or (abs(wanted) >= epsilon and relative_ok)
        return "" if good else f"the difference of {difference:.3g} is too large"

    return comparing.tokens_of_lines(output, answer, same)


def _linecount(output: bytes, answer: bytes, _: _Arguments) -> Checked:
    """The part of lines that are right; more lines than expected are none."""
    got, expected = comparing.filled_lines(output), comparing.filled_lines(answer)
    if len(got) > len(expected):
        return wrong(f"the output has {len(got)} lines, {len(expected)} are expected")
    right = sum(line.strip() == wanted.strip() for line, wanted in zip(got, expected, strict=False))
    if right == len(expected):
        return Checked()
    return Checked(f"{right} of {len(expected)} lines are right", right / len(expected))


def _linematches(output: bytes, answer: bytes, given: _Arguments) -> Checked:
    """Points for each right line; one of them is enough to be right."""
    weights = [int(word) for word in _INTEGER.findall(given.get("point_distribution", "1"))][:_MAX_WEIGHTS]
    got, expected = comparing.filled_lines(output), comparing.filled_lines(answer)
    if len(expected) != len(weights) or not sum(weights):
        raise RequestError(
            f"checker linematches: the answer has {len(expected)} lines, point_distribution has {len(weights)} numbers",
            hint="one number for each line, not all of them 0",
        )
    if given.get("filler_lines_required", "true").lower() in ("true", "1", "yes") and len(got) != len(expected):
        return wrong(f"the output has {len(got)} lines, {len(expected)} are expected")
    pairs = zip(got, expected, weights, strict=False)
    points = sum(weight for line, wanted, weight in pairs if line == wanted)
    if points:
        return Checked(part=points / sum(weights))
    return wrong("no line of the output is right")


def _sorted(output: bytes, answer: bytes, given: _Arguments) -> Checked:
    if given.get("split_on", "lines") == "lines":
        return comparing.unordered_lines(output, answer)
    return comparing.unordered_tokens(output, answer)


def _rstripped(output: bytes, answer: bytes, given: _Arguments) -> Checked:
    return comparing.stripped_lines(output, answer, without_empty="filter_new_line" in given)


_ANY = r"[^\0]*"
_PRECISION = {"precision": r"\d{1,2}"}
_MODE = {"error_mode": "default|relative|absolute"}
_CHECKERS: Mapping[str, tuple[_Checker, Mapping[str, str]]] = {
    "exact": (lambda output, answer, _: comparing.exact(output, answer), {}),
    "lines": (lambda output, answer, _: comparing.lines(output, answer), {}),
    "unordered": (lambda output, answer, _: comparing.unordered_tokens(output, answer), {}),
    "unordered_lines": (lambda output, answer, _: comparing.unordered_lines(output, answer), {}),
    "floats": (_floats, {**_PRECISION, **_MODE}),
    "floatsabs": (lambda output, answer, given: _floats(output, answer, {**given, "error_mode": "absolute"}), _PRECISION),
    "floatsrel": (lambda output, answer, given: _floats(output, answer, {**given, "error_mode": "relative"}), _PRECISION),
    "standard": (lambda output, answer, _: comparing.standard(output, answer), {}),
    "identical": (lambda output, answer, _: comparing.exact(output, answer), {"pe_allowed": _ANY}),
    "sorted": (_sorted, {"split_on": "lines|whitespace"}),
    "linecount": (_linecount, {"feedback": _ANY}),
    "linematches": (
        _linematches,
        {"point_distribution": r"[\[\]\d,\s]*", "filler_lines_required": "(?i)true|false|yes|no|0|1"},
    ),
    "rstripped": (_rstripped, {"filter_new_line": _ANY}),
    "easy": (lambda output, answer, _: comparing.same_letters(output, answer), {}),
}
