"""Pure cgroup v2: a delegated subtree, found or obtained from systemd."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from sandbox.model.errors import CgroupError, UnsupportedHostError
from sandbox.resources import groups, naming
from sandbox.resources.cgroups import Base, CgroupLimits, Counters, LauncherGroup, Lease, sweep

NEEDED = ("memory", "pids")
WANTED = ("memory", "pids", "cpu", "cpuset", "io")
CALLERS = "callers"
SCOPE_COMMAND = ("systemd-run", "--user", "--scope", "-p", "Delegate=yes", "--quiet", "--collect", "--")
_PERIOD_US = 100_000
_MOVE_ROUNDS = 50
_SCOPE_SECONDS = 20.0
REMEDY = (
    "start the program in a delegated scope: systemd-run --user --scope -p Delegate=yes COMMAND;"
    " without systemd name a writable group in SANDBOX_CGROUP; or accept weaker limits with --allow-degraded"
)


@dataclass(frozen=True, slots=True)
class MountEntry:
    """One mount of a cgroup hierarchy: where, which directory of it, its options ("memory", "cpu,cpuacct", "" for v2)."""

    point: str
    root: str
    kind: str
    options: tuple[str, ...]


def mount_table() -> tuple[MountEntry, ...]:
    """The cgroup mounts of this process (proc_pid_mountinfo(5))."""
    entries = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            words = left.split(" ")
            entries.append(MountEntry(words[4], words[3], kind, tuple(options.split(","))))
    return tuple(entries)


def own_path(table: tuple[MountEntry, ...], pid: int | str = "self") -> str | None:
    """The directory of a process's v2 group; None when it cannot be seen here."""
    mount = next((entry for entry in table if entry.kind == "cgroup2"), None)
    if mount is None:
        return None
    for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        number, _, path = line.split(":", 2)
        if number == "0":
            root = mount.root.rstrip("/")
            if root and path != root and not path.startswith(root + "/"):
                return None
            return (mount.point + path[len(root) :]).rstrip("/")
    return None


def find(table: tuple[MountEntry, ...]) -> Base:
    """The best place: named by SANDBOX_CGROUP, a delegated group of ours, or a scope from the user manager."""
    named = os.environ.get("SANDBOX_CGROUP")
    if named:
        reason = _refusal(named)
        if reason:
            raise UnsupportedHostError("cgroup", f"SANDBOX_CGROUP={named} cannot be used: {reason}", REMEDY)
        return Delegated(named, table)
    own = own_path(table)
    if own is not None:
        for candidate in (own, os.path.dirname(own)):
            if _refusal(candidate) == "" and (candidate == own or os.path.basename(own) == CALLERS):
                return Delegated(candidate, table)
    if _user_manager() and shutil.which("systemd-run"):
        return Scope(table)
    raise UnsupportedHostError(
        "cgroup", "memory, processes and CPU cannot be limited: no control group is delegated to this user", REMEDY
    )


def _refusal(directory: str) -> str:
    """Why a directory cannot be a base; "" when it can."""
    try:
        available = Path(directory, "cgroup.controllers").read_text(encoding="ascii").split()
    except OSError as error:
        return f"it is no cgroup v2 directory ({error.strerror})"
    missing = [name for name in NEEDED if name not in available]
    if missing:
        return f"the controllers {' and '.join(missing)} are not delegated"
    for name in ("", "cgroup.procs", "cgroup.subtree_control"):
        if not os.access(os.path.join(directory, name), os.W_OK):
            return f"{name or 'the directory'} is not writable"
    return ""


def _user_manager() -> bool:
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return any(os.path.exists(os.path.join(runtime, name)) for name in ("systemd/private", "bus"))


def enable(directory: str, names: tuple[str, ...]) -> frozenset[str]:
    """Give the controllers to the children of a group; those of NEEDED must be had. Raises CgroupError."""
    fd = groups.open_directory(directory)
    try:
        available = set(groups.read(fd, "cgroup.controllers").split())
        for name in names:
            if name in available and name not in groups.read(fd, "cgroup.subtree_control").split():
                try:
                    groups.write(fd, "cgroup.subtree_control", f"+{name}")
                except CgroupError:
                    if name in NEEDED:
                        raise
        return frozenset(groups.read(fd, "cgroup.subtree_control").split())
    finally:
        os.close(fd)


