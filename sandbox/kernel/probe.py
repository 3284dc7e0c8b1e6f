"""Which system calls this kernel has, found by calls that can do nothing. Process: the caller.

Source: the error sections of the man pages named beside each call.
"""

from __future__ import annotations

import ctypes
import errno
import os

from sandbox.kernel.libc import syscall

_NULL = ctypes.c_void_p(None)
_ZERO = ctypes.c_size_t(0)
_NO_FD = ctypes.c_int(-1)
# Every one of these argument lists is refused by a kernel that knows the call, before anything is done.
_HARMLESS = {
    "clone3": (_NULL, _ZERO),  # clone(2): EINVAL, size too small
    "pidfd_open": (_NO_FD, ctypes.c_uint(0)),  # pidfd_open(2): EINVAL
    "pidfd_send_signal": (_NO_FD, ctypes.c_int(0), _NULL, ctypes.c_uint(0)),  # EBADF
    "close_range": (ctypes.c_uint(1), ctypes.c_uint(0), ctypes.c_uint(0)),  # close_range(2): EINVAL, first above last
    "openat2": (_NO_FD, _NULL, _NULL, _ZERO),  # openat2(2): EINVAL, size too small
    "fsopen": (_NULL, ctypes.c_uint(0xFFFFFFFF)),  # fsopen(2): EINVAL, or EPERM without privilege
    "open_tree": (_NO_FD, _NULL, ctypes.c_uint(0xFFFFFFFF)),  # open_tree(2): EINVAL
    "move_mount": (_NO_FD, _NULL, _NO_FD, _NULL, ctypes.c_uint(0xFFFFFFFF)),  # move_mount(2): EINVAL or EPERM
    "mount_setattr": (_NO_FD, _NULL, ctypes.c_uint(0xFFFFFFFF), _NULL, _ZERO),  # mount_setattr(2): EINVAL
}
CALLS = tuple(_HARMLESS)


def missing_calls() -> tuple[str, ...]:
    """The names in CALLS that answer ENOSYS: an old kernel, or the filter of a container around us."""
    return tuple(name for name in CALLS if _error_of(name) == errno.ENOSYS)


def _error_of(name: str) -> int:
    try:
        result = syscall(name, *_HARMLESS[name])
    except OSError as error:
        return error.errno or 0
    if name.startswith(("fs", "open", "pidfd_open")):  # cannot succeed, but a descriptor would not be left open
        os.close(result)
    return 0
