"""Taking files out of a work directory after every process of the payload is dead.

The payload made every name and every file here. Only descriptors below the work directory are used (openat2: beneath,
no links, no other mounts), only regular files with one link are taken, sizes are known before any content is read, and
every count is bounded. What is left out is named with its reason.
"""

from __future__ import annotations

import errno
import os
import stat

from sandbox.kernel.files import openat2
from sandbox.launcher import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket

    from sandbox.model.launch import LaunchRequest

MAX_DEPTH = 64
MAX_ENTRIES = 100_000
MAX_REFUSED = 1000
MAX_REFUSED_NAME = 4096
MAX_NAME_BYTES = 4 << 20  # of all names together: this process is not below the run's memory limit
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW
_CHUNK = 1 << 24
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class _Budget:
    """What may still be collected, and what was refused."""

    def __init__(self, files: int, size: int) -> None:
        self.files = files
        self.bytes = size
        self.entries = MAX_ENTRIES
        self.names = MAX_NAME_BYTES
        self.found: dict[bytes, tuple[int, int]] = {}
        self.refused: list[tuple[bytes, str]] = []

    def refuse(self, name: bytes, reason: str) -> None:
        if len(self.refused) < MAX_REFUSED:
            self.refused.append((name[:MAX_REFUSED_NAME], reason))


def deliver(work_fd: int, request: LaunchRequest, lane: Socket, ended: tuple[object, ...]) -> None:
    """Collect into a sealed memfd and send it with the final report. Process: a child of the launcher."""
    budget = _Budget(request.collect_files, request.collect_bytes)
    for name in request.collect:
        _take(work_fd, name, budget)
    packed = _pack(work_fd, budget)
    try:
        wire.send(lane, ended, [packed])
    finally:
        os.close(packed)


def _pack(work_fd: int, budget: _Budget) -> int:
    """A sealed file set, copied by the kernel: contents never lie in the memory of this process."""
    entries = [(name, mode & 0o755, size) for name, (mode, size) in budget.found.items()]

    def fill(memfd: int) -> None:
        for name, _, size in entries:
            _copy(work_fd, memfd, name, size)

    return wire.file_set(entries, tuple(budget.refused), fill)


def _take(root: int, name: bytes, budget: _Budget) -> None:
    """Take the file `name`, or everything below the directory `name`, depth by depth without recursion."""
    pending = [(name, 0)]
    while pending:
        path, depth = pending.pop()
        try:
            kind = _kind(root, path)
        except OSError as error:
            budget.refuse(path, "missing" if error.errno == errno.ENOENT else _reason(error))
            continue
        if kind == stat.S_IFREG:
            _take_file(root, path, budget)
        elif kind != stat.S_IFDIR:
            budget.refuse(path, "not a regular file")
        elif depth >= MAX_DEPTH:
            budget.refuse(path, "too deep")
        else:
            pending.extend((below, depth + 1) for below in _list(root, path, budget))


def _kind(root: int, path: bytes) -> int:
    fd = openat2(root, path, os.O_PATH | os.O_NOFOLLOW)
    try:
        return stat.S_IFMT(os.fstat(fd).st_mode)
    finally:
        os.close(fd)


def _list(root: int, path: bytes, budget: _Budget) -> list[bytes]:
    names: list[bytes] = []
    try:
        fd = openat2(root, path, _DIRECTORY)
    except OSError as error:
        budget.refuse(path, _reason(error))
        return names
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                full = name if path == b"." else path + b"/" + name
                budget.entries -= 1
                budget.names -= len(full)
                if budget.entries < 0 or budget.names < 0:
                    budget.refuse(path, "too many entries")
                    break
                names.append(full)
    finally:
        os.close(fd)
    return sorted(names, reverse=True)


def _take_file(root: int, path: bytes, budget: _Budget) -> None:
    if path in budget.found:
        return
    if budget.files == 0:
        budget.refuse(path, "more files than collect_files")
        return
    try:
        fd = openat2(root, path, _OPEN)
    except OSError as error:
        budget.refuse(path, _reason(error))
        return
    found = os.fstat(fd)
    os.close(fd)
    reason = ""
    if not stat.S_ISREG(found.st_mode):
        reason = "not a regular file"
    elif found.st_nlink != 1:
        reason = "has several hard links"
    elif found.st_size > budget.bytes:
        reason = "larger than what is left of collect_bytes"
    if reason:
        budget.refuse(path, reason)
        return
    budget.files -= 1
    budget.bytes -= found.st_size
    budget.found[path] = (stat.S_IMODE(found.st_mode), found.st_size)


def _copy(root: int, memfd: int, path: bytes, size: int) -> None:
    """Exactly `size` bytes: nothing can have changed, as everything that could is dead; what is missing is zeros."""
    fd = openat2(root, path, _OPEN)
    try:
        end = os.lseek(memfd, 0, os.SEEK_CUR) + size
        while size > 0:
            copied = os.sendfile(memfd, fd, None, min(size, _CHUNK))
            if copied == 0:
                break
            size -= copied
        os.ftruncate(memfd, end)
        os.lseek(memfd, end, os.SEEK_SET)
    finally:
        os.close(fd)


def _reason(error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.EXDEV):
        return "reached through a link or outside the work directory"
    return os.strerror(error.errno or 0)
