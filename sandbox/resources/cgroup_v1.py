"""cgroup v1 and hybrid hosts, for root: one directory in each hierarchy that limits or counts something."""

from __future__ import annotations

import os
from pathlib import Path

from sandbox.model.errors import CgroupError, UnsupportedHostError
from sandbox.resources import groups, naming
from sandbox.resources.cgroup_v2 import MountEntry, whole_disks
from sandbox.resources.cgroups import Base, CgroupLimits, Counters, LauncherGroup, Lease, sweep

NEEDED = ("memory", "pids", "cpuacct")
WANTED = ("memory", "pids", "cpuacct", "cpu", "cpuset", "blkio")
_PERIOD_US = 100_000


def has_memory(table: tuple[MountEntry, ...]) -> bool:
    """Whether memory is limited by a v1 hierarchy on this host."""
    return any(entry.kind == "cgroup" and "memory" in entry.options for entry in table)


def find(table: tuple[MountEntry, ...]) -> Base:
    """Our own group in each hierarchy. Raises UnsupportedHostError when it may not be divided."""
    places: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            mount = next((item for item in table if item.kind == "cgroup" and name and name in item.options), None)
            if mount is not None and name in WANTED:
                root = mount.root.rstrip("/")
                inner = path[len(root) :] if path.startswith(root) else path
                places[name] = (mount.point + inner).rstrip("/")
    usable = {name: place for name, place in places.items() if os.access(place, os.W_OK | os.X_OK)}
    missing = [name for name in NEEDED if name not in usable]
    if missing:
        raise UnsupportedHostError(
            "cgroup",
            f"this host limits {', '.join(missing)} through cgroup v1, which only root may divide",
            "run as root; or boot with systemd.unified_cgroup_hierarchy=1 and use a delegated scope;"
            " or accept weaker limits with --allow-degraded",
        )
    return Hierarchies(usable)


class Hierarchies(Base):
    """See Base; `places` maps a controller to our own directory."""

    version = 1

    def __init__(self, places: dict[str, str]) -> None:
        self._places = places
        self.controllers = frozenset(places)
        self.description = "cgroup v1: " + ", ".join(f"{name} {place}" for name, place in sorted(places.items()))
        for place in set(places.values()):
            sweep(place)

    def open_group(self, launcher_pid: int) -> LauncherGroup:
        """See Base. The launcher itself stays in the caller's group."""
        name = naming.new_name()
        made: dict[str, str] = {}
        try:
            for controller, place in self._places.items():
                path = f"{place}/{name}"
                if path not in made.values():
                    os.mkdir(path)
                made[controller] = path
            _inherit_cpuset(made.get("cpuset"))
        except OSError as error:
            for path in set(made.values()):
                groups.remove_tree(path)
            raise CgroupError(f"cannot make the group {name}: {error.strerror}") from error
        return Group(made)


def _inherit_cpuset(path: str | None) -> None:
    """A new cpuset is empty and takes no process until it has CPUs and memory nodes."""
    if path is None:
        return
    parent, child = groups.open_directory(os.path.dirname(path)), groups.open_directory(path)
    try:
        for name in ("cpuset.mems", "cpuset.cpus"):
            groups.write(child, name, groups.read(parent, name).strip())
    finally:
        os.close(parent)
        os.close(child)


class Group(LauncherGroup):
    """See LauncherGroup."""

    def __init__(self, places: dict[str, str]) -> None:
        super().__init__(tuple(dict.fromkeys(places.values())))
        self._places = places

    def lease(self, limits: CgroupLimits) -> Lease:
        """See LauncherGroup. Only hierarchies that limit or count something for this run are joined."""
        wanted = ["memory", "pids", "cpuacct"]
        wanted += ["cpu"] if limits.cpu_quota_millicpus else []
        wanted += ["cpuset"] if limits.cpus else []
        wanted += ["blkio"] if limits.io_bytes_per_second else []
        leaf = Leaf(self._leaf_name(), {name: self._places[name] for name in wanted if name in self._places})
        try:
            leaf.open()
            leaf.limit(limits)
        except BaseException:
            leaf.close()
            raise
        return leaf


