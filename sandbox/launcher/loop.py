"""The launcher's event loop: one thread, one epoll, one request down and one report up for every run.

Process: the launcher (pid 1 of its pid namespace). It never waits for a single peer: sends do not block, a full or
broken lane ends its run, and everything slow (collection) happens in a child.
"""

from __future__ import annotations

import _socket
import gc
import os
import select
import time

from sandbox.kernel import filters, namespaces, process
from sandbox.launcher import collect, wire
from sandbox.launcher.runs import Descriptors, Run
from sandbox.model import launch, steps
from sandbox.model.launch import Ended, LaunchRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket
    from typing import TypeAlias

    from sandbox.model.plan import Plan

    Death: TypeAlias = tuple[int, int, int, int]  # of an init: see `process.wait_for`

_EPERM = 1
_ECANCELED = 125
_COLLECT_EVERY = 512
_CONTROL, _CALLER, _LANE, _STATUS, _PIDFD, _LISTENER, _OOM, _COLLECTOR = range(8)


class Launcher:
    """Serves runs until the caller closes the control socket or dies."""

    def __init__(self, plan: Plan, control: Socket, caller_pidfd: int) -> None:
        self.plan = plan
        self.control = control
        self.epoll = select.epoll()
        self.watched: dict[int, tuple[int, Run | None]] = {}
        self.runs: set[Run] = set()
        self.slots = _slots(plan.ids.slots)
        self.kill_numbers = frozenset(plan.filters.kill)
        self.served = 0
        self.alive = True
        self._watch(control.fileno(), _CONTROL, None)
        self._watch(caller_pidfd, _CALLER, None)

    def serve(self) -> None:
        """Returns when the caller is gone. Our exit ends every sandbox."""
        while self.alive:
            now = time.monotonic_ns()
            for run in [run for run in self.runs if run.next_check <= now]:
                run.check(now)
                if run.killed_by != launch.NOT_KILLED:
                    run.next_check = now + 1_000_000_000
            for fd, _ in self.epoll.poll(self._timeout()):
                kind, run_of_fd = self.watched.get(fd, (-1, None))
                if kind >= 0:
                    self._dispatch(fd, kind, run_of_fd)

    def _timeout(self) -> float:
        if not self.runs:
            return -1
        nearest = min(run.next_check for run in self.runs)
        return max(0.0, (nearest - time.monotonic_ns()) / 1e9)

    def _dispatch(self, fd: int, kind: int, run: Run | None) -> None:
        if run is None:
            if kind == _CONTROL:
                self._on_control()
            elif kind == _CALLER:
                self.alive = False
            else:
                self._on_collector(fd)
        elif kind == _LANE:
            self._on_lane(run)
        elif kind == _STATUS:
            self._on_status(run)
        elif kind == _LISTENER:
            self._on_notification(run)
        elif kind == _OOM:
            self._forget(fd)
            run.kill(launch.BY_OOM, int.from_bytes(os.read(fd, 8), "little"))
        else:
            self._on_exit(run)

    def _watch(self, fd: int, kind: int, run: Run | None) -> None:
        self.watched[fd] = (kind, run)
        self.epoll.register(fd, select.EPOLLIN)

    def _forget(self, fd: int) -> None:
        if self.watched.pop(fd, None) is not None:
            self.epoll.unregister(fd)

    def _on_control(self) -> None:
        try:
            packet = wire.receive(self.control, wait=False)
        except BlockingIOError:
            return
        except (OSError, wire.WireError):
            packet = None
        if packet is None:
            self.alive = False
            return
        message, fds = packet
        try:
            request = LaunchRequest.from_tuple(message[2])
            descriptors = Descriptors(message[1], fds, request.joins)
        except (ValueError, IndexError, TypeError, wire.WireError):
            wire.close_all(fds)  # the caller sees its lane closed
            return
        self._start(request, descriptors)

    def _start(self, request: LaunchRequest, descriptors: Descriptors) -> None:
        lane = _socket.socket(fileno=descriptors.lane)
        if self.plan.ids.slots and not self.slots:
            self._tell(lane, (launch.FAILED, steps.REQUEST, 0, 11))  # EAGAIN: no id of its own is free
            lane.close()
            wire.close_all([*descriptors.only_inits(), *[fd for fd in (descriptors.cpu, descriptors.oom) if fd >= 0]])
            return
        run = Run(request, lane, self.slots.pop() if self.plan.ids.slots else 0)
        try:
            run.spawn(self.plan, descriptors)
        except OSError as error:
            step = run.failure[0] if run.failure else steps.CLONE
            run.failure = (step, 0, error.errno or 0)
        wire.close_all(descriptors.only_inits())
        if run.pidfd < 0:
            wire.close_all([fd for fd in (descriptors.cpu, descriptors.oom) if fd >= 0])
            self._finish(run, (0, 0, 0, 0))
            return
        self.runs.add(run)
        self._watch(lane.fileno(), _LANE, run)
        if run.status is not None:
            self._watch(run.status.fileno(), _STATUS, run)
        self._watch(run.pidfd, _PIDFD, run)
        if run.oom_fd >= 0:
            self._watch(run.oom_fd, _OOM, run)
        if run.failure is not None:
            run.kill(launch.BY_CALLER)

    def _on_lane(self, run: Run) -> None:
        try:
            packet = wire.receive(run.lane, wait=False)
        except BlockingIOError:
            return
        except (OSError, wire.WireError):
            packet = None
        if packet is None:
            self._forget(run.lane.fileno())
            run.kill(launch.BY_LANE)
            return
        message, fds = packet
        wire.close_all(fds)
        if message[0] == launch.KILL:
            run.kill(launch.BY_CALLER)

    def _on_status(self, run: Run) -> None:
        packet = run.on_status()
        if packet is None:
            if run.status is not None:
                self._forget(run.status.fileno())
            return
        kind, fds = packet
        if kind != launch.STARTED:
            return
        if not run.verify(self.plan):
            run.failure = (steps.INIT_VERIFY, 0, _EPERM)
            run.kill(launch.BY_CALLER)
        if run.listener >= 0:
            self._watch(run.listener, _LISTENER, run)
        if not self._tell(run.lane, (launch.STARTED, run.received, run.started), fds):
            run.kill(launch.BY_LANE)
        wire.close_all(fds)

    def _on_notification(self, run: Run) -> None:
        try:
            call = filters.receive_notification(run.listener)
        except OSError:
            call = None
            self._drop_listener(run)
        if call is None:
            if run.listener >= 0 and not self._has_callers(run.listener):
                self._drop_listener(run)
            return
        number, syscall = call
        run.denied[syscall] = run.denied.get(syscall, 0) + 1
        if syscall in self.kill_numbers:
            run.kill(launch.BY_SYSCALL, syscall)
            return
        filters.answer_notification(run.listener, number, _EPERM)
        if sum(run.denied.values()) >= self.plan.max_notifications:
            self._drop_listener(run)

    @staticmethod
    def _has_callers(listener: int) -> bool:
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        return not any(event & select.POLLHUP for _, event in poll.poll(0))

    def _drop_listener(self, run: Run) -> None:
        self._forget(run.listener)
        os.close(run.listener)
        run.listener = -1

    def _on_exit(self, run: Run) -> None:
        """Init is dead and reaped, so every process of the sandbox is."""
        death = process.wait_for(run.pidfd)
        while run.status is not None and run.on_status() is not None:
            continue
        self._finish(run, death)

    def _finish(self, run: Run, death: Death) -> None:
        self.runs.discard(run)
        for fd in (run.lane.fileno(), run.pidfd, run.oom_fd, run.listener, run.status.fileno() if run.status else -1):
            if fd >= 0:
                self._forget(fd)
        if self.plan.ids.slots:
            self.slots.append(run.slot)
        if run.killed_by != launch.BY_LANE:
            message = _last_message(run, death)
            if message[0] == launch.ENDED and run.request.collect and run.work_fd >= 0:
                self._collect(run, message)
            else:
                self._tell(run.lane, message)
        run.lane.close()
        run.close()
        self.served += 1
        if self.served % _COLLECT_EVERY == 0:
            gc.collect()

    def _collect(self, run: Run, message: tuple[object, ...]) -> None:
        try:
            pid, pidfd = namespaces.clone(0)
        except OSError as error:
            self._tell(run.lane, (launch.FAILED, steps.COLLECT, 0, error.errno or 0))
            return
        if pid == 0:
            try:
                process.close_all_but((run.work_fd, run.lane.fileno()))
                collect.deliver(run.work_fd, run.request, run.lane, message)
            except OSError as error:
                self._tell(run.lane, (launch.FAILED, steps.COLLECT, 0, error.errno or 0))
            finally:
                os._exit(0)
        self._watch(pidfd, _COLLECTOR, None)

    def _on_collector(self, pidfd: int) -> None:
        self._forget(pidfd)
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        os.close(pidfd)

    @staticmethod
    def _tell(lane: Socket, message: tuple[object, ...], fds: list[int] | tuple[int, ...] = ()) -> bool:
        """Send without waiting; False when the caller is gone or does not read."""
        try:
            wire.send(lane, message, fds, wait=False)
        except OSError:
            return False
        return True


