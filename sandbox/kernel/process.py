"""What a process may do: prctl switches, capabilities, rlimits, descriptors, keyring, usage.

Source: prctl(2), capabilities(7), capset(2), prlimit(2), close_range(2), keyctl(2), getrusage(2), waitid(2), sigaction(2),
sched(7), ioprio_set(2), personality(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct

from sandbox.kernel.libc import call, syscall

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECUREBITS = 28
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4
# SECBIT_NOROOT, NO_SETUID_FIXUP, KEEP_CAPS off, NO_CAP_AMBIENT_RAISE, each with its lock
SECUREBITS_LOCKED = 0x01 | 0x02 | 0x04 | 0x08 | 0x20 | 0x40 | 0x80
SECUREBITS_LOCKED_AMBIENT = 0x01 | 0x02 | 0x04 | 0x08 | 0x20
_CAPABILITY_VERSION_3 = 0x20080522
_KEYCTL_JOIN_SESSION_KEYRING = 1
_RUSAGE = struct.Struct("=18q")  # two timevals and 14 longs
_RUSAGE_SELF, _RUSAGE_CHILDREN = 0, -1
_ZERO = ctypes.c_ulong(0)
_P_PIDFD = 3
_WNOHANG = 1
_WEXITED = 4
_CLD_EXITED = 1
_SIGINFO = struct.Struct("=iii4xiIi100x")  # si_signo, si_errno, si_code, si_pid, si_uid, si_status
_SIGACTION = struct.Struct("=QQQQ")  # the kernel's: handler, flags, restorer, mask
_LAST_SIGNAL = 64
_RESET_ON_FORK = 0x40000000
_REAL_TIME = (1, 2, 6)  # SCHED_FIFO, SCHED_RR, SCHED_DEADLINE
_CLOSE_RANGE_CLOEXEC = 4
_UNCHANGEABLE = (9, 19)  # SIGKILL, SIGSTOP


def prctl(option: int, value: int = 0, third: int = 0) -> int:
    """prctl(2) with integer arguments."""
    return call("prctl", ctypes.c_int(option), ctypes.c_ulong(value), ctypes.c_ulong(third), _ZERO, _ZERO)


def drop_capabilities(keep: tuple[int, ...]) -> None:
    """Leave no capability in any of the five sets but `keep`, and lock the securebits.

    Kept ones are also made ambient, so that a non-root payload has them after exec.
    """
    prctl(PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    number = 0
    while True:
        try:
            prctl(PR_CAPBSET_READ if number in keep else PR_CAPBSET_DROP, number)
        except OSError as error:
            if error.errno == errno.EINVAL:  # past the last capability of this kernel
                break
            raise
        number += 1
    prctl(PR_SET_SECUREBITS, SECUREBITS_LOCKED_AMBIENT if keep else SECUREBITS_LOCKED)
    bits = sum(1 << number for number in keep)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    syscall("capset", header, struct.pack("=6I", low, low, low, high, high, high))
    for number in keep:
        prctl(PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number)


def ordinary_priority() -> None:
    """No advantage that the caller may have: real-time classes, negative nice, high I/O priority, an odd personality.

    What makes it slower than others stays. Raises OSError, PermissionError when the kernel does not do as it is told.
    """
    if os.sched_getscheduler(0) & ~_RESET_ON_FORK in _REAL_TIME:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    if os.getpriority(os.PRIO_PROCESS, 0) < 0:
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    kind, level = divmod(syscall("ioprio_get", ctypes.c_int(1), ctypes.c_int(0)), 1 << 13)
    if kind == 1 or (kind == 2 and level < 4):  # IOPRIO_CLASS_RT, and above the middle of IOPRIO_CLASS_BE
        syscall("ioprio_set", ctypes.c_int(1), ctypes.c_int(0), ctypes.c_int(0))
    syscall("personality", ctypes.c_ulong(0))
    if os.sched_getscheduler(0) & ~_RESET_ON_FORK in _REAL_TIME or os.getpriority(os.PRIO_PROCESS, 0) < 0:
        raise PermissionError(1, "the caller's priority cannot be given up")


def raise_open_files() -> None:
    """Let this process hold as many descriptors as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def set_rlimit(resource: int, soft: int, hard: int) -> None:
    """Set one rlimit of this process."""
    call("prlimit", 0, ctypes.c_int(resource), struct.pack("=QQ", soft, hard), None)


