"""Stages: libseccomp filters that are linked into one BPF program.

libseccomp cannot express "this call, except where …": a rule without conditions swallows the others of its call, and of
two rules with several conditions each, a call that fails the first half-way is not always tried against the second. So a
program is made of stages with a single answer each, which libseccomp translates without doubt: where a stage has no
opinion, it jumps to the next one. The simulator proves the outcome (tests/property, tests/unit/policy).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import Any

from sandbox.model.errors import ProfileError, ResourceError
from sandbox.model.policy import ArgCondition, SeccompRule
from sandbox.policy.seccomp import rules, tables

# Answers that no linked program gives: SECCOMP_RET_TRACE with a mark of ours.
CONTINUE = 0x7FF00001  # with the next stage
SKIP = 0x7FF00002  # the next stage
MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
_OPTIMIZE_BINARY_TREE = 2
_INSTRUCTION = struct.Struct("=HBBI")
_RETURN = 0x06  # BPF_RET | BPF_K
_JUMP = 0x05  # BPF_JMP | BPF_JA


class Stage:
    """One libseccomp filter. `rules` counts what was added; without rules a stage that continues is left out."""

    def __init__(self, library: Any, arch: str, default: int) -> None:
        self.rules = 0
        self.passes = default == CONTINUE
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


class Refinements:
    """The stages of all rules with conditions, in the order of effect that `rules` describes.

    Rules with one condition of the same answer share a stage. A rule with more has to share it with other calls only.
    """

    def __init__(self, library: Any, arch: str) -> None:
        self._library = library
        self._arch = arch
        self._stages: dict[tuple[int, int, int], Stage] = {}
        self._turns: dict[tuple[int, int], int] = {}

    def add(self, action: int, number: int, rule: SeccompRule) -> None:
        """Answer the calls of `number` that `rule` is about with `action`."""
        turn = 0
        if len(rule.args) > 1:
            turn = self._turns[action, number] = self._turns.get((action, number), 0) + 1
        key = (rules.ORDER.index(rule.action), action, turn)
        if key not in self._stages:
            self._stages[key] = Stage(self._library, self._arch, CONTINUE)
        self._stages[key].add(action, number, rule.args)

    def stages(self) -> list[Stage]:
        """In order of effect."""
        return [self._stages[key] for key in sorted(self._stages)]


def link(stages: Sequence[Stage]) -> bytes:
    """One program: an answer of ours becomes a jump to the next stage, or past it."""
    used = [stage.export() for stage in stages if stage.rules or not stage.passes]
    starts = [0]
    for program in used:
        starts.append(starts[-1] + len(program) // _INSTRUCTION.size)
    if starts[-1] > MAX_INSTRUCTIONS:
        raise ProfileError(
            f"the filter has {starts[-1]} instructions, the kernel takes {MAX_INSTRUCTIONS}",
            path="seccomp.rules",
            hint="use fewer conditions",
        )
    linked = bytearray()
    for index, program in enumerate(used):
        for at, (code, jump_true, jump_false, k) in enumerate(_INSTRUCTION.iter_unpack(program), starts[index]):
            if code == _RETURN and k in (CONTINUE, SKIP):
                target = starts[index + (1 if k == CONTINUE else 2)]
                linked += _INSTRUCTION.pack(_JUMP, 0, 0, target - at - 1)
            else:
                linked += _INSTRUCTION.pack(code, jump_true, jump_false, k)
    return bytes(linked)
