"""Versions of languages: found in what a compiler says of itself, and chosen as npm does ("3", "^3.8", ">=3.6 <4"). Pure."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"\d+(?:\.\d+)+|\d+")
_LONGEST = 100
_PART = re.compile(r"(\^|~>?|>=|<=|>|<|=)?\s*v?(\d{1,9}|[xX*])(?:\.(\d{1,9}|[xX*]))?(?:\.(\d{1,9}|[xX*]))?(?:[-+][\w.+-]*)?")
_HYPHEN = re.compile(r"(\S+)\s+-\s+(\S+)")
Version = tuple[int, int, int]


def of_banner(banner: str) -> str:
    """The version in such as "g++ (Debian 12.2.0-14) 12.2.0", always with three numbers; "0.0.0" where there is none."""
    dotted = [word for word in _NUMBER.findall(banner) if "." in word] or _NUMBER.findall(banner) or ["0"]
    return ".".join(map(str, _numbers(dotted[0])))


def matches(version: str, selector: str) -> bool:
    """Whether a version fits. A selector that is none fits nothing."""
    if len(selector) > _LONGEST:
        return False
    return any(_fits(_numbers(version), part.strip()) for part in selector.split("||"))


def _numbers(version: str) -> Version:
    found = [int(word[:9]) for word in version.split(".")[:3]]
    first, second, third = (*found, 0, 0, 0)[:3]
    return first, second, third


def _fits(version: Version, part: str) -> bool:
    if part in ("", "*", "x", "X", "latest"):
        return True
    between = _HYPHEN.fullmatch(part)
    if between is not None:
        return _fits(version, f">={between[1]}") and _fits(version, f"<={between[2]}")
    rest = part
    while rest:
        found = _PART.match(rest)
        if found is None or (found.end() < len(rest) and not rest[found.end()].isspace()):
            return False
        if not _compare(version, found[1] or "", [found[2], found[3], found[4]]):
            return False
        rest = rest[found.end() :].strip()
    return True


def _compare(version: Version, operator: str, words: list[str | None]) -> bool:
    given = [int(word) for word in words if word is not None and word.isdigit()]
    wild = next((number for number, word in enumerate(words) if word is None or not word.isdigit()), 3)
    given = given[:wild]
    low = tuple((*given, 0, 0, 0)[:3])
    same = version[: len(given)] == tuple(given)
    if operator in ("", "="):
        return same
    if operator == "^":
        fixed = next((number + 1 for number, value in enumerate(given) if value), len(given))
        return version >= low and version[:fixed] == low[:fixed]
    if operator.startswith("~"):
        return version >= low and version[: min(2, len(given))] == low[: min(2, len(given))]
    return {
        ">=": version >= low,
        "<=": version <= low or same,
        ">": version > low and not same,
        "<": version < low,
    }[operator]
