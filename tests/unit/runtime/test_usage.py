"""What a program used: its group's figures without init's own part."""

from __future__ import annotations

import dataclasses

import pytest

from sandbox.resources.groups import Counters
from sandbox.runtime.active import _usage
from tests.unit.runtime.test_classify import ended

MS = 1_000_000


def counters(user: int, system: int) -> Counters:
    values = {field.name: 0 for field in dataclasses.fields(Counters)}
    return Counters(**{**values, "cpu_user_ns": user, "cpu_system_ns": system, "sources": ()})


@pytest.mark.parametrize(
    ("group", "init", "expected"),
    [
        ((10, 4), (2, 1), (8, 3)),
        ((0, 6), (4, 0), (0, 2)),  # the group's ticks fell into the kernel, init's time is all its own
        ((6, 0), (0, 4), (2, 0)),
        ((5, 5), (1, 8), (1, 0)),
        ((1, 1), (2, 2), (0, 0)),
    ],
)
def test_only_the_sum_of_two_measures_is_compared(
    group: tuple[int, int], init: tuple[int, int], expected: tuple[int, int]
) -> None:
    end = ended(init_user_ns=init[0] * MS, init_system_ns=init[1] * MS)
    usage = _usage(end, counters(group[0] * MS, group[1] * MS), 0)
    assert (usage.cpu_user_ns, usage.cpu_system_ns) == (expected[0] * MS, expected[1] * MS)


def test_without_a_group_the_processes_that_were_waited_for_count() -> None:
    usage = _usage(ended(user_ns=3 * MS, system_ns=2 * MS), None, 7)
    assert (usage.cpu_user_ns, usage.cpu_system_ns, usage.output_bytes) == (3 * MS, 2 * MS, 7)
