"""Taking files out of a work directory after everything in its sandbox is dead.

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
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class _Budget:
    """What may still be collected, and what was refused."""

    def __init__(self, files: int, size: int) -> None:
        self.files = files
        self.bytes = size
        self.entries = MAX_ENTRIES
        self.found: dict[bytes, tuple[int, int]] = {}
        self.refused: list[tuple[bytes, str]] = []

    def refuse(self, name: bytes, reason: str) -> None:
        if len(self.refused) < MAX_REFUSED:
            self.refused.append((name, reason))


def deliver(work_fd: int, request: LaunchRequest, lane: Socket, ended: tuple[object, ...]) -> None:
    """Collect into a sealed memfd and send it with the final report. Process: a child of the launcher."""
    budget = _Budget(request.collect_files, request.collect_bytes)
    for name in request.collect:
        _take(work_fd, name, budget)
    entries = []
    for name, (mode, size) in budget.found.items():
        data = _read(work_fd, name, size)
        entries.append((name, mode & 0o755, data))
    memfd = wire.memory_file(b"collected", wire.pack_files(entries, tuple(budget.refused)))
    wire.send(lane, ended, [memfd])


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
                budget.entries -= 1
                if budget.entries < 0:
                    budget.refuse(path, "too many entries")
                    break
                name = os.fsencode(entry.name)
                names.append(name if path == b"." else path + b"/" + name)
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


def _read(root: int, path: bytes, size: int) -> bytes:
    """At most `size` bytes; nothing can have changed, as everything that could is dead."""
    fd = openat2(root, path, _OPEN)
    try:
        parts = []
        while size > 0:
            part = os.read(fd, size)
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def _reason(error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.EXDEV):
        return "reached through a link or outside the work directory"
    return os.strerror(error.errno or 0)
