"""What a time rests on, and when it is measured again."""

from __future__ import annotations

import dataclasses
import os
import threading

import pytest

from sandbox.grader import timing
from sandbox.grader.model import Limits
from sandbox.model.result import Outcome, Usage
from tests.support.clock import seconds, wait_until
from tests.unit.cli.fakes import make_result


def took(cpu, wall=None, **changes):
    usage = Usage(
        cpu_user_ns=round(cpu * 1e9), cpu_system_ns=0, wall_ns=round((wall or cpu) * 1e9), memory_peak_bytes=1, pids_peak=1,
        output_bytes=0, throttled_ns=30_000_000,
    )  # fmt: skip
    return make_result(usage=usage, **changes)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ((), False),
        ((0.5,), False),
        ((0.95,), True),
        ((0.95, 0.97), False),
        ((1.05,), True),
        ((1.05, 1.02), True),
        ((1.05, 1.02, 1.03), False),
        ((1.05, 0.99), False),
        ((1.2,), False),
        ((1.2, 1.05), True),
    ],
)
def test_a_time_near_the_limit_is_measured_again(times, expected):
    assert timing.again(times, 1.0) is expected


def test_the_fastest_run_counts_and_the_spread_is_kept():
    runs = [took(1.05), took(0.99), took(1.01)]

    best = timing.fastest(runs)
    found = timing.record(runs, best, (1,), 0.25)

    assert (found.cpu_s, found.runs, found.cpus, found.steal_s) == (0.99, (1.05, 0.99, 1.01), (1,), 0.25)
    assert found.spread_s == pytest.approx(0.06)
    assert found.throttled_s == 0.03
    assert found.forced_switches is None


def test_the_sandbox_ends_a_run_above_the_limit_so_that_a_near_miss_is_a_number():
    found = timing.clocks(Limits(time_s=2.0))

    assert found.cpu_s > (1 + timing.MARGIN) * 2.0
    assert found.wall_s > 2 * found.cpu_s
    assert found.idle_s >= 2.0


def test_who_waits_for_a_judge_is_not_idle():
    assert timing.clocks(Limits(), interactive=True).idle_s is None


STAT = "cpu  1 2 3 4 5 6 7 80 9 10\ncpu0 1 2 3 4 5 6 7 50 9 10\ncpu1 1 2 3 4 5 6 7 30 9 10\nintr 5\n"


@pytest.mark.parametrize(("cpus", "seconds"), [((), 0.8), ((0,), 0.5), ((0, 1), 0.8), ((7,), None)])
def test_time_that_the_hypervisor_took(cpus, seconds):
    assert timing.steal_s(STAT, cpus, 100) == seconds


def test_an_old_kernel_does_not_say_it():
    assert timing.steal_s("cpu0 1 2 3 4\n", (0,), 100) is None


@pytest.mark.parametrize(("times", "limit"), [({"a": 0.3, "b": 0.1}, 1.0), ({"a": 1.2}, 3.0), ({"a": 0.5}, 1.0), ({}, 7.0)])
def test_a_limit_from_the_accepted_submissions(times, limit):
    assert timing.infer_limit(times, Limits(time_s=7.0)) == limit


def test_who_has_to_be_too_slow_and_is_not():
    assert timing.too_fast(2.0, {"slow.py": 3.1, "quick.py": 2.9}, Limits()) == [
        "quick.py takes 2.90 s, but has to be slower than 3.00 s (1.5 times the time limit)"
    ]


def test_a_clock_ended_a_busy_program_or_a_sleeping_one():
    assert timing.clock_ended(took(4.0, 10.0, outcome=Outcome.WALL_TIME))
    assert not timing.clock_ended(took(0.01, 10.0, outcome=Outcome.WALL_TIME))
    assert not timing.clock_ended(took(9.0, 10.0))


@pytest.mark.parametrize(
    ("expected", "outcome", "cpu", "idle", "beside"),
    [
        (False, Outcome.IDLE_TIME, 0.01, 1.9, 0.0),  # its core was free: it sleeps
        (True, Outcome.IDLE_TIME, 0.01, 0.1, 0.0),  # others had the core all the time
        (False, Outcome.IDLE_TIME, 0.01, None, 0.0),
        (True, Outcome.WALL_TIME, 0.3, 0.0, 0.0),
        (False, Outcome.WALL_TIME, 1.9, 0.08, 0.0),  # it had the core itself
        (False, Outcome.WALL_TIME, 0.0, 0.1, 1.9),  # and here its interactor had it
        (False, Outcome.CPU_TIME, 0.3, 0.0, 0.0),  # what was used counts, however long it took
        (False, Outcome.EXITED, 0.3, 0.0, 0.0),
    ],
)
def test_who_got_no_cpu_is_not_called_idle(expected, outcome, cpu, idle, beside):
    assert timing.starved(took(cpu, 2.0, outcome=outcome), idle, beside) is expected


