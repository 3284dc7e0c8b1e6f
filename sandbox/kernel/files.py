"""Opening paths that somebody else may have made.

Source: openat2(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from sandbox.kernel.libc import syscall

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10
STRICT = RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH
_RETRIES = 32


def openat2(dir_fd: int, path: bytes, flags: int, *, mode: int = 0, resolve: int = STRICT) -> int:
    """Open `path` below `dir_fd` (close-on-exec); by default no link is followed and no mount is crossed.

    Raises OSError: EXDEV for an escape, ELOOP for a link. EAGAIN (a rename raced) is retried some times.
    """
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, resolve)
    for attempt in range(_RETRIES):
        try:
            return syscall("openat2", dir_fd, path, how, ctypes.c_size_t(len(how)))
        except OSError as error:
            if error.errno != errno.EAGAIN or attempt == _RETRIES - 1:
                raise
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