class Leaf(Lease):
    """See Lease."""

    def __init__(self, name: str, places: dict[str, str]) -> None:
        self._paths = {place: f"{place}/{name}" for place in places.values()}
        self._places = places
        self._fds: dict[str, int] = {}

    def open(self) -> None:
        """Make the directories. Raises CgroupError."""
        try:
            for place, path in self._paths.items():
                os.mkdir(path)
                self._fds[place] = groups.open_directory(path)
            joins = []
            for place in self._paths:
                joins.append(os.open("cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._fds[place]))
                self.join_fds = tuple(joins)
            self.cpu_fd = os.open("cpuacct.usage", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._fd("cpuacct"))
        except OSError as error:
            raise CgroupError(f"cannot make a control group: {error}") from error

    def _fd(self, controller: str) -> int:
        return self._fds[self._places[controller]]

    def limit(self, limits: CgroupLimits) -> None:
        """Write every limit and read it back. Raises CgroupError."""
        memory = self._fd("memory")
        groups.write_checked(memory, "memory.limit_in_bytes", limits.memory_bytes, slack=65536)
        if groups.has(memory, "memory.memsw.limit_in_bytes"):
            groups.write_checked(memory, "memory.memsw.limit_in_bytes", limits.memory_bytes, slack=65536)
        groups.write(memory, "memory.swappiness", "0")
        self._watch_memory(memory)
        groups.write_checked(self._fd("pids"), "pids.max", limits.pids)
        if "cpu" in self._places and limits.cpu_quota_millicpus:
            cpu = self._fd("cpu")
            groups.write_checked(cpu, "cpu.cfs_period_us", _PERIOD_US)
            groups.write_checked(cpu, "cpu.cfs_quota_us", max(1000, limits.cpu_quota_millicpus * _PERIOD_US // 1000))
        if "cpuset" in self._places:
            cpuset = self._fd("cpuset")
            parent = groups.open_directory(self._places["cpuset"])
            try:
                groups.write(cpuset, "cpuset.mems", groups.read(parent, "cpuset.mems").strip())
            finally:
                os.close(parent)
            groups.write(cpuset, "cpuset.cpus", ",".join(map(str, limits.cpus)))
        if "blkio" in self._places:
            for device in whole_disks():
                for direction in ("read", "write"):
                    groups.write(
                        self._fd("blkio"), f"blkio.throttle.{direction}_bps_device", f"{device} {limits.io_bytes_per_second}"
                    )

    def _watch_memory(self, memory: int) -> None:
        """An eventfd that becomes readable when the group is out of memory (cgroup-v1/memory.rst, section 10)."""
        self.oom_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        control = os.open("memory.oom_control", os.O_RDONLY | os.O_CLOEXEC, dir_fd=memory)
        try:
            groups.write(memory, "cgroup.event_control", f"{self.oom_fd} {control}")
        finally:
            os.close(control)

    def counters(self) -> Counters:
        """See Lease."""
        memory, tasks, account = self._fd("memory"), self._fd("pids"), self._fd("cpuacct")
        oom = groups.read_keys(memory, "memory.oom_control").get("oom_kill", 0)
        failures = groups.read_number(memory, "memory.failcnt")
        refused = groups.read_keys(tasks, "pids.events").get("max", 0)
        cpu = groups.read_keys(self._fd("cpu"), "cpu.stat") if "cpu" in self._places else {}
        found = [
            ("memory.oom_control", "oom_kill", oom),
            ("memory.failcnt", "failures", failures if oom else 0),
            ("pids.events", "max", refused),
            ("cpu.stat", "nr_throttled", cpu.get("nr_throttled", 0)),
        ]
        return Counters(
            memory_peak_bytes=groups.read_number(memory, "memory.max_usage_in_bytes"),
            cpu_user_ns=groups.read_number(account, "cpuacct.usage_user"),
            cpu_system_ns=groups.read_number(account, "cpuacct.usage_sys"),
            oom_kills=oom,
            pids_peak=groups.read_number(tasks, "pids.peak"),
            pids_max_events=refused,
            throttled_ns=cpu.get("throttled_time", 0),
            sources=tuple(item for item in found if item[2]),
        )

    def kill(self) -> None:
        """See Lease."""
        groups.kill_all(self._fd("pids"))

    def close(self) -> None:
        """See Lease."""
        fds, self._fds = self._fds, {}
        single = [fd for fd in (*self.join_fds, self.cpu_fd, self.oom_fd) if fd >= 0]
        self.join_fds, self.cpu_fd, self.oom_fd = (), -1, -1
        for fd in single:
            os.close(fd)
        left = [self._paths[place] for place, fd in fds.items() if not groups.remove(self._paths[place], fd)]
        for fd in fds.values():
            os.close(fd)
        if left:
            raise CgroupError(f"control groups cannot be removed: {', '.join(left)}; a process in them does not die")