def vacate(directory: str, into: str) -> None:
    """Move every process of a group into its child `into`, so that it may have limited children.

    Processes that are started meanwhile are caught in the next round.
    """
    child = os.path.join(directory, into)
    with contextlib.suppress(FileExistsError):
        os.mkdir(child)
    source, target = groups.open_directory(directory), groups.open_directory(child)
    try:
        for _ in range(_MOVE_ROUNDS):
            found = groups.pids(source)
            if not found:
                return
            for pid in found:
                try:
                    groups.write(target, "cgroup.procs", str(pid))
                except CgroupError as error:
                    if os.path.exists(f"/proc/{pid}"):
                        raise CgroupError(f"process {pid} cannot be moved out of {directory}: {error}") from error
        raise CgroupError(f"processes keep appearing in {directory}")
    finally:
        os.close(source)
        os.close(target)


class Delegated(Base):
    """A group that is ours to divide."""

    version = 2

    def __init__(self, directory: str, table: tuple[MountEntry, ...]) -> None:
        self.directory = directory
        self.description = f"delegated cgroup v2 group {directory}"
        sweep(directory)
        if own_path(table) == directory or Path(directory, "cgroup.procs").read_text(encoding="ascii").strip():
            vacate(directory, CALLERS)
        self.controllers = enable(directory, WANTED)
        missing = [name for name in NEEDED if name not in self.controllers]
        if missing:
            raise UnsupportedHostError("cgroup", f"{', '.join(missing)} cannot be enabled in {directory}", REMEDY)

    def open_group(self, launcher_pid: int) -> LauncherGroup:
        """See Base."""
        return _open(self.directory, (launcher_pid,))


class Scope(Base):
    """Every launcher is started in a transient scope of its own; the caller stays where it is."""

    version = 2
    command_prefix = SCOPE_COMMAND
    description = "a delegated scope of the systemd user manager for each launcher"

    def __init__(self, table: tuple[MountEntry, ...]) -> None:
        self._table = table
        uid = os.getuid()
        mount = next(entry.point for entry in table if entry.kind == "cgroup2")
        manager = Path(mount, f"user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers")
        try:
            delegated = manager.read_text(encoding="ascii").split()
        except OSError:
            delegated = list(NEEDED)
        self.controllers = frozenset(delegated) & frozenset(WANTED)
        missing = [name for name in NEEDED if name not in self.controllers]
        if missing:
            raise UnsupportedHostError(
                "cgroup",
                f"systemd does not delegate {', '.join(missing)} to the user manager",
                "as root: systemctl edit user@.service and add [Service] Delegate=cpu cpuset io memory pids",
            )

    def open_group(self, launcher_pid: int) -> LauncherGroup:
        """See Base. The keeper, which systemd-run became, is in the scope with the launcher."""
        deadline = time.monotonic() + _SCOPE_SECONDS
        while True:
            directory = own_path(self._table, launcher_pid)
            if directory is not None and directory.endswith(".scope") and _refusal(directory) == "":
                break
            if time.monotonic() >= deadline:
                raise CgroupError(
                    f"systemd gave no delegated scope, the launcher is in {directory}", hint="run `systemctl --user status`"
                )
            time.sleep(0.005)
        return _open(directory, tuple(_pids(directory)))


def _pids(directory: str) -> list[int]:
    fd = groups.open_directory(directory)
    try:
        return groups.pids(fd)
    finally:
        os.close(fd)


def _open(base: str, movers: tuple[int, ...]) -> LauncherGroup:
    path = f"{base}/{naming.new_name()}"
    try:
        os.mkdir(path)
        os.mkdir(f"{path}/launcher")
    except OSError as error:
        raise CgroupError(f"cannot make the group {path}: {error.strerror}", hint="run `sandbox doctor`") from error
    fd = groups.open_directory(f"{path}/launcher")
    try:
        for pid in movers:
            groups.write(fd, "cgroup.procs", str(pid))
        enable(base, WANTED)
        enable(path, WANTED)
    except CgroupError:
        groups.remove_tree(path)
        raise
    finally:
        os.close(fd)
    return Group(path)


