"""Quick moves between control groups of version 1.

The first move of a process after some 15 ms without any waits 5 to 15 ms in the kernel, for a grace period of RCU
(cgroup_threadgroup_rwsem; include/linux/percpu-rwsem.h), the next ones 0.03 ms. So as soon as a move is to be expected, a
thread of ours writes our own process where it is already, which moves nothing and begins that wait, and again until the
move should have come.
"""

from __future__ import annotations

import os
import threading
import time

_PERIOD_S = 0.008
_EXPECTED_S = 0.06


class Haste:
    """Of one process; safe from any thread, and after a fork."""

    def __init__(self, directory: str) -> None:
        """`directory`: the group of this process in any hierarchy of version 1."""
        self._path = f"{directory}/cgroup.procs"
        self._home = _groups()
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._until = 0.0
        self._running = False

    def expect_move(self) -> None:
        """A process will be moved soon. Where this cannot be made quicker, nothing happens."""
        if self._owner != os.getpid():
            return  # a forked child has its launchers from its parent, and makes none
        with self._lock:
            self._until = time.monotonic() + _EXPECTED_S
            if self._running:
                return
            self._running = True
        try:
            threading.Thread(target=self._keep_ready, name="sandbox-haste", daemon=True).start()
        except RuntimeError:  # no more threads
            self._running = False

    def _keep_ready(self) -> None:
        try:
            target = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            return  # not ours: stays as it is, `_running` too
        try:
            while self._wanted():
                if _groups() != self._home:  # somebody has moved us: it is not for us to move back
                    return
                os.write(target, b"0")
                time.sleep(_PERIOD_S)
        except OSError:
            return
        finally:
            os.close(target)

    def _wanted(self) -> bool:
        with self._lock:
            self._running = time.monotonic() < self._until
            return self._running


def _groups() -> bytes:
    with open("/proc/self/cgroup", "rb") as file:
        return file.read()
