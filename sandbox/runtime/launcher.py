"""A launcher process as its caller holds it: start, handshake, launch, close."""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import select
import sys
import threading
import time
import weakref

from sandbox.launcher import wire
from sandbox.model import launch, steps
from sandbox.model.errors import (
    LauncherDied,
    LaunchError,
    ProtocolError,
    ResourceError,
    SandboxError,
    UnsupportedHostError,
)
from sandbox.model.launch import LaunchRequest
from sandbox.model.plan import Plan
from sandbox.resources.groups import Base, LauncherGroup, Lease
from sandbox.runtime import warm
from sandbox.runtime.keeper import Keeper
from sandbox.runtime.parking import NOTHING_USUAL, Parking, Usual

_FAILED_SECONDS = 1.0  # one that did not come up: it ends by itself, or it is stuck and has nothing to lose
START_SECONDS = 30.0
_KILLED_SECONDS = 30.0  # it ends as soon as it is given a CPU; longer only where it is stuck in the kernel
_IN_FLIGHT_SECONDS = 1.0
_GONE = (errno.EPIPE, errno.ECONNRESET, errno.EBADF, errno.ENOTCONN)
TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket
    from collections.abc import Callable

Descriptors = list[tuple[int, int]]  # (bit of `present`, descriptor), in the order of the bits
_EVERY: weakref.WeakSet[LauncherProcess] = weakref.WeakSet()


class LauncherProcess:
    """One launcher. Runs of all threads go through it; its death ends them all.

    Attributes:
        group: its control groups, None in degraded mode.
        parking: what it keeps ready.
        alive: False as soon as it was closed or was found dead.
        number, runs, last_used: kept by `Launchers`: which one it is, runs in flight, monotonic seconds when one ended.
        on_idle: told when nothing was asked of it for a while.
    """

    def __init__(
        self,
        plan: Plan,
        plan_bytes: bytes,
        base: Base | None,
        usual: Usual = NOTHING_USUAL,
        started: Keeper | None = None,
        number: int = 0,
    ) -> None:
        """`started`: a keeper that was started with this plan already."""
        self.number = number
        self.runs = 0
        self.last_used = time.monotonic()
        self.on_idle: weakref.WeakMethod[Callable[[LauncherProcess], None]] | None = None
        self.plan = plan
        self.group: LauncherGroup | None = None
        self.alive = True
        self.parking = Parking(self, usual)
        self._lock = threading.Lock()
        self._closing = threading.Lock()
        self._owner = os.getpid()
        self._launcher_pid = 0
        self._keeper = started or _start(plan, plan_bytes, base)
        self._control = self._keeper.control
        self._control.settimeout(START_SECONDS)
        _EVERY.add(self)
        try:
            self._shake_hands(base)
        except BaseException:
            self.close(_FAILED_SECONDS)
            raise

    def _shake_hands(self, base: Base | None) -> None:
        """HELLO (pid of the launcher) → its control group → START → READY."""
        pid = self._launcher_pid = int(self._expect(launch.HELLO)[1])
        if base is not None:
            self.group = base.open_group(pid)
        directories = tuple(os.fsencode(path) for path in self.group.cleanup_spec()) if self.group else ()
        stay = os.fsencode(self.group.stay()) if self.group else b""
        try:
            wire.send(self._control, (launch.START, directories, stay))
        except OSError as error:
            raise LauncherDied("the launcher ended while it was starting", hint="run `sandbox doctor`") from error
        self._expect(launch.READY)

    def _expect(self, kind: int) -> tuple[int | str | bytes, ...]:
        try:
            packet = wire.receive(self._control)
        except TimeoutError:
            raise LauncherDied(f"the launcher did not answer within {START_SECONDS:.0f} s") from None
        except (OSError, wire.WireError) as error:
            raise ProtocolError(f"the launcher sent something unexpected: {error}") from error
        if packet is None and self.plan.warm.interpreter:
            raise warm.start_error(self.plan, steps.WARM_INTERPRETER, 0, 0)
        if packet is None:
            raise LauncherDied("the launcher ended while it was starting", hint="run `sandbox doctor` to see what is missing")
        message, fds = packet
        wire.close_all(fds)
        if message[0] == launch.START_FAILED:
            raise start_error(self.plan, *message[1:4])
        if message[0] != kind:
            raise ProtocolError(f"expected message {kind} from the launcher, got {message[0]}")
        return message

    def launch(self, request: LaunchRequest, passed: Descriptors, lease: Lease | None) -> None:
        """Send one LAUNCH with its descriptors. Raises LauncherDied, ResourceError."""
        _patiently(lambda: self._introduce(launch.LAUNCH, request, passed, lease))

    def park(self, request: LaunchRequest, lane: int, lease: Lease | None) -> None:
        """Ask for a sandbox that waits on this lane. Raises LauncherDied, ResourceError."""
        self._introduce(launch.PARK, request, [(launch.FD_LANE, lane)], lease)

    def order(self, lane: Socket, request: LaunchRequest, passed: Descriptors) -> None:
        """Send the LAUNCH of a parked sandbox, on its lane. Raises LauncherDied, if only that sandbox died too; ResourceError."""
        _patiently(lambda: self._send(lane, launch.LAUNCH, request, passed))

    def _introduce(self, kind: int, request: LaunchRequest, passed: Descriptors, lease: Lease | None) -> None:
        with self._lock:
            if lease is None:
                self._send(self._control, kind, request, passed)
            else:
                self._send(self._control, kind, request, [*passed, *_of_lease(lease)], lease.join_fds)

    def _send(self, sock: Socket, kind: int, request: LaunchRequest, passed: Descriptors, joins: tuple[int, ...] = ()) -> None:
        present = sum(bit for bit, _ in passed)
        try:
            wire.send(sock, (kind, present, request.as_tuple()), [*(fd for _, fd in passed), *joins])
        except TimeoutError as error:
            raise LauncherDied(f"the launcher takes no request for {START_SECONDS:.0f} s") from error
        except OSError as error:
            if error.errno in _GONE:
                self.alive = self.alive and sock is not self._control
                raise LauncherDied("the launcher is gone", hint="try again: a new one is started") from error
            raise ResourceError.exhausted("the run cannot be started", error.errno) or error from error

    def gone(self) -> bool:
        """Whether the launcher has ended, also while nothing was asked of it."""
        if self.alive and not self._hung_up():
            return False
        self.alive = False
        return True

    def _hung_up(self) -> bool:
        poll = select.poll()
        try:
            poll.register(self._control, select.POLLIN)
            return any(event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))
        except (OSError, ValueError):
            return True

    def tell_idle(self) -> None:
        """Process: the caller's, the thread of its parking, at its end."""
        told = self.on_idle() if self.on_idle is not None else None
        if told is not None:
            told(self)

    @property
    def pid(self) -> int:
        """The keeper's process id."""
        return self._keeper.pid

    def close(self, timeout: float = 5.0) -> None:
        """End the launcher with every sandbox in it, and remove its control groups. Safe to call twice, from any thread."""
        self.alive = False
        with contextlib.suppress(OSError):
            self._control.shutdown(_socket.SHUT_RDWR)
        if self._owner == os.getpid():
            self.parking.close()
        self._control.close()
        if self._owner != os.getpid():
            return
        with self._closing:
            if not self._keeper.wait(timeout):
                self._kill(max(timeout, _KILLED_SECONDS))
            group, self.group = self.group, None
            if group is not None:
                group.close()

    def _kill(self, timeout: float) -> None:
        """End the keeper, and wait for the launcher too: nobody else does then."""
        try:
            launcher = os.pidfd_open(self._launcher_pid) if self._launcher_pid else -1
        except OSError:  # it has ended
            launcher = -1
        self._keeper.kill()
        self._keeper.wait(timeout)
        if launcher >= 0:
            poll = select.poll()
            poll.register(launcher, select.POLLIN)
            poll.poll(timeout * 1000)
            os.close(launcher)

    def forget(self) -> None:
        """In a forked child: drop our copy of the socket; the process belongs to the parent."""
        self.alive = False
        self.parking.forget()
        with contextlib.suppress(OSError):
            self._control.close()
        self._keeper.forget()


