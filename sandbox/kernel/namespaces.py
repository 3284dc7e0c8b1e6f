"""Processes in new namespaces, and what is set inside them.

Source: clone(2) (clone3), unshare(2), user_namespaces(7), sethostname(2).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct

from sandbox.kernel.flags import (
    CLONE_INTO_CGROUP,
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    CLONE_PIDFD,
)
from sandbox.kernel.libc import call, syscall

__all__ = [
    "CLONE_INTO_CGROUP",
    "CLONE_NEWCGROUP",
    "CLONE_NEWIPC",
    "CLONE_NEWNET",
    "CLONE_NEWNS",
    "CLONE_NEWPID",
    "CLONE_NEWTIME",
    "CLONE_NEWUSER",
    "CLONE_NEWUTS",
    "CLONE_PIDFD",
    "clone",
    "raise_loopback",
    "send_signal",
    "set_hostname",
    "unshare",
    "write_file",
]

_SIGCHLD = 17
_CLONE_ARGS = struct.Struct("=11Q")
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1


def clone(flags: int, cgroup_fd: int = -1) -> tuple[int, int]:
    """clone3 without a new stack, like fork: returns (pid, pidfd) in the parent and (0, -1) in the child.

    Process: any single-threaded one. Safety: the child runs on in this interpreter; it must end by os._exit or exec.
    """
    pidfd = ctypes.c_int(-1)
    if cgroup_fd >= 0:
        flags |= CLONE_INTO_CGROUP
    packed = _CLONE_ARGS.pack(flags | CLONE_PIDFD, ctypes.addressof(pidfd), 0, 0, _SIGCHLD, 0, 0, 0, 0, 0, max(cgroup_fd, 0))
    pid = syscall("clone3", packed, ctypes.c_size_t(len(packed)))
    return pid, pidfd.value if pid else -1


def unshare(flags: int) -> None:
    """Give this process new namespaces of the kinds in `flags`."""
    call("unshare", ctypes.c_int(flags))


def set_hostname(name: bytes) -> None:
    """Set the name of this UTS namespace, and an empty NIS domain."""
    call("sethostname", name, ctypes.c_size_t(len(name)))
    call("setdomainname", b"", ctypes.c_size_t(0))


def raise_loopback() -> None:
    """Bring `lo` of this network namespace up."""
    import _socket

    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(sock.fileno(), _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(sock.fileno(), _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
    finally:
        sock.close()


def send_signal(pidfd: int, signal: int) -> bool:
    """Signal the process behind a pidfd; False when it is gone already."""
    try:
        syscall("pidfd_send_signal", pidfd, signal, None, ctypes.c_uint(0))
    except ProcessLookupError:
        return False
    return True


def write_file(path: str, text: bytes) -> None:
    """Write a kernel file in one call (id maps are accepted only so)."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)