@pytest.mark.parametrize(
    ("expected", "outcome", "cpu"),
    [
        (False, Outcome.IDLE_TIME, 0.01),  # it waits: who can run gets more than that, however busy the core is
        (False, Outcome.WALL_TIME, 0.05),
        (True, Outcome.WALL_TIME, 0.5),  # its share, but not the time that it needs
    ],
)
def test_who_has_less_than_a_share_of_a_busy_core_waits_of_its_own_accord(expected, outcome, cpu):
    assert timing.starved(took(cpu, 2.0, outcome=outcome), 0.0, fair=True) is expected


@pytest.mark.parametrize(
    ("expected", "outcome", "alone"),
    [
        (False, Outcome.IDLE_TIME, True),  # nothing in its sandbox was ready to run: it sleeps, however busy the core is
        (True, Outcome.IDLE_TIME, False),  # or it waits for us, who got no CPU
        (True, Outcome.WALL_TIME, True),  # it may have been ready all the time
    ],
)
def test_who_was_never_ready_to_run_waits_of_its_own_accord(expected, outcome, alone):
    assert timing.starved(took(0.01, 2.0, outcome=outcome), 0.0, alone=alone) is expected


@pytest.mark.parametrize(
    ("expected", "size", "changes"),
    [
        (True, 4095, {"stdout": b"x" * 4095}),
        (False, 4096, {}),
        (False, 1, {"stdout": b"x" * 4096}),
        (False, 1, {"stderr": b"x" * 4096}),
        (False, 1, {"truncated": ("stdout",)}),
    ],
)
def test_who_has_all_in_its_pipes_waits_for_nobody(expected, size, changes):
    assert timing.never_waits_for_us(took(0.01, 2.0, **changes), size) is expected


def test_a_fair_share_is_for_those_that_are_not_nice(monkeypatch):
    monkeypatch.setattr(os, "sched_getscheduler", lambda _: os.SCHED_OTHER)
    monkeypatch.setattr(os, "getpriority", lambda *_: 0)
    assert timing.has_fair_share()
    monkeypatch.setattr(os, "getpriority", lambda *_: 5)
    assert not timing.has_fair_share()
    monkeypatch.setattr(os, "getpriority", lambda *_: 0)
    monkeypatch.setattr(os, "sched_getscheduler", lambda _: os.SCHED_IDLE)
    assert not timing.has_fair_share()


def test_a_throttled_program_is_not_called_idle():
    throttled = dataclasses.replace(took(0.01, 2.0).usage, throttled_ns=1_500_000_000)

    assert timing.starved(took(0.01, 2.0, outcome=Outcome.IDLE_TIME), 2.0) is False
    assert timing.starved(make_result(usage=throttled, outcome=Outcome.IDLE_TIME), 2.0, fair=True, alone=True) is True


def test_the_time_in_which_cores_were_free():
    text = "cpu  1 0 1 300 20 0 0 5 0 0\ncpu0 1 0 1 100 10 0 0 3 0 0\ncpu1 0 0 0 200 10 0 0 2 0 0\n"

    assert timing.idle_s(text, (0,), 100) == pytest.approx(1.1)
    assert timing.idle_s(text, (), 100) == pytest.approx(3.2)
    assert timing.idle_s("cpu 0 0 0 0 0 0 0 0 0 0\n", (), 100) is None  # some kernels count nothing
    assert timing.idle_s(text, (7,), 100) is None
    assert timing.between(1.5, 4.0) == 2.5
    assert timing.between(None, 4.0) is None
    assert (timing.total([1.5, 0.25]), timing.total([]), timing.total([1.5, None])) == (1.75, 0, None)


def test_counters_of_this_host_grow():
    before = timing.counted(())
    after = timing.counted(())
    assert before.steal_s is not None
    assert before.steal_s <= after.steal_s


def test_a_core_is_lent_to_one_at_a_time():
    cores = timing.Cores(1)
    order = []
    waiting = threading.Event()

    def second():
        waiting.set()
        with cores.lend():
            order.append("second")

    thread = threading.Thread(target=second)
    with cores.lend() as core:
        thread.start()
        waiting.wait()
        order.append("first")
        assert len(core.cpus) == 1
    thread.join()

    assert order == ["first", "second"]


def test_more_cases_at_once_than_cores_are_not_pinned():
    assert all(core.cpus == () for core in timing.Cores(4096).free(4096))


def test_the_core_with_the_lowest_number_is_lent():
    cores = timing.Cores(2, pinned=False)
    assert [core.number for core in cores.free(8)] == [0, 1]
    with cores.lend() as first:
        assert [core.number for core in cores.free(8)] == [1]
        with cores.lend() as second:
            assert (first.number, second.number, cores.free(8)) == (0, 1, ())
    with cores.lend() as again:
        assert again.number == 0
    assert [core.number for core in cores.free(1)] == [0]


def test_cores_are_lent_in_order_of_arrival():
    cores, order = timing.Cores(1), []

    def worker(number):
        with cores.lend():
            order.append(number)

    threads = [threading.Thread(target=worker, args=(number,)) for number in range(5)]
    with cores.lend():
        for number, thread in enumerate(threads):
            thread.start()
            wait_until(lambda number=number: len(cores._waiting) == number + 1, seconds(10), "it waits")
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]
