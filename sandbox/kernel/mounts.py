"""Mounts by file descriptor (the mount API of Linux 5.2 and 5.12) and pivot_root.

Source: open_tree(2), move_mount(2), mount_setattr(2), fsopen(2), pivot_root(2), mount(2).
"""

from __future__ import annotations

import ctypes
import os
import struct

from sandbox.kernel.libc import AT_EMPTY_PATH, AT_FDCWD, AT_RECURSIVE, call, syscall

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

ATTR_RDONLY = 0x1
ATTR_NOSUID = 0x2
ATTR_NODEV = 0x4
ATTR_NOEXEC = 0x8
ATTR_NOSYMFOLLOW = 0x200000

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40
_FSOPEN_CLOEXEC = 1
_FSMOUNT_CLOEXEC = 1
_FSCONFIG_SET_FLAG = 0
_FSCONFIG_SET_STRING = 1
_FSCONFIG_CMD_CREATE = 6
_ATTR = struct.Struct("=QQQQ")  # struct mount_attr: set, clear, propagation, userns_fd


def open_tree(path: bytes, *, dir_fd: int = AT_FDCWD, recursive: bool = True) -> int:
    """A detached copy of the mount tree at `path` (b"" with an O_PATH `dir_fd` for that very object)."""
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (AT_RECURSIVE if recursive else 0) | (AT_EMPTY_PATH if not path else 0)
    return syscall("open_tree", dir_fd, path, ctypes.c_uint(flags))


def move_mount(tree_fd: int, target: bytes, *, dir_fd: int = AT_FDCWD) -> None:
    """Attach a detached tree at `target` (b"" for the object `dir_fd` stands for)."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | (MOVE_MOUNT_T_EMPTY_PATH if not target else 0)
    syscall("move_mount", tree_fd, b"", dir_fd, target, ctypes.c_uint(flags))


def set_attributes(fd: int, path: bytes, bits: int, *, recursive: bool) -> None:
    """Set MOUNT_ATTR_* bits; bits that are set already (perhaps locked) stay (mount_setattr(2))."""
    attr = _ATTR.pack(bits, 0, 0, 0)
    flags = (AT_RECURSIVE if recursive else 0) | (AT_EMPTY_PATH if not path else 0)
    syscall("mount_setattr", fd, path, ctypes.c_uint(flags), attr, ctypes.c_size_t(len(attr)))


def new_filesystem(kind: bytes, options: tuple[tuple[bytes, bytes | None], ...], attributes: int) -> int:
    """A new detached file system mount: `options` are (name, value), or (name, None) for a flag."""
    fs = syscall("fsopen", kind, ctypes.c_uint(_FSOPEN_CLOEXEC))
    try:
        for name, value in options:
            if value is None:
                syscall("fsconfig", fs, ctypes.c_uint(_FSCONFIG_SET_FLAG), name, None, 0)
            else:
                syscall("fsconfig", fs, ctypes.c_uint(_FSCONFIG_SET_STRING), name, value, 0)
        syscall("fsconfig", fs, ctypes.c_uint(_FSCONFIG_CMD_CREATE), None, None, 0)
        return syscall("fsmount", fs, ctypes.c_uint(_FSMOUNT_CLOEXEC), ctypes.c_uint(attributes))
    finally:
        os.close(fs)


def mount(source: bytes | None, target: bytes, kind: bytes | None, flags: int, data: bytes | None = None) -> None:
    """The classic mount(2); used only on paths that this package made itself."""
    call("mount", source, target, kind, ctypes.c_ulong(flags), data)


def unmount(target: bytes) -> None:
    """Lazily detach (umount2 with MNT_DETACH)."""
    call("umount2", target, MNT_DETACH)


def pivot_root_here() -> None:
    """Make the current directory the root and detach the old one.

    Stacking the old root on the same place and detaching it needs no directory for it (pivot_root(2), NOTES).
    """
    syscall("pivot_root", b".", b".")
    call("umount2", b".", MNT_DETACH)
    os.chdir(b"/")
