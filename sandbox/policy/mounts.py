"""Mounts as people write them: SRC[:DST][:ro|rw][,exec|noexec]."""

from __future__ import annotations

import os

from sandbox.model.errors import RequestError
from sandbox.model.policy import Mount
from sandbox.policy.paths import is_clean

FORM = "SRC[:DST][:ro|rw][,noexec]"
_WORDS = {"ro", "rw", "exec", "noexec"}


def parse_mount(text: str) -> Mount:
    """The mount that a text such as "./data:/data:ro,noexec" means; read-only unless "rw" is said.

    SRC may be relative to the current directory; it must exist. DST is SRC when it is not said. A path that contains ':'
    needs a `Mount`. Raises RequestError that shows the right form.
    """
    parts = text.split(":")
    words = {"ro"}
    if len(parts) > 1 and set(parts[-1].split(",")) <= _WORDS:
        words = set(parts.pop().split(","))
    if len(parts) > 2 or not all(parts) or {"ro", "rw"} <= words or {"exec", "noexec"} <= words:
        raise RequestError(f"mount {text!r} is not of the form {FORM}", hint="for example ./data:/data:ro,noexec")
    source = os.path.abspath(parts[0])
    target = parts[1] if len(parts) == 2 else source
    if not is_clean(target):
        raise RequestError(f"mount {text!r}: {target!r} is no clean absolute path inside", hint="for example ./data:/data")
    try:
        os.stat(source)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RequestError(f"mount {text!r}: the source {source!r} cannot be used: {reason}") from None
    return Mount(source, target, writable="rw" in words, executable="noexec" not in words)


def checked(mount: Mount | str) -> Mount:
    """A mount that a caller grants, also as text, with clean paths. Raises RequestError."""
    if isinstance(mount, str):
        mount = parse_mount(mount)
    if not isinstance(mount, Mount):
        raise RequestError(f"mounts must be Mount objects or texts, not {type(mount).__name__}", hint=f'such as "{FORM}"')
    for path in (mount.source, mount.target):
        if not is_clean(path):
            raise RequestError(f"mount {path!r}: must be a clean absolute path", hint="for example /data")
    if mount.target == "/":
        raise RequestError("mount '/': nothing can be mounted over the root", hint="choose a target such as /data")
    return mount
