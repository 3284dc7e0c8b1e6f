"""Files and directories of cgroupfs: read, write, make, empty, remove. Errors are OSError or CgroupError, never silence.

Source: cgroups(7), Documentation/admin-guide/cgroup-v2.rst, Documentation/admin-guide/cgroup-v1/.
"""

from __future__ import annotations

import _signal
import contextlib
import errno
import os
import time
from collections.abc import Iterable

from sandbox.model.errors import CgroupError

REMOVE_SECONDS = 5.0
PERIOD_US = 100_000  # of a new group
_CHUNK = 64
_MODE = 0o755
_MAX_FILE = 65536
_FIRST_WAIT = 0.0002
_LONGEST_WAIT = 0.01


def failure(what: str, path: str, error: OSError) -> CgroupError:
    """The error of one call on cgroupfs, in words."""
    hints = {
        errno.EACCES: "the group is not delegated to this user; run `sandbox doctor`",
        errno.EPERM: "the group is not delegated to this user; run `sandbox doctor`",
        errno.EMFILE: "raise RLIMIT_NOFILE of the calling process or run fewer sandboxes at once",
        errno.ENFILE: "the host is out of file descriptors",
        errno.EAGAIN: "cgroup.max.descendants or cgroup.max.depth of a group above is reached",
        errno.ENOSPC: "the host is out of control groups",
        errno.ENODEV: "the group is gone: somebody else removed it",
        errno.ENOENT: "the group is gone, or its controller is not enabled there; run `sandbox doctor`",
    }
    return CgroupError(f"cannot {what} {path!r}: {error.strerror}", hint=hints.get(error.errno or 0, ""))


def read_at(directory: int, name: str) -> str:
    """The text of a file of an open group. Raises OSError."""
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        return os.read(fd, _MAX_FILE).decode("ascii", "replace")
    finally:
        os.close(fd)


def read_path(path: str) -> str:
    """The text of a file by absolute path. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(fd, _MAX_FILE):
            parts.append(part)
        return b"".join(parts).decode("ascii", "replace")
    finally:
        os.close(fd)


def write_path(path: str, text: str) -> None:
    """Write a file in one call. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def set_at(directory: int, name: str, text: str) -> str:
    """Write a limit and return what the kernel has made of it. Raises OSError."""
    fd = os.open(name, os.O_RDWR | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.write(fd, text.encode())
        return os.pread(fd, _MAX_FILE, 0).decode("ascii", "replace").strip()
    finally:
        os.close(fd)


def require_set(directory: int, name: str, value: int) -> None:
    """Write an integer limit and check that it holds. Raises OSError, CgroupError."""
    found = set_at(directory, name, str(value))
    if found != str(value):
        raise CgroupError(f"the kernel took {found!r} for {name} instead of {value}", hint="check the limits of the groups above")


def require_below(directory: int, name: str, limit: int) -> None:
    """Check that a figure is at most half of a limit that is to come. Raises OSError, CgroupError."""
    found = int(read_at(directory, name))
    if found > limit // 2:
        raise CgroupError(f"{name} is {found} already, near the limit of {limit}")


def keyed(text: str) -> dict[str, int]:
    """A "flat keyed" file as a mapping; lines of other forms are left out."""
    out = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if value.isdigit():
            out[key] = int(value)
    return out


def facts(*sources: tuple[str, str, int]) -> tuple[tuple[str, str, int], ...]:
    """The sources that say something: 0 is an event that did not happen, or a file that this kernel does not have."""
    return tuple(source for source in sources if source[2])


def cpu_list(text: str) -> set[int]:
    """The numbers in a list such as "0-3,8"."""
    out: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            out.update(range(int(first), int(last or first) + 1))
    return out


def pages(size_bytes: int) -> int:
    """The limit that the kernel keeps for `size_bytes`: whole pages."""
    page = os.sysconf("SC_PAGE_SIZE")
    return size_bytes // page * page


def near_limit(size_bytes: int) -> int:
    """The peak from which on a group can have been out of memory by itself: one large allocation below its limit."""
    return size_bytes - max(1 << 20, size_bytes // 16)


def quota(millicpus: int) -> tuple[int, int]:
    """(quota, period) in microseconds. The kernel takes no quota below 1 ms, so small ones get the longest period."""
    period = PERIOD_US if millicpus >= 10 else 1_000_000
    return millicpus * period // 1000, period


def disks() -> tuple[str, ...]:
    """major:minor of every whole block device that can be throttled; memory-backed ones have no queue to throttle."""
    found = []
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir("/sys/block")):
            if not name.startswith(("ram", "zram")):
                with contextlib.suppress(OSError):
                    found.append(read_path(f"/sys/block/{name}/dev").strip())
    return tuple(found)


def make(path: str) -> None:
    """Make a group that its owner may use, whatever umask the calling process has. Raises OSError."""
    os.mkdir(path, _MODE)
    if os.stat(path).st_mode & 0o777 != _MODE:  # a chmod on cgroupfs costs as much as the directory
        os.chmod(path, _MODE)


def remove_all(paths: Iterable[str], seconds: float = REMOVE_SECONDS, *, patience: float = 0.0) -> None:
    """Remove group trees; what is still alive in them after `patience` seconds is killed.

    Every one is tried; raises CgroupError for those that stay.
    """
    first = 0.0
    stuck = []
    for path in paths:
        wait = _FIRST_WAIT
        while not remove_tree(path):
            now = time.monotonic()
            first = first or now
            if now > first + seconds:
                stuck.append(path)
                break
            if now >= first + patience:
                kill_tree(path)
            time.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT)
    if stuck:
        names = ", ".join(repr(path) for path in stuck)
        raise CgroupError(f"control group {names} could not be emptied in {seconds:g} s", hint="see its cgroup.procs")


