"""Control groups of version 2. Source: Documentation/admin-guide/cgroup-v2.rst.

    <base>/sandbox-<owner>-<random>/   controllers enabled for what is below; holds no process itself
      launcher/                        the launcher
      run-<n>/                         one run: clone3 with CLONE_INTO_CGROUP starts its init inside

Every name is used once. After cgroup.kill was written to a group, kernels 6.12 to 6.18 kill at birth whatever
CLONE_INTO_CGROUP puts there later, so a killed group is only good for removal.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os

from sandbox.model.errors import CgroupError
from sandbox.resources import cgroupfs, janitor
from sandbox.resources.cgroupfs import failure, read_path, require_set, write_path
from sandbox.resources.groups import Base, CgroupLimits, Counters, LauncherGroup, Lease

REQUIRED = ("memory", "pids")
OPTIONAL = ("cpu", "cpuset", "io")
_BUSY_TRIES = 50


class Base2(Base):
    """A directory that we may use, or (`directory` "") a scope of its own for each launcher."""

    version = 2

    def __init__(self, directory: str, controllers: frozenset[str], description: str, prefix: tuple[str, ...] = ()) -> None:
        self.directory = directory
        self.controllers = controllers
        self.description = description
        self.command_prefix = prefix
        self._has_swap = swap_is_on()

    def directories(self) -> tuple[str, ...]:
        """The base directory."""
        return (self.directory,) if self.directory else ()

    def open_group(self, launcher_pid: int) -> LauncherGroup:
        """Make the launcher's groups and move it there. Raises CgroupError."""
        base = self.directory or _take_scope(launcher_pid, self.controllers)
        path = f"{base}/{janitor.new_name()}"
        try:
            cgroupfs.make(path)
            cgroupfs.make(f"{path}/launcher")
            write_path(f"{path}/cgroup.subtree_control", " ".join(f"+{name}" for name in sorted(self.controllers)))
            write_path(f"{path}/launcher/cgroup.procs", str(launcher_pid))
        except OSError as error:
            with contextlib.suppress(CgroupError):
                cgroupfs.remove_all((path,))
            raise failure("make the launcher's control group", path, error) from error
        return LauncherGroup2(path, self.controllers, has_swap=self._has_swap)


class LauncherGroup2(LauncherGroup):
    """See the drawing of this module."""

    def __init__(self, path: str, controllers: frozenset[str], *, has_swap: bool) -> None:
        super().__init__((path,))
        self._path = path
        self._controllers = controllers
        self._has_swap = has_swap
        self._numbers = itertools.count()

    def lease(self, limits: CgroupLimits) -> Lease:
        """A new group with these limits. Raises CgroupError."""
        path = f"{self._path}/run-{next(self._numbers)}"
        try:
            cgroupfs.make(path)
        except OSError as error:
            raise failure("make the control group", path, error) from error
        lease = Lease2(path)
        try:
            lease.open()
            lease.apply(limits, self._controllers, has_swap=self._has_swap)
        except BaseException as error:
            with contextlib.suppress(CgroupError):
                lease.close()
            if isinstance(error, OSError):
                raise failure("limit the control group", path, error) from error
            raise
        return lease


