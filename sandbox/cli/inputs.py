"""Files of the caller that go into the work directory: those of `--file`, and those that the command names.

The sandbox does not see the caller's directory, yet `sandbox run -- python3 untrusted.py` must work. So each word of
the command that names a regular file here is copied in, unless the profile shows that file already.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field

from sandbox.model.errors import NotExecutable, RequestError
from sandbox.model.policy import Policy

COPY_BYTES = 64 << 20
_NEVER = ("/proc/", "/dev/", "/sys/")


@dataclass(slots=True)
class Inputs:
    """What goes in.

    Attributes:
        argv: the command, words rewritten where the name inside is another.
        files: name in the work directory → (content, mode).
        given: names inside that `--file` asked for.
        copied: (path as the caller wrote it, name inside) of what was copied because the command names it.
    """

    argv: list[str]
    files: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    given: set[str] = field(default_factory=set)
    copied: list[tuple[str, str]] = field(default_factory=list)


def gather(argv: Sequence[str], policy: Policy, *, cwd: str | None, explicit: Sequence[str], copy: bool) -> Inputs:
    """Read everything that goes in. Raises RequestError, NotExecutable."""
    inputs = Inputs(list(argv))
    for item in explicit:
        path, name = _path_and_name(item)
        inputs.files[name] = _read_wanted(path, policy.limits.scratch_bytes - _total(inputs))
        inputs.given.add(name)
    if copy:
        at_work = (cwd or policy.cwd) == policy.work.path
        for number, word in enumerate(argv):
            _copy_word(inputs, number, word, policy, at_work=at_work)
    return inputs


def _path_and_name(item: str) -> tuple[str, str]:
    """PATH[=NAME]; without NAME the base name of PATH. A path that contains '=' itself is taken whole when it exists."""
    path, sign, name = item.rpartition("=")
    if not sign or os.path.lexists(item):
        path, name = item, os.path.basename(item)
    if not path or not name:
        raise RequestError(f"--file {item!r} is not of the form PATH[=NAME]")
    return path, name


def _read_wanted(path: str, room: int) -> tuple[bytes, int]:
    """A file that the caller asked for: it must be there, and fit."""
    try:
        found = _read_regular(path, room)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RequestError(f"--file {path!r} cannot be read: {reason}") from None
    if found is None:
        raise RequestError(f"--file {path!r} is not a regular file", hint="directories go in with --mount")
    if len(found[0]) > room:
        raise RequestError(f"--file {path!r} does not fit the scratch space", hint="mount it: --mount PATH:/data:ro")
    return found


def _copy_word(inputs: Inputs, number: int, word: str, policy: Policy, *, at_work: bool) -> None:
    if (number == 0 and "/" not in word) or not word or visible(word, policy):
        return
    if number == 0 and os.path.isdir(word):
        raise NotExecutable(f"{word!r} is a directory", hint="name a program")
    name = _name_inside(word)
    if name in inputs.given and os.path.normpath(word) == name:
        return  # --file says what this name is inside
    room = COPY_BYTES - _total(inputs, copied_only=True)
    try:
        found = _read_regular(word, room)
    except (OSError, ValueError):
        return  # not a file of ours: an ordinary word, or a path that exists inside only
    if found is None:
        return
    if len(found[0]) > room:
        raise RequestError(
            f"{word!r} is too large to be copied into the sandbox ({COPY_BYTES >> 20} MiB in all)",
            hint="mount it (--mount FILE:/data/FILE:ro), or keep it out with --no-copy",
        )
    name = _free_name(inputs, name, found)
    inputs.files[name] = found
    inputs.copied.append((word, name))
    kept = at_work and not os.path.isabs(word) and os.path.normpath(word) == name
    if not kept:
        inputs.argv[number] = f"{policy.work.path.rstrip('/')}/{name}"


def visible(word: str, policy: Policy) -> bool:
    """Whether an absolute path shows something inside already, so that nothing needs to be copied."""
    path = os.path.normpath(word)
    if not os.path.isabs(word):
        return False
    if (path + "/").startswith(_NEVER):
        return True
    places = [(mount.target, mount.source) for mount in policy.mounts]
    if policy.rootfs.kind == "directory":
        places.append(("/", policy.rootfs.source))
    for target, source in places:
        rest = os.path.relpath(path, target)
        if rest == "." or not rest.startswith(".."):
            try:
                if os.path.lexists(os.path.join(source, rest) if rest != "." else source):
                    return True
            except ValueError:
                return False
    return False


def _name_inside(word: str) -> str:
    """The same relative name; the base name of what lies elsewhere."""
    path = os.path.normpath(word)
    return os.path.basename(path) if os.path.isabs(word) or path.startswith("..") else path


def _free_name(inputs: Inputs, name: str, content: tuple[bytes, int]) -> str:
    """The name, or 2/name, 3/name… when another file has it or is in the way."""
    candidate, number = name, 1
    while any(_collide(candidate, other) for other in inputs.files):
        if inputs.files.get(candidate) == content:
            return candidate
        number += 1
        candidate = f"{number}/{name}"
    return candidate


def _collide(one: str, other: str) -> bool:
    return one == other or one.startswith(other + "/") or other.startswith(one + "/")


def _total(inputs: Inputs, *, copied_only: bool = False) -> int:
    names = {name for _, name in inputs.copied} if copied_only else set(inputs.files)
    return sum(len(inputs.files[name][0]) for name in names)


def _read_regular(path: str, most: int) -> tuple[bytes, int] | None:
    """(content, mode) of a regular file, at most `most` + 1 bytes of it; None for anything else. Never waits for a fifo."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        return None  # opening a device can do things
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with open(fd, "rb", buffering=0) as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return None
        parts, left = [], max(0, most) + 1
        while left and (part := file.read(min(left, 1 << 20))):
            parts.append(part)
            left -= len(part)
    return b"".join(parts), 0o755 if found.st_mode & 0o111 else 0o644
