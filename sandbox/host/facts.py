"""`HostFacts`: what the planner must know about this host. Probed, cheap, without side effects."""

from __future__ import annotations

import functools
import hashlib
import os
import pwd
import shutil
import stat
from dataclasses import dataclass, fields
from pathlib import Path

from sandbox.kernel.filters import landlock_abi
from sandbox.kernel.libc import MACHINE

_HELPER_DIRECTORIES = "/usr/bin:/bin:/usr/sbin:/sbin"
_MAX_TABLE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """Facts about host and caller.

    Attributes:
        arch: machine name, such as "x86_64".
        uid, gid: of the caller.
        landlock_abi: 0 when Landlock is missing.
        newuidmap, newgidmap: absolute paths of the set-uid helpers, "" where they are missing.
        subuid, subgid: (start, count) ranges of the caller, from /etc/subuid and /etc/subgid.
        cpus: the numbers of the CPUs that are online; empty where the kernel does not tell.
    """

    arch: str
    uid: int
    gid: int
    landlock_abi: int
    newuidmap: str
    newgidmap: str
    subuid: tuple[tuple[int, int], ...]
    subgid: tuple[tuple[int, int], ...]
    cpus: tuple[int, ...] = ()

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all facts, hex: two hosts with the same one get the same plans."""
        text = repr([(item.name, getattr(self, item.name)) for item in fields(self)])
        return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def gather() -> HostFacts:
    """The facts, probed once for each process."""
    uid = os.getuid()
    names = {str(uid), user_name(uid)}
    return HostFacts(
        arch=MACHINE,
        uid=uid,
        gid=os.getgid(),
        landlock_abi=landlock_abi(),
        newuidmap=privileged_helper("newuidmap"),
        newgidmap=privileged_helper("newgidmap"),
        subuid=id_ranges("/etc/subuid", names),
        subgid=id_ranges("/etc/subgid", names),
        cpus=online_cpus(),
    )


def online_cpus(path: str = "/sys/devices/system/cpu/online") -> tuple[int, ...]:
    """The CPUs in a list such as "0-3,8"; empty when it cannot be read."""
    try:
        text = Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ()
    numbers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            numbers.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(numbers))


def user_name(uid: int) -> str:
    """The login name, "" for an id without one."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def privileged_helper(name: str) -> str:
    """Path of a root-owned helper that has the set-uid bit or file capabilities; "" when there is none."""
    path = shutil.which(name, path=_HELPER_DIRECTORIES)
    if path is None:
        return ""
    found = os.stat(path)
    if found.st_uid != 0 or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return ""
    if found.st_mode & stat.S_ISUID:
        return path
    try:
        os.getxattr(path, "security.capability")
    except OSError:
        return ""
    return path


def id_ranges(path: str, names: set[str]) -> tuple[tuple[int, int], ...]:
    """The (start, count) ranges of `names` in a subordinate id file, largest first (subuid(5)); bad lines are skipped."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(_MAX_TABLE_BYTES).decode("utf-8", "replace")
    except OSError:
        return ()
    ranges = []
    for line in text.splitlines():
        owner, _, rest = line.partition(":")
        start, _, count = rest.partition(":")
        if owner in names and owner and start.isdecimal() and count.strip().isdecimal() and int(count) > 0:
            ranges.append((int(start), int(count)))
    return tuple(sorted(ranges, key=lambda item: -item[1]))
