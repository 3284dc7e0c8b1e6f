"""Every exception of the package.

    SandboxError(blame, retryable, hint)
      RequestError            the caller's argument is wrong
        ProblemError          a problem package is wrong or cannot be read: file, line
      ProfileError            a profile was not found, is not TOML, or is not valid
      PolicyError             an override would loosen the profile
      UnsupportedHostError    this host lacks a feature: its consequence and remedy, as `sandbox doctor` prints it
      CapacityError           nothing was free in time                                            retryable
      LaunchError             a step of the launch failed: step, index, errno, path
        CommandNotFound       no such program inside the sandbox
        NotExecutable         it is there but cannot be executed
      ResourceError           CgroupError, ScratchError
      LauncherDied            the launcher ended while a run was in flight                        retryable
      ProtocolError           the two sides disagree: a bug in this package

What a *payload* does wrong is never an exception: it is the `outcome` of a `RunResult`.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_EXHAUSTED = {
    errno.EMFILE: "the calling process is out of descriptors: close some, or raise its limit (ulimit -n)",
    errno.ENFILE: "the host is out of descriptors",
    errno.EAGAIN: "the user is out of processes: end some, or raise the limit (ulimit -u)",
    errno.ENOMEM: "there is not enough memory",
    errno.ENOBUFS: "there is not enough memory for sockets",
    errno.ETOOMANYREFS: "too many descriptors of this user are on their way through sockets; raise ulimit -n",
    errno.ENOSPC: "no space is left; free some",
}


def _restore(kind: type[SandboxError], words: tuple[Any, ...], state: dict[str, Any]) -> SandboxError:
    error = kind.__new__(kind, *words)
    error.__dict__.update(state)
    return error


class SandboxError(Exception):
    """Base of all errors. `str()` is one line: what, where, why, what to do.

    Attributes:
        blame: who can cure it: "caller", "profile", "host", "launcher".
        retryable: whether the same call may succeed later without any change.
        hint: what to do about it, "" where the message says it all.
    """

    blame = "caller"
    retryable = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors travel through pickle (process pools) with all their parts."""
        return _restore, (type(self), self.args, self.__dict__.copy())


class RequestError(SandboxError):
    """An argument of the call is wrong (empty argv, NUL in a string, a limit that is negative)."""


class ProblemError(RequestError):
    """A problem package is wrong, or cannot be read.

    Attributes:
        file: inside the package, such as "data/secret/testdata.yaml"; the package itself when it has no such file.
        line: 1-based line, 0 if unknown.
    """

    def __init__(self, message: str, *, file: str = "", line: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.file = file
        self.line = line

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.file and self.line else self.file
        return f"{where}: {super().__str__()}" if where else super().__str__()


class ProfileError(SandboxError):
    """A profile was not found, is not TOML, or is not valid.

    Attributes:
        file: the profile file, "" if it was built in Python.
        line: 1-based line, 0 if unknown.
        path: where in the file, such as "limits.memory".
    """

    blame = "profile"

    def __init__(self, message: str, *, file: str = "", line: int = 0, path: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.file = file
        self.line = line
        self.path = path

    def __str__(self) -> str:
        where = self.file
        if where and self.line:
            where = f"{where}:{self.line}"
        parts = [part for part in (where, self.path, super().__str__()) if part]
        return ": ".join(parts)


class PolicyError(SandboxError):
    """An override would allow more than the profile does. `path` names the key."""

    def __init__(self, message: str, *, path: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: {super().__str__()}" if self.path else super().__str__()


class UnsupportedHostError(SandboxError):
    """The host lacks a feature that the plan needs.

    Attributes:
        feature: short name, such as "userns" or "cgroup.memory".
        consequence: what does not hold without it.
        remedy: the exact command or setting that cures it (also the `hint`).
    """

    blame = "host"

    def __init__(self, feature: str, consequence: str, remedy: str) -> None:
        super().__init__(f"{feature}: {consequence}", hint=remedy)
        self.feature = feature
        self.consequence = consequence
        self.remedy = remedy


class CapacityError(SandboxError):
    """No slot became free within the waiting time."""

    blame = "host"
    retryable = True


class LaunchError(SandboxError):
    """A step of the launch failed; the payload was never executed.

    Attributes:
        step: name of the step (see `sandbox.model.steps`).
        index: which item of the step (mount operation, rule…).
        errno: the error number.
        path: the path it was about, "" if none.
    """

    blame = "launcher"

    def __init__(self, message: str, *, step: str = "", index: int = 0, errno: int = 0, path: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.step = step
        self.index = index
        self.errno = errno
        self.path = path

    @classmethod
    def at(cls, step: str, index: int, errno: int, path: str = "", hint: str = "") -> LaunchError:
        """The error of one failed step, in words."""
        about = f" {path!r}" if path else ""
        message = f"launch failed at step {step!r} (item {index}){about}: {os.strerror(errno)}"
        return cls(message, step=step, index=index, errno=errno, path=path, hint=hint)


class CommandNotFound(LaunchError):
    """The program does not exist inside the sandbox (exit code 127 of the command line)."""

    blame = "caller"


class NotExecutable(LaunchError):
    """The program exists but cannot be executed (exit code 126 of the command line)."""

    blame = "caller"


class ResourceError(SandboxError):
    """A host resource for the run could not be made."""

    blame = "host"

    @classmethod
    def exhausted(cls, what: str, number: int | None) -> ResourceError | None:
        """The error for "`what` failed because something ran out"; None for an errno of another kind."""
        if number not in _EXHAUSTED:
            return None
        error = cls(f"{what}: {os.strerror(number)}", hint=_EXHAUSTED[number])
        error.retryable = True
        return error


class CgroupError(ResourceError):
    """A control group could not be made, limited, read or removed."""


class ScratchError(ResourceError):
    """Memory for input files or results could not be had."""


class LauncherDied(SandboxError):
    """The launcher process ended while a run was in flight; the kernel has killed the sandbox with it."""

    blame = "launcher"
    retryable = True


class ProtocolError(SandboxError):
    """The two sides of the wire disagree. Always a bug in this package: please report it."""

    blame = "launcher"
