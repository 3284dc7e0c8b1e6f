"""init: pid 1 of one sandbox. Sets it up, starts the payload, waits for it, reports, ends (and everything with it).

Between its set-up and its order a sandbox may be parked for any time: init then waits for its child, and the child for
what to run. Every step either succeeds or ends the launch: the failure goes to the launcher as (step, index, errno). No words are
made here, nothing is imported here (the host's files are gone), and no descriptor but the planned ones is open.
"""

from __future__ import annotations

import _signal
import os
import time

from sandbox.kernel import filters, mounts, namespaces, process, terminal
from sandbox.launcher import covers, overlay, payload, scratch, warm, wire
from sandbox.model import launch, steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket

    from sandbox.model.launch import LaunchRequest
    from sandbox.model.plan import Plan

_TERMINALS = 16
# Of this user namespace, whoever counts: the kernel counts them for the host's user too, so that one payload could use
# up what all programs of that user have (namespaces(7), inotify(7)).
_USER_LIMITS = (
    ("max_user_namespaces", b"0"),
    ("max_inotify_instances", b"16"),
    ("max_inotify_watches", b"8192"),
)


class Init:
    """The state of one init."""

    def __init__(self, plan: Plan, request: LaunchRequest, status: Socket, joins: tuple[int, ...]) -> None:
        self.plan = plan
        self.request = request
        self.status = status
        self.joins = joins
        self.progress = steps.Progress()
        self.work_fd = -1
        self.master = -1
        self.slave = -1
        self.listener = -1
        self.oom_fd = -1
        self.oom_own = b"0"
        self.childs_cpu = (0, 0)
        self.file_limit = 0

    def run(self) -> None:
        """Process: init, from its first instruction to its last. Never returns; leaves by `warm.Start` in its child."""
        unwound = False
        try:
            self._enter()
            self._furnish()
            self._lock()
            self._supervise(self._spawn() if payload.is_spawned(self.plan, self.request) else self._fork())
        except OSError as error:
            self._fail(self.progress.step, self.progress.index, error.errno or 0)
        except warm.Start:  # in the child
            unwound = True
            raise
        except BaseException:
            self._fail(self.progress.step, self.progress.index, 0)
        finally:
            if not unwound:
                os._exit(1)

    def _fail(self, step: int, index: int, number: int) -> None:
        wire.send(self.status, (launch.FAILED, step, index, number))
        os._exit(1)

    def _enter(self) -> None:
        """Wait for the id maps, join the control groups, become the payload's user, make the last namespaces."""
        at = self.progress.at
        at(steps.INIT_SESSION)
        process.close_all_but((*self.joins, self.status.fileno()))
        process.prctl(process.PR_SET_PDEATHSIG, _signal.SIGKILL)
        if self.status.recv(8) != b"go":
            os._exit(1)
        at(steps.INIT_CGROUP)
        for index, fd in enumerate(self.joins):
            at(steps.INIT_CGROUP, index)
            os.write(fd, b"0")
            os.close(fd)
        at(steps.INIT_SESSION)
        self.oom_fd = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
        self.oom_own = os.pread(self.oom_fd, 16, 0)
        os.pwrite(self.oom_fd, b"1000", 0)
        os.setsid()
        at(steps.INIT_IDENTITY)
        ids = self.plan.ids
        if not ids.deny_setgroups:
            os.setgroups([])
        os.setresgid(ids.gid, ids.gid, ids.gid)
        os.setresuid(ids.uid, ids.uid, ids.uid)
        process.prctl(process.PR_SET_PDEATHSIG, _signal.SIGKILL)
        at(steps.INIT_NAMESPACES)
        extra = namespaces.CLONE_NEWTIME if self.plan.time_namespace else 0
        namespaces.unshare(namespaces.CLONE_NEWCGROUP | extra)

    def _furnish(self) -> None:
        """Everything the payload will see: proc, scratch places, masks, name, network, terminal."""
        plan, at = self.plan, self.progress.at
        self._own_proc()
        self.work_fd = scratch.mount_places(plan, self.request, self.progress)
        at(steps.INIT_HOSTNAME)
        namespaces.set_hostname(plan.hostname)
        if plan.loopback_up:
            at(steps.INIT_LOOPBACK)
            namespaces.raise_loopback()
        if self.request.tty:
            at(steps.INIT_TTY)
            self._open_terminal()
        if plan.overlay:
            at(steps.INIT_OVERLAY)
            overlay.enter(plan, self.progress)
        covers.put(plan.masks, plan.readonly, self.progress)

    def _own_proc(self) -> None:
        """A private procfs. What only an init may write there is written before it becomes read-only for good."""
        at = self.progress.at
        at(steps.INIT_PROC)
        options: list[tuple[bytes, bytes | None]] = [(b"hidepid", b"invisible")]
        if self.plan.proc_pids:
            options.append((b"subset", b"pid"))
        hard = mounts.ATTR_NOSUID | mounts.ATTR_NODEV | mounts.ATTR_NOEXEC
        proc = mounts.new_filesystem(b"proc", tuple(options), hard)
        try:
            at(steps.INIT_USERNS_LIMIT)  # by the template's: ours may show processes only
            for index, (name, value) in enumerate(_USER_LIMITS):
                at(steps.INIT_USERNS_LIMIT, index)
                namespaces.write_file("/proc/sys/user/" + name, value)
            at(steps.INIT_PROC, 1)
            mounts.set_attributes(proc, b"", mounts.ATTR_RDONLY, recursive=False)
            mounts.move_mount(proc, b"/proc")
        finally:
            os.close(proc)

    def _open_terminal(self) -> None:
        options = ((b"ptmxmode", b"0666"), (b"mode", b"0620"), (b"max", b"%d" % _TERMINALS))
        tree = mounts.new_filesystem(b"devpts", options, mounts.ATTR_NOSUID | mounts.ATTR_NOEXEC)
        mounts.move_mount(tree, b"/dev/pts")
        os.close(tree)
        rows, columns = self.request.tty
        self.master, self.slave = terminal.open_pair(b"/dev/pts/ptmx", rows, columns)

    def _lock(self) -> None:
        """Give up everything that could undo the above. Order: rights, then Landlock, then the filters."""
        plan, at = self.plan, self.progress.at
        at(steps.INIT_CAPABILITIES)
        process.drop_capabilities(plan.capabilities)
        at(steps.INIT_NO_NEW_PRIVS)
        process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
        process.prctl(process.PR_SET_DUMPABLE, 0)
        if plan.landlock.abi:
            at(steps.INIT_LANDLOCK)
            rules = plan.landlock
            filters.landlock_restrict(rules.abi, rules.handled_fs, rules.handled_net, rules.scoped, rules.rules)
        if plan.filters.notify:
            at(steps.INIT_NOTIFY_FILTER)
            self.listener = filters.load_filter(plan.filters.notify, listener=True)

    def _spawn(self) -> int:
        """Wait for the order below the payload's filter, and start the program: its pid."""
        self.progress.at(steps.INIT_FORK)
        giver, taker = wire.pair()
        wire.send(giver, payload.REHEARSAL)
        payload.restrict(self.plan, self.progress)
        payload.rehearse(self.plan, taker)
        self._last_word(0, left_alive=False)  # a rehearsal too
        self._say_started(giver)
        order = payload.receive(taker)
        if not payload.bearable(self.plan, order[0]):
            child, pipe = self._copy(taker, order)
            self._await_exec(pipe)
            return child
        child, self.file_limit, began = payload.spawn(self.plan, order, self.work_fd, self.progress)
        self.progress.at(steps.INIT_SESSION)
        os.pwrite(self.oom_fd, self.oom_own, 0)  # the payload goes first, init lives to tell
        if order[2] >= 0:  # the program's clocks wait for this
            wire.send(self.status, (launch.EXECUTED, *self._our_cpu(), began))
        return child

    def _fork(self) -> int:
        """Fork the child that becomes the payload, and wait for its exec: its pid."""
        self.progress.at(steps.INIT_FORK)
        giver, taker = wire.pair()
        wire.send(giver, payload.REHEARSAL)
        child, pipe = self._copy(taker, None)
        self._say_started(giver)
        self._last_word(0, left_alive=False)  # a rehearsal, as in the child
        self._await_exec(pipe)
        return child

    def _copy(self, taker: Socket, order: payload.Order | None) -> tuple[int, int]:
        """Fork the child that becomes the payload: (pid, read end of its pipe)."""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        child = os.fork()
        if child == 0:
            payload.become(payload.Child(self.plan, taker, self.work_fd, self.slave, writer, order))
        taker.close()
        os.pwrite(self.oom_fd, self.oom_own, 0)  # the payload goes first, init lives to tell
        ordered = [*order[1], order[2]] if order else []
        wire.close_all([fd for fd in (writer, self.oom_fd, self.slave, *ordered) if fd >= 0])
        return child, reader

    def _say_started(self, giver: Socket) -> None:
        """All is ready but the program.

        The launcher gives the order when it has read back what was given up: whatever kills the sandbox from then on has
        ended a run, not a launch.
        """
        fds = [fd for fd in (self.listener, self.work_fd, self.master) if fd >= 0]
        present = (self.listener >= 0, self.work_fd >= 0, self.master >= 0)
        wire.send(self.status, (launch.STARTED, *process.own_cpu(), present), [giver.fileno(), *fds])
        giver.close()
        wire.close_all([fd for fd in (self.listener, self.master) if fd >= 0])

    def _await_exec(self, pipe: int) -> None:
        """READY and end of file means that the program runs; anything else that it does not, and why."""
        said = b""
        ready = 0
        while part := os.read(pipe, payload.READY.size + payload.FAILURE.size):
            ready = ready or time.monotonic_ns()
            said += part
        if len(said) != payload.READY.size:
            failure = said[-payload.FAILURE.size :]
            died = (steps.CHILD_DIED, 0, 0)
            self._fail(*(payload.FAILURE.unpack(failure) if len(failure) == payload.FAILURE.size else died))
        user, system, self.file_limit, had_files = payload.READY.unpack(said)
        self.childs_cpu = (user, system)
        os.close(pipe)
        if had_files:  # the program's clocks wait for this
            wire.send(self.status, (launch.EXECUTED, *self._our_cpu(), ready))

    def _our_cpu(self) -> list[int]:
        """User and system time of init, and of the child on its way to exec."""
        return [own + childs for own, childs in zip(process.own_cpu(), self.childs_cpu, strict=True)]

    def _supervise(self, child: int) -> None:
        """Reap whatever dies; when the payload's main process does, report. Our exit ends all others."""
        while True:
            pid, status = os.waitpid(-1, 0)
            if pid == child and not os.WIFSTOPPED(status):  # PTRACE_TRACEME makes us its tracer, who is told of stops too
                break
        wire.send(self.status, self._last_word(status, _others_alive()))
        os._exit(0)

    def _last_word(self, status: int, left_alive: bool) -> tuple[int, ...]:
        places = os.fstatvfs(self.work_fd)
        free = (places.f_bfree * places.f_frsize, places.f_ffree)
        reached = self._file_at_its_limit(status)
        return (launch.ENDED, status, *self._our_cpu(), *free, reached, left_alive, *process.childrens_usage())

    def _file_at_its_limit(self, status: int) -> int:
        """Whether a file was refused to grow leaves no trace but its size: looked for after a failure, where it can be."""
        limit = self.file_limit
        if not limit or not status or (limit >= self.request.scratch_bytes and status & 0x7F != _signal.SIGXFSZ):
            return 0
        places = [self.plan.work, *([b"/tmp"] if self.plan.tmp else []), *([b"/dev/shm"] if self.plan.shm else [])]
        return limit if scratch.has_file_of(places, limit) else 0


def _others_alive() -> bool:
    """Whether any process is left; reaps those that are dead."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
    except ChildProcessError:
        return False
    return True