class Group(LauncherGroup):
    """See LauncherGroup."""

    def __init__(self, path: str) -> None:
        super().__init__((path,))
        self._path = path

    def lease(self, limits: CgroupLimits) -> Lease:
        """See LauncherGroup."""
        path = f"{self._path}/{self._leaf_name()}"
        try:
            os.mkdir(path)
            fd = groups.open_directory(path)
        except OSError as error:
            raise CgroupError(f"cannot make the group {path}: {error.strerror}") from error
        leaf = Leaf(path, fd)
        try:
            leaf.limit(limits)
        except BaseException:
            leaf.close()
            raise
        return leaf


class Leaf(Lease):
    """See Lease."""

    def __init__(self, path: str, fd: int) -> None:
        self._path = path
        self.cgroup2_fd = fd

    def limit(self, limits: CgroupLimits) -> None:
        """Write every limit and read it back. Raises CgroupError."""
        fd = self.cgroup2_fd
        groups.write_checked(fd, "memory.max", limits.memory_bytes, slack=65536)
        if groups.has(fd, "memory.swap.max"):
            groups.write(fd, "memory.swap.max", "0")
        groups.write(fd, "memory.oom.group", "1")
        groups.write_checked(fd, "pids.max", limits.pids)
        if limits.cpu_quota_millicpus and groups.has(fd, "cpu.max"):
            groups.write(fd, "cpu.max", f"{max(1000, limits.cpu_quota_millicpus * _PERIOD_US // 1000)} {_PERIOD_US}")
        if limits.cpus and groups.has(fd, "cpuset.cpus"):
            groups.write(fd, "cpuset.cpus", ",".join(map(str, limits.cpus)))
        if limits.io_bytes_per_second and groups.has(fd, "io.max"):
            for device in whole_disks():
                groups.write(fd, "io.max", f"{device} rbps={limits.io_bytes_per_second} wbps={limits.io_bytes_per_second}")
        self.cpu_fd = os.open("cpu.stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=fd)

    def counters(self) -> Counters:
        """See Lease."""
        fd = self.cgroup2_fd
        cpu = groups.read_keys(fd, "cpu.stat")
        memory = groups.read_keys(fd, "memory.events")
        tasks = groups.read_keys(fd, "pids.events")
        peak, tasks_peak = groups.read_number(fd, "memory.peak"), groups.read_number(fd, "pids.peak")
        found = [
            ("memory.events", "oom_kill", memory.get("oom_kill", 0)),
            ("memory.events", "oom_group_kill", memory.get("oom_group_kill", 0)),
            ("pids.events", "max", tasks.get("max", 0)),
            ("cpu.stat", "nr_throttled", cpu.get("nr_throttled", 0)),
        ]
        return Counters(
            memory_peak_bytes=peak,
            cpu_user_ns=cpu.get("user_usec", 0) * 1000,
            cpu_system_ns=cpu.get("system_usec", 0) * 1000,
            oom_kills=memory.get("oom_kill", 0),
            pids_peak=tasks_peak,
            pids_max_events=tasks.get("max", 0),
            throttled_ns=cpu.get("throttled_usec", 0) * 1000,
            sources=tuple(item for item in found if item[2]),
        )

    def kill(self) -> None:
        """See Lease."""
        groups.kill_all(self.cgroup2_fd)

    def close(self) -> None:
        """See Lease."""
        fd, self.cgroup2_fd = self.cgroup2_fd, -1
        if fd < 0:
            return
        if self.cpu_fd >= 0:
            os.close(self.cpu_fd)
            self.cpu_fd = -1
        gone = groups.remove(self._path, fd)
        os.close(fd)
        if not gone:
            raise CgroupError(f"the group {self._path} cannot be removed: a process in it does not die")


def whole_disks() -> list[str]:
    """ "major:minor" of every block device that can be limited."""
    disks = []
    for device in Path("/sys/block").glob("*/dev"):
        if not device.parent.name.startswith(("loop", "ram", "zram")):
            disks.append(device.read_text(encoding="ascii").strip())
    return sorted(disks)
