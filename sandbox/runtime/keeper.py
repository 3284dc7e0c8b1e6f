"""Starting a keeper and waiting for its end. Loads almost nothing, so that a short command can start it before all else."""

from __future__ import annotations

import _signal
import os
import select
import sys

from sandbox.launcher import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket
    from typing import Any

_MAIN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "launcher", "__main__.py")
_PASSED_ENVIRONMENT = ("LD_LIBRARY_PATH", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")


_LOST: list[int] = []  # pidfds of keepers that were collected as garbage


class Keeper:
    """A keeper process and our end of its control socket, before and after the handshake.

    Attributes:
        control: our end; it belongs to whoever makes a `LauncherProcess` of it.
        prefix: the words before its command.
    """

    def __init__(self, plan_bytes: bytes, prefix: tuple[str, ...] = (), package: bytes = b"", *, quickly: bool = False) -> None:
        """Start it; `package`: what a warm launcher loads; `quickly`: without what a command of ours has no use for.

        Raises OSError.
        """
        _reap_lost()
        self.prefix = prefix
        self.control: Socket
        self.control, theirs = wire.pair()
        passed = [theirs.detach()]
        try:
            passed.append(wire.memory_file(b"plan", (plan_bytes,)))
            passed.append(os.pidfd_open(os.getpid()))
            if package:
                passed.append(wire.memory_file(b"sandbox", (package,)))
            passed = [_above_standard(fd) for fd in passed]
            self.pid = (_spawn_quickly if quickly else _spawn)(passed, prefix)
            self._pidfd = os.pidfd_open(self.pid)
        except BaseException:
            self.control.close()
            raise
        finally:
            wire.close_all(passed)

    def __del__(self) -> None:
        if getattr(self, "_pidfd", -1) >= 0:  # nobody has closed it; its end is noticed when the next one is started
            _LOST.append(self._pidfd)

    def wait(self, seconds: float) -> bool:
        """Wait for its end. False when it goes on."""
        import contextlib  # not needed to start one

        if self._pidfd < 0:
            return True
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if not poll.poll(max(0, int(seconds * 1000))):
            return False
        with contextlib.suppress(ChildProcessError):  # the calling program reaps every child, or ignores SIGCHLD
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        self.forget()
        return True

    def kill(self) -> None:
        """The kernel ends its launcher and every sandbox with it."""
        if self._pidfd >= 0:
            _signal.pidfd_send_signal(self._pidfd, _signal.SIGKILL)

    def discard(self) -> None:
        """End it before anything was asked of it."""
        self.control.close()
        self.kill()
        self.wait(5.0)

    def forget(self) -> None:
        """In a forked child, and after the end: there is nothing to wait for."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


def _reap_lost() -> None:
    for _ in range(len(_LOST)):
        pidfd = _LOST.pop(0)
        try:
            ended = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG) is not None
        except OSError:
            ended = True  # no child of ours, or not any more
        if ended:
            os.close(pidfd)
        else:
            _LOST.append(pidfd)


def _command(fds: list[int], prefix: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment."""
    flags = ["-I", "-S", *(["-B"] if sys.dont_write_bytecode else [])]
    environment = {name: os.environ[name] for name in _PASSED_ENVIRONMENT if name in os.environ}
    return [*prefix, sys.executable, *flags, _MAIN, *(str(fd) for fd in fds)], environment


def _spawn(fds: list[int], prefix: tuple[str, ...]) -> int:
    command, environment = _command(fds, prefix)
    return _popen(command, pass_fds=fds, start_new_session=True, cwd="/", env=environment)


def _popen(command: list[str], **options: Any) -> int:
    import subprocess

    null = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=null, stdout=null, stderr=null, **options)
    process.returncode = 0  # it is waited for by its pidfd
    return process.pid


def _spawn_quickly(fds: list[int], prefix: tuple[str, ...]) -> int:
    """Without `subprocess`, for a process that is a command of ours: what it was given by a shell is closed by the keeper."""
    command, environment = _command(fds, prefix)
    streams = [(os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) for number in (0, 1, 2)]
    kept = [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in fds]
    return os.posix_spawn(command[0], command, environment, file_actions=[*streams, *kept], setsid=True)


def _above_standard(fd: int) -> int:
    """The descriptor, moved above 2 when the caller had its standard streams closed."""
    if fd > 2:
        return fd
    import fcntl

    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(fd)
    return moved
