"""From measured times to figures, with a clock and ways that are made up."""

from __future__ import annotations

import threading

import pytest

from sandbox.bench import figures, measure
from sandbox.bench.ways import Command, Way
from sandbox.model.errors import ResourceError


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([1], 0.5, 1), ([1, 2], 0.5, 1), ([3, 1, 2], 0.5, 2), (list(range(1, 101)), 0.9, 90), (list(range(1, 101)), 0.99, 99),
     ([5, 1], 1.0, 5), ([1, 2, 3], 0.0, 1)],
)  # fmt: skip
def test_percentiles_are_values_by_rank(values, share, expected):
    assert figures.percentile(values, share) == expected


def test_there_is_no_percentile_of_nothing():
    with pytest.raises(ValueError, match="nothing"):
        figures.percentile([], 0.5)


class Fake(Way):
    def __init__(self, name, log, limit=10**9):
        self.name, self.log, self.limit = name, log, limit
        self.lock = threading.Lock()

    def launch(self, argv, stdin=b""):
        with self.lock:
            self.log.append(self.name)
            if len(self.log) > self.limit:
                raise ResourceError("enough")
        return b""


def test_ways_take_turns_and_all_are_counted():
    log, shares = [], []
    times = measure.interleaved([Fake("a", log), Fake("b", log)], ["x"], 6, shares.append)
    assert {name: len(values) for name, values in times.items()} == {"a": 6, "b": 6}
    assert all(set(log[number : number + 2]) == {"a", "b"} for number in range(0, len(log), 2))
    assert {log[0], log[2]} == {"a", "b"}, "the same one is always first"
    assert len(log) == 2 * (6 + measure.WARM_UP)
    assert shares[-1] == 1.0


def test_throughput_launches_exactly_as_often_as_was_said():
    log = []
    assert measure.throughput(Fake("a", log), ["x"], 4, 50) > 0
    assert len(log) == 50


def test_an_error_of_one_caller_is_raised():
    with pytest.raises(ResourceError, match="enough"):
        measure.throughput(Fake("a", [], limit=5), ["x"], 4, 50)


def test_a_program_that_fails_is_no_measurement():
    with pytest.raises(ResourceError, match=r"subprocess: the program ended with 3: why"):
        Command().launch(["/bin/sh", "-c", "echo why >&2; exit 3"])
    assert Command().launch(["/bin/cat"], b"in") == b"in"


def test_stages_are_those_of_the_results():
    timing = {"queue_ns": 10**6, "setup_ns": 2 * 10**6, "run_ns": 3 * 10**6, "teardown_ns": 4 * 10**6}
    found = measure.stages([timing, timing])
    assert [found[name]["p50_ms"] for name in ("queue", "setup", "run", "teardown")] == [1, 2, 3, 4]
