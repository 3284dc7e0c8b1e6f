"""The last steps before the untrusted program, from the order that says what to run to exec.

Where the payload's filter allows all that is left to do (`Filters.early`), init does them itself, below that filter, and
`spawn`s the program: one process less is copied and torn down.

Elsewhere a child of init does: for filters that come last, terminals, warm interpreters, and limits too tight for init.
It is forked before anybody has said what to run, and waits for its order: a `Program`, the streams and the input files.
What it says to init goes through a close-on-exec pipe: READY (a record of what it has used) says that only exec is left,
FAILURE (step, index, errno) that a step has failed. READY and then end of file means that exec happened, end of file
alone that the child died on its way there.
"""

from __future__ import annotations

import _signal
import errno
import os
import struct
import time

from sandbox.kernel import filters, process, terminal
from sandbox.kernel.spawn import Spawner
from sandbox.launcher import scratch, warm, wire
from sandbox.model import codec, launch, steps
from sandbox.model.launch import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket
    from collections.abc import Callable
    from typing import TypeAlias, TypeVar

    from sandbox.model.launch import LaunchRequest
    from sandbox.model.plan import Plan

    T = TypeVar("T")
    Order: TypeAlias = tuple[Program, tuple[int, ...], int]  # what to run, the three streams, memfd of the input files or -1

FAILURE = struct.Struct("=iii")
# An order that is never carried out.
REHEARSAL = (launch.LAUNCH, 0, codec.encode(((b"program",), (b"/program",), (b"NAME=value",), b"/", ((0, 0, 0),), ())))
READY = struct.Struct("=qqq?")  # user ns and system ns of the way to exec, RLIMIT_FSIZE, whether there were input files
_RLIMIT_FSIZE = 1
# What init can live with: it keeps the limits that it hands on. Those that are not here do it no harm.
_LEAST = {2: 64 << 20, 3: 1 << 20, 6: 2, 7: 16, 9: 1 << 30}  # RLIMIT_DATA, STACK, NPROC, NOFILE, AS


class Child:
    """What the child has from its init: the socket of its order, the work directory, the terminal (-1), the pipe to init.

    `order` is there when it has come before the child was forked.
    """

    __slots__ = ("failure", "order", "orders", "plan", "progress", "terminal", "work")

    def __init__(self, plan: Plan, orders: Socket, work: int, terminal_fd: int, failure: int, order: Order | None = None) -> None:
        self.plan = plan
        self.order = order
        self.orders = orders
        self.work = work
        self.terminal = terminal_fd
        self.failure = failure
        self.progress = steps.Progress()


def become(child: Child) -> None:
    """Turn into the payload. Process: the payload's, before exec. Never returns; raises `warm.Start` in a warm launcher."""
    _guarded(child, _settle)
    if child.plan.warm.interpreter:
        raise warm.Start(child)
    go(child)


def go(child: Child) -> warm.Program:
    """Wait for the order, and execute it. Returns only where no exec is needed, with the program."""
    return _guarded(child, _obey)


def _guarded(child: Child, part: Callable[[Child], T]) -> T:
    """What fails becomes a record for init, and the end."""
    failed = True
    try:
        result = part(child)
        failed = False
    except OSError as error:
        os.write(child.failure, FAILURE.pack(child.progress.step, child.progress.index, error.errno or 0))
    except BaseException:
        os.write(child.failure, FAILURE.pack(child.progress.step, child.progress.index, 0))
    finally:
        if failed:
            os._exit(125)
    return result


def _settle(child: Child) -> None:
    """Leave what init has; nothing is open but what `child` says. What needs no order is done before one comes."""
    progress = child.progress
    progress.at(steps.CHILD_SESSION)
    os.setsid()
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
    if child.terminal >= 0:
        progress.at(steps.CHILD_STDIO)
        terminal.take_control(child.terminal)
    if child.order is not None:  # the filter, if it may be early, holds already
        return
    process.close_all_but((child.orders.fileno(), child.work, child.terminal, child.failure))
    rehearse(child.plan, child.orders)
    if child.plan.filters.early:
        restrict(child.plan, progress)


def rehearse(plan: Plan, orders: Socket) -> None:
    """Do once without effect what an order makes necessary: the pages that it writes to are copied now, not then."""
    program, _, _ = receive(orders)
    _environment(program)
    Spawner(program.argv, program.environment, (orders.fileno(),) * 3)
    READY.pack(*process.own_cpu(), _limits(plan, program).get(_RLIMIT_FSIZE, (0, 0))[0], False)


def restrict(plan: Plan, progress: steps.Progress) -> None:
    """The last of the restrictions: from here on the filter of the payload holds."""
    progress.at(steps.CHILD_FILTER)
    filters.load_filter(plan.filters.main)


def is_spawned(plan: Plan, request: LaunchRequest) -> bool:
    """Whether init is to start the program itself."""
    return plan.filters.early and not plan.warm.interpreter and not request.tty


def bearable(plan: Plan, program: Program) -> bool:
    """Whether init can keep the limits of the program itself."""
    return all(min(both) >= _LEAST.get(resource, 0) for resource, both in _limits(plan, program).items())