class Lease2(Lease):
    """One run's group."""

    cpu_kind = "cpu.stat"

    def __init__(self, path: str) -> None:
        super().__init__((path,))
        self._path = path
        self._fd = -1
        self._controllers: frozenset[str] = frozenset()

    def open(self) -> None:
        """Open the directory and the clock of its CPU time. Raises OSError."""
        self._fd = self._keep(os.open(self._path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        self.cgroup2_fd = self._fd
        self.cpu_fd = self._keep(os.open("cpu.stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._fd))

    def apply(self, limits: CgroupLimits, controllers: frozenset[str], *, has_swap: bool) -> None:
        """Write every limit and read it back. Raises OSError, CgroupError."""
        fd = self._fd
        self._controllers = controllers
        self._limit(limits)
        try:
            require_set(fd, "memory.swap.max", 0)
        except FileNotFoundError:
            if has_swap:
                raise CgroupError("swap is on, but not accounted: it would extend the memory limit", hint="swapoff -a") from None
        require_set(fd, "memory.oom.group", 1)
        if limits.cpus:
            self._need("cpuset", controllers)
            wanted = ",".join(str(cpu) for cpu in limits.cpus)
            cgroupfs.set_at(fd, "cpuset.cpus", wanted)
            found = cgroupfs.read_at(fd, "cpuset.cpus.effective").strip()
            if cgroupfs.cpu_list(found) != set(limits.cpus):
                self._check("cpuset.cpus.effective", wanted, found)
        if limits.io_bytes_per_second:
            self._need("io", controllers)
            self._limit_io(limits.io_bytes_per_second)

    def _limit(self, limits: CgroupLimits) -> None:
        require_set(self._fd, "memory.max", cgroupfs.pages(limits.memory_bytes))
        require_set(self._fd, "pids.max", limits.pids)
        if limits.cpu_quota_millicpus:
            self._need("cpu", self._controllers)
            wanted = "{} {}".format(*cgroupfs.quota(limits.cpu_quota_millicpus))
            self._check("cpu.max", wanted, cgroupfs.set_at(self._fd, "cpu.max", wanted))

    def tighten(self, limits: CgroupLimits) -> None:
        """Lower memory, processes and CPU bandwidth of a group that has processes already. Raises CgroupError."""
        try:
            cgroupfs.require_below(self._fd, "memory.current", limits.memory_bytes)
            self._limit(limits)
        except OSError as error:
            raise failure("limit the control group", self._path, error) from error

    def _limit_io(self, rate: int) -> None:
        for device in cgroupfs.disks():
            try:
                found = cgroupfs.set_at(self._fd, "io.max", f"{device} rbps={rate} wbps={rate}")
            except OSError as error:
                if error.errno in (errno.ENODEV, errno.ENXIO, errno.EOPNOTSUPP):  # gone, or without a queue
                    continue
                raise
            line = next((line for line in found.splitlines() if line.startswith(f"{device} ")), "")
            if not {f"rbps={rate}", f"wbps={rate}"} <= set(line.split()):
                self._check("io.max", f"{device} rbps={rate} wbps={rate}", line)

    def _need(self, controller: str, controllers: frozenset[str]) -> None:
        if controller not in controllers:
            raise CgroupError(f"the {controller} controller is not enabled for {self._path!r}", hint="run `sandbox doctor`")

    def _check(self, name: str, wanted: str, found: str) -> None:
        if wanted != found:
            raise CgroupError(
                f"the kernel took {found!r} for {name} instead of {wanted!r}", hint="check the limits of the groups above"
            )

    def counters(self) -> Counters:
        """Read the counters. Raises CgroupError."""
        try:
            memory = cgroupfs.keyed(self._read("memory.events"))
            cpu = cgroupfs.keyed(os.pread(self.cpu_fd, 4096, 0).decode("ascii"))
            refused = cgroupfs.keyed(self._read("pids.events")).get("max", 0)
            peak, tasks = self._number("memory.peak"), self._number("pids.peak")
        except OSError as error:
            raise failure("read the counters of", self._path, error) from error
        sources = cgroupfs.facts(
            ("memory.peak", "bytes", peak),
            ("memory.events", "oom_kill", memory.get("oom_kill", 0)),
            ("memory.events", "oom", memory.get("oom", 0)),
            ("pids.events", "max", refused),
            ("cpu.stat", "usage_usec", cpu["usage_usec"]),
            ("cpu.stat", "nr_throttled", cpu.get("nr_throttled", 0)),
        )
        return Counters(
            memory_peak_bytes=peak,
            cpu_user_ns=cpu["user_usec"] * 1000,
            cpu_system_ns=cpu["system_usec"] * 1000,
            oom_kills=memory.get("oom_kill", 0),
            oom_events=memory.get("oom", 0),
            memory_limit_hits=memory.get("max", 0),
            pids_peak=tasks,
            pids_max_events=refused,
            throttled_ns=cpu.get("throttled_usec", 0) * 1000,
            nr_throttled=cpu.get("nr_throttled", 0),
            sources=sources,
        )

    def _read(self, name: str) -> str:
        return cgroupfs.read_at(self._fd, name)

    def _number(self, name: str) -> int:
        """A peak; 0 on a kernel that does not keep it (memory.peak came with 5.19, pids.peak later)."""
        try:
            return int(self._read(name))
        except FileNotFoundError:
            return 0


def swap_is_on() -> bool:
    """Whether the host has any swap space."""
    try:
        return len(read_path("/proc/swaps").splitlines()) > 1
    except OSError:
        return False


def enable(directory: str, leaf: str) -> frozenset[str]:
    """Enable the controllers for groups below `directory` and return those that are.

    A group that holds processes cannot have controllers enabled (EBUSY). Where `leaf` is given its processes are moved
    into that group first; processes that appear meanwhile are moved in the next round. Safe when several do it at once.
    Raises OSError, CgroupError.
    """
    control = f"{directory}/cgroup.subtree_control"
    for _ in range(_BUSY_TRIES):
        if leaf:
            move_all(directory, f"{directory}/{leaf}")
        try:
            if not set(REQUIRED) <= set(read_path(control).split()):
                write_path(control, " ".join(f"+{name}" for name in REQUIRED))
            break
        except OSError as error:
            if error.errno != errno.EBUSY or not leaf:
                raise
    else:
        raise CgroupError(
            f"control group {directory!r} does not become empty", hint="something in it starts processes all the time"
        )
    for name in set(OPTIONAL) & set(read_path(f"{directory}/cgroup.controllers").split()):
        with contextlib.suppress(OSError):  # an optional controller that cannot be had is not in what we return
            write_path(control, f"+{name}")
    return frozenset(read_path(control).split()) & {*REQUIRED, *OPTIONAL}


def move_all(source: str, target: str, *, but: int = 0) -> None:
    """Move every process of `source` except `but` into the group `target`, which is made. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        cgroupfs.make(target)
    for pid in cgroupfs.members(source):
        if pid != but:
            with contextlib.suppress(ProcessLookupError):
                write_path(f"{target}/cgroup.procs", str(pid))


def _take_scope(launcher_pid: int, controllers: frozenset[str]) -> str:
    """The scope that the launcher was started in, with the launcher's keeper out of the way of the controllers."""
    from sandbox.host.cgroups import group_of

    scope = group_of(launcher_pid)
    if not scope.endswith(".scope") or scope == group_of(os.getpid()):
        raise CgroupError(
            f"the launcher was not started in a scope of its own but in {scope!r}",
            hint="check that `systemd-run --user --scope true` works",
        )
    try:
        move_all(scope, f"{scope}/keeper", but=launcher_pid)
        # The launcher itself goes there first too: the scope must be empty before controllers can be enabled below it.
        write_path(f"{scope}/keeper/cgroup.procs", str(launcher_pid))
        found = enable(scope, "keeper")
    except OSError as error:
        raise failure("use the scope", scope, error) from error
    if not controllers <= found:
        raise CgroupError(f"the scope {scope!r} has only {sorted(found)} of {sorted(controllers)}", hint="run `sandbox doctor`")
    return scope
