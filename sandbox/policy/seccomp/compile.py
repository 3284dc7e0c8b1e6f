"""Rules → two BPF programs, compiled by libseccomp.

`main` decides everything but what is reported; `notify` reports. The kernel runs both and takes the stricter answer, so
what `notify` reports must pass `main`.

libseccomp cannot express "this call, except where …": a rule without conditions swallows the others of its call. So a
program is made of stages, each a libseccomp filter of its own without overlapping rules, and linked: where a stage has
no opinion, it jumps to the next one. The order of stages is the order of effect that `rules` describes.
"""

from __future__ import annotations

import errno
import functools
import os
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.model.errors import ProfileError, ResourceError, UnsupportedHostError
from sandbox.model.plan import Filters
from sandbox.model.policy import ArgCondition, SeccompPolicy, SeccompRule
from sandbox.policy.seccomp import rules, tables

_OPTIMIZE_BINARY_TREE = 2
_LOW_32_BITS = 0xFFFFFFFF
_INSTRUCTION = struct.Struct("=HBBI")
_RETURN = 0x06  # BPF_RET | BPF_K
_JUMP = 0x05  # BPF_JMP | BPF_JA
# Answers that no linked program gives: SECCOMP_RET_TRACE with a mark of ours.
_CONTINUE = 0x7FF00001  # with the next stage
_SKIP = 0x7FF00002  # the next stage
# What the launcher's last steps need after the filter is on: exec, and the report of a failed one.
NEEDED = ("execve", "write", "exit_group", "brk", "mmap", "munmap")


@functools.lru_cache(maxsize=64)
def compile_policy(policy: SeccompPolicy, arch: str) -> Filters:
    """The programs of `policy` for "x86_64" or "aarch64". Raises ProfileError, UnsupportedHostError."""
    if arch not in tables.ARCHITECTURES:
        raise UnsupportedHostError("seccomp", f"there are no system call tables for {arch!r}", "use x86_64 or aarch64")
    known = tables.numbers(arch)
    decided = {known[name]: decision for name, decision in rules.decisions(policy).items() if name in known}
    _check_usable(decided, known)
    library = _library()
    reported = {number: decision for number, decision in decided.items() if _reports(decision)}
    return Filters(
        main=_link(_main_stages(library, arch, policy, decided)),
        notify=_link(_notify_stages(library, arch, reported)) if reported else b"",
        kill=tuple(sorted(number for number, decision in reported.items() if _reports(decision)[0].action == "kill")),
        names=tuple(sorted((number, decision.name) for number, decision in reported.items())),
    )


def _reports(decision: rules.Decision) -> list[SeccompRule]:
    return [rule for rule in (decision.base, *decision.refined) if rule is not None and rule.action in rules.REPORTS]


def _main_stages(library: Any, arch: str, policy: SeccompPolicy, decided: Mapping[int, rules.Decision]) -> list[_Stage]:
    families, no_family = _Stage(library, arch, _CONTINUE), _Stage(library, arch, _CONTINUE)
    refusals, admissions = _Stage(library, arch, _CONTINUE), _Stage(library, arch, _CONTINUE)
    default = library.ERRNO(policy.default_errno)
    base = _Stage(library, arch, default)
    for number, decision in decided.items():
        if decision.name in rules.SOCKET_CALLS and decision.admitted:
            for name in policy.socket_families:
                families.add(_SKIP, number, (_low_32_bits(0, tables.FAMILIES[name]),))
            no_family.add(library.ERRNO(errno.EAFNOSUPPORT), number)
        for rule in decision.refined:
            stage = refusals if rule.action in rules.REFUSALS else admissions
            stage.add(_main_action(library, rule), number, rule.args)
        if decision.base is not None and _main_action(library, decision.base) != default:
            base.add(_main_action(library, decision.base), number)
    if not no_family.rules:
        return [refusals, admissions, base]
    return [families, no_family, refusals, admissions, base]


def _main_action(library: Any, rule: SeccompRule) -> int:
    """What is reported passes: the other program has it."""
    action: int = library.ERRNO(rule.errno) if rule.action == "errno" else library.LOG if rule.action == "log" else library.ALLOW
    return action


def _notify_stages(library: Any, arch: str, reported: Mapping[int, rules.Decision]) -> list[_Stage]:
    conditional, exceptions = _Stage(library, arch, _CONTINUE), _Stage(library, arch, _CONTINUE)
    base = _Stage(library, arch, library.ALLOW)
    for number, decision in reported.items():
        for rule in decision.conditional(rules.REPORTS):
            conditional.add(library.NOTIFY, number, rule.args)
        if decision.base is not None and decision.base.action in rules.REPORTS:
            base.add(library.NOTIFY, number)
            for rule in decision.conditional(rules.ADMISSIONS):
                exceptions.add(library.ALLOW, number, rule.args)
    return [conditional, exceptions, base]


