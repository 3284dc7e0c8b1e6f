"""seccomp programs, the notification listener, and Landlock.

Source: seccomp(2), seccomp_unotify(2), landlock(7), Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct

from sandbox.kernel.libc import syscall

_SET_MODE_FILTER = 1
_FLAG_NEW_LISTENER = 1 << 3
# struct seccomp_notif: id, pid, flags, nr, arch, instruction_pointer, args[6]
_NOTIF = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=QqiI")
_IOC_RECV = 0xC0502100
_IOC_SEND = 0xC0182101

_LANDLOCK_CREATE_RULESET_VERSION = 1
_LANDLOCK_RULE_PATH_BENEATH = 1


def load_filter(program: bytes, *, listener: bool = False) -> int:
    """Install a BPF program (struct sock_filter array) on this single-threaded process.

    Returns the listener's descriptor (close-on-exec) when asked for, else 0.
    """
    place = ctypes.cast(ctypes.c_char_p(program), ctypes.c_void_p).value
    fprog = struct.pack("=H6xQ", len(program) // 8, place)
    return syscall("seccomp", ctypes.c_uint(_SET_MODE_FILTER), ctypes.c_uint(_FLAG_NEW_LISTENER if listener else 0), fprog)


def receive_notification(listener: int) -> tuple[int, int] | None:
    """(id, syscall number) of the next call that waits at the listener; None when its caller is gone.

    Only the number is used, never a pointer: memory of the payload may change at any time.
    """
    buffer = bytearray(_NOTIF.size)
    try:
        fcntl.ioctl(listener, _IOC_RECV, buffer)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINTR):
            return None
        raise
    fields = _NOTIF.unpack(buffer)
    return fields[0], fields[3]


def answer_notification(listener: int, number: int, error: int) -> None:
    """Let the waiting call fail with `error`; a caller that is gone needs no answer."""
    try:
        fcntl.ioctl(listener, _IOC_SEND, _RESPONSE.pack(number, 0, -error, 0))
    except OSError as problem:
        if problem.errno != errno.ENOENT:
            raise


def landlock_abi() -> int:
    """The Landlock ABI version of this kernel; 0 when there is none or it is switched off."""
    try:
        return syscall("landlock_create_ruleset", None, ctypes.c_size_t(0), ctypes.c_uint(_LANDLOCK_CREATE_RULESET_VERSION))
    except OSError:
        return 0


def landlock_restrict(abi: int, handled_fs: int, handled_net: int, scoped: int, rules: tuple[tuple[bytes, int], ...]) -> None:
    """Apply a ruleset to this process and all it starts. The attribute is cut to what `abi` knows."""
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    attr = struct.pack("=QQQ", handled_fs, handled_net, scoped)[:size]
    ruleset = syscall("landlock_create_ruleset", attr, ctypes.c_size_t(size), ctypes.c_uint(0))
    try:
        for path, access in rules:
            target = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                rule = struct.pack("=Qi", access, target)
                syscall("landlock_add_rule", ruleset, ctypes.c_int(_LANDLOCK_RULE_PATH_BENEATH), rule, ctypes.c_uint(0))
            finally:
                os.close(target)
        syscall("landlock_restrict_self", ruleset, ctypes.c_uint(0))
    finally:
        os.close(ruleset)