def remove_tree(path: str) -> bool:
    """Remove a group and those below it; False when one is still busy. Raises CgroupError for any other failure."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise failure("remove the control group", path, error) from error
    else:
        return True
    below = children(path)
    if not below:
        return not os.path.isdir(path)
    left = [child for child in below if not remove_tree(child)]
    return not left and remove_tree(path)


def children(path: str) -> list[str]:
    """The groups directly below; none when the group itself is gone, or while no descriptor is free to look."""
    try:
        with os.scandir(path) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return []
        raise failure("look into the control group", path, error) from error


def kill_tree(path: str) -> None:
    """Send SIGKILL to everything in a group and below, once. A killed group is never used again (see `version2`)."""
    try:
        write_path(f"{path}/cgroup.kill", "1")
    except FileNotFoundError:
        _kill_each(path)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise failure("kill the control group", path, error) from error


def _kill_each(path: str) -> None:
    """v1 has no cgroup.kill: no fork any more where `pids` is the controller, then a signal to each."""
    with contextlib.suppress(OSError):
        write_path(f"{path}/pids.max", "0")
    pids = members(path)
    for start in range(0, len(pids), _CHUNK):
        handles: dict[int, int] = {}
        for pid in pids[start : start + _CHUNK]:
            with contextlib.suppress(OSError):
                handles[pid] = os.pidfd_open(pid)
        # A number that still stands in the list after its handle was opened is the process that the handle means.
        still = set(members(path))
        for pid, handle in handles.items():
            if pid in still:
                with contextlib.suppress(OSError):
                    _signal.pidfd_send_signal(handle, _signal.SIGKILL)
            os.close(handle)
    for child in children(path):
        _kill_each(child)


def members(path: str) -> list[int]:
    """Process ids in a group; those outside our pid namespace (shown as 0) are left out."""
    try:
        return [int(word) for word in read_path(f"{path}/cgroup.procs").split() if word != "0"]
    except OSError:
        return []
