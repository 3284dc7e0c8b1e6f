"""An untrusted script for `make run`: it tries to read secrets, write, connect, mount, fork and escape, and reports."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys


def attempt(what: str, action: object) -> None:
    """Print how one attempt ended."""
    try:
        outcome = f"DONE    {action()!r}"  # type: ignore[operator]
    except Exception as error:
        outcome = f"refused {error}"
    print(f"  {what:<40} {outcome}")


def read(path: str) -> str:
    with open(path, "rb") as file:
        return f"{len(file.read(4096))} bytes"


def write(path: str) -> str:
    with open(path, "wb") as file:
        file.write(b"x")
    return path


def connect(address: tuple[str, int]) -> str:
    with socket.create_connection(address, timeout=2):
        return "connected"


def mount() -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "mounted"


def unshare_user() -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "new user namespace"


def fork_many() -> str:
    children: list[int] = []
    ending = "no refusal"
    try:
        for _ in range(1000):
            pid = os.fork()
            if pid == 0:
                signal.pause()
            children.append(pid)
    except OSError as error:
        ending = error.strerror
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return f"{len(children)} processes, then: {ending}"


def main() -> None:
    print(f"I am {os.getuid()}:{os.getgid()} on {socket.gethostname()}, pid {os.getpid()}, Python {sys.version.split()[0]}")
    attempt("read /etc/shadow", lambda: read("/etc/shadow"))
    attempt("read /root/.ssh", lambda: os.listdir("/root/.ssh"))
    attempt("list /home", lambda: os.listdir("/home"))
    attempt("read /proc/1/environ", lambda: read("/proc/1/environ"))
    attempt("read /proc/kcore", lambda: read("/proc/kcore"))
    attempt("write /usr/bin/evil", lambda: write("/usr/bin/evil"))
    attempt("write /evil", lambda: write("/evil"))
    attempt("write /work/answer.txt (allowed)", lambda: write("/work/answer.txt"))
    attempt("connect to 127.0.0.1:22", lambda: connect(("127.0.0.1", 22)))
    attempt("connect to 192.0.2.1:80", lambda: connect(("192.0.2.1", 80)))
    attempt("mount a tmpfs", mount)
    attempt("make a user namespace", unshare_user)
    attempt("kill every process", lambda: os.kill(-1, 0) or "only processes of this sandbox")
    attempt("fork 1000 processes", fork_many)


main()
