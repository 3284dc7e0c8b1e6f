"""What control groups look like to the rest of the package, whatever their version; files and directories of cgroupfs.

Base            where this process may make groups
  LauncherGroup   everything of one launcher; its keeper removes it when we cannot
    Lease           the group of one run: limits written and read back, counters, removed at the end

Source: cgroups(7), Documentation/admin-guide/cgroup-v2.rst, Documentation/admin-guide/cgroup-v1/.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

from sandbox.model.errors import CgroupError

REMOVE_SECONDS = 5.0
_CHUNK = 64
_MAX_FILE = 65536
_FIRST_WAIT = 0.0002
_LONGEST_WAIT = 0.01


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
        oom_fd: an eventfd that counts out-of-memory events (v1); None on v2, where the kernel kills the whole group.
    """

    cgroup2_fd: int | None = None
    join_fds: tuple[int, ...] = ()
    cpu_fd: int = -1
    cpu_kind: str = ""
    oom_fd: int | None = None

    def __init__(self, paths: tuple[str, ...]) -> None:
        self.paths = paths
        self._fds: list[int] = []
        self._owner = os.getpid()

    @abstractmethod
    def counters(self) -> Counters:
        """Read the counters. Raises CgroupError."""

    def kill(self) -> None:
        """Kill everything in the group; nothing in a forked child. Raises CgroupError."""
        if self._owner == os.getpid():
            for path in self.paths:
                kill_tree(path)

    def close(self) -> None:
        """Remove the group, killing what is still in it. Safe to call twice.

        Raises CgroupError when it cannot be emptied in time: it stays (quarantined) until the launcher's group goes.
        """
        fds, self._fds = self._fds, []
        for fd in fds:
            os.close(fd)
        paths, self.paths = self.paths, ()
        if self._owner == os.getpid():
            remove_all(paths)

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

    @abstractmethod
    def lease(self, limits: CgroupLimits) -> Lease:
        """A new group with these limits. Raises CgroupError when any of them cannot be set."""

    def close(self) -> None:
        """Kill what is left, the launcher too, and remove everything. Safe to call twice. Raises CgroupError."""
        if self._owner == os.getpid():
            remove_all(self._paths)


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


def failure(what: str, path: str, error: OSError) -> CgroupError:
    """The error of one call on cgroupfs, in words."""
    hints = {
        errno.EACCES: "the group is not delegated to this user; run `sandbox doctor`",
        errno.EPERM: "the group is not delegated to this user; run `sandbox doctor`",
        errno.EMFILE: "raise RLIMIT_NOFILE of the calling process or run fewer sandboxes at once",
        errno.ENFILE: "the host is out of file descriptors",
        errno.EAGAIN: "cgroup.max.descendants or cgroup.max.depth of a group above is reached",
        errno.ENOSPC: "the host is out of control groups",
        errno.ENODEV: "the group is gone: somebody else removed it",
        errno.ENOENT: "the group is gone, or its controller is not enabled there; run `sandbox doctor`",
    }
    return CgroupError(f"cannot {what} {path!r}: {error.strerror}", hint=hints.get(error.errno or 0, ""))


def read_at(directory: int, name: str) -> str:
    """The text of a file of an open group. Raises OSError."""
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        return os.read(fd, _MAX_FILE).decode("ascii", "replace")
    finally:
        os.close(fd)