def spawn(plan: Plan, order: Order, work: int, progress: steps.Progress) -> tuple[int, int, int]:
    """Confine this process as the program shall be, and start that. Process: init. Raises OSError.

    Returns (pid, RLIMIT_FSIZE, when the program began by CLOCK_MONOTONIC in ns).

    What it has not from us, it has from `Spawner`: streams, session, signals.
    """
    program, streams, files = order
    _enter(program, files, work, progress)
    file_limit = _confine(plan, program, progress)
    progress.at(steps.CHILD_DESCRIPTORS)
    process.hand_on_none()
    spawner = Spawner(program.argv, program.environment, streams)

    def start(path: bytes) -> int:
        os.stat(path)  # the first program gets the first pid: nothing is started for a place where there is none
        return spawner.start(path)

    progress.at(steps.CHILD_EXEC)
    began = time.monotonic_ns()
    pid = _first_that_starts(program, progress, start)
    wire.close_all([*streams, *([files] if files >= 0 else [])])
    return pid, file_limit, began


def _obey(child: Child) -> warm.Program:
    plan, progress = child.plan, child.progress
    program, streams, files = child.order or receive(child.orders, child.terminal)
    child.orders.detach()  # closed with all others
    _enter(program, files, child.work, progress)
    file_limit = _prepare(plan, program, streams, child.failure, progress)
    if program.warm:
        process.prctl(process.PR_SET_DUMPABLE, 1)  # as exec does
    ready = READY.pack(*process.own_cpu(), file_limit, files >= 0)
    if not plan.filters.early:
        restrict(plan, progress)
    progress.at(steps.CHILD_EXEC)
    os.write(child.failure, ready)
    found = _execute(plan, program, progress)
    os.close(child.failure)  # as exec does
    return found


def receive(orders: Socket, terminal_fd: int = -1) -> Order:
    """Wait for what to run. Ends where none will come."""
    packet = wire.receive(orders)
    if packet is None:
        os._exit(0)
    (_, present, body), fds = packet
    if present & launch.FD_PROGRAM:
        memfd = fds.pop()
        body = wire.read_memory_file(memfd)
        os.close(memfd)
    files = fds.pop() if present & launch.FD_FILES else -1
    streams = (terminal_fd,) * 3 if terminal_fd >= 0 else tuple(fds)
    return Program.from_tuple(codec.decode(body)), streams, files


def _enter(program: Program, files: int, work: int, progress: steps.Progress) -> None:
    """Write the input files, and go where the program starts."""
    if files >= 0:
        progress.at(steps.INIT_FILES)
        scratch.unpack(files, work)
    progress.at(steps.INIT_CWD)
    os.chdir(program.cwd)
    if not os.getcwdb().startswith(b"/"):
        raise FileNotFoundError(errno.ENOENT, "the working directory is outside")


def _prepare(plan: Plan, program: Program, streams: tuple[int, ...], failure: int, progress: steps.Progress) -> int:
    """Umask, streams, limits, and nothing else that is open. Returns RLIMIT_FSIZE."""
    progress.at(steps.CHILD_STDIO)
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
    file_limit = _confine(plan, program, progress)
    progress.at(steps.CHILD_DESCRIPTORS)
    process.close_all_but((failure,))
    return file_limit


def _confine(plan: Plan, program: Program, progress: steps.Progress) -> int:
    """Umask and limits of this process, and so of what it starts. Returns RLIMIT_FSIZE."""
    os.umask(plan.umask)
    chosen = _limits(plan, program)
    for index, (resource, (soft, hard)) in enumerate(chosen.items()):
        progress.at(steps.CHILD_RLIMITS, index)
        process.set_rlimit(resource, soft, hard)
    return chosen.get(_RLIMIT_FSIZE, (0, 0))[0]


def _limits(plan: Plan, program: Program) -> dict[int, tuple[int, int]]:
    """(soft, hard) by resource: the program's own come before the plan's."""
    return {resource: (soft, hard) for resource, soft, hard in (*plan.rlimits, *program.rlimits)}


def _environment(program: Program) -> dict[bytes, bytes]:
    return dict(entry.partition(b"=")[::2] for entry in program.environment)


def _execute(plan: Plan, program: Program, progress: steps.Progress) -> warm.Program:
    """Execute the program. Returns when it is for the warm interpreter, and one that it can run."""
    environment = _environment(program)

    def start(path: bytes) -> warm.Program:
        if program.warm and plan.warm.interpreter and _is_warm(path, plan.warm.interpreter):
            return warm.Program(program, path)
        os.execve(path, program.argv, environment)
        raise AssertionError("not reached")

    return _first_that_starts(program, progress, start)


def _first_that_starts(program: Program, progress: steps.Progress, start: Callable[[bytes], T]) -> T:
    """Try the candidates in order, as execvpe(3) does: a file that may not be executed is remembered, not final."""
    refused = errno.ENOENT
    for index, path in enumerate(program.candidates):
        progress.index = index
        try:
            return start(path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                continue
            if error.errno != errno.EACCES:
                raise
            refused = errno.EACCES
    raise OSError(refused, os.strerror(refused))


def _is_warm(path: bytes, interpreter: bytes) -> bool:
    """Whether `path` is the warm interpreter or another name of it beside it, and can be executed."""
    if os.path.dirname(path) != os.path.dirname(interpreter) or not os.access(path, os.X_OK):
        return False
    return path == interpreter or os.path.samefile(path, interpreter)
