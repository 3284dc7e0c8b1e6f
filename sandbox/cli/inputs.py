"""Files of the caller that go into the work directory: those of `--file`, and those that the command names.

The sandbox does not see the caller's directory, yet `sandbox run -- python3 untrusted.py` must work. So these are copied in,
unless the profile shows them already (docs/decisions/0009-what-a-command-line-gives.md):

    the program, when it is written with a slash
    the script of an interpreter, wherever it lies
    any other word that is a relative path to a regular file below the current directory, reached without a link, nothing hidden
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from sandbox.cli import reading
from sandbox.cli.interpreters import script_of
from sandbox.cli.reading import Content
from sandbox.model.data import dataclass, field
from sandbox.model.errors import NotExecutable, RequestError
from sandbox.model.policy import Policy
from sandbox.policy.paths import within

COPY_BYTES = 64 << 20
_NEVER = ("/proc", "/dev", "/sys")


@dataclass(slots=True)
class Inputs:
    """What goes in.

    Attributes:
        argv: the command, words rewritten where the name inside is another.
        files: name in the work directory → (content, mode).
        given: names inside that `--file` asked for.
        copied: (path as the caller wrote it, name inside) of what was copied because the command names it.
        announced: those of them that are neither the program nor its script: the caller is told.
        left_out: (path, reason) of what lies in a directory of `--file` and cannot go in.
    """

    argv: list[str]
    files: dict[str, Content] = field(default_factory=dict)
    given: set[str] = field(default_factory=set)
    copied: list[tuple[str, str]] = field(default_factory=list)
    announced: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def gather(argv: Sequence[str], policy: Policy, *, cwd: str | None, explicit: Sequence[str], copy: bool) -> Inputs:
    """Read everything that goes in. Raises RequestError, NotExecutable."""
    inputs = Inputs(list(argv))
    for item in explicit:
        _put(inputs, item, policy)
    if copy:
        at_work = (cwd or policy.cwd) == policy.work.path
        script = script_of(argv)
        for number, word in enumerate(argv):
            found = _named(inputs, number, word, policy) if number in (0, script) else _beneath(inputs, word)
            if found is not None:
                _copy(inputs, number, found, policy, at_work=at_work)
                if number not in (0, script) and word not in inputs.announced:
                    inputs.announced.append(word)
    return inputs


def _put(inputs: Inputs, item: str, policy: Policy) -> None:
    """What `--file` asks for: a file, or a directory with what is in it."""
    path, name = _path_and_name(item)
    room = policy.limits.scratch_bytes - _total(inputs)
    if not os.path.isdir(path):
        inputs.files[name] = _read_wanted(path, room)
        inputs.given.add(name)
        return
    from sandbox.cli import trees

    files, left_out = trees.read_tree(path, room, policy.limits.scratch_inodes)
    for below, content in files.items():
        whole = below if name == "." else f"{name}/{below}"
        inputs.files[whole] = content
        inputs.given.add(whole)
    inputs.left_out += [(os.path.join(path, below), reason) for below, reason in left_out]


def _path_and_name(item: str) -> tuple[str, str]:
    """PATH[=NAME]; without NAME the base name of PATH. A path that contains '=' itself is taken whole when it exists."""
    path, sign, name = item.rpartition("=")
    if not sign or os.path.lexists(item):
        path, name = item, os.path.basename(os.path.abspath(item) if item.endswith(("/", ".")) else item)
    name = name.rstrip("/") if name != "/" else ""
    if not path or not name:
        raise RequestError(f"--file {item!r} is not of the form PATH[=NAME]")
    return path, name


def _read_wanted(path: str, room: int) -> Content:
    """A file that the caller asked for: it must be there, and fit."""
    try:
        found = reading.named(path, room)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RequestError(f"--file {path!r} cannot be read: {reason}") from None
    if found is None:
        raise RequestError(f"--file {path!r} is neither a regular file nor a directory")
    if len(found[0]) > room:
        raise RequestError(f"--file {path!r} does not fit the scratch space", hint="mount it: --mount PATH:/data:ro")
    return found


@dataclass(frozen=True, slots=True)
class _Found:
    """A word that is a file: the word, its path without '.' and '..', the name it wants inside, its content."""

    word: str
    path: str
    name: str
    content: Content


def _named(inputs: Inputs, number: int, word: str, policy: Policy) -> _Found | None:
    """The program or the script: whatever regular file its path leads to."""
    if (number == 0 and "/" not in word) or not word or visible(word, policy):
        return None
    if number == 0 and os.path.isdir(word):
        raise NotExecutable(f"{word!r} is a directory", hint="name a program")
    path = os.path.normpath(word)
    outside = os.path.isabs(word) or path == ".." or path.startswith("../")
    name = os.path.basename(path) if outside else path
    if name in inputs.given and path == name:
        return None  # --file says what this name is inside
    try:
        content = reading.named(word, COPY_BYTES - _total(inputs, copied_only=True))
    except (OSError, ValueError):
        return None  # no file of ours: a path that exists inside only
    return None if content is None else _Found(word, path, name, content)


def _beneath(inputs: Inputs, word: str) -> _Found | None:
    """Any other word: a file below the current directory, nothing hidden and no link on the way."""
    path = os.path.normpath(word)
    if not word or "\0" in word or word.endswith("/") or os.path.isabs(word) or path in inputs.given:
        return None
    if any(part.startswith(".") for part in path.split("/")):
        return None
    try:
        content = reading.beneath(reading.AT_FDCWD, path, COPY_BYTES - _total(inputs, copied_only=True))
    except (OSError, UnicodeError):
        return None  # an ordinary word
    return None if content is None else _Found(word, path, path, content)


def _copy(inputs: Inputs, number: int, found: _Found, policy: Policy, *, at_work: bool) -> None:
    if len(found.content[0]) > COPY_BYTES - _total(inputs, copied_only=True):
        raise RequestError(
            f"{found.word!r} is too large to be copied into the sandbox ({COPY_BYTES >> 20} MiB in all)",
            hint="mount it (--mount FILE:/data/FILE:ro), or keep it out with --no-copy",
        )
    name = _free_name(inputs, found.name, found.content)
    inputs.files[name] = found.content
    inputs.copied.append((found.word, name))
    means_the_same = at_work and found.path == name and ".." not in found.word.split("/")
    if not means_the_same:
        inputs.argv[number] = f"{policy.work.path.rstrip('/')}/{name}"


def visible(word: str, policy: Policy) -> bool:
    """Whether an absolute path shows something inside already, so that nothing needs to be copied."""
    path = os.path.normpath(word)
    if not os.path.isabs(word):
        return False
    if any(within(path, place) for place in _NEVER):
        return True
    places = [(mount.target, mount.source) for mount in policy.mounts]
    if policy.rootfs.kind == "directory":
        places.append(("/", policy.rootfs.source))
    for target, source in places:
        if within(path, target):
            rest = os.path.relpath(path, target)
            try:
                if os.path.lexists(os.path.join(source, rest) if rest != "." else source):
                    return True
            except ValueError:
                return False
    return False


def _free_name(inputs: Inputs, name: str, content: Content) -> str:
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
