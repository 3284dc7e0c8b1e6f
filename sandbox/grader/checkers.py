"""The built-in checkers: pure functions of the output, the answer and the input, linear in their size."""

from __future__ import annotations

from collections.abc import Sequence


def names() -> tuple[str, ...]:
    """Every built-in checker."""
    raise NotImplementedError


def validate(name: str, arguments: Sequence[str] = ()) -> None:
    """Raises RequestError for an unknown checker or flags that it does not know (a judge error, found before any run)."""
    raise NotImplementedError


def check(name: str, output: bytes, answer: bytes, input: bytes = b"", arguments: Sequence[str] = ()) -> tuple[bool, str]:  # noqa: A002
    """(whether the output is right, where the first difference is). Raises RequestError as `validate`."""
    raise NotImplementedError