def close_from(first: int) -> None:
    """Close every descriptor from `first` on."""
    syscall("close_range", ctypes.c_uint(first), ctypes.c_uint(0xFFFFFFFF), ctypes.c_uint(0))


def close_all_but(keep: tuple[int, ...]) -> None:
    """Close every descriptor from 3 on that is not in `keep`."""
    start = 3
    for fd in sorted(keep):
        if fd > start:
            syscall("close_range", ctypes.c_uint(start), ctypes.c_uint(fd - 1), ctypes.c_uint(0))
        start = max(start, fd + 1)
    close_from(start)


def hand_on_none() -> None:
    """Close every descriptor from 3 on at the next exec."""
    syscall("close_range", ctypes.c_uint(3), ctypes.c_uint(0xFFFFFFFF), ctypes.c_uint(_CLOSE_RANGE_CLOEXEC))


def new_session_keyring() -> None:
    """Leave the caller's session keyring for an empty anonymous one.

    A kernel without keyrings answers ENOSYS, which is as good; so does a filter around us on a kernel that has them, which
    is not. Raises OSError.
    """
    try:
        syscall("keyctl", ctypes.c_int(_KEYCTL_JOIN_SESSION_KEYRING), None)
    except OSError as error:
        if error.errno != errno.ENOSYS or os.path.exists("/proc/sys/kernel/keys"):
            raise


def default_signals(*, ignore: int) -> None:
    """The default action for every signal and none for `ignore`, whatever the caller had.

    Not by the C library: it leaves out 32 and 33, which some programs (GNU make) hand on ignored.
    """
    for number in range(1, _LAST_SIGNAL + 1):
        if number not in _UNCHANGEABLE:
            action = _SIGACTION.pack(1 if number == ignore else 0, 0, 0, 0)  # SIG_IGN or SIG_DFL
            syscall("rt_sigaction", ctypes.c_int(number), action, None, ctypes.c_size_t(8))


def own_cpu() -> tuple[int, int]:
    """(user ns, system ns) of this process."""
    buffer = ctypes.create_string_buffer(_RUSAGE.size)
    call("getrusage", ctypes.c_int(_RUSAGE_SELF), buffer)
    return _usage(buffer.raw)[:2]


def childrens_usage() -> tuple[int, int, int]:
    """(user ns, system ns, largest resident set in bytes) of the children that were waited for, and theirs."""
    buffer = ctypes.create_string_buffer(_RUSAGE.size)
    call("getrusage", ctypes.c_int(_RUSAGE_CHILDREN), buffer)
    return _usage(buffer.raw)


def wait_for(pidfd: int) -> tuple[int, int, int, int] | None:
    """Reap a child: (wait status as from waitpid(2), user ns, system ns, largest resident set in bytes); None: it lives.

    The usage is its own and that of all it has waited for. An init that is killed waits for nobody any more: the kernel
    reaps what was left in its pid namespace without counting it.
    """
    info, usage = ctypes.create_string_buffer(_SIGINFO.size), ctypes.create_string_buffer(_RUSAGE.size)
    syscall("waitid", ctypes.c_int(_P_PIDFD), ctypes.c_int(pidfd), info, ctypes.c_int(_WEXITED | _WNOHANG), usage)
    _, _, code, pid, _, value = _SIGINFO.unpack(info.raw)
    if pid == 0:
        return None
    return (value << 8 if code == _CLD_EXITED else value & 0x7F, *_usage(usage.raw))


def _usage(raw: bytes) -> tuple[int, int, int]:
    fields = _RUSAGE.unpack(raw)
    return fields[0] * 1_000_000_000 + fields[1] * 1000, fields[2] * 1_000_000_000 + fields[3] * 1000, fields[4] * 1024
