"""How every other file of this room enters the kernel.

Safety: `PyDLL` keeps the interpreter lock during the call, so a clone in a single-threaded process leaves parent and
child with a consistent interpreter. Nothing here may be called from a multi-threaded process where that matters.
"""

from __future__ import annotations

import ctypes
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_libc = ctypes.PyDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_SYMLINK_NOFOLLOW = 0x100

MACHINE = os.uname().machine
# Source: asm/unistd_64.h (x86_64) and asm-generic/unistd.h (aarch64); from 424 on both agree.
_NUMBERS = {
    "x86_64": {
        "pivot_root": 155,
        "capset": 126,
        "keyctl": 250,
        "seccomp": 317,
        "rt_sigaction": 13,
        "waitid": 247,
        "personality": 135,
        "ioprio_set": 251,
        "ioprio_get": 252,
    },
    "aarch64": {
        "pivot_root": 41,
        "capset": 91,
        "keyctl": 219,
        "seccomp": 277,
        "rt_sigaction": 134,
        "waitid": 95,
        "personality": 92,
        "ioprio_set": 30,
        "ioprio_get": 31,
    },
}
_COMMON = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}
NUMBERS: dict[str, int] = {**_COMMON, **_NUMBERS.get(MACHINE, {})}


def fail(path: bytes | str | None = None) -> OSError:
    """The OSError of the call that has just failed."""
    number = ctypes.get_errno()
    if path is None:
        return OSError(number, os.strerror(number))
    return OSError(number, os.strerror(number), path)


def syscall(name: str, *arguments: Any) -> int:
    """Call a system call by name. Raises OSError with its errno; KeyError on an unsupported machine."""
    result: int = _syscall(ctypes.c_long(NUMBERS[name]), *arguments)
    if result == -1:
        raise fail()
    return result


def call(function: str, *arguments: Any) -> int:
    """Call a libc wrapper that answers -1 and errno on failure."""
    result: int = getattr(_libc, function)(*arguments)
    if result == -1:
        raise fail()
    return result


def function(name: str) -> Any:
    """A function of the C library."""
    return getattr(_libc, name)


def check(number: int) -> None:
    """Of what answers 0 or an error number. Raises OSError."""
    if number:
        raise OSError(number, os.strerror(number))


def is_supported_machine() -> bool:
    """Whether the numbers of this machine are known (64-bit x86 or ARM with a 64-bit interpreter)."""
    return MACHINE in _NUMBERS and sys.maxsize > 1 << 32
