"""Running a compiled filter without a kernel: what would be the answer to this call?

Source: seccomp(2) (struct seccomp_data, precedence of actions), Documentation/networking/filter.rst (classic BPF).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from sandbox.model.plan import Filters
from sandbox.policy.seccomp import tables

_DATA = struct.Struct("<iIQ6Q")
_INSTRUCTION = struct.Struct("<HBBI")
# highest precedence first
ACTIONS = {
    0x80000000: "kill_process",
    0x00000000: "kill_thread",
    0x00030000: "trap",
    0x00050000: "errno",
    0x7FC00000: "notify",
    0x7FF00000: "trace",
    0x7FFC0000: "log",
    0x7FFF0000: "allow",
}
_ORDER = list(ACTIONS.values())


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one call: an action name (see ACTIONS) and its 16 bits of data (the errno)."""

    action: str
    data: int

    def __str__(self) -> str:
        return f"errno {tables.errno_name(self.data)}" if self.action == "errno" else self.action


def verdict(filters: Filters, arch: str, number: int, args: Sequence[int] = ()) -> Verdict:
    """What the kernel answers when both programs are loaded: the stricter of the two."""
    answers = [run(program, arch, number, args) for program in (filters.main, filters.notify) if program]
    return min(answers, key=lambda answer: _ORDER.index(answer.action))


def run(program: bytes, arch: str, number: int, args: Sequence[int] = ()) -> Verdict:
    """Interpret one program. Raises ValueError for an instruction that seccomp does not allow, or a wrong jump."""
    padded = [value & (1 << 64) - 1 for value in (*args, 0, 0, 0, 0, 0, 0)][:6]
    signed = number - (1 << 32) if number >= 1 << 31 else number
    data = _DATA.pack(signed, tables.AUDIT_ARCH[arch], 0, *padded)
    code = list(_INSTRUCTION.iter_unpack(program))
    at = accumulator = index = 0
    memory = [0] * 16
    while True:
        if at >= len(code):
            raise ValueError("the program runs past its end")
        operation, jump_true, jump_false, k = code[at]
        at += 1
        kind = operation & 0x07
        if operation == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif kind == 0x05:
            at += _jump(operation, accumulator, index, k, jump_true, jump_false)
        elif operation == 0x06:  # BPF_RET | BPF_K
            return Verdict(ACTIONS[k & 0xFFFF0000], k & 0xFFFF)
        elif kind == 0x04:
            accumulator = _arithmetic(operation, accumulator, index if operation & 0x08 else k)
        elif operation == 0x02:  # BPF_ST
            memory[k] = accumulator
        elif operation == 0x60:  # BPF_LD | BPF_MEM
            accumulator = memory[k]
        elif operation == 0x07:  # BPF_MISC | BPF_TAX
            index = accumulator
        elif operation == 0x87:  # BPF_MISC | BPF_TXA
            accumulator = index
        else:
            raise ValueError(f"instruction {operation:#x} is not allowed in a filter")


def _jump(operation: int, accumulator: int, index: int, k: int, jump_true: int, jump_false: int) -> int:
    test = operation & 0xF0
    if test == 0x00:
        return k
    value = index if operation & 0x08 else k
    answers = {
        0x10: accumulator == value,
        0x20: accumulator > value,
        0x30: accumulator >= value,
        0x40: bool(accumulator & value),
    }
    if test not in answers:
        raise ValueError(f"jump {operation:#x} does not exist")
    return jump_true if answers[test] else jump_false


def _arithmetic(operation: int, accumulator: int, value: int) -> int:
    mask = (1 << 32) - 1
    answers = {
        0x00: accumulator + value,
        0x10: accumulator - value,
        0x40: accumulator | value,
        0x50: accumulator & value,
        0x60: accumulator << (value & 31),
        0x70: accumulator >> (value & 31),
        0xA0: accumulator ^ value,
    }
    test = operation & 0xF0
    if test not in answers:
        raise ValueError(f"arithmetic {operation:#x} is not expected here")
    return answers[test] & mask
