"""One run as the launcher sees it: its processes, deadlines and reports. Plain state; `loop` drives it."""

from __future__ import annotations

import _socket
import os
import time

from sandbox.kernel import namespaces
from sandbox.launcher import payload, wire
from sandbox.launcher.init import Init
from sandbox.launcher.sampling import Sampler, can_run, slurp
from sandbox.model import launch, steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket
    from collections.abc import Callable
    from typing import Any

    from sandbox.model.launch import LaunchRequest
    from sandbox.model.plan import Plan

SETUP_NS = 20_000_000_000
_SIGKILL = 9
_MIN_CHECK_NS = 2_000_000
_SAMPLE_NS = 20_000_000
_IDLE_LOOKS = 4  # that find nothing ready to run, one after the other, before the sandbox counts as idle
_AFTER_KILL_NS = 1_000_000_000
_PARKED_NS = 3600_000_000_000
_ETIMEDOUT = 110


class Descriptors:
    """The descriptors of one LAUNCH message, by name; -1 where the message had none. `take` closes nothing."""

    __slots__ = ("cgroup2", "cpu", "files", "joins", "lane", "oom", "peak", "program", "stderr", "stdin", "stdout")

    def __init__(self, present: int, fds: list[int], joins: int = 0) -> None:
        rest = list(fds)

        def take(bit: int) -> int:
            return rest.pop(0) if present & bit and rest else -1

        self.lane = take(launch.FD_LANE)
        self.stdin = take(launch.FD_STDIN)
        self.stdout = take(launch.FD_STDOUT)
        self.stderr = take(launch.FD_STDERR)
        self.files = take(launch.FD_FILES)
        self.program = take(launch.FD_PROGRAM)
        self.cpu = take(launch.FD_CPU)
        self.oom = take(launch.FD_OOM)
        self.cgroup2 = take(launch.FD_CGROUP2)
        self.peak = take(launch.FD_PEAK)
        self.joins = tuple(rest)
        if len(self.joins) != joins:
            raise wire.WireError("a launch came with other descriptors than it says")

    def only_inits(self) -> list[int]:
        """Those that the launcher has no use for once init has its copies."""
        return [fd for fd in (self.cgroup2, *self.joins) if fd >= 0]

    def streams(self) -> list[int]:
        """Those of the payload, until it has its copies: stdin, stdout, stderr, and last the input files and the program."""
        return [fd for fd in (self.stdin, self.stdout, self.stderr, self.files, self.program) if fd >= 0]

    def clocks(self) -> list[int]:
        """Those that belong to the run itself, from its start to its end."""
        return [fd for fd in (self.cpu, self.oom, self.peak) if fd >= 0]


