"""Data as TOML text: dotted keys, a line each; lists of tables as inline tables, a line each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_OCTAL = ("umask",)


def lines(data: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The lines of a table. Pairs of texts are a table too."""
    for name, value in data.items():
        key = f"{prefix}.{_key(name)}" if prefix else _key(name)
        if isinstance(value, list) and value and all(_is_pair(item) for item in value):
            value = dict(value)  # noqa: PLW2901 - the same data in the form of the file
        if isinstance(value, Mapping):
            yield from lines(value, key)
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            yield f"{key} = ["
            yield from (f"    {inline(item)}," for item in value)
            yield "]"
        else:
            yield f"{key} = {value:#05o}" if name in _OCTAL else f"{key} = {inline(value)}"


def inline(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(name)} = {inline(item)}" for name, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(inline(item) for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return _text(value) if isinstance(value, str) else str(value)


def _is_pair(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 2 and all(isinstance(part, str) for part in item)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(value: str) -> str:
    """A basic string; what could steer a terminal is escaped, as JSON and TOML do it."""
    quoted = json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else _escaped(char) for char in quoted)


def _escaped(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
