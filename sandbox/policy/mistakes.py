"""What the schema finds wrong with a file, in plain words: where, what was expected, the nearest known word."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from sandbox.model.errors import ProfileError
from sandbox.policy.lines import line_of
from sandbox.policy.schema import ProfileFile
from sandbox.policy.seccomp.tables import nearest

# pydantic's kinds of error → what was expected
_EXPECTED = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "a text in quotes",
    "list_type": "a list in brackets",
    "dict_type": "a table",
    "model_type": "a table",
}
_LISTS_OF_TABLES = ("mounts", "seccomp.rules")
_MORE = 5


def in_words(items: Sequence[Any], file: str, lines: Mapping[str, int]) -> ProfileError:
    """One error for all that pydantic found in a file."""
    return combined([_one(item, file, lines) for item in items], file)


def combined(problems: Sequence[ProfileError], file: str) -> ProfileError:
    """The first of several errors by line, those of `file` before others; the rest stands in its hint."""
    first, *others = sorted(problems, key=lambda problem: (problem.file != file, problem.file, problem.line))
    if others:
        more = f"{len(others)} more: " + " | ".join(map(str, others[:_MORE]))
        first.hint = "; ".join(filter(None, [first.hint, more]))
    return first


def _one(item: Any, file: str, lines: Mapping[str, int]) -> ProfileError:
    steps = [step for step in item["loc"] if step != "[key]"]
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")
    message, hint = _words(item, steps, path)
    return ProfileError(message, file=file, line=line_of(path, lines), path=path, hint=hint)


def _words(item: Any, steps: list[Any], path: str) -> tuple[str, str]:
    """(message, hint)."""
    kind, given = item["type"], item["input"]
    if kind == "value_error":
        return item["msg"].removeprefix("Value error, "), ""
    if kind == "extra_forbidden":
        known = _keys_at(steps[:-1])
        hint = nearest(str(steps[-1]), known) or (f"known keys: {', '.join(sorted(known))}" if known else "")
        return f"unknown key {steps[-1]!r}", hint
    if kind == "literal_error":
        expected = item["ctx"]["expected"]
        return f"expected {expected}, not {shown(given)}", nearest(str(given), re.findall(r"'([^']*)'", expected))
    if kind == "missing":
        return "must be said", ""
    if kind == "list_type" and path in _LISTS_OF_TABLES:
        return f"expected a list of tables, not {shown(given)}", f"write [[{path}]]"
    if kind == "model_type":
        header = re.sub(r"\[\d+\]$", "", path)
        return f"expected a table, not {shown(given)}", f"write [[{header}]]" if header != path else f"write [{path}]"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, not {shown(given)}", ""
    return f"{item['msg']}, not {shown(given)}", ""


def shown(value: object) -> str:
    """A value as the file has it; of lists and tables only what they are."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    return repr(value) if isinstance(value, str) else str(value)


def _keys_at(steps: list[Any]) -> set[str]:
    """The keys that the schema knows at a place."""
    model: type[BaseModel] = ProfileFile
    for step in steps:
        if isinstance(step, int):
            continue
        kind: Any = model.model_fields[step].annotation if step in model.model_fields else None
        for candidate in (kind, *getattr(kind, "__args__", ())):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                model = candidate
                break
        else:
            return set()
    return set(model.model_fields)