class Run:
    """A sandbox from its clone to its report; parked as long as it has no order."""

    def __init__(self, request: LaunchRequest, lane: Socket, slot: int) -> None:
        self.request = request
        self.lane = lane
        self.slot = slot
        self.received = time.monotonic_ns()
        self.pid = -1
        self.pidfd = -1
        self.status: Socket | None = None
        self.orders: Socket | None = None
        self.ordered = False
        self.present = 0
        self.streams: list[int] = []
        self.cpu_fd = -1
        self.oom_fd = -1
        self.peak_fd = -1
        self.listener = -1
        self.work_fd = -1
        self.master_fd = -1
        self.started = 0
        self.answered = False
        self.init_cpu = (0, 0)
        self.init_bytes = 0
        self.killed_by = launch.NOT_KILLED
        self.killed_value = 0
        self.failure: tuple[int, int, int] | None = None
        self.report: tuple[int, ...] | None = None
        self.denied: dict[int, int] = {}
        self.cpu_ns = 0
        self.sampler: Sampler | None = None
        self.next_check = 0
        self.last_cpu = 0
        self.last_look = 0
        self.idle_ns = 0

    def spawn(self, plan: Plan, fds: Descriptors, let_go: Callable[[], object]) -> None:
        """Clone init, map its ids and let it go. Raises OSError; `failure` then names the step."""
        ours, theirs = wire.pair()
        self.failure = (steps.CLONE, 0, 0)
        pid, pidfd = namespaces.clone(plan.clone_flags, fds.cgroup2)
        if pid == 0:
            if plan.warm.interpreter:  # else nothing of this is ever looked at again
                let_go()
                self.let_go()
                ours.detach()
            Init(plan, self.request, theirs, fds.joins).run()
        theirs.close()
        self.pid, self.pidfd, self.status = pid, pidfd, ours
        self.cpu_fd, self.oom_fd, self.peak_fd = fds.cpu, fds.oom, fds.peak
        if self.request.pids or self.request.memory_bytes:
            self.sampler = Sampler(pid)
        self.failure = (steps.RUN_ID_MAP, 0, 0)
        inside = plan.ids.first_slot + self.slot if plan.ids.slots else 0
        namespaces.write_file(f"/proc/{pid}/uid_map", b"%d %d 1" % (plan.ids.uid, inside))
        namespaces.write_file(f"/proc/{pid}/gid_map", b"%d %d 1" % (plan.ids.gid, inside))
        ours.send(b"go")
        self.failure = None
        self.next_check = self.received + SETUP_NS

    def order(self, request: LaunchRequest, present: int, streams: list[int]) -> None:
        """What to run is known. It is passed on now, or as soon as the sandbox is ready. Raises OSError."""
        self.request = request
        self.received = time.monotonic_ns()
        self.next_check = self.received + SETUP_NS
        self.ordered = True
        self.present, self.streams = present & launch.FD_STREAMS, streams
        self.go()

    def go(self) -> None:
        """Let the program start, once the sandbox is ready and there is an order. Raises OSError."""
        if self.orders is None or not self.ordered or self.killed_by != launch.NOT_KILLED:
            return
        try:
            wire.send(self.orders, (launch.LAUNCH, self.present, self.request.program), self.streams, wait=False)
        except (BrokenPipeError, ConnectionResetError):  # it died while it was parked: its end, which comes next, says so
            return
        self.orders.close()
        self.orders = None
        wire.close_all(self.streams)
        self.streams = []
        if not self.present & launch.FD_FILES:
            self.start_clocks()

    def start_clocks(self, began: int = 0) -> None:
        """The program runs, or will at once. Where input files had to be written first, init says when it `began`.

        On a busy host the program may be over before we hear of its start.
        """
        self.started = self.last_look = self.next_check = min(began or (1 << 63), time.monotonic_ns())

    def kill(self, reason: int, value: int = 0) -> None:
        """End everything in the sandbox; the first reason is the one that is reported."""
        if self.killed_by == launch.NOT_KILLED:
            self.killed_by = reason
            self.killed_value = value
            if self.started and self.sampler is not None:
                self.sampler.sample(0)
        namespaces.send_signal(self.pidfd, _SIGKILL)

    def on_oom(self) -> None:
        """Version 1: our group or one above it is out of memory. Only the former ends the run."""
        try:
            count = int.from_bytes(os.read(self.oom_fd, 8), "little")
        except BlockingIOError:
            return
        if self.peak_fd < 0 or int(os.pread(self.peak_fd, 64, 0)) >= self.request.oom_bytes:
            self.kill(launch.BY_OOM, count)

    def on_status(self) -> int | None:
        """Read one report of init. Returns its kind, 0 when there is none now, None when there will be none any more."""
        if self.status is None:
            return None
        try:
            packet = wire.receive(self.status, wait=False)
        except BlockingIOError:
            return 0
        if packet is None:
            return None
        message, fds = packet
        kind: int = message[0]
        if kind == launch.STARTED:
            self._on_started(message, fds)
            return kind
        wire.close_all(fds)
        if kind == launch.EXECUTED:
            self.init_cpu = message[1:3]
            self.start_clocks(message[3])
        elif kind == launch.FAILED:
            self.failure = message[1:4]
        else:
            self.report = message[1:]
        return kind

    def _on_started(self, message: tuple[Any, ...], fds: list[int]) -> None:
        self.init_cpu = message[1:3]
        has_listener, has_work, has_master = message[3]
        self.orders = _socket.socket(fileno=fds.pop(0))
        self.listener = fds.pop(0) if has_listener else -1
        self.work_fd = fds.pop(0) if has_work else -1
        self.master_fd = fds.pop(0) if has_master else -1

    def alone(self) -> bool:
        """Whether init has reported that no other process is left, and nothing else is to be known: only it is still to end."""
        if self.report is None or self.failure is not None:
            return False
        return not self.report[6] and self.killed_by == launch.NOT_KILLED

    def usage_so_far(self) -> tuple[int, int, int, int]:
        """What the kernel will tell of init's death, where it has ended well and nobody was left: see `process.wait_for`."""
        report = self.report or (0,) * 10
        return 0, report[1] + report[7], report[2] + report[8], report[9]

    def verify(self, plan: Plan, own_filters: int) -> bool:
        """Read back from the kernel what init has given up, and what its children inherit (proc_pid_status(5)).

        Filters are counted: what the launcher has itself, the one that notifies, and the payload's where init has it.
        """
        found = read_status(b"%d" % self.pid)
        kept = sum(1 << number for number in plan.capabilities)
        wanted = dict.fromkeys((b"CapPrm", b"CapEff", b"CapBnd", b"CapInh", b"CapAmb"), kept)
        rights = all(int(found[name], 16) == value for name, value in wanted.items())
        loaded = bool(plan.filters.notify) + payload.is_spawned(plan, self.request)
        filtered = int(found[b"Seccomp_filters"]) >= own_filters + loaded
        own = plan.ids.first_slot + self.slot if plan.ids.slots else 0
        users = set(found[b"Uid"].split() + found[b"Gid"].split()) == {b"%d" % own}
        groups = plan.ids.deny_setgroups or not found[b"Groups"].split()
        self.init_bytes = int(found[b"VmHWM"].split()[0]) * 1024
        return rights and filtered and users and groups and found[b"NoNewPrivs"] == b"1"

    def check(self, now: int) -> None:
        """Look at the clocks; kills the sandbox when one has run out, else sets `next_check`."""
        request = self.request
        self.next_check = now + _AFTER_KILL_NS
        if self.answered:  # its init has said its last word, and should be gone
            self.kill(launch.BY_CALLER)
        if self.killed_by != launch.NOT_KILLED:
            return
        if not self.started:
            self.next_check = self.received + SETUP_NS
            if self.orders is not None and not self.ordered:  # parked
                self.next_check = now + _PARKED_NS
            elif now >= self.next_check:
                self.failure = (steps.INIT_DIED, 0, _ETIMEDOUT)
                self.kill(launch.BY_CALLER)
            return
        elapsed = now - self.started
        if elapsed >= request.wall_ns:
            self.kill(launch.BY_WALL, elapsed)
            return
        self._measure()
        if self.killed_by != launch.NOT_KILLED:
            return
        if self.cpu_ns >= request.cpu_ns:
            self.kill(launch.BY_CPU, self.cpu_ns)
            return
        step = max(_MIN_CHECK_NS, -(-request.idle_ns // _IDLE_LOOKS))
        idle = self._idle(now, step) if request.idle_ns else 0
        if request.idle_ns and idle >= request.idle_ns:
            self.kill(launch.BY_IDLE, idle)
            return
        waits = [self.started + request.wall_ns - now, max(_MIN_CHECK_NS, (request.cpu_ns - self.cpu_ns) // request.cpus)]
        if request.idle_ns:
            waits.append(self.last_look + step - now)
        if self.sampler is not None:
            waits.append(_SAMPLE_NS)
        self.next_check = now + min(waits)

    def _idle(self, now: int, step: int) -> int:
        """For how long nothing in the sandbox has run or was ready to, by looks that are at least `step` apart.

        Who waits for a CPU that others have is not idle. A look that comes late counts for one step: more was not seen.
        """
        if self.cpu_ns - self.last_cpu >= 1_000_000:
            self.last_cpu, self.last_look, self.idle_ns = self.cpu_ns, now, 0
        elif now - self.last_look >= step:
            self.last_look = now
            self.idle_ns = 0 if can_run(self.pid) else self.idle_ns + step
        return self.idle_ns

    def _measure(self) -> None:
        """CPU time until now; without control groups memory too, which ends the sandbox when it is over the limit."""
        if self.sampler is not None:
            resident = self.sampler.sample(self.request.memory_bytes)
            self.cpu_ns = max(0, self.sampler.user_ns + self.sampler.system_ns - sum(self.init_cpu))
            if self.request.memory_bytes and resident > self.request.memory_bytes:
                self.kill(launch.BY_OOM, resident)
        elif self.cpu_fd >= 0:
            self.cpu_ns = max(0, read_cpu_ns(self.cpu_fd) - sum(self.init_cpu))

    def let_go(self) -> None:
        """In a child: forget the sockets, which are closed otherwise."""
        for end in (self.lane, self.status, self.orders):
            if end is not None:
                end.detach()

    def close(self) -> None:
        """Let go of every descriptor but the lane."""
        fds = (self.pidfd, self.cpu_fd, self.oom_fd, self.peak_fd, self.listener, self.work_fd, self.master_fd)
        wire.close_all([fd for fd in fds if fd >= 0])
        self.pidfd = self.cpu_fd = self.oom_fd = self.peak_fd = self.listener = self.work_fd = self.master_fd = -1
        wire.close_all(self.streams)
        self.streams = []
        for end in (self.status, self.orders):
            if end is not None:
                end.close()
        self.status = self.orders = None


def read_status(pid: bytes) -> dict[bytes, bytes]:
    """The lines of /proc/PID/status by name."""
    lines = slurp(b"/proc/%s/status" % pid).splitlines()
    return dict(line.split(b":\t", 1) for line in lines if b":\t" in line)


def read_cpu_ns(fd: int) -> int:
    """CPU time of a control group: cpuacct.usage (v1, nanoseconds) or the usage_usec line of cpu.stat (v2)."""
    data = os.pread(fd, 256, 0)
    if data.startswith(b"usage_usec "):
        return int(data.split(b"\n", 1)[0][11:]) * 1000
    return int(data)
