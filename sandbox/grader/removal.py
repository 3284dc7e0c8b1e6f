"""Trees that hostile bytes filled are removed by descriptors."""

from __future__ import annotations

import contextlib
import os
import stat


def remove(root: int, key: str) -> None:
    """Remove a tree by descriptors: no link in it is followed. What cannot be removed stays for another time."""
    empty(root, key)
    with contextlib.suppress(OSError):
        os.rmdir(key, dir_fd=root)


def empty(root: int, key: str) -> None:
    """Remove what is in it, likewise."""
    with contextlib.suppress(OSError):
        for _, folders, names, fd in os.fwalk(key, topdown=False, dir_fd=root):
            for name in names:
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=fd)
            for name in folders:
                with contextlib.suppress(OSError):
                    linked = stat.S_ISLNK(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
                    (os.unlink if linked else os.rmdir)(name, dir_fd=fd)