def _patiently(send: Callable[[], None]) -> None:
    """Send, in spite of what others of this user have on its way through sockets: the kernel counts it for all of them.

    Much of it is our own, when many runs begin at once and the launcher is slow to take them. Raises what `send` raises.
    """
    until = 0.0
    while True:
        try:
            send()
        except ResourceError as error:
            if getattr(error.__cause__, "errno", 0) != errno.ETOOMANYREFS:
                raise
            now = time.monotonic()
            until = until or now + _IN_FLIGHT_SECONDS
            if now > until:
                raise
            time.sleep(0.005)
        else:
            return


def _of_lease(lease: Lease) -> Descriptors:
    found = (
        (launch.FD_CPU, lease.cpu_fd),
        (launch.FD_OOM, lease.oom_fd),
        (launch.FD_CGROUP2, lease.cgroup2_fd),
        (launch.FD_PEAK, lease.peak_fd),
    )
    return [(bit, fd) for bit, fd in found if fd is not None and fd >= 0]


def start_error(plan: Plan, step: int, index: int, number: int) -> SandboxError:
    """The exception for a failed start, in words."""
    name = steps.name_of(step)
    exhausted = ResourceError.exhausted(f"the launcher cannot be started (step {name!r})", number)
    if exhausted is not None and number != errno.ENOSPC:  # that one means: no user namespaces
        return exhausted
    if step in (steps.TEMPLATE_NAMESPACES, steps.TEMPLATE_ID_MAP, steps.TEMPLATE_PROC):
        from sandbox.host.doctor import unsupported  # only needed on this path, and it looks around the host

        feature = {
            steps.TEMPLATE_NAMESPACES: "userns",
            steps.TEMPLATE_ID_MAP: "newuidmap" if plan.ids.newuidmap else "userns",
            steps.TEMPLATE_PROC: "procfs",
        }[step]
        return unsupported(feature, number)
    if step in warm.STEPS:
        return warm.start_error(plan, step, index, number)
    path = ""
    if step in (steps.TEMPLATE_SOURCE, steps.TEMPLATE_MOUNT) and index < len(plan.template):
        operation = plan.template[index]
        path = os.fsdecode(operation.source or operation.target)
    hint = "check that it exists and that you may read it" if step == steps.TEMPLATE_SOURCE else "run `sandbox doctor`"
    return LaunchError.at(name, index, number, path, hint)


def _start(plan: Plan, plan_bytes: bytes, base: Base | None) -> Keeper:
    if not sys.executable:
        raise UnsupportedHostError(
            "python", "sys.executable is empty, so no launcher can be started", "run under an ordinary python3 executable"
        )
    package = warm.package() if plan.warm.interpreter else b""
    try:
        return Keeper(plan_bytes, base.command_prefix if base else (), package)
    except OSError as error:
        exhausted = ResourceError.exhausted("the launcher cannot be started", error.errno)
        if exhausted is not None:
            raise exhausted from error
        raise LaunchError(f"the launcher cannot be started: {error}", step="start", errno=error.errno or 0) from error


def _after_fork() -> None:
    for process in list(_EVERY):
        process.forget()


os.register_at_fork(after_in_child=_after_fork)
