"""How a failure of ours ends the command: one line on stderr (or one JSON object), and 125, 126 or 127.

The numbers are those of container tools (docker-run(1), "Exit Status"), so that a payload's own code can pass through.
"""

from __future__ import annotations

import os
import sys

from sandbox.cli.text import emit, one_line
from sandbox.model.errors import CommandNotFound, NotExecutable, SandboxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OWN_ERROR = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127
KILLED = 137
INTERRUPTED = 130
BROKEN_PIPE = 141
# The names of the library's arguments → ours
_OPTIONS = {
    r"allow_degraded(=True)?": "--allow-degraded",
    "files=": "--file",
    "env=": "--env",
    "mounts=": "--mount",
    "limits=": "--limit",
}


class ReaderGone(Exception):
    """Nobody reads our standard output any more."""


def exit_code(error: BaseException) -> int:
    """125, 126 or 127."""
    if isinstance(error, CommandNotFound):
        return NOT_FOUND
    if isinstance(error, NotExecutable):
        return NOT_EXECUTABLE
    return OWN_ERROR


def to_dict(error: BaseException) -> dict[str, Any]:
    """The JSON form: {"error": {"class", "message", "hint", "retryable"}}."""
    hint, retryable, message = "", False, str(error)
    if isinstance(error, SandboxError):
        hint, retryable = error.hint, error.retryable
        message = message.removesuffix(f"; {hint}") if hint else message
    words = {"message": in_our_words(message), "hint": in_our_words(hint)}
    return {"error": {"class": type(error).__name__, **words, "retryable": retryable}}


def show(error: BaseException, *, as_json: bool) -> int:
    """Print the error where it belongs. Returns the exit code."""
    if as_json:
        try:
            say_json(to_dict(error))
        except (OSError, SandboxError) as unwritten:
            complain(str(unwritten))
        else:
            return exit_code(error)
    complain(in_our_words(str(error)) or type(error).__name__)
    return exit_code(error)


def in_our_words(message: str) -> str:
    """The names of options in place of those of arguments of the library."""
    import re

    for argument, option in _OPTIONS.items():
        message = re.sub(rf"(?<![\w-]){argument}(?!\w)", option, message)
    return message


def say_json(value: Any) -> None:
    """One JSON value on stdout: indented for a person, one line for a program. ASCII only, so nothing reaches a terminal raw."""
    import json

    emit(json.dumps(value, indent=2 if sys.stdout.isatty() else None) + "\n")


def complain(message: str) -> None:
    """One line on stderr. A stderr that is closed or full is nobody's error."""
    text = f"sandbox: {one_line(message)}\n"
    try:
        os.write(2, text.encode("utf-8", "backslashreplace"))
    except OSError:
        return
