"""What control groups look like to the rest of the package, whatever their version.

Base            where this process may make groups
  LauncherGroup   everything of one launcher; its keeper removes it when we cannot
    Lease           the group of one run: limits written and read back, counters, removed at the end

Source: cgroups(7), Documentation/admin-guide/cgroup-v2.rst, Documentation/admin-guide/cgroup-v1/.
"""

from __future__ import annotations

import os
import weakref
from abc import ABC, abstractmethod

from sandbox.model.data import dataclass
from sandbox.resources import cgroupfs

_LEASES: weakref.WeakSet[Lease] = weakref.WeakSet()


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupLimits:
    """Limits of one group.

    Attributes:
        memory_bytes: all memory, kernel memory included; swap is always off.
        pids: processes and threads, init included.
        cpu_quota_millicpus: 1000 is one whole CPU; 0 means no bandwidth limit.
        cpus: CPU numbers; empty means all.
        io_bytes_per_second: of reads and of writes, each, on every disk; 0 means no limit.
    """

    memory_bytes: int
    pids: int
    cpu_quota_millicpus: int = 0
    cpus: tuple[int, ...] = ()
    io_bytes_per_second: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What the kernel counted for one group.

    Attributes:
        memory_peak_bytes: highest charge; 0 where this kernel does not keep it.
        cpu_user_ns, cpu_system_ns: CPU time of all processes, dead ones too.
        oom_kills: processes killed by the OOM killer.
        oom_events: times that nothing could be reclaimed. With no kill beside it the processes were exempt from the OOM
            killer (oom_score_adj -1000: a payload may go back to what its caller was started with unless Landlock forbids).
        memory_limit_hits: allocations that met the limit (most of them are cured by reclaim).
        pids_peak: highest number of tasks; 0 where this kernel does not keep it.
        pids_max_events: forks refused by the limit.
        throttled_ns, nr_throttled: time and periods without CPU because of the bandwidth limit.
        sources: (file, key, value) of those that explain an ending; see `facts`.
    """

    memory_peak_bytes: int
    cpu_user_ns: int
    cpu_system_ns: int
    oom_kills: int
    oom_events: int
    memory_limit_hits: int
    pids_peak: int
    pids_max_events: int
    throttled_ns: int
    nr_throttled: int
    sources: tuple[tuple[str, str, int], ...]


class Lease(ABC):
    """The group of one run. Belongs to one thread at a time; after a fork the child may only `close` it.

    Attributes:
        cgroup2_fd: the directory, for CLONE_INTO_CGROUP (v2); None on v1.
        join_fds: cgroup.procs of every hierarchy, for init to write "0" (v1).
        cpu_fd: `cpu.stat` (v2, microseconds by key) or `cpuacct.usage` (v1, nanoseconds); read with pread at 0.
        cpu_kind: "cpu.stat" or "cpuacct.usage".
        oom_fd: an eventfd that counts out-of-memory events, those of groups above too (v1); None on v2, where the kernel
            kills the whole group.
        peak_fd: memory.max_usage_in_bytes (v1): at `oom_bytes` and above an event of `oom_fd` is about this very group.
    """

    cgroup2_fd: int | None = None
    join_fds: tuple[int, ...] = ()
    cpu_fd: int = -1
    cpu_kind: str = ""
    oom_fd: int | None = None
    peak_fd: int = -1
    oom_bytes: int = 0

    def __init__(self, paths: tuple[str, ...]) -> None:
        self.paths = paths
        self._fds: list[int] = []
        self._owner = os.getpid()
        _LEASES.add(self)

    def forget(self) -> None:
        """In a forked child: the group is the parent's."""
        fds, self._fds = self._fds, []
        for fd in fds:
            os.close(fd)
        self.paths = ()

    @abstractmethod
    def tighten(self, limits: CgroupLimits) -> None:
        """Lower memory, processes and CPU bandwidth of a group that has processes already.

        Raises CgroupError, also where more memory is in use already: the kernel would kill what is in it.
        """

    @abstractmethod
    def counters(self) -> Counters:
        """Read the counters. Raises CgroupError."""

    def kill(self) -> None:
        """Kill everything in the group; nothing in a forked child. Raises CgroupError."""
        if self._owner == os.getpid():
            for path in self.paths:
                cgroupfs.kill_tree(path)

    def close(self, *, patience: float = 0.0) -> None:
        """Remove the group, killing what is still in it after `patience` seconds. Safe to call twice.

        Raises CgroupError when it cannot be emptied in time: it stays (quarantined) until the launcher's group goes.
        """
        self.close_descriptors()
        paths, self.paths = self.paths, ()
        if self._owner == os.getpid():
            cgroupfs.remove_all(paths, patience=patience)

    def close_descriptors(self) -> None:
        """Close what is open of it; the group stays until `close`."""
        fds, self._fds = self._fds, []
        for fd in fds:
            os.close(fd)

    def _keep(self, fd: int) -> int:
        self._fds.append(fd)
        return fd


class LauncherGroup(ABC):
    """All groups of one launcher. `lease` is safe from any number of threads."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        self._paths = paths
        self._owner = os.getpid()

    def cleanup_spec(self) -> tuple[str, ...]:
        """Directories that the keeper removes, children first, when everything in them is dead."""
        return self._paths

    def stay(self) -> str:
        """The `cgroup.procs` of the caller's own group, where a first move between groups is slow (v1); else ""."""
        return ""

    @abstractmethod
    def lease(self, limits: CgroupLimits) -> Lease:
        """A new group with these limits. Raises CgroupError when any of them cannot be set."""

    def close(self) -> None:
        """Kill what is left, the launcher too, and remove everything. Safe to call twice. Raises CgroupError."""
        if self._owner == os.getpid():
            cgroupfs.remove_all(self._paths)


class Base(ABC):
    """Where this process may make groups.

    Attributes:
        version: 1 or 2.
        controllers: names as in that version ("io" is v2, "blkio" v1).
        description: where and how, for people.
        command_prefix: words to put before the launcher's command line; not empty where a transient scope must be
            had for each launcher.
    """

    version: int
    controllers: frozenset[str]
    description: str
    command_prefix: tuple[str, ...] = ()

    @abstractmethod
    def open_group(self, launcher_pid: int) -> LauncherGroup:
        """Make the groups of one launcher (v2: and move it there). Raises CgroupError."""

    @abstractmethod
    def directories(self) -> tuple[str, ...]:
        """The directories below which groups are made; empty where each launcher brings its own."""


def _after_fork() -> None:
    for lease in list(_LEASES):
        lease.forget()


os.register_at_fork(after_in_child=_after_fork)
