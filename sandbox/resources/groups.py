"""Reading and writing control group directories: the few operations that both versions share."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from sandbox.model.errors import CgroupError

WAIT_SECONDS = 2.0
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def open_directory(path: str) -> int:
    """A descriptor of a group. Raises OSError."""
    return os.open(path, _DIRECTORY)


def read(dir_fd: int, name: str) -> str:
    """The text of a control file; "" when this kernel does not have it."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError:
        return ""
    try:
        return os.read(fd, 65536).decode("ascii", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)


def read_number(dir_fd: int, name: str) -> int:
    """A control file with one number; 0 when it is not there or says "max"."""
    text = read(dir_fd, name).strip()
    return int(text) if text.isdigit() else 0


def read_keys(dir_fd: int, name: str) -> dict[str, int]:
    """A control file of "key number" lines."""
    pairs = (line.split() for line in read(dir_fd, name).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def write(dir_fd: int, name: str, text: str) -> None:
    """Write a control file. Raises CgroupError."""
    try:
        fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=dir_fd)
        try:
            os.write(fd, text.encode("ascii"))
        finally:
            os.close(fd)
    except OSError as error:
        raise CgroupError(f"cannot write {text!r} to {name}: {error.strerror}", hint="run `sandbox doctor`") from error


def write_checked(dir_fd: int, name: str, value: int, *, slack: int = 0) -> None:
    """Write a number and read it back; the kernel may round down by up to `slack`. Raises CgroupError."""
    write(dir_fd, name, str(value))
    found = read_number(dir_fd, name)
    if not value - slack <= found <= value:
        raise CgroupError(f"{name} is {found} after {value} was written: the limit does not hold")


def has(dir_fd: int, name: str) -> bool:
    """Whether a control file is there."""
    try:
        os.stat(name, dir_fd=dir_fd)
    except OSError:
        return False
    return True


def pids(dir_fd: int) -> list[int]:
    """Processes in a group (not below it)."""
    return [int(word) for word in read(dir_fd, "cgroup.procs").split() if word.isdigit()]


def kill_all(dir_fd: int) -> None:
    """Kill every process of a group: at once where the kernel can (cgroup.kill), else one by one."""
    if has(dir_fd, "cgroup.kill"):
        with contextlib.suppress(CgroupError):
            write(dir_fd, "cgroup.kill", "1")
            return
    for pid in pids(dir_fd):
        with contextlib.suppress(OSError):
            pidfd = os.pidfd_open(pid)
            try:
                if pid in pids(dir_fd):  # the number still belongs to the group
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            finally:
                os.close(pidfd)


def remove(path: str, dir_fd: int = -1) -> bool:
    """Remove an empty group, killing what is still in it; False when it stays for WAIT_SECONDS."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return True
        except OSError:
            if time.monotonic() >= deadline:
                return False
            if dir_fd >= 0:
                kill_all(dir_fd)
            time.sleep(0.001)
        else:
            return True


def remove_tree(path: str) -> bool:
    """Remove a group with everything below it; True when nothing is left."""
    try:
        with os.scandir(path) as entries:
            below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return True
    for child in below:
        remove_tree(child)
    try:
        fd = open_directory(path)
    except OSError:
        return not os.path.lexists(path)
    try:
        return remove(path, fd)
    finally:
        os.close(fd)
