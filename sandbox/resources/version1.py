"""Control groups of version 1, one hierarchy for each controller. Source: Documentation/admin-guide/cgroup-v1/.

    <own group in each hierarchy>/sandbox-<owner>-<random>/run-<n>/

The launcher stays where it is; init joins the groups of its run by writing "0" to descriptors opened here.
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

REQUIRED = ("memory", "pids", "cpuacct")


class Base1(Base):
    """Our own group in each hierarchy. `places`: controller → directory; some directories may be the same."""

    version = 1

    def __init__(self, places: dict[str, str], *, has_swap: bool) -> None:
        self.controllers = frozenset(places)
        self.description = f"version 1, below {places['memory']} and its like"
        self._places = places
        self._has_swap = has_swap

    def directories(self) -> tuple[str, ...]:
        """The base directories, each once."""
        return tuple(dict.fromkeys(self._places.values()))

    def open_group(self, launcher_pid: int) -> LauncherGroup:
        """Make the launcher's directory in each hierarchy; the launcher itself is not moved. Raises CgroupError."""
        if janitor.start_time(launcher_pid) < 0:
            raise CgroupError(f"the launcher (process {launcher_pid}) is gone")
        name = janitor.new_name()
        places = {controller: f"{directory}/{name}" for controller, directory in self._places.items()}
        paths = tuple(dict.fromkeys(places.values()))
        try:
            for path in paths:
                cgroupfs.make(path)
            _never_swap(places["memory"])
            if "cpuset" in places:
                _inherit_cpuset(places["cpuset"])
        except (OSError, CgroupError) as error:
            with contextlib.suppress(CgroupError):
                cgroupfs.remove_all(paths)
            if isinstance(error, CgroupError):
                raise
            raise failure("make the launcher's control group", error.filename or paths[0], error) from error
        return LauncherGroup1(places, paths, has_swap=self._has_swap)


class LauncherGroup1(LauncherGroup):
    """See the drawing of this module."""

    def __init__(self, places: dict[str, str], paths: tuple[str, ...], *, has_swap: bool) -> None:
        super().__init__(paths)
        self._places = places
        self._counts_swap = os.path.exists(f"{places['memory']}/memory.memsw.limit_in_bytes")
        self._has_swap = has_swap
        self._numbers = itertools.count()

    def stay(self) -> str:
        """See `LauncherGroup.stay`."""
        return f"{os.path.dirname(self._places['pids'])}/cgroup.procs"

    def lease(self, limits: CgroupLimits) -> Lease:
        """A new group with these limits in every hierarchy that they need. Raises CgroupError."""
        wanted = [*REQUIRED]
        for name, asked in (("cpu", limits.cpu_quota_millicpus), ("cpuset", limits.cpus), ("blkio", limits.io_bytes_per_second)):
            if asked:
                if name not in self._places:
                    raise CgroupError(f"the {name} controller is not usable here", hint="run `sandbox doctor`")
                wanted.append(name)
        name = f"run-{next(self._numbers)}"
        if self._has_swap and not self._counts_swap:
            raise CgroupError("swap is on, but not accounted: it would extend the memory limit", hint="swapoff -a")
        places = {controller: f"{self._places[controller]}/{name}" for controller in wanted}
        lease = Lease1(places, counts_swap=self._counts_swap)
        try:
            lease.open()
            lease.apply(limits)
        except BaseException as error:
            with contextlib.suppress(CgroupError):
                lease.close()
            if isinstance(error, OSError):
                raise failure("make or limit the control group", f"{self._places['memory']}/{name}", error) from error
            raise
        return lease


