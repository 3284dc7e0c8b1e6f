"""What a run could leave behind, seen from outside: descriptors, processes, control groups, mounts, files."""

from __future__ import annotations

import gc
import os
import stat
from dataclasses import dataclass

from tests.support.clock import seconds, wait_until

CGROUP = "/sys/fs/cgroup"


def descendants(pid: int) -> set[int]:
    """All processes below `pid`, zombies too."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    data = file.read()
            except OSError:
                continue
            parents[int(name)] = int(data[data.rindex(b")") + 2 :].split()[1])
    found: set[int] = set()
    frontier = {pid}
    while frontier:
        frontier = {child for child, parent in parents.items() if parent in frontier} - found
        found |= frontier
    return found


def alive(pids: set[int]) -> set[int]:
    """Those of `pids` that exist and are no zombies."""
    left = set()
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                data = file.read()
        except OSError:
            continue
        if data[data.rindex(b")") + 2 : data.rindex(b")") + 3] not in (b"Z", b"X"):
            left.add(pid)
    return left


def control_groups() -> set[str]:
    """Every control group directory that is named after this package, in all hierarchies."""
    found = set()
    for directory, names, _ in os.walk(CGROUP):
        found.update(os.path.join(directory, name) for name in names if "sandbox" in name)
    return found


def groups_of(pids: set[int]) -> set[str]:
    """The directories of the control groups that processes are in, without those that this process is in itself."""
    return {path for pid in pids for path in _groups(pid)} - _groups(os.getpid())


def _groups(pid: int) -> set[str]:
    found = set()
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError:
        return set()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for root in [CGROUP, f"{CGROUP}/unified"] if not controllers else [f"{CGROUP}/{controllers.removeprefix('name=')}"]:
            if path != "/" and os.path.isdir(root + path):
                found.add(root + path)
    return found


def mounts() -> tuple[str, ...]:
    """The mount table of this process."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return tuple(sorted(line.split(" ", 1)[1] for line in file))


def descriptors() -> dict[int, str]:
    """Open descriptors of this process and what they are; objects without a name of their own are told by kind only."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
            mode = os.fstat(int(name)).st_mode
        except OSError:
            continue
        found[int(name)] = "socket" if stat.S_ISSOCK(mode) else "pipe" if stat.S_ISFIFO(mode) else target
    return found


@dataclass(frozen=True)
class Traces:
    """The state of this process and its host, as far as a run could change it."""

    descriptors: dict[int, str]
    children: frozenset[int]
    groups: frozenset[str]
    mounts: tuple[str, ...]
    places: frozenset[str]

    @classmethod
    def take(cls) -> Traces:
        gc.collect()
        return cls(
            descriptors=descriptors(),
            children=frozenset(descendants(os.getpid())),
            groups=frozenset(own_groups()),
            mounts=mounts(),
            places=frozenset(f"{place}/{name}" for place in ("/dev/shm", "/run/lock") for name in _names(place)),
        )

    def differences(self, before: Traces) -> list[str]:
        """What is here now and was not `before`."""
        out = [f"descriptor {fd}: {what}" for fd, what in self.descriptors.items() if before.descriptors.get(fd) != what]
        out += [f"process {pid}: {_command(pid)}" for pid in self.children - before.children]
        out += [f"control group {path}" for path in self.groups - before.groups]
        out += [f"mount {line}" for line in set(self.mounts) - set(before.mounts)]
        return out + [f"file {path}" for path in self.places - before.places if "sandbox" in path]


def own_groups() -> set[str]:
    """Control groups that this process made: its id is part of their names, or of that of a group they lie in."""
    mark = f"-{os.getpid()}-"
    return {path for path in control_groups() if any(mark in part for part in path.split("/"))}


def assert_clean(before: Traces, within: float = seconds(1)) -> None:
    """Fail unless everything is as `before`; what the kernel takes down by itself gets a second, or what is said."""
    left: list[str] = []

    def gone() -> bool:
        left[:] = Traces.take().differences(before)
        return not left

    try:
        wait_until(gone, within)
    except AssertionError:
        raise AssertionError(f"left behind: {left}") from None


def _names(place: str) -> list[str]:
    try:
        return os.listdir(place)
    except OSError:
        return []


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "gone meanwhile"
