"""Names of groups tell who made them, so that what a killed process left behind can be removed by the next one.

sandbox-<uid>-<pid namespace>-<pid>-<start time>-<random>

A pid can only be judged in its own pid namespace, and it is unique only together with its start time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from sandbox.model.data import dataclass
from sandbox.model.errors import CgroupError
from sandbox.resources.cgroupfs import remove_all

_HEX = frozenset("0123456789abcdef")
_DEAD = ("Z", "X")


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that made a group; (pid namespace, pid, start time) is unique as long as the host is up."""

    uid: int
    namespace: int
    pid: int
    start: int


def new_name() -> str:
    """A name for a group of this process that nobody else can have."""
    mine = _self()
    return f"sandbox-{mine.uid}-{mine.namespace}-{mine.pid}-{mine.start}-{os.urandom(4).hex()}"


def parse(name: str) -> Owner | None:
    """The owner in a name; None for a name that is not ours."""
    prefix, *numbers = name.split("-")
    if prefix != "sandbox" or len(numbers) != 5 or not all(part.isascii() for part in numbers):
        return None
    random = numbers.pop()
    if len(random) != 8 or not set(random) <= _HEX or not all(number.isdecimal() for number in numbers):
        return None
    uid, namespace, pid, start = map(int, numbers)
    return Owner(uid, namespace, pid, start)


def is_stale(owner: Owner) -> bool:
    """Whether the owner was a process of this user in this pid namespace and is dead. Others cannot be judged: False."""
    mine = _self()
    if (owner.uid, owner.namespace) != (mine.uid, mine.namespace):
        return False
    return start_time(owner.pid) != owner.start


def sweep(directories: Iterable[str]) -> tuple[str, ...]:
    """Remove the groups of dead owners directly below `directories`; returns the paths of those removed.

    A caller that is dead has no runs: what is alive in its groups is killed. Safe when several processes sweep at once.
    """
    removed = []
    for directory in directories:
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        for name in names:
            owner = parse(name)
            path = f"{directory}/{name}"
            if owner is None or not _is_ours(path) or not is_stale(owner):
                continue
            try:
                remove_all((path,), seconds=1.0)
            except CgroupError:
                continue  # busy or not removable: the next sweep finds it again
            removed.append(path)
    return tuple(removed)


def start_time(pid: int) -> int:
    """Start of a process in clock ticks since boot (proc_pid_stat(5), field 22); -1 when it is dead or gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read().decode("ascii", "replace")
    except OSError:
        return -1
    fields = text[text.rindex(")") + 2 :].split()
    return -1 if fields[0] in _DEAD else int(fields[19])


def _is_ours(path: str) -> bool:
    try:
        return os.lstat(path).st_uid == os.geteuid()
    except OSError:
        return False


def _self() -> Owner:
    pid = os.getpid()
    return Owner(os.getuid(), os.stat("/proc/self/ns/pid").st_ino, pid, start_time(pid))