def _slots(count: int) -> list[int]:
    """The slots in an order that starts anywhere, so that two launchers with one range rarely share an id."""
    start = int.from_bytes(os.urandom(4), "little") % max(1, count)
    return [(start - number) % count for number in range(count)]


def _last_message(run: Run, death: Death) -> tuple[object, ...]:
    init_status, user, system, largest = death
    if run.failure is not None:
        return (launch.FAILED, *run.failure)
    if not run.started:
        number = _ECANCELED if run.killed_by == launch.BY_CALLER else 0
        return (launch.FAILED, steps.INIT_DIED, init_status, number)
    report = run.report or (init_status, *run.init_cpu, -1, -1, False)
    status, init_user, init_system, free_bytes, free_inodes, left = report
    ended = Ended(
        init_ok=run.report is not None,
        status=status,
        killed_by=run.killed_by,
        killed_value=run.killed_value,
        received=run.received,
        started=run.started,
        ended=time.monotonic_ns(),
        init_user_ns=init_user,
        init_system_ns=init_system,
        user_ns=max(0, max(user, run.peak_cpu[0]) - init_user),
        system_ns=max(0, max(system, run.peak_cpu[1]) - init_system),
        max_rss_bytes=largest,
        peak_pids=run.peak_pids,
        peak_rss_bytes=run.peak_rss,
        scratch_free_bytes=free_bytes,
        scratch_free_inodes=free_inodes,
        left_alive=bool(left),
        denied=tuple(run.denied.items()),
    )
    return (launch.ENDED, ended.as_tuple())
