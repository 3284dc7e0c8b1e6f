"""Names that are nearly those of system calls.

A foreign profile also names calls of other architectures, and of kernels newer than our tables. Those are no mistakes. So a
name counts as misspelt only when libseccomp knows it on no architecture, and a known name is one or two slips away.
"""

from __future__ import annotations

from collections.abc import Iterable

from sandbox.policy.seccomp import tables

_UNKNOWN = -1  # __NR_SCMP_ERROR; a call of another architecture has a number below that
_SHORT = 6  # in a short name two slips make any name of any other


def misspelt(names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """(name, what was probably meant) for each name that is nearly a system call; without libseccomp for none."""
    found = []
    for name in names:
        meant = _nearest(name)
        if meant and not _resolves(name):
            found.append((name, meant))
    return tuple(found)


def _nearest(name: str) -> str:
    allowed = 1 if len(name) < _SHORT else 2
    near = sorted((slips(name, known, allowed), known) for known in tables.every_name())
    return near[0][1] if near and 0 < near[0][0] <= allowed else ""


def slips(one: str, other: str, most: int) -> int:
    """How many letters are missing, too many, wrong, or exchanged with their neighbour; `most` + 1 for more than `most`."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, above, row = row, before, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return min(row[-1], most + 1)


def _resolves(name: str) -> bool:
    """Whether libseccomp knows the name on any architecture."""
    from sandbox.kernel.libraries import by_usual_names

    try:
        with by_usual_names():
            import pyseccomp
    except (ImportError, OSError, RuntimeError):
        return True
    number: int = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
    return number != _UNKNOWN
