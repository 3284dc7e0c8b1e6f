"""One run as the launcher sees it: its processes, deadlines and reports. Plain state; `loop` drives it."""

from __future__ import annotations

import os
import time

from sandbox.kernel import namespaces
from sandbox.launcher import wire
from sandbox.launcher.init import Init
from sandbox.model import launch, steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket
    from typing import Any

    from sandbox.model.launch import LaunchRequest
    from sandbox.model.plan import Plan

SETUP_NS = 20_000_000_000
_SIGKILL = 9
_MIN_CHECK_NS = 2_000_000
_SAMPLE_NS = 20_000_000


class Descriptors:
    """The descriptors of one LAUNCH message, by name; -1 where the message had none. `take` closes nothing."""

    __slots__ = ("cgroup2", "cpu", "files", "joins", "lane", "oom", "stderr", "stdin", "stdout")

    def __init__(self, present: int, fds: list[int], joins: int) -> None:
        rest = list(fds)

        def take(bit: int) -> int:
            return rest.pop(0) if present & bit and rest else -1

        self.lane = take(launch.FD_LANE)
        self.stdin = take(launch.FD_STDIN)
        self.stdout = take(launch.FD_STDOUT)
        self.stderr = take(launch.FD_STDERR)
        self.files = take(launch.FD_FILES)
        self.cpu = take(launch.FD_CPU)
        self.oom = take(launch.FD_OOM)
        self.cgroup2 = take(launch.FD_CGROUP2)
        self.joins = tuple(rest)
        if len(self.joins) != joins or self.lane < 0:
            raise wire.WireError("a launch came with other descriptors than it says")

    def only_inits(self) -> list[int]:
        """Those that the launcher has no use for once init has its copies."""
        return [fd for fd in (self.stdin, self.stdout, self.stderr, self.files, self.cgroup2, *self.joins) if fd >= 0]


