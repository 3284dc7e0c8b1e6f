"""Sets of argument values as masked comparisons, so that rules which depend on order become rules that never overlap.

A cube is (mask, value): all 64-bit numbers n with n & mask == value. A region holds a cube for each argument it restricts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from sandbox.model.policy import ArgCondition

Cube = tuple[int, int]
Region = Mapping[int, Cube]
T = TypeVar("T")

FULL = (1 << 64) - 1
ANY: Cube = (0, 0)
MAX_REGIONS = 1024
_BITS = [1 << bit for bit in range(63, -1, -1)]


def cubes(condition: ArgCondition) -> list[Cube]:
    """Disjoint cubes that together are the values for which the condition holds."""
    value = condition.value
    if condition.op == "masked_eq":
        return [(condition.mask, value)]
    if condition.op == "eq":
        return [(FULL, value)]
    if condition.op == "ne":
        return list(minus(ANY, (FULL, value)))
    first, last = {"lt": (0, value - 1), "le": (0, value), "gt": (value + 1, FULL), "ge": (value, FULL)}[condition.op]
    return list(_range(first, last))


def _range(first: int, last: int) -> Iterator[Cube]:
    """Aligned blocks, each as large as fits."""
    while first <= last:
        size = first & -first or 1 << 64
        while first + size - 1 > last:
            size >>= 1
        yield FULL & ~(size - 1), first
        first += size


def common(a: Cube, b: Cube) -> Cube | None:
    """The values in both; None when there are none."""
    if (a[1] ^ b[1]) & a[0] & b[0]:
        return None
    return a[0] | b[0], a[1] | b[1]


def minus(a: Cube, b: Cube) -> Iterator[Cube]:
    """Disjoint cubes of what is in `a` and not in `b`."""
    if common(a, b) is None:
        yield a
        return
    mask, value = a
    for bit in _BITS:
        if bit & b[0] & ~a[0]:
            yield mask | bit, value | (bit & ~b[1])
            mask, value = mask | bit, value | (bit & b[1])


def regions(conditions: Iterable[ArgCondition]) -> list[Region]:
    """Disjoint regions in which all the conditions hold. Raises OverflowError beyond MAX_REGIONS."""
    found: list[Region] = [{}]
    for condition in conditions:
        deeper: list[Region] = []
        for region in found:
            for cube in cubes(condition):
                shared = common(region.get(condition.index, ANY), cube)
                if shared is not None:
                    deeper.append({**region, condition.index: shared})
                if len(deeper) > MAX_REGIONS:
                    raise OverflowError(f"more than {MAX_REGIONS} regions")
        found = deeper
    return found


def meet(a: Region, b: Region) -> Region | None:
    """The calls in both regions; None when there are none."""
    shared = dict(a)
    for index, cube in b.items():
        both = common(a.get(index, ANY), cube)
        if both is None:
            return None
        shared[index] = both
    return shared


def without(a: Region, b: Region) -> Iterator[Region]:
    """Disjoint regions of what is in `a` and not in `b`."""
    if meet(a, b) is None:
        yield a
        return
    inside = dict(a)
    for index, cube in sorted(b.items()):
        for rest in minus(inside.get(index, ANY), cube):
            yield {**inside, index: rest}
        inside[index] = common(inside.get(index, ANY), cube) or ANY  # they meet, as was seen above


def partition(ordered: Sequence[tuple[Sequence[Region], T]], rest: T) -> Iterator[tuple[Region, T]]:
    """A list where the first match decides, as disjoint regions with their decisions; `rest` is for what is left.

    Every masked comparison can split a region into 64: a few rules with ranges of several arguments become millions.
    Raises OverflowError beyond MAX_REGIONS.
    """
    remaining: list[Region] = [{}]
    for choices, decision in ordered:
        for choice in choices:
            left: list[Region] = []
            for region in remaining:
                shared = meet(region, choice)
                if shared is None:
                    left.append(region)
                else:
                    yield shared, decision
                    left.extend(without(region, choice))
                if len(left) > MAX_REGIONS:
                    raise OverflowError(f"more than {MAX_REGIONS} regions")
            remaining = left
    for region in remaining:
        yield region, rest
