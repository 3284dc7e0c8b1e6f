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
from sandbox.launcher.runs import Descriptors, Run, read_status
from sandbox.model import launch, steps
from sandbox.model.launch import Ended, LaunchRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from sandbox.model.plan import Plan

    Death: TypeAlias = tuple[int, int, int, int]  # of an init: see `process.wait_for`

_EPERM = 1
_ENOMEM = 12
_ECANCELED = 125
_COLLECT_EVERY = 512
_NOISE_BYTES = 1 << 20
_CONTROL, _CALLER, _LANE, _STATUS, _PIDFD, _LISTENER, _OOM, _COLLECTOR = range(8)


class Launcher:
    """Serves runs until the caller closes the control socket or dies."""

    def __init__(self, plan: Plan, control: Socket, caller_pidfd: int) -> None:
        self.plan = plan
        self.control = control
        self.epoll = select.epoll()
        self.watched: dict[int, tuple[int, Run | None]] = {}
        self.fresh: set[int] = set()  # watched since the last look: what epoll has told of these numbers was another's
        self.runs: set[Run] = set()
        self.waiting: list[tuple[LaunchRequest, Descriptors, int, bool]] = []  # for an id that is about to be free
        self.slots = _slots(plan.ids.slots)
        self.kill_numbers = frozenset(plan.filters.kill)
        self.own_filters = int(read_status(b"self")[b"Seccomp_filters"])
        self.served = 0
        self.alive = True
        self._watch(control.fileno(), _CONTROL, None)
        self._watch(caller_pidfd, _CALLER, None)

    def serve(self) -> None:
        """Returns when the caller is gone. Our exit ends every sandbox."""
        while self.alive:
            now = time.monotonic_ns()
            for run in [run for run in self.runs if run.next_check <= now]:
                self._guarded(run, self._check, run, now)
            events = self.epoll.poll(self._timeout())
            self.fresh.clear()
            for fd, _ in events:
                kind, run_of_fd = self.watched.get(fd, (-1, None))
                if kind >= 0 and fd not in self.fresh:
                    self._guarded(run_of_fd, self._dispatch, fd, kind, run_of_fd)

    def _timeout(self) -> float:
        if not self.runs:
            return -1
        nearest = min(run.next_check for run in self.runs)
        return max(0.0, (nearest - time.monotonic_ns()) / 1e9)

    def _guarded(self, run: Run | None, action: Callable[..., None], *arguments: Any) -> None:
        """What fails in the service of one run ends that run, and no other."""
        try:
            action(*arguments)
        except (OSError, ValueError, KeyError, IndexError, TypeError, wire.WireError) as error:
            if run is None:
                raise
            if run.failure is None and run.killed_by != launch.BY_LANE:
                run.failure = (steps.SERVE, 0, getattr(error, "errno", None) or 0)
            if run.pidfd >= 0:
                run.kill(launch.BY_CALLER)

    @staticmethod
    def _check(run: Run, now: int) -> None:
        run.check(now)

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
            run.on_oom()
        else:
            self._on_exit(run)

    def _watch(self, fd: int, kind: int, run: Run | None) -> None:
        self.watched[fd] = (kind, run)
        self.fresh.add(fd)
        self.epoll.register(fd, select.EPOLLIN)

    def _forget(self, fd: int) -> None:
        if self.watched.pop(fd, None) is not None:
            self.epoll.unregister(fd)

    def _on_control(self) -> None:
        try:
            packet = wire.receive(self.control, wait=False)
        except (BlockingIOError, wire.LostDescriptors):  # lost with its lane: its caller sees that
            return
        except (OSError, wire.WireError):
            packet = None
        if packet is None:
            self.alive = False
            return
        message, fds = packet
        try:
            kind, present, body = message
            request = LaunchRequest.from_tuple(body)
            descriptors = Descriptors(present, fds, request.joins)
            if descriptors.lane < 0 or kind not in (launch.LAUNCH, launch.PARK) or not self._may_know(request):
                raise wire.WireError("no launch")
        except (ValueError, IndexError, TypeError, wire.WireError):
            wire.close_all(fds)  # the caller sees its lane closed
            return
        self._start(request, descriptors, present, parked=kind == launch.PARK)

    def _may_know(self, request: LaunchRequest) -> bool:
        """The memory of a warm launcher is copied into every run: it must never hold what another one was given."""
        return not (self.plan.warm.interpreter and request.program)

    def _start(self, request: LaunchRequest, descriptors: Descriptors, present: int, *, parked: bool) -> None:
        if self.plan.ids.slots and not self.slots and self._slot_is_near():
            self.waiting.append((request, descriptors, present, parked))
            return
        lane = _socket.socket(fileno=descriptors.lane)
        if self.plan.ids.slots and not self.slots:
            self._tell(lane, (launch.FAILED, steps.REQUEST, 0, 11))  # EAGAIN: no id of its own is free
            lane.close()
            wire.close_all([*descriptors.only_inits(), *descriptors.clocks(), *descriptors.streams()])
            return
        run = Run(request, lane, self.slots.pop() if self.plan.ids.slots else 0)
        if not parked:
            run.order(request, present, descriptors.streams())
        try:
            run.spawn(self.plan, descriptors, self._let_go)
        except OSError as error:
            step = run.failure[0] if run.failure else steps.CLONE
            run.failure = (step, 0, error.errno or 0)
        wire.close_all(descriptors.only_inits())
        if run.pidfd < 0:
            wire.close_all(descriptors.clocks())
            self._finish(run, (0, 0, 0, 0))
            return
        self.runs.add(run)
        self._guarded(run, self._adopt, run)

    def _slot_is_near(self) -> bool:
        """Whether a sandbox is about to end and give its id back; a parked one is made to."""
        if any(run.answered or run.killed_by == launch.BY_LANE for run in self.runs):
            return True
        idle = next((run for run in self.runs if not run.ordered), None)
        if idle is not None:
            idle.kill(launch.BY_CALLER)
        return idle is not None

    def _let_go(self) -> None:
        """In a child: forget our descriptors. It closes them, and what it opens then must not be closed in their name."""
        self.control.detach()
        self.epoll.close()
        for run in self.runs:
            run.let_go()

    def _adopt(self, run: Run) -> None:
        self._watch(run.pidfd, _PIDFD, run)  # first: whatever fails then, its end will be noticed
        self._watch(run.lane.fileno(), _LANE, run)
        if run.status is not None:
            self._watch(run.status.fileno(), _STATUS, run)
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
        if message[0] == launch.LAUNCH and not run.ordered:
            self._order(run, message, fds)
            return
        wire.close_all(fds)
        if message[0] == launch.KILL:
            run.kill(launch.BY_CALLER)

    def _order(self, run: Run, message: tuple[Any, ...], fds: list[int]) -> None:
        """The order of a parked sandbox. Anything wrong with it ends that run (`_guarded`)."""
        try:
            _, present, body = message
            request = LaunchRequest.from_tuple(body)
            streams = Descriptors(present, fds).streams()
            if not self._may_know(request):
                raise wire.WireError("a program that later runs could find")
        except (ValueError, IndexError, TypeError, wire.WireError):
            wire.close_all(fds)
            raise
        run.order(request, present, streams)
        if run.started:
            self._started(run)

    def _on_status(self, run: Run) -> None:
        kind = run.on_status()
        if kind is None and run.status is not None:
            self._forget(run.status.fileno())
        if kind == launch.EXECUTED:
            self._started(run)
        if kind == launch.ENDED and run.alone():
            self._answer(run, run.usage_so_far())
        if kind != launch.STARTED:
            return
        if run.listener >= 0:
            self._watch(run.listener, _LISTENER, run)
        if not run.verify(self.plan, self.own_filters):
            run.failure = (steps.INIT_VERIFY, 0, _EPERM)
            run.kill(launch.BY_CALLER)
            return
        run.go()
        if run.started:
            self._started(run)

    def _started(self, run: Run) -> None:
        """The caller is woken only where there is something to do for it: a terminal to feed and to read."""
        if run.master_fd >= 0 and not self._tell(run.lane, (launch.STARTED, run.received, run.started), [run.master_fd]):
            run.kill(launch.BY_LANE)

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
        if death is None:
            return
        try:
            while run.on_status():
                continue
        except (OSError, ValueError, IndexError, wire.WireError):
            run.report = None  # a last word that cannot be read is none
        self._finish(run, death)

    def _finish(self, run: Run, death: Death) -> None:
        self.runs.discard(run)
        status = run.status.fileno() if run.status else -1
        for fd in (run.pidfd, run.oom_fd, run.listener, status):
            if fd >= 0:
                self._forget(fd)
        if self.plan.ids.slots:
            self.slots.append(run.slot)
        self._answer(run, death)
        run.close()
        self.served += 1
        if self.served % _COLLECT_EVERY == 0:
            gc.collect()
        if self.waiting:
            request, descriptors, present, parked = self.waiting.pop(0)
            self._start(request, descriptors, present, parked=parked)

    def _answer(self, run: Run, death: Death) -> None:
        """Tell the caller how it ended, once."""
        if run.answered:
            return
        run.answered = True
        self._forget(run.lane.fileno())
        if run.killed_by != launch.BY_LANE:
            message = _last_message(run, death)
            if message[0] == launch.ENDED and run.request.collect and run.work_fd >= 0:
                self._collect(run, message)
            else:
                self._tell(run.lane, message)
        run.lane.close()

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
        number = {launch.BY_CALLER: _ECANCELED, launch.BY_OOM: _ENOMEM}.get(run.killed_by, 0)
        return (launch.FAILED, steps.INIT_DIED, init_status, number)
    report = run.report or (init_status, *run.init_cpu, -1, -1, 0, False)
    status, init_user, init_system, free_bytes, free_inodes, reached, left = report[:7]
    sampled = (run.sampler.user_ns, run.sampler.system_ns) if run.sampler else (0, 0)
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
        user_ns=max(0, max(user, sampled[0]) - init_user),
        system_ns=max(0, max(system, sampled[1]) - init_system),
        max_rss_bytes=largest if largest > run.init_bytes + _NOISE_BYTES else 0,
        peak_pids=run.sampler.peak_tasks if run.sampler else 0,
        peak_rss_bytes=run.sampler.peak_bytes if run.sampler else 0,
        scratch_free_bytes=free_bytes,
        scratch_free_inodes=free_inodes,
        file_reached_bytes=reached,
        left_alive=bool(left),
        denied=tuple(run.denied.items()),
    )
    return (launch.ENDED, ended.as_tuple())