def read_path(path: str) -> str:
    """The text of a file by absolute path. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(fd, _MAX_FILE):
            parts.append(part)
        return b"".join(parts).decode("ascii", "replace")
    finally:
        os.close(fd)


def write_path(path: str, text: str) -> None:
    """Write a file in one call. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def set_at(directory: int, name: str, text: str) -> str:
    """Write a limit and return what the kernel has made of it. Raises OSError."""
    fd = os.open(name, os.O_RDWR | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.write(fd, text.encode())
        return os.pread(fd, _MAX_FILE, 0).decode("ascii", "replace").strip()
    finally:
        os.close(fd)


def require_set(directory: int, name: str, value: int) -> None:
    """Write an integer limit and check that it holds. Raises OSError, CgroupError."""
    found = set_at(directory, name, str(value))
    if found != str(value):
        raise CgroupError(f"the kernel took {found!r} for {name} instead of {value}", hint="check the limits of the groups above")


def keyed(text: str) -> dict[str, int]:
    """A "flat keyed" file as a mapping; lines of other forms are left out."""
    out = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if value.isdigit():
            out[key] = int(value)
    return out


def facts(*sources: tuple[str, str, int]) -> tuple[tuple[str, str, int], ...]:
    """The sources that say something: 0 is an event that did not happen, or a file that this kernel does not have."""
    return tuple(source for source in sources if source[2])


def cpu_list(text: str) -> set[int]:
    """The numbers in a list such as "0-3,8"."""
    out: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            out.update(range(int(first), int(last or first) + 1))
    return out


def pages(size_bytes: int) -> int:
    """The limit that the kernel keeps for `size_bytes`: whole pages."""
    page = os.sysconf("SC_PAGE_SIZE")
    return size_bytes // page * page


def quota(millicpus: int) -> tuple[int, int]:
    """(quota, period) in microseconds. The kernel takes no quota below 1 ms, so small ones get the longest period."""
    period = 100_000 if millicpus >= 10 else 1_000_000
    return millicpus * period // 1000, period


def disks() -> tuple[str, ...]:
    """major:minor of every whole block device that can be throttled; memory-backed ones have no queue to throttle."""
    found = []
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir("/sys/block")):
            if not name.startswith(("ram", "zram")):
                with contextlib.suppress(OSError):
                    found.append(read_path(f"/sys/block/{name}/dev").strip())
    return tuple(found)


def make(path: str) -> None:
    """Make a group that its owner may use, whatever umask the calling process has. Raises OSError."""
    os.mkdir(path)
    os.chmod(path, 0o755)


def remove_all(paths: Iterable[str], seconds: float = REMOVE_SECONDS) -> None:
    """Remove group trees; what is still alive in them is killed. Every one is tried; raises CgroupError for those that stay."""
    deadline = 0.0
    stuck = []
    for path in paths:
        wait = _FIRST_WAIT
        while not remove_tree(path):
            now = time.monotonic()
            deadline = deadline or now + seconds
            if now > deadline:
                stuck.append(path)
                break
            kill_tree(path)
            time.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT)
    if stuck:
        names = ", ".join(repr(path) for path in stuck)
        raise CgroupError(f"control group {names} could not be emptied in {seconds:g} s", hint="see its cgroup.procs")


def remove_tree(path: str) -> bool:
    """Remove a group and those below it; False when one is still busy. Raises CgroupError for any other failure."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise failure("remove the control group", path, error) from error
    else:
        return True
    below = children(path)
    if not below:
        return not os.path.isdir(path)
    left = [child for child in below if not remove_tree(child)]
    return not left and remove_tree(path)


def children(path: str) -> list[str]:
    """The groups directly below; none when the group itself is gone."""
    try:
        with os.scandir(path) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def kill_tree(path: str) -> None:
    """Send SIGKILL to everything in a group and below, once. A killed group is never used again (see `version2`)."""
    try:
        write_path(f"{path}/cgroup.kill", "1")
    except FileNotFoundError:
        _kill_each(path)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise failure("kill the control group", path, error) from error


def _kill_each(path: str) -> None:
    """v1 has no cgroup.kill: no fork any more where `pids` is the controller, then a signal to each."""
    with contextlib.suppress(OSError):
        write_path(f"{path}/pids.max", "0")
    pids = members(path)
    for start in range(0, len(pids), _CHUNK):
        handles: dict[int, int] = {}
        for pid in pids[start : start + _CHUNK]:
            with contextlib.suppress(OSError):
                handles[pid] = os.pidfd_open(pid)
        # A number that still stands in the list after its handle was opened is the process that the handle means.
        still = set(members(path))
        for pid, handle in handles.items():
            if pid in still:
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)
    for child in children(path):
        _kill_each(child)


def members(path: str) -> list[int]:
    """Process ids in a group; those outside our pid namespace (shown as 0) are left out."""
    try:
        return [int(word) for word in read_path(f"{path}/cgroup.procs").split() if word != "0"]
    except OSError:
        return []
