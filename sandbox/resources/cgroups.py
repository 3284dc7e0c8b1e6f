"""Control groups of launchers and runs.

    base                 a place that we may write: delegated (v2), or our own group in each hierarchy (v1, root)
      sandbox-…          one for each launcher; the name tells whose it is, for the janitor
        launcher         the launcher itself (v2 only: no process may live above limited groups)
        run-1, run-2 …   one leaf for each run, never used twice

Source: Documentation/admin-guide/cgroup-v2.rst, Documentation/admin-guide/cgroup-v1/.
"""

from __future__ import annotations

import abc
import contextlib
import itertools
import os
import threading
from dataclasses import dataclass

from sandbox.model.errors import CgroupError
from sandbox.resources import groups, naming


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupLimits:
    """Limits of one leaf; 0 and () mean that this one is not wanted."""

    memory_bytes: int
    pids: int
    cpu_quota_millicpus: int = 0
    cpus: tuple[int, ...] = ()
    io_bytes_per_second: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What a leaf has counted. `sources` are the facts behind it: (file, key, value)."""

    memory_peak_bytes: int
    cpu_user_ns: int
    cpu_system_ns: int
    oom_kills: int
    pids_peak: int
    pids_max_events: int
    throttled_ns: int
    sources: tuple[tuple[str, str, int], ...]


class Lease(abc.ABC):
    """The leaf of one run.

    Attributes:
        cgroup2_fd: directory for CLONE_INTO_CGROUP, -1 on v1.
        join_fds: cgroup.procs files that init writes itself into (v1).
        cpu_fd: file with the CPU time so far (see `sandbox.launcher.runs.read_cpu_ns`).
        oom_fd: eventfd that tells of an out-of-memory (v1), -1 on v2, where the kernel kills the whole leaf.
    """

    cgroup2_fd: int = -1
    join_fds: tuple[int, ...] = ()
    cpu_fd: int = -1
    oom_fd: int = -1

    @abc.abstractmethod
    def counters(self) -> Counters:
        """The figures; final only when the sandbox is dead."""

    @abc.abstractmethod
    def kill(self) -> None:
        """Kill every process in the leaf."""

    @abc.abstractmethod
    def close(self) -> None:
        """Remove the leaf. Raises CgroupError when something in it does not die. A second call does nothing."""


class LauncherGroup(abc.ABC):
    """The groups of one launcher."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        self.paths = paths
        self._numbers = itertools.count(1)
        self._owner = os.getpid()

    def cleanup_spec(self) -> tuple[str, ...]:
        """Directories that the keeper removes after everything in them is dead."""
        return self.paths

    def _leaf_name(self) -> str:
        return f"run-{next(self._numbers)}"

    @abc.abstractmethod
    def lease(self, limits: CgroupLimits) -> Lease:
        """A fresh leaf with `limits` written. Raises CgroupError. Safe from any thread."""

    def close(self) -> None:
        """Remove what is left of the groups. Raises CgroupError when something stays."""
        if self._owner != os.getpid():
            return
        left = [path for path in self.paths if not groups.remove_tree(path)]
        if left:
            raise CgroupError(f"control groups cannot be removed: {', '.join(left)}", hint="look for processes that do not die")


class Base(abc.ABC):
    """A place for groups.

    Attributes:
        version: 1 or 2.
        controllers: those that can be used there.
        description: where it is, for `doctor`.
        command_prefix: words before the launcher's command, when it must be started by systemd to have a place.
    """

    version: int
    controllers: frozenset[str]
    description: str
    command_prefix: tuple[str, ...] = ()

    @abc.abstractmethod
    def open_group(self, launcher_pid: int) -> LauncherGroup:
        """Groups for the launcher with this pid. Raises CgroupError."""


_swept = threading.Lock()
_swept_places: set[str] = set()


def sweep(directory: str) -> None:
    """Remove groups that a caller which is dead now has left here; once for each place and process."""
    with _swept:
        if directory in _swept_places:
            return
        _swept_places.add(directory)
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        for name in names:
            path = f"{directory}/{name}"
            if naming.is_stale(name) and os.stat(path).st_uid == os.getuid():
                groups.remove_tree(path)


def find_base() -> Base:
    """The place for this process. Raises UnsupportedHostError with the remedy when there is none."""
    from sandbox.resources import cgroup_v1, cgroup_v2  # they build on this module

    table = cgroup_v2.mount_table()
    if cgroup_v1.has_memory(table):
        return cgroup_v1.find(table)
    return cgroup_v2.find(table)
