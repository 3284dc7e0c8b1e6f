"""Whether a filter may be loaded before the last steps of a launch: whether it allows all that they call.

Loading a filter costs the kernel half a millisecond (it compiles it, and asks it about every number). Where the filter lets
the child do what is left between its order and exec, that is paid while the sandbox is parked. A call that were missing
here and refused would end the launch; it could never weaken one.
"""

from __future__ import annotations

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
# What launcher/payload.py calls from its order to exec, with what is known of the arguments: index → values.
_PLAIN = (
    "brk chdir close close_range dup2 dup3 execve exit_group faccessat faccessat2 fstat futex getcwd getrusage mkdirat mmap"
    " mprotect mremap munmap newfstatat pread64 recvmsg rt_sigreturn sendfile umask write"
)
_WHATEVER: Mapping[int, Sequence[int]] = {}
_CALLS: Mapping[str, Mapping[int, Sequence[int]]] = {
    **dict.fromkeys(_PLAIN.split(), _WHATEVER),
    "fchmod": {1: _MODES},
    "fcntl": {1: (_F_DUPFD_CLOEXEC,)},
    "openat": {2: (_WRITE, _DESCEND), 3: _MODES},
    "prctl": {0: (_PR_SET_DUMPABLE,), 1: (1,)},
    "prlimit64": {0: (0,)},
}


def may_come_early(decided: Mapping[int, rules.Decision], arch: str) -> bool:
    """Whether all calls of the last steps are allowed, by what `rules.decisions` says of the numbers of `arch`."""
    known = tables.numbers(arch)
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


def _admits(rule: SeccompRule | None) -> bool:
    return rule is not None and rule.action == "allow"
