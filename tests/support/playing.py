"""A small program that plays the launcher: it starts payloads inside control groups and nothing else."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from sandbox.resources.cgroups import Base, LauncherGroup, Lease
from tests.support.clock import seconds

ROOT = Path(__file__).resolve().parents[2]

# Starts each payload inside the groups it gets, like a launcher and its inits do.
LAUNCHER = f"""
import json, os, socket, sys
sys.path.insert(0, {str(ROOT)!r})
from sandbox.kernel import namespaces
control = socket.socket(fileno=int(sys.argv[1]))
control.send(b"ready %d" % os.getpid())
while True:
    message, fds, _, _ = socket.recv_fds(control, 65536, 16)
    if not message:
        os._exit(0)
    order = json.loads(message)
    joins = fds if order["joins"] else []
    pid, pidfd = namespaces.clone(0, -1 if joins else fds[0])
    if pid == 0:
        control.close()
        for fd in joins:
            os.write(fd, b"0")
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-B", "-c", order["code"]])
    for fd in fds:
        os.close(fd)
    if order["wait"]:
        pid = os.waitpid(pid, 0)[1]
    os.close(pidfd)
    control.send(b"%d" % pid)
"""


class Launcher:
    """The program above, in the groups that `base` made for it."""

    def __init__(self, base: Base) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(seconds(30))
        command = [*base.command_prefix, sys.executable, "-I", "-S", "-B", "-c", LAUNCHER, str(theirs.fileno())]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True)
        theirs.close()
        self.socket = ours
        self.pid = int(ours.recv(64).split()[1])
        self.group: LauncherGroup = base.open_group(self.pid)
        self._lock = threading.Lock()

    def start(self, lease: Lease, code: str, *, wait: bool) -> int:
        fds = list(lease.join_fds) or [lease.cgroup2_fd]
        order = json.dumps({"code": code, "joins": bool(lease.join_fds), "wait": wait}).encode()
        with self._lock:
            socket.send_fds(self.socket, [order], fds)
            return int(self.socket.recv(64))

    def run(self, lease: Lease, code: str) -> int:
        """Exit code, negative for a signal."""
        return os.waitstatus_to_exitcode(self.start(lease, code, wait=True))

    def close(self) -> None:
        self.socket.close()
        self.process.wait(seconds(10))
        self.group.close()