def _low_32_bits(index: int, value: int) -> ArgCondition:
    """An int argument: the kernel ignores the upper half of the register, and so must the filter."""
    return ArgCondition(index=index, op="masked_eq", value=value, mask=_LOW_32_BITS)


def _check_usable(decided: Mapping[int, rules.Decision], known: Mapping[str, int]) -> None:
    for name in NEEDED:
        decision = decided.get(known[name])
        if decision is None or decision.base is None or decision.base.action not in rules.ADMISSIONS:
            raise ProfileError(
                f"the filter does not allow {name!r}, without which nothing can be executed",
                path="seccomp.groups",
                hint='add the group "start"',
            )


class _Stage:
    """One libseccomp filter. `rules` counts what was added; without rules a stage that continues is left out."""

    def __init__(self, library: Any, arch: str, default: int) -> None:
        self.rules = 0
        self.passes = default == _CONTINUE
        self._library = library
        self._arch = arch
        self._filter = library.SyscallFilter(default)
        if arch != os.uname().machine:
            self._filter.add_arch(getattr(library.Arch, arch.upper()))
            self._filter.remove_arch(library.Arch.NATIVE)
        self._filter.set_attr(library.Attr.ACT_BADARCH, library.KILL_PROCESS)
        self._filter.set_attr(library.Attr.CTL_OPTIMIZE, _OPTIMIZE_BINARY_TREE)

    def add(self, action: int, number: int, conditions: Sequence[ArgCondition] = ()) -> None:
        """Add a rule; the number is of the filter's architecture."""
        library = self._library
        arguments = []
        for item in conditions:
            operator = getattr(library, item.op.upper())
            values = (item.mask, item.value) if item.op == "masked_eq" else (item.value,)
            arguments.append(library.Arg(item.index, operator, *values))
        call = self._portable(number)
        if call is None:
            return
        try:
            self._filter.add_rule(action, call, *arguments)
        except (OSError, RuntimeError, ValueError) as error:
            name = tables.names(self._arch)[number]
            raise ProfileError(f"libseccomp refuses a rule for {name!r}: {error}", path="seccomp.rules") from None
        self.rules += 1

    def _portable(self, number: int) -> int | str | None:
        """libseccomp takes numbers of this machine, and names for another one; a name it does not know stays refused."""
        if self._arch == os.uname().machine:
            return number
        name = tables.names(self._arch)[number]
        try:
            known = self._library.resolve_syscall(getattr(self._library.Arch, self._arch.upper()), name)
        except (ValueError, RuntimeError):
            return None
        return name if known == number else None

    def export(self) -> bytes:
        """The program as bytes (struct sock_filter[])."""
        try:
            memfd = os.memfd_create("bpf", os.MFD_CLOEXEC)
        except OSError as error:
            raise ResourceError(
                f"no memory file for a compiled filter: {error.strerror}", hint="free descriptors or memory"
            ) from error
        with os.fdopen(memfd, "w+b") as file:
            self._filter.export_bpf(file)
            file.seek(0)
            return file.read()


def _link(stages: Sequence[_Stage]) -> bytes:
    """One program: an answer of ours becomes a jump to the next stage, or past it."""
    used = [stage.export() for stage in stages if stage.rules or not stage.passes]
    starts = [0]
    for program in used:
        starts.append(starts[-1] + len(program) // _INSTRUCTION.size)
    linked = bytearray()
    for index, program in enumerate(used):
        for at, (code, jump_true, jump_false, k) in enumerate(_INSTRUCTION.iter_unpack(program), starts[index]):
            if code == _RETURN and k in (_CONTINUE, _SKIP):
                target = starts[index + (1 if k == _CONTINUE else 2)]
                linked += _INSTRUCTION.pack(_JUMP, 0, 0, target - at - 1)
            else:
                linked += _INSTRUCTION.pack(code, jump_true, jump_false, k)
    return bytes(linked)


def _library() -> Any:
    try:
        import pyseccomp  # its import costs 35 ms
    except (ImportError, OSError, RuntimeError) as error:
        raise UnsupportedHostError(
            "libseccomp", f"pyseccomp cannot be loaded: {error}", "apt install libseccomp2 && pip install pyseccomp"
        ) from error
    return pyseccomp
