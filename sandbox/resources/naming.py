"""Names of launcher groups tell whether the caller that made them still lives.

sandbox-<uid>-<pid namespace>-<pid>-<start time>-<random>
"""

from __future__ import annotations

import os
import re
import secrets

_FORM = re.compile(r"sandbox-(\d+)-(\d+)-(\d+)-(\d+)-[0-9a-f]{8}")


def new_name() -> str:
    """A name for a group of this process."""
    pid = os.getpid()
    return f"sandbox-{os.getuid()}-{_pid_namespace()}-{pid}-{start_time(pid)}-{secrets.token_hex(4)}"


def _pid_namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino


def start_time(pid: int) -> int:
    """Field 22 of /proc/PID/stat, clock ticks since boot; 0 when there is no such process (proc_pid_stat(5))."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            line = file.read()
    except OSError:
        return 0
    return int(line[line.rindex(b")") + 2 :].split()[19])


def is_stale(name: str) -> bool:
    """Whether it is one of our names and its process is gone; a process of another pid namespace cannot be judged."""
    match = _FORM.fullmatch(name)
    if match is None or (int(match[1]), int(match[2])) != (os.getuid(), _pid_namespace()):
        return False
    return start_time(int(match[3])) != int(match[4])
