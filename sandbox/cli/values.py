"""The values of options as people write them. Every mistake is a RequestError that shows the right form."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sandbox.model.errors import RequestError

if TYPE_CHECKING:
    from sandbox.model.policy import Mount

_MOUNT_WORDS = {"ro", "rw", "exec", "noexec"}


def pairs(items: Iterable[str], option: str, form: str) -> dict[str, str]:
    """NAME=VALUE words as a mapping; the last one wins."""
    out = {}
    for item in items:
        name, sign, value = item.partition("=")
        if not sign or not name:
            raise RequestError(f"{option} {item!r} is not of the form {form}")
        out[name] = value
    return out


def environment(items: Iterable[str]) -> dict[str, str]:
    """NAME=VALUE sets; NAME alone copies our own value."""
    out = {}
    for item in items:
        name, sign, value = item.partition("=")
        if not sign and name not in os.environ:
            raise RequestError(f"--env {name!r}: there is no such variable here", hint="write NAME=VALUE")
        out[name] = value if sign else os.environ[name]
    return out


def mount(text: str) -> Mount:
    """SRC[:DST][:ro|rw][,exec|noexec] as a mount. SRC may be relative to the current directory."""
    from sandbox.model.policy import Mount

    parts = text.split(":")
    words = {"ro"}
    if len(parts) > 1 and set(parts[-1].split(",")) <= _MOUNT_WORDS:
        words = set(parts.pop().split(","))
    if len(parts) > 2 or not all(parts) or {"ro", "rw"} <= words or {"exec", "noexec"} <= words:
        raise RequestError(
            f"--mount {text!r} is not of the form SRC[:DST][:ro|rw][,noexec]", hint="for example ./data:/data:ro,noexec"
        )
    source = os.path.abspath(parts[0])
    target = parts[1] if len(parts) == 2 else source
    if not target.startswith("/") or os.path.normpath(target) != target:
        raise RequestError(f"--mount {text!r}: {target!r} is no clean absolute path inside", hint="for example ./data:/data")
    try:
        os.stat(source)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RequestError(f"--mount {text!r}: the source {source!r} cannot be used: {reason}") from None
    return Mount(
        source=source,
        target=target,
        writable="rw" in words,
        executable="noexec" not in words,
        requirement="required",
        why="asked for on the command line",
    )
