"""Rules → two BPF programs, compiled by libseccomp.

`main` is the allow list: everything else answers `default_errno` (ENOSYS). `notify` refines it: refusals that depend on
arguments, and the calls that are reported to the launcher. The kernel runs both and takes the stricter answer, so a call
is made only if the first admits and the second does not refuse it. Two programs keep each of them to what libseccomp
can express without doubt: one default, and rules that never overlap with it.
"""

from __future__ import annotations

import errno
import functools
import os
from typing import Any

from sandbox.model.errors import ProfileError, ResourceError, UnsupportedHostError
from sandbox.model.plan import Filters
from sandbox.model.policy import ArgCondition, SeccompPolicy
from sandbox.policy.seccomp import rules, tables

_OPTIMIZE_BINARY_TREE = 2


@functools.lru_cache(maxsize=64)
def compile_policy(policy: SeccompPolicy, arch: str) -> Filters:
    """The programs of `policy` for "x86_64" or "aarch64". Raises ProfileError, UnsupportedHostError."""
    if arch not in tables.ARCHITECTURES:
        raise UnsupportedHostError("seccomp", f"there are no system call tables for {arch!r}", "use x86_64 or aarch64")
    library = _library()
    main = _Program(library, arch, library.ERRNO(policy.default_errno))
    notify = _Program(library, arch, library.ALLOW)
    reported: dict[int, str] = {}
    kill = set()
    numbers = tables.numbers(arch)
    for name, decision in rules.decisions(policy).items():
        if name not in numbers:
            continue
        number = numbers[name]
        _add_main(main, decision, number, policy)
        for rule in (decision.base, *decision.refined):
            if rule is None or not decision.admitted:
                continue
            if rule.action in ("notify", "kill"):
                notify.add(library.NOTIFY, number, rule.args)
                reported[number] = name
                if rule.action == "kill":
                    kill.add(number)
            elif rule.action == "errno":
                notify.add(library.ERRNO(rule.errno), number, rule.args)
        if name in rules.SOCKET_CALLS and decision.admitted:
            for condition in rules.refused_families(policy):
                notify.add(library.ERRNO(errno.EAFNOSUPPORT), number, (condition,))
    _check_usable(rules.decisions(policy))
    return Filters(main=main.export(), notify=notify.export(), kill=tuple(sorted(kill)), names=tuple(sorted(reported.items())))


def _add_main(main: _Program, decision: rules.Decision, number: int, policy: SeccompPolicy) -> None:
    library = main.library
    base = decision.base
    if base is None:
        for rule in decision.refined:
            main.add(library.LOG if rule.action == "log" else library.ALLOW, number, rule.args)
    elif base.action == "errno":
        if base.errno != policy.default_errno:
            main.add(library.ERRNO(base.errno), number, ())
    else:
        main.add(library.LOG if base.action == "log" else library.ALLOW, number, ())


def _check_usable(decisions: Any) -> None:
    """What the launcher's last steps need after the filter is on: exec, and the report of a failed one."""
    for name in ("execve", "write", "exit_group", "brk", "mmap", "munmap"):
        decision = decisions.get(name)
        if decision is None or decision.base is None or decision.base.action not in ("allow", "log"):
            raise ProfileError(
                f"the filter does not allow {name!r}, without which nothing can be executed",
                path="seccomp.groups",
                hint='add the group "start"',
            )


class _Program:
    """One libseccomp filter context."""

    def __init__(self, library: Any, arch: str, default: int) -> None:
        self.library = library
        self._filter = library.SyscallFilter(default)
        if arch != os.uname().machine:
            self._filter.add_arch(getattr(library.Arch, arch.upper()))
            self._filter.remove_arch(library.Arch.NATIVE)
        self._arch = arch
        self._filter.set_attr(library.Attr.ACT_BADARCH, library.KILL_PROCESS)
        self._filter.set_attr(library.Attr.CTL_OPTIMIZE, _OPTIMIZE_BINARY_TREE)

    def add(self, action: int, number: int, conditions: tuple[ArgCondition, ...]) -> None:
        """Add a rule; the number is of our architecture."""
        library = self.library
        arguments = []
        for item in conditions:
            operator = getattr(library, item.op.upper())
            if item.op == "masked_eq":
                arguments.append(library.Arg(item.index, operator, item.mask, item.value))
            else:
                arguments.append(library.Arg(item.index, operator, item.value))
        call = self._portable(number)
        if call is None:
            return
        try:
            self._filter.add_rule(action, call, *arguments)
        except (OSError, RuntimeError, ValueError) as error:
            raise ProfileError(f"libseccomp refuses a rule for system call {number}: {error}", path="seccomp.rules") from None

    def _portable(self, number: int) -> int | str | None:
        """libseccomp takes numbers of this machine, and names for another one; a name it does not know stays refused."""
        if self._arch == os.uname().machine:
            return number
        name = tables.names(self._arch)[number]
        try:
            known = self.library.resolve_syscall(getattr(self.library.Arch, self._arch.upper()), name)
        except (ValueError, RuntimeError):
            return None
        return name if known == number else None

    def export(self) -> bytes:
        """The program as bytes (struct sock_filter[])."""
        try:
            memfd = os.memfd_create("bpf", os.MFD_CLOEXEC)
        except OSError as error:
            raise ResourceError(f"no memory file for a compiled filter: {error.strerror}", hint="free descriptors or memory") from error
        with os.fdopen(memfd, "w+b") as file:
            self._filter.export_bpf(file)
            file.seek(0)
            return file.read()


def _library() -> Any:
    try:
        import pyseccomp  # its import costs 35 ms
    except (ImportError, OSError, RuntimeError) as error:
        raise UnsupportedHostError(
            "libseccomp", f"pyseccomp cannot be loaded: {error}", "apt install libseccomp2 && pip install pyseccomp"
        ) from error
    return pyseccomp