class Run:
    """A sandbox from its clone to its report."""

    def __init__(self, request: LaunchRequest, lane: Socket, slot: int) -> None:
        self.request = request
        self.lane = lane
        self.slot = slot
        self.received = time.monotonic_ns()
        self.pid = -1
        self.pidfd = -1
        self.status: Socket | None = None
        self.cpu_fd = -1
        self.oom_fd = -1
        self.listener = -1
        self.work_fd = -1
        self.started = 0
        self.init_cpu = (0, 0)
        self.killed_by = launch.NOT_KILLED
        self.killed_value = 0
        self.failure: tuple[int, int, int] | None = None
        self.report: tuple[int, ...] | None = None
        self.denied: dict[int, int] = {}
        self.cpu_ns = 0
        self.peak_cpu = (0, 0)
        self.peak_pids = 0
        self.peak_rss = 0
        self.next_check = 0
        self.last_cpu = 0
        self.last_progress = 0
        self.sampled = request.pids > 0 or request.memory_bytes > 0

    def spawn(self, plan: Plan, fds: Descriptors) -> None:
        """Clone init, map its ids and let it go. Raises OSError; `failure` then names the step."""
        ours, theirs = wire.pair()
        self.failure = (steps.CLONE, 0, 0)
        pid, pidfd = namespaces.clone(plan.clone_flags, fds.cgroup2)
        if pid == 0:
            Init(plan, self.request, theirs, (fds.stdin, fds.stdout, fds.stderr), fds.files, fds.joins).run()
        theirs.close()
        self.pid, self.pidfd, self.status = pid, pidfd, ours
        self.cpu_fd, self.oom_fd = fds.cpu, fds.oom
        self.failure = (steps.RUN_ID_MAP, 0, 0)
        inside = plan.ids.first_slot + self.slot if plan.ids.slots else 0
        namespaces.write_file(f"/proc/{pid}/uid_map", b"%d %d 1" % (plan.ids.uid, inside))
        namespaces.write_file(f"/proc/{pid}/gid_map", b"%d %d 1" % (plan.ids.gid, inside))
        ours.send(b"go")
        self.failure = None
        self.next_check = self.received + SETUP_NS

    def kill(self, reason: int, value: int = 0) -> None:
        """End everything in the sandbox; the first reason is the one that is reported."""
        if self.killed_by == launch.NOT_KILLED:
            self.killed_by = reason
            self.killed_value = value
            if self.sampled and self.started:
                self._sample()
        namespaces.send_signal(self.pidfd, _SIGKILL)

    def on_status(self) -> tuple[int, list[int]] | None:
        """Read one report of init: its kind, and with STARTED the descriptors that belong to the caller."""
        if self.status is None:
            return None
        try:
            packet = wire.receive(self.status, wait=False)
        except BlockingIOError:
            return None
        if packet is None:
            return None
        message, fds = packet
        kind: int = message[0]
        if kind == launch.STARTED:
            return kind, self._on_started(message, fds)
        wire.close_all(fds)
        if kind == launch.FAILED:
            self.failure = message[1:4]
        else:
            self.report = message[1:]
        return kind, []

    def _on_started(self, message: tuple[Any, ...], fds: list[int]) -> list[int]:
        self.started, self.init_cpu = message[1], message[2:4]
        has_listener, has_work, _ = message[4]
        self.listener = fds.pop(0) if has_listener else -1
        self.work_fd = fds.pop(0) if has_work else -1
        self.last_progress = self.started
        self.next_check = self.started
        return fds

    def verify(self, plan: Plan) -> bool:
        """Read back from the kernel what init has given up, and what its children inherit (proc_pid_status(5))."""
        lines = _slurp(b"/proc/%d/status" % self.pid).splitlines()
        found = dict(line.split(b":\t", 1) for line in lines if b":\t" in line)
        kept = sum(1 << number for number in plan.capabilities)
        wanted = dict.fromkeys((b"CapPrm", b"CapEff", b"CapBnd", b"CapInh", b"CapAmb"), kept)
        rights = all(int(found[name], 16) == value for name, value in wanted.items())
        filtered = found[b"Seccomp"] == b"2" or not plan.filters.notify
        own = plan.ids.first_slot + self.slot if plan.ids.slots else 0
        users = set(found[b"Uid"].split() + found[b"Gid"].split()) == {b"%d" % own}
        groups = plan.ids.deny_setgroups or not found[b"Groups"].split()
        return rights and filtered and users and groups and found[b"NoNewPrivs"] == b"1"

    def check(self, now: int) -> None:
        """Look at the clocks; kills the sandbox when one has run out, else sets `next_check`."""
        request = self.request
        if not self.started:
            if now >= self.received + SETUP_NS:
                self.failure = (steps.INIT_DIED, 0, 110)  # ETIMEDOUT
                self.kill(launch.BY_CALLER)
            return
        elapsed = now - self.started
        if elapsed >= request.wall_ns:
            self.kill(launch.BY_WALL, elapsed)
            return
        if self.sampled:
            resident = self._sample()
            if request.memory_bytes and resident > request.memory_bytes:
                self.kill(launch.BY_OOM, resident)
        elif self.cpu_fd >= 0:
            self.cpu_ns = max(0, read_cpu_ns(self.cpu_fd) - sum(self.init_cpu))
        if self.cpu_ns >= request.cpu_ns:
            self.kill(launch.BY_CPU, self.cpu_ns)
            return
        if self.cpu_ns - self.last_cpu >= 1_000_000:
            self.last_cpu, self.last_progress = self.cpu_ns, now
        idle = now - self.last_progress
        if request.idle_ns and idle >= request.idle_ns:
            self.kill(launch.BY_IDLE, idle)
            return
        waits = [self.started + request.wall_ns - now, max(_MIN_CHECK_NS, (request.cpu_ns - self.cpu_ns) // request.cpus)]
        if request.idle_ns:
            waits.append(max(_MIN_CHECK_NS, min(request.idle_ns - idle, request.idle_ns // 4)))
        if self.sampled:
            waits.append(_SAMPLE_NS)
        self.next_check = now + min(waits)

    def _sample(self) -> int:
        """Degraded mode: walk the process tree below init. Returns the resident bytes of now."""
        user, system, tasks, resident = sample_tree(self.pid)
        self.peak_cpu = (max(self.peak_cpu[0], user), max(self.peak_cpu[1], system))
        self.cpu_ns = max(self.cpu_ns, user + system - sum(self.init_cpu))
        self.peak_pids = max(self.peak_pids, tasks)
        self.peak_rss = max(self.peak_rss, resident)
        return resident

    def close(self) -> None:
        """Let go of every descriptor but the lane."""
        wire.close_all([fd for fd in (self.pidfd, self.cpu_fd, self.oom_fd, self.listener, self.work_fd) if fd >= 0])
        self.pidfd = self.cpu_fd = self.oom_fd = self.listener = self.work_fd = -1
        if self.status is not None:
            self.status.close()
            self.status = None


def read_cpu_ns(fd: int) -> int:
    """CPU time of a control group: cpuacct.usage (v1, nanoseconds) or the usage_usec line of cpu.stat (v2)."""
    data = os.pread(fd, 256, 0)
    if data.startswith(b"usage_usec "):
        return int(data.split(b"\n", 1)[0][11:]) * 1000
    return int(data)


_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MAX_TREE = 4096


def sample_tree(root: int) -> tuple[int, int, int, int]:
    """(user ns, system ns, tasks, resident bytes) from `root` on, which is not counted as task or memory.

    Source: proc_pid_stat(5). A process that ends between two reads is counted by its parent's next reading.
    """
    user = system = tasks = resident = 0
    pending = [root]
    seen = 0
    while pending and seen < _MAX_TREE:
        pid = pending.pop()
        seen += 1
        try:
            stat_line = _slurp(b"/proc/%d/stat" % pid)
            for task in os.listdir(b"/proc/%d/task" % pid):
                children = _slurp(b"/proc/%d/task/%s/children" % (pid, task))
                pending.extend(int(word) for word in children.split())
        except OSError:
            continue
        fields = stat_line[stat_line.rindex(b")") + 2 :].split()
        user += (int(fields[11]) + int(fields[13])) * _TICK_NS
        system += (int(fields[12]) + int(fields[14])) * _TICK_NS
        if pid != root:
            tasks += int(fields[17])
            resident += int(fields[21]) * _PAGE
    return user, system, tasks, resident


def _slurp(path: bytes) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 65536)
    finally:
        os.close(fd)
