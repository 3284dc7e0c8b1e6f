"""Failed launches in words: (step, index, errno) → the exception that says what to do."""

from __future__ import annotations

import errno
import os

from sandbox.model import steps
from sandbox.model.errors import CommandNotFound, LaunchError, NotExecutable, RequestError, SandboxError
from sandbox.model.plan import Plan
from sandbox.runtime import request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NOT_EXECUTABLE = (
    errno.EACCES,
    errno.ENOEXEC,
    errno.EISDIR,
    errno.ETXTBSY,
    errno.ELOOP,
    errno.EPERM,
    errno.EINVAL,
    errno.ENAMETOOLONG,
)


def failure_error(plan: Plan, prepared: request.Prepared, failure: tuple[int, int, int]) -> SandboxError:
    """The exception for a launch that failed, in words."""
    step, index, number = failure
    name = steps.name_of(step)
    program = os.fsdecode(prepared.program.argv[0])
    if step == steps.CHILD_EXEC:
        facts: dict[str, Any] = {"step": name, "index": index, "errno": number, "path": program}
        if number in (errno.ENOENT, errno.ENOTDIR):
            return CommandNotFound(
                f"{program!r} does not exist inside the sandbox (or the interpreter or loader it names does not)",
                hint="mount it, put it in with files=, or choose a profile that has it",
                **facts,
            )
        if number in _NOT_EXECUTABLE:
            return NotExecutable(
                f"{program!r} cannot be executed: {os.strerror(number)}",
                hint="check its mode, its format, and that it is no directory",
                **facts,
            )
        if number == errno.E2BIG:
            return RequestError("argv and env are too large for the kernel", hint="pass them as stdin or with files=")
    if step == steps.INIT_CWD:
        cwd = os.fsdecode(prepared.program.cwd)
        return RequestError(f"the working directory {cwd!r} cannot be entered inside the sandbox: {os.strerror(number)}")
    hints = {
        steps.INIT_FILES: "the input files do not fit limits.scratch",
        steps.INIT_FORK: "limits.pids is too small to start anything",
        steps.INIT_DIED: "limits.memory may be too small to start anything",
        steps.CLONE: "the host is out of processes, memory or namespaces; `sandbox doctor` tells",
        steps.REQUEST: "every host uid of the range is in use; allow a larger range in /etc/subuid",
    }
    path = ""
    if step == steps.INIT_MASK and index < len(plan.masks):
        path = os.fsdecode(plan.masks[index])
    elif step == steps.INIT_READ_ONLY and index < len(plan.readonly):
        path = os.fsdecode(plan.readonly[index])
    return LaunchError.at(name, index, number, path, hints.get(step, "run `sandbox doctor` to see what this host lacks"))
