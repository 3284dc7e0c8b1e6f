"""The last steps before the untrusted program: the child of init, from its fork to exec.

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
import sys

from sandbox.kernel import filters, process, terminal
from sandbox.launcher import scratch, warm, wire
from sandbox.model import codec, launch, steps
from sandbox.model.launch import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket

    from sandbox.model.plan import Plan

FAILURE = struct.Struct("=iii")
READY = struct.Struct("=qqq?")  # user ns and system ns of the way to exec, RLIMIT_FSIZE, whether there were input files
_RLIMIT_FSIZE = 1


def become(plan: Plan, orders: Socket, work: int, terminal_fd: int, failure: int) -> None:
    """Turn into the payload. Process: the payload's, before exec. Never returns; raises `warm.Start` where no exec comes."""
    progress = steps.Progress()
    start = None
    try:
        progress.at(steps.CHILD_SESSION)
        os.setsid()
        _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
        if terminal_fd >= 0:
            progress.at(steps.CHILD_STDIO)
            terminal.take_control(terminal_fd)
        process.close_all_but(tuple(fd for fd in (orders.fileno(), work, terminal_fd, failure) if fd >= 0))
        program, streams, files = _order(orders, terminal_fd)
        _enter(program, files, work, progress)
        file_limit = _prepare(plan, program, streams, failure, progress)
        if program.warm:
            process.prctl(process.PR_SET_DUMPABLE, 1)  # as exec does
        ready = READY.pack(*process.own_cpu(), file_limit, files >= 0)
        progress.at(steps.CHILD_FILTER)
        filters.load_filter(plan.filters.main)
        progress.at(steps.CHILD_EXEC)
        os.write(failure, ready)
        start = _execute(plan, program, progress)
        os.close(failure)  # as exec does
        sys.stderr = None  # nobody is to hear that sockets of the launcher were never closed
    except OSError as error:
        os.write(failure, FAILURE.pack(progress.step, progress.index, error.errno or 0))
    except BaseException:
        os.write(failure, FAILURE.pack(progress.step, progress.index, 0))
    finally:
        if start is None:
            os._exit(125)
    raise start


def _order(orders: Socket, terminal_fd: int) -> tuple[Program, tuple[int, ...], int]:
    """Wait for what to run: (program, the three streams, memfd of the input files or -1). Ends where none will come."""
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
    os.umask(plan.umask)
    progress.at(steps.CHILD_STDIO)
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
    chosen = {resource: (soft, hard) for resource, soft, hard in (*plan.rlimits, *program.rlimits)}
    for index, (resource, (soft, hard)) in enumerate(chosen.items()):
        progress.at(steps.CHILD_RLIMITS, index)
        process.set_rlimit(resource, soft, hard)
    progress.at(steps.CHILD_DESCRIPTORS)
    process.close_all_but((failure,))
    return chosen.get(_RLIMIT_FSIZE, (0, 0))[0]


def _execute(plan: Plan, program: Program, progress: steps.Progress) -> warm.Start:
    """Try the candidates in order, as execvpe(3) does: a file that may not be executed is remembered, not final.

    Returns when the first that can be executed is the warm interpreter, and the program one that it can run.
    """
    environment = dict(entry.partition(b"=")[::2] for entry in program.environment)
    refused = errno.ENOENT
    for index, path in enumerate(program.candidates):
        progress.index = index
        if program.warm and plan.warm.interpreter and _is_warm(path, plan.warm.interpreter):
            return warm.Start(warm.Program(program, path))
        try:
            os.execve(path, program.argv, environment)
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