class Lease1(Lease):
    """One run's groups."""

    cpu_kind = "cpuacct.usage"

    def __init__(self, places: dict[str, str], *, counts_swap: bool) -> None:
        super().__init__(tuple(dict.fromkeys(places.values())))
        self._places = places
        self._handles: dict[str, int] = {}
        self._counts_swap = counts_swap

    def open(self) -> None:
        """Make the directories and open what init and launcher need. Raises OSError."""
        by_path = {}
        for path in self.paths:
            cgroupfs.make(path)
            by_path[path] = self._keep(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        self._handles = {controller: by_path[path] for controller, path in self._places.items()}
        flags = os.O_WRONLY | os.O_CLOEXEC
        self.join_fds = tuple(self._keep(os.open("cgroup.procs", flags, dir_fd=handle)) for handle in by_path.values())
        self.cpu_fd = self._keep(os.open("cpuacct.usage", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._handles["cpuacct"]))

    def apply(self, limits: CgroupLimits) -> None:
        """Write every limit and read it back. Raises OSError, CgroupError."""
        memory = self._handles["memory"]
        self._limit(limits)
        self.oom_fd = self._keep(_watch_oom(memory))
        self.peak_fd = self._keep(os.open("memory.max_usage_in_bytes", os.O_RDONLY | os.O_CLOEXEC, dir_fd=memory))
        if limits.cpus:
            _inherit_cpuset(self._places["cpuset"])
            wanted = ",".join(str(cpu) for cpu in limits.cpus)
            found = cgroupfs.set_at(self._handles["cpuset"], "cpuset.cpus", wanted)
            if cgroupfs.cpu_list(found) != set(limits.cpus):
                raise CgroupError(f"the kernel took {found!r} for cpuset.cpus instead of {wanted!r}")
        if limits.io_bytes_per_second:
            self._limit_io(limits.io_bytes_per_second)

    def _limit(self, limits: CgroupLimits) -> None:
        memory = self._handles["memory"]
        size = cgroupfs.pages(limits.memory_bytes)
        require_set(memory, "memory.limit_in_bytes", size)
        if self._counts_swap:
            require_set(memory, "memory.memsw.limit_in_bytes", size)
        self.oom_bytes = cgroupfs.near_limit(size)
        require_set(self._handles["pids"], "pids.max", limits.pids)
        if limits.cpu_quota_millicpus:
            if "cpu" not in self._handles:
                raise CgroupError("this group was made without a CPU quota", hint="make another")
            quota, period = cgroupfs.quota(limits.cpu_quota_millicpus)
            if period != cgroupfs.PERIOD_US:
                require_set(self._handles["cpu"], "cpu.cfs_period_us", period)
            require_set(self._handles["cpu"], "cpu.cfs_quota_us", quota)

    def tighten(self, limits: CgroupLimits) -> None:
        """Lower memory, processes and CPU bandwidth of a group that has processes already. Raises CgroupError."""
        try:
            cgroupfs.require_below(self._handles["memory"], "memory.usage_in_bytes", limits.memory_bytes)
            self._limit(limits)
        except OSError as error:
            raise failure("limit the control group", self._places["memory"], error) from error

    def _limit_io(self, rate: int) -> None:
        for device in cgroupfs.disks():
            for name in ("blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device"):
                try:
                    found = cgroupfs.set_at(self._handles["blkio"], name, f"{device} {rate}")
                except OSError as error:
                    if error.errno in (errno.ENODEV, errno.ENXIO, errno.EOPNOTSUPP):  # gone, or without a queue
                        break
                    raise
                if f"{device} {rate}" not in found.splitlines():
                    raise CgroupError(f"the kernel does not keep {name} = {rate} for disk {device}")

    def counters(self) -> Counters:
        """Read the counters. Raises CgroupError."""
        try:
            memory, pids = self._handles["memory"], self._handles["pids"]
            account = self._handles["cpuacct"]
            peak = int(os.pread(self.peak_fd, 64, 0))
            hits = int(cgroupfs.read_at(memory, "memory.failcnt")) or int(peak >= self.oom_bytes)  # not all kernels count
            kills = cgroupfs.keyed(cgroupfs.read_at(memory, "memory.oom_control")).get("oom_kill", 0)
            refused = cgroupfs.keyed(_optional(pids, "pids.events")).get("max", 0)
            tasks = int(_optional(pids, "pids.peak") or 0)
            used = int(os.pread(self.cpu_fd, 64, 0))
            user, system = _split(used, *(int(cgroupfs.read_at(account, f"cpuacct.usage_{kind}")) for kind in ("user", "sys")))
            cpu = cgroupfs.keyed(cgroupfs.read_at(self._handles["cpu"], "cpu.stat")) if "cpu" in self._handles else {}
        except OSError as error:
            raise failure("read the counters of", self._places["memory"], error) from error
        sources = cgroupfs.facts(
            ("memory.max_usage_in_bytes", "bytes", peak),
            ("memory.oom_control", "oom_kill", kills),
            ("pids.events", "max", refused),
            ("cpuacct.usage", "ns", used),
            ("cpu.stat", "nr_throttled", cpu.get("nr_throttled", 0)),
        )
        return Counters(
            memory_peak_bytes=peak,
            cpu_user_ns=user,
            cpu_system_ns=system,
            oom_kills=kills,
            oom_events=kills,  # version 1 counts no others; they raise the eventfd
            memory_limit_hits=hits,
            pids_peak=tasks,
            pids_max_events=refused,
            throttled_ns=cpu.get("throttled_time", 0),
            nr_throttled=cpu.get("nr_throttled", 0),
            sources=sources,
        )


def _split(used: int, user: int, system: int) -> tuple[int, int]:
    """The exact total, divided as the parts are: kernels that count those by timer ticks are up to 4 ms off in each."""
    parts = user + system
    exact = used * user // parts if parts else used
    return exact, used - exact


def _optional(directory: int, name: str) -> str:
    """A file that came with newer kernels; "" where it is missing."""
    try:
        return cgroupfs.read_at(directory, name)
    except FileNotFoundError:
        return ""


def _watch_oom(memory: int) -> int:
    """An eventfd that the kernel raises when the group is out of memory: v1 kills one process, we want all of them."""
    event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        control = os.open("memory.oom_control", os.O_RDONLY | os.O_CLOEXEC, dir_fd=memory)
        try:
            register = os.open("cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC, dir_fd=memory)
            try:
                os.write(register, b"%d %d" % (event, control))
            finally:
                os.close(register)
        finally:
            os.close(control)
    except BaseException:
        os.close(event)
        raise
    return event


def _never_swap(path: str) -> None:
    """For this group and all that are made in it: they inherit it (cgroup-v1/memory.rst). Raises OSError, CgroupError."""
    handle = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        require_set(handle, "memory.swappiness", 0)
    finally:
        os.close(handle)


def _inherit_cpuset(path: str) -> None:
    """A new cpuset is empty and nothing can join it: take the parent's CPUs and memory nodes. Raises OSError."""
    for name in ("cpuset.mems", "cpuset.cpus"):
        write_path(f"{path}/{name}", read_path(f"{os.path.dirname(path)}/{name}").strip())
