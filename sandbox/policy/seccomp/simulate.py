"""Running a compiled filter without a kernel: what would be the answer to this call?

Source: seccomp(2) (struct seccomp_data, precedence of actions), kernel/seccomp.c (instructions that a filter may have),
Documentation/networking/filter.rst (classic BPF).
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from sandbox.model.plan import Filters
from sandbox.policy.seccomp import tables

_DATA = struct.Struct("=iIQ6Q")
_INSTRUCTION = struct.Struct("=HBBI")
_WORD = struct.Struct("=I")
_MASK = 0xFFFFFFFF
MAX_INSTRUCTIONS = 4096
# strictest first
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
    data: int = 0

    def __str__(self) -> str:
        return f"errno {tables.errno_name(self.data)}" if self.action == "errno" else self.action


def verdict(filters: Filters, arch: str, number: int, args: Sequence[int] = ()) -> Verdict:
    """What the kernel answers when both programs are loaded: the stricter of the two."""
    answers = [run(program, arch, number, args) for program in (filters.main, filters.notify) if program]
    return min(answers, key=lambda answer: _ORDER.index(answer.action))


def run(program: bytes, arch: str, number: int, args: Sequence[int] = ()) -> Verdict:
    """Interpret one program. Raises ValueError for a program that the kernel would not load.

    Args:
        program: array of struct sock_filter.
        arch: a key of `tables.AUDIT_ARCH`, also a foreign one.
        number: the system call, 32 bits; with `tables.X32_BIT` for the x32 entry.
        args: up to six 64-bit arguments; the missing ones are 0.
    """
    padded = [value & (1 << 64) - 1 for value in (*args, 0, 0, 0, 0, 0, 0)][:6]
    signed = number - (1 << 32) if number >= 1 << 31 else number
    data = _DATA.pack(signed, tables.AUDIT_ARCH[arch], 0, *padded)
    code = _parse(program)
    at = accumulator = index = 0
    memory = [0] * 16
    while True:
        operation, jump_true, jump_false, k = code[at]
        at += 1
        kind = operation & 0x07
        if operation == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            (accumulator,) = _WORD.unpack_from(data, k)
        elif kind == 0x05:  # BPF_JMP
            at += _jump(operation, accumulator, index, k, jump_true, jump_false)
        elif kind == 0x06:  # BPF_RET
            value = accumulator if operation == 0x16 else k
            return Verdict(ACTIONS.get(value & 0xFFFF0000, "kill_process"), value & 0xFFFF)
        elif kind == 0x04:  # BPF_ALU
            accumulator = _arithmetic(operation, accumulator, index if operation & 0x08 else k)
        elif kind in (0x00, 0x01):  # BPF_LD, BPF_LDX: an immediate, the length, or memory
            loaded = {0x00: k, 0x80: _DATA.size}.get(operation & 0xE0, memory[k & 15])
            accumulator, index = (loaded, index) if kind == 0x00 else (accumulator, loaded)
        elif kind in (0x02, 0x03):  # BPF_ST, BPF_STX
            memory[k] = accumulator if kind == 0x02 else index
        elif operation == 0x07:  # BPF_MISC | BPF_TAX
            index = accumulator
        else:  # BPF_MISC | BPF_TXA
            accumulator = index


_JUMPS = {0x05, 0x15, 0x1D, 0x25, 0x2D, 0x35, 0x3D, 0x45, 0x4D}
_ALLOWED = {
    *_JUMPS,
    *(0x20, 0x00, 0x80, 0x60, 0x01, 0x81, 0x61, 0x02, 0x03),  # loads and stores
    *(0x06, 0x16, 0x07, 0x87),  # returns, TAX, TXA
    *(0x04, 0x0C, 0x14, 0x1C, 0x24, 0x2C, 0x34, 0x3C, 0x44, 0x4C, 0x54, 0x5C, 0x64, 0x6C, 0x74, 0x7C, 0xA4, 0xAC, 0x84),
}


@functools.lru_cache(maxsize=16)
def _parse(program: bytes) -> list[tuple[int, int, int, int]]:
    """The instructions, checked as the kernel does before it loads them."""
    if not program or len(program) % _INSTRUCTION.size or len(program) > MAX_INSTRUCTIONS * _INSTRUCTION.size:
        raise ValueError(f"a program has 1 to {MAX_INSTRUCTIONS} instructions of 8 bytes, not {len(program)} bytes")
    code = list(_INSTRUCTION.iter_unpack(program))
    for at, (operation, jump_true, jump_false, k) in enumerate(code):
        if operation not in _ALLOWED:
            raise ValueError(f"instruction {at}: {operation:#x} is not allowed in a filter")
        farthest = k if operation == 0x05 else max(jump_true, jump_false)
        if operation in _JUMPS and at + 1 + farthest >= len(code):
            raise ValueError(f"instruction {at}: jumps past the end")
        if operation == 0x20 and (k % 4 or k >= _DATA.size):
            raise ValueError(f"instruction {at}: loads from offset {k}")
        if operation in (0x60, 0x61, 0x02, 0x03) and k >= 16:
            raise ValueError(f"instruction {at}: there are 16 words of memory, not {k}")
        if (operation == 0x34 and k == 0) or (operation in (0x64, 0x74) and k >= 32):
            raise ValueError(f"instruction {at}: cannot divide or shift by {k}")
    if code[-1][0] not in (0x06, 0x16):
        raise ValueError("the last instruction is no return")
    return code


def _jump(operation: int, accumulator: int, index: int, k: int, jump_true: int, jump_false: int) -> int:
    test = operation & 0xF0
    if test == 0x00:
        return k
    value = index if operation & 0x08 else k
    if test == 0x10:
        taken = accumulator == value
    elif test == 0x20:
        taken = accumulator > value
    elif test == 0x30:
        taken = accumulator >= value
    else:
        taken = bool(accumulator & value)
    return jump_true if taken else jump_false


def _arithmetic(operation: int, accumulator: int, value: int) -> int:
    test = operation & 0xF0
    if test == 0x30:
        return accumulator // value if value else 0
    answers = {
        0x00: accumulator + value,
        0x10: accumulator - value,
        0x20: accumulator * value,
        0x40: accumulator | value,
        0x50: accumulator & value,
        0x60: accumulator << (value & 31),
        0x70: accumulator >> (value & 31),
        0x80: -accumulator,
        0xA0: accumulator ^ value,
    }
    return answers[test] & _MASK
