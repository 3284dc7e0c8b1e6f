"""Whether a filter may be loaded before the last steps of a launch: whether it allows all that they call.

Loading a filter costs the kernel half a millisecond (it compiles it, and asks it about every number). Where the filter lets
init and its child do what is left after their order, that is paid while the sandbox is parked, and init starts the program
itself. A call that were missing here and refused would end the launch; it could never weaken one.
"""

from __future__ import annotations

import _socket
import errno
import itertools
import os
from collections.abc import Mapping, Sequence

from sandbox.model.policy import SeccompRule
from sandbox.policy.seccomp import rules, tables

_F_DUPFD_CLOEXEC = 1030
_PR_SET_DUMPABLE = 4
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DESCEND = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MODES = tuple(range(0o1000))
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK | os.O_CLOEXEC
_SPAWN = 0x4111  # CLONE_VM | CLONE_VFORK | SIGCHLD: posix_spawn(3)
_FORK = 0x1200011  # CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID | SIGCHLD: fork(3)
# What launcher/payload.py calls from the order to exec, and init from then to its end, with what is known of the arguments:
# index → values.
_PLAIN = (
    "access brk chdir close close_range dup2 dup3 execve exit_group faccessat faccessat2 fstat fstatfs futex getcwd getdents64"
    " getrusage lseek mkdirat mmap mprotect mremap munmap newfstatat pipe2 pread64 pwrite64 read recvmsg rt_sigaction"
    " rt_sigprocmask rt_sigreturn sendfile setsid umask wait4 write"
)
_WHATEVER: Mapping[int, Sequence[int]] = {}
_CALLS: Mapping[str, Mapping[int, Sequence[int]]] = {
    **dict.fromkeys(_PLAIN.split(), _WHATEVER),
    "fchmod": {1: _MODES},
    "fcntl": {1: (_F_DUPFD_CLOEXEC,)},
    "clone": {0: (_SPAWN, _FORK)},
    "sendmsg": {2: (_socket.MSG_NOSIGNAL,)},
    "openat": {2: (_WRITE, _DESCEND, _LIST), 3: _MODES},
    "prctl": {0: (_PR_SET_DUMPABLE,), 1: (1,)},
    "prlimit64": {0: (0,)},
}


def may_come_early(decided: Mapping[int, rules.Decision], arch: str) -> bool:
    """Whether all calls of the last steps are allowed, by what `rules.decisions` says of the numbers of `arch`."""
    known = tables.numbers(arch)
    if not _passes_over(decided.get(known["clone3"])):
        return False
    return all(_allowed(decided.get(known[name]), args) for name, args in _CALLS.items() if name in known)


def _allowed(decision: rules.Decision | None, known: Mapping[int, Sequence[int]]) -> bool:
    """Whether the call is made for all values of the arguments that are known, and whatever the others are."""
    if decision is None:
        return False
    if not decision.refined:
        return _admits(decision.base)
    if any(condition.index not in known for rule in decision.refined for condition in rule.args):
        return False
    for values in itertools.product(*known.values()):
        args = dict(zip(known, values, strict=True))
        full = [args.get(index, 0) for index in range(6)]
        applies = (rule for rule in decision.refined if all(rules.holds(condition, full) for condition in rule.args))
        if not _admits(next(applies, decision.base)):
            return False
    return True


def _passes_over(decision: rules.Decision | None) -> bool:
    """Whether the C library may use clone3(2), or is told what it takes for an old kernel, and goes on with clone(2)."""
    if decision is None or decision.refined:
        return False
    rule = decision.base
    return _admits(rule) or (rule is not None and rule.action == "errno" and rule.errno == errno.ENOSYS)


def _admits(rule: SeccompRule | None) -> bool:
    return rule is not None and rule.action == "allow"
