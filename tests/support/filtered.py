"""Filters without a sandbox: a reference reading of rules, and real programs under the compiled programs.

The reference follows the text at the top of `sandbox.policy.seccomp.rules` word by word and shares no code with the compiler.
"""

from __future__ import annotations

import errno
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from sandbox.model.plan import Filters
from sandbox.model.policy import ArgCondition, SeccompPolicy, SeccompRule
from sandbox.policy.seccomp.simulate import Verdict
from sandbox.policy.seccomp.tables import FAMILIES

ROOT = Path(__file__).resolve().parents[2]
FULL = (1 << 64) - 1
RETURN, NOTIFY, KILL_PROCESS = 0x06, 0x7FC00000, 0x80000000

LOADER = """
import ctypes, os, sys
sys.path.insert(0, sys.argv[1])
from sandbox.kernel import filters
programs = [open(path, "rb").read() for path in sys.argv[2:4]]
if ctypes.CDLL(None).prctl(38, 1, 0, 0, 0):
    sys.exit("no_new_privs")
for program in filter(None, programs):
    filters.load_filter(program)
os.execvp(sys.argv[4], sys.argv[4:])
"""


def holds(condition: ArgCondition, args: Sequence[int]) -> bool:
    """Whether one condition is true for these arguments (64-bit, unsigned)."""
    given, value = args[condition.index], condition.value
    return {
        "eq": given == value,
        "ne": given != value,
        "lt": given < value,
        "le": given <= value,
        "gt": given > value,
        "ge": given >= value,
        "masked_eq": given & condition.mask == value,
    }[condition.op]


def expected(policy: SeccompPolicy, name: str, args: Sequence[int]) -> Verdict:
    """What the rules say about one call, without regard to order inside a layer: the first kind that applies."""
    layer: list[SeccompRule] = []
    for rule in policy.rules:
        if name in rule.syscalls:
            layer = [*layer, rule] if layer and layer[-1].group == rule.group else [rule]
    families = {FAMILIES[family] for family in policy.socket_families}
    makes_sockets = name in ("socket", "socketpair") and any(rule.action != "errno" for rule in layer)
    if makes_sockets and args[0] & 0xFFFFFFFF not in families:
        return Verdict("errno", errno.EAFNOSUPPORT)
    for actions in (("errno",), ("notify", "kill"), ("log",), ("allow",)):
        for rule in sorted(layer, key=lambda rule: rule.errno):
            if rule.args and rule.action in actions and all(holds(item, args) for item in rule.args):
                return answer(rule)
    for rule in layer:
        if not rule.args:
            return answer(rule)
    return Verdict("errno", policy.default_errno)


def answer(rule: SeccompRule) -> Verdict:
    """A rule's action as the kernel's word for it: killing is the launcher's doing, after a notification."""
    return Verdict("notify" if rule.action == "kill" else rule.action, rule.errno)


def boundaries(policy: SeccompPolicy, name: str) -> Iterator[tuple[int, ...]]:
    """Argument vectors at, beside and far from every value that a rule about this call compares with."""
    interesting: dict[int, set[int]] = {index: {0, FULL} for index in range(6)}
    for rule in policy.rules:
        if name not in rule.syscalls:
            continue
        for item in rule.args:
            value = item.value
            near = {value, value - 1, value + 1, value | 1 << 32, value ^ 1 << 63, value ^ 1 << 31, ~value, item.mask, ~item.mask}
            interesting[item.index] |= {number & FULL for number in near}
    if name in ("socket", "socketpair"):
        interesting[0] |= {number | high for number in range(48) for high in (0, 1 << 32, 1 << 40)}
    yield (0,) * 6
    yield (FULL,) * 6
    for first in interesting[0]:
        for second in interesting[1]:
            yield first, second, 0, 0, 0, 0
    for index in range(2, 6):
        for value in interesting[index]:
            for other in interesting[index - 1]:
                yield tuple(value if at == index else other if at == index - 1 else 0 for at in range(6))


def deadly(program: bytes) -> bytes:
    """The notifying program with death in the place of every report: who survives it has made none of these calls."""
    code = struct.Struct("=HBBI")
    changed = (
        code.pack(op, yes, no, KILL_PROCESS if (op, k) == (RETURN, NOTIFY) else k) for op, yes, no, k in code.iter_unpack(program)
    )
    return b"".join(changed)


def run_filtered(
    filters: Filters, command: Sequence[str], place: Path, *, unreported: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a command in the directory `place` under both programs. With `unreported` every reported call kills it."""
    paths = [place / "notify.bpf", place / "main.bpf"]
    paths[0].write_bytes(deadly(filters.notify) if unreported else filters.notify)
    paths[1].write_bytes(filters.main)
    loader = [sys.executable, "-I", "-S", "-B", "-c", LOADER, str(ROOT), *map(str, paths)]
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(place), "TMPDIR": str(place), "LANG": "C.UTF-8"}
    return subprocess.run(
        [*loader, *command], cwd=place, env=environment, capture_output=True, text=True, timeout=100, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
