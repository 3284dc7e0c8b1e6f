"""Keys of a YAML file, read one by one with the type they must have. What nobody asked for is named in a warning."""

from __future__ import annotations

import difflib
import math
import re
import shlex
from collections.abc import Iterable
from typing import Any

from sandbox.model.errors import ProblemError

# Source: problem package format 2025-09, "General requirements" (floating-point numbers)
_NUMBER = re.compile(r"[+-]?(\d*\.\d+|\d+\.|\d+)([eE][+-]?\d+)?", re.ASCII)
MAX_WARNINGS = 100
_INFINITE = re.compile(r"[+-]?\.?inf", re.ASCII | re.IGNORECASE)
_FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def number(text: str) -> float | None:
    """The number that the text is; None when it is none. "inf" is one: some bounds are written so."""
    text = text.strip()
    if _INFINITE.fullmatch(text):
        return -math.inf if text.startswith("-") else math.inf
    if len(text) > 100 or not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def command_line(text: str) -> tuple[str, ...]:
    """The arguments in a text: words, of which quotes make one, as for a shell. Nothing else has a meaning in it."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
    try:
        return tuple(lexer)
    except ValueError:  # a quote that is not closed is a letter
        return tuple(text.split())


def shortened(warnings: list[str]) -> tuple[str, ...]:
    """Each warning once, and not more than a reader can use."""
    each = tuple(dict.fromkeys(warnings))
    return each if len(each) <= MAX_WARNINGS else (*each[:MAX_WARNINGS], f"… and {len(each) - MAX_WARNINGS} more warnings")


class Settings:
    """A mapping of a YAML file.

    Attributes:
        values: what the file holds; a key without a value counts as not given.
        file: for messages.
        where: of this mapping in the file, such as "limits.".
    """

    def __init__(self, values: dict[str, Any], file: str, where: str = "") -> None:
        self.values = {key: value for key, value in values.items() if value is not None}
        self.file = file
        self.where = where
        self._asked: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def error(self, key: str, message: str) -> ProblemError:
        """An error about one key."""
        return ProblemError(f"{self.where}{key} {message}", file=self.file)

    def raw(self, key: str) -> Any:
        """The value as the file has it; None when it is not given."""
        self._asked.add(key)
        return self.values.get(key)

    def text(self, key: str, default: str = "") -> str:
        """A string."""
        value = self.raw(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.error(key, "has to be text")
        return value

    def choice(self, key: str, options: tuple[str, ...], default: str) -> str:
        """One of some words."""
        value = self.text(key, default)
        if value not in options:
            raise self.error(key, f"is {value!r}; it has to be one of {', '.join(options)}")
        return value

    def number(self, key: str, default: float, *, low: float = -math.inf, high: float = 1e15) -> float:
        """A finite number within bounds."""
        value = self.raw(key)
        if value is None:
            return default
        found = number(value) if isinstance(value, str) else None
        if found is None or not math.isfinite(found):
            raise self.error(key, f"is {value!r}; it has to be a number")
        if not low <= found <= high:
            raise self.error(key, f"is {found:g}; it has to be from {low:g} to {high:g}")
        return found

    def whole(self, key: str, default: int, *, low: int = 0, high: int = 10**9) -> int:
        """A whole number within bounds."""
        value = self.number(key, default, low=low, high=high)
        if value != int(value):
            raise self.error(key, f"is {value:g}; it has to be a whole number")
        return int(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.raw(key)
        if value is None:
            return default
        found = _FLAGS.get(value.lower()) if isinstance(value, str) else None
        if found is None:
            raise self.error(key, f"is {value!r}; it has to be true or false")
        return found

    def strings(self, key: str, *, one: bool = True) -> tuple[str, ...]:
        """A sequence of strings; with `one`, a string alone is a sequence of one."""
        value = self.raw(key)
        if value is None:
            return ()
        if isinstance(value, str) and one:
            return (value,)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(key, "has to be a sequence of strings")
        return tuple(value)

    def arguments(self, key: str) -> tuple[str, ...]:
        """The arguments in a string."""
        return command_line(self.text(key))

    def words(self, key: str) -> tuple[str, ...]:
        """The words of a string."""
        return tuple(self.text(key).split())

    def below(self, key: str) -> Settings:
        """A mapping inside; an empty one when it is not given."""
        value = self.raw(key)
        if value is not None and not isinstance(value, dict):
            raise self.error(key, "has to be a mapping")
        return Settings(value or {}, self.file, f"{self.where}{key}.")

    def unknown(self, harmless: Iterable[str] = (), among: Iterable[str] | None = None) -> list[str]:
        """A warning for each key (of those in `among`) that nobody asked for."""
        known = self._asked | set(harmless)
        said = []
        for key in self.values if among is None else among:
            if key not in known:
                close = difflib.get_close_matches(key, known, 1)
                hint = f" (did you mean {close[0]!r}?)" if close else ""
                said.append(f"{self.file}: {self.where}{key} is not known and was ignored{hint}")
        return said
