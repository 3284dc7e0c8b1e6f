"""Reading files of the caller: regular ones only, at most so much of them, and nothing that waits."""

from __future__ import annotations

import os
import stat

from sandbox.kernel.files import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2

Content = tuple[bytes, int]

AT_FDCWD = -100
_BENEATH = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_PIECE = 1 << 20


def named(path: str, most: int) -> Content | None:
    """(content, mode) of a file, links followed: at most `most` + 1 bytes of it. None for what is no regular file.

    Raises OSError, ValueError.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        return None  # opening a device can do things
    return _content(os.open(path, _READ), most)


def beneath(directory: int, path: str, most: int) -> Content | None:
    """As `named`, for a relative path below a directory that is reached without any link. Raises OSError."""
    place = openat2(directory, os.fsencode(path), os.O_PATH, resolve=_BENEATH)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            return None
        return _content(os.open(f"/proc/self/fd/{place}", _READ), most)  # the same file, whatever is at the path by now
    finally:
        os.close(place)


def directory_beneath(directory: int, path: str) -> int:
    """A descriptor of a directory below another, reached without any link. Raises OSError."""
    return openat2(directory, os.fsencode(path), os.O_RDONLY | os.O_DIRECTORY, resolve=_BENEATH)


def _content(fd: int, most: int) -> Content | None:
    with open(fd, "rb", buffering=0) as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return None
        parts, left = [], max(0, most) + 1
        while left and (part := file.read(min(left, _PIECE))):
            parts.append(part)
            left -= len(part)
    return b"".join(parts), 0o755 if found.st_mode & 0o111 else 0o644
