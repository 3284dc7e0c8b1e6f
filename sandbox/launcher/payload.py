"""The last steps before the untrusted program: the child of init, until exec.

A failure is a fixed record (step, index, errno) on a close-on-exec pipe. READY on it says that only exec is left: READY
and then end of file means that exec happened, end of file alone that the child died on its way there.
"""

from __future__ import annotations

import _signal
import errno
import os
import struct

from sandbox.kernel import filters, process, terminal
from sandbox.model import steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandbox.model.launch import LaunchRequest
    from sandbox.model.plan import Plan

RECORD = struct.Struct("=iii")
READY = b"!"


def become(plan: Plan, request: LaunchRequest, streams: tuple[int, int, int], terminal_fd: int, failure: int) -> None:
    """Turn into the payload. Process: the payload's, before exec. Never returns."""
    progress = steps.Progress()
    try:
        _prepare(plan, request, streams, terminal_fd, failure, progress)
        environment = dict(entry.partition(b"=")[::2] for entry in request.environment)
        progress.at(steps.CHILD_FILTER)
        filters.load_filter(plan.filters.main)
        progress.at(steps.CHILD_EXEC)
        os.write(failure, READY)
        _execute(request, environment, progress)
    except OSError as error:
        os.write(failure, RECORD.pack(progress.step, progress.index, error.errno or 0))
    except BaseException:
        os.write(failure, RECORD.pack(progress.step, progress.index, 0))
    finally:
        os._exit(125)


def _prepare(
    plan: Plan, request: LaunchRequest, streams: tuple[int, int, int], terminal_fd: int, failure: int, progress: steps.Progress
) -> None:
    progress.at(steps.CHILD_SESSION)
    os.setsid()
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
    os.umask(plan.umask)
    progress.at(steps.CHILD_STDIO)
    if terminal_fd >= 0:
        terminal.take_control(terminal_fd)
        streams = (terminal_fd, terminal_fd, terminal_fd)
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
    chosen = {resource: (soft, hard) for resource, soft, hard in (*plan.rlimits, *request.rlimits)}
    for index, (resource, (soft, hard)) in enumerate(chosen.items()):
        progress.at(steps.CHILD_RLIMITS, index)
        process.set_rlimit(resource, soft, hard)
    progress.at(steps.CHILD_DESCRIPTORS)
    process.close_all_but((failure,))


def _execute(request: LaunchRequest, environment: dict[bytes, bytes], progress: steps.Progress) -> None:
    """Try the candidates in order, as execvpe(3) does: a file that may not be executed is remembered, not final."""
    refused = errno.ENOENT
    for index, path in enumerate(request.candidates):
        progress.index = index
        try:
            os.execve(path, request.argv, environment)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                continue
            if error.errno != errno.EACCES:
                raise
            refused = errno.EACCES
    raise OSError(refused, os.strerror(refused))
