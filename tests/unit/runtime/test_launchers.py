"""Which launcher a run is given, and how many there are."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from sandbox.model.errors import CgroupError, RequestError, ResourceError
from sandbox.runtime import launchers
from sandbox.runtime.launchers import RUNS_EACH, Launchers
from tests.support.clock import wait_until


class Fake:
    """As much of a launcher as is looked at."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.runs = 0
        self.last_used = time.monotonic()
        self.dead = False
        self.closed = False
        self.alive = True
        self.stuck = False
        self.parking = SimpleNamespace(hits=1, misses=2)

    def gone(self) -> bool:
        return self.dead

    def close(self, timeout: float = 5.0) -> None:
        self.closed = True
        if self.stuck:
            raise CgroupError("the group cannot be emptied")


def made(most: int) -> tuple[Launchers, list[Any]]:
    started: list[Any] = []

    def start(number: int) -> Any:
        started.append(Fake(number))
        return started[-1]

    return Launchers(start, most), started


def load(pool: Launchers, count: int, launchers_then: int) -> list[Any]:
    taken = [pool.take() for _ in range(count)]
    wait_until(lambda: len(pool.living()) == launchers_then, 5)
    return taken


def test_one_serves_until_it_has_much_to_do():
    pool, started = made(4)
    load(pool, RUNS_EACH, 1)
    assert len(started) == 1


def test_more_runs_have_more_launchers_up_to_the_bound():
    pool, started = made(2)
    load(pool, RUNS_EACH + 1, 2)
    taken = load(pool, 4 * RUNS_EACH, 2)
    assert [one.number for one in started] == [0, 1]
    assert {one.number for one in taken} == {0, 1}
    assert abs(started[0].runs - started[1].runs) <= 1


def test_who_idles_goes_and_the_first_stays():
    pool, started = made(2)
    for one in load(pool, RUNS_EACH + 1, 2):
        pool.give_back(one)
    for one in started:
        one.last_used -= launchers.IDLE_SECONDS + 1
    pool.take()
    wait_until(lambda: [one.closed for one in started] == [False, True], 5)
    assert pool.living() == (started[0],)
    wait_until(lambda: (pool.hits, pool.misses) == (1, 2), 5)


def test_who_says_that_he_idles_goes_unless_he_is_the_only_one():
    pool, started = made(2)
    for one in load(pool, RUNS_EACH + 1, 2):
        pool.give_back(one)
    pool.retire(started[0])
    pool.retire(started[1])
    assert [one.closed for one in started] == [False, True]


def test_one_that_cannot_be_cleared_away_stands_in_nobodys_way():
    pool, started = made(2)
    load(pool, RUNS_EACH + 1, 2)
    started[0].stuck = True
    with pytest.raises(CgroupError, match="cannot be emptied"):
        pool.close()
    assert [one.closed for one in started] == [True, True]
    pool, started = made(1)
    pool.take()
    started[0].dead = started[0].stuck = True
    assert pool.take() is started[1]


def test_a_host_without_threads_serves_with_what_is_there(monkeypatch: pytest.MonkeyPatch):
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool, _ = made(2)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert {pool.take().number for _ in range(2 * RUNS_EACH)} == {0}
    load(pool, 1, 2)


def test_a_number_is_given_to_one_at_a_time():
    gate, numbers = threading.Event(), []

    def start(number: int) -> Any:
        numbers.append(number)
        if len(numbers) == 2:
            assert gate.wait(5)
        return Fake(number)

    pool = Launchers(start, 2)
    taken = [pool.take() for _ in range(RUNS_EACH + 1)]
    wait_until(lambda: len(numbers) == 2, 5)
    taken[0].dead = True
    pool.take()  # the first one's number is free, that of the one that is being started is not
    assert numbers == [0, 1, 0]
    gate.set()
    wait_until(lambda: len(pool.living()) == 2, 5)


def test_a_close_waits_for_one_that_is_being_started():
    gate, asked = threading.Event(), threading.Event()
    made_late: list[Any] = []

    def start(number: int) -> Any:
        asked.set()
        assert gate.wait(5)
        made_late.append(Fake(number))
        return made_late[-1]

    def take() -> None:
        with pytest.raises(RequestError, match="closed meanwhile"):
            pool.take()

    def close() -> None:
        pool.close()
        assert made_late[0].closed

    pool = Launchers(start, 1)
    with ThreadPoolExecutor(2) as threads:
        taking = threads.submit(take)
        assert asked.wait(5)
        ended = threads.submit(close)
        wait_until(lambda: pool._closed, 5)
        assert not ended.done()
        gate.set()
        taking.result(5)
        ended.result(5)
    with pytest.raises(RequestError, match="closed"):
        pool.take()


def test_a_close_waits_for_one_that_another_thread_is_ending(monkeypatch: pytest.MonkeyPatch):
    gate = threading.Event()
    pool, _ = made(1)
    one: Any = pool.take()
    monkeypatch.setattr(one, "close", lambda timeout=0: gate.wait(5) and Fake.close(one), raising=False)
    with ThreadPoolExecutor(2) as threads:
        dropping = threads.submit(pool.drop, one)
        wait_until(lambda: not pool.living(), 5)
        ended = threads.submit(lambda: (pool.close(), one.closed)[1])
        wait_until(lambda: pool._closed, 5)
        assert not ended.done()
        gate.set()
        assert ended.result(5)
        dropping.result(5)


def test_a_close_waits_no_longer_than_that(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(launchers, "_OTHERS_SECONDS", 0.05)
    gate = threading.Event()
    pool = Launchers(lambda number: gate.wait(5) and Fake(number), 1)  # type: ignore[arg-type]
    with ThreadPoolExecutor(1) as threads:
        taking = threads.submit(pool.take)
        wait_until(lambda: pool._taken, 5)
        pool.close()
        assert not taking.done()
        gate.set()
        with pytest.raises(RequestError, match="closed meanwhile"):
            taking.result(5)


def test_a_handle_that_is_collected_in_the_middle_stops_nobody():
    pool, started = made(2)
    one = pool.take()
    with pool._lock:  # as if the collector ran here
        pool.give_back(one)
    assert pool.take() is started[0]


def test_who_idles_but_serves_a_run_stays():
    pool, started = made(2)
    load(pool, RUNS_EACH + 1, 2)
    pool.take()
    for one in started:
        one.last_used -= 60
    pool.take()
    assert len(pool.living()) == 2


def test_a_dead_one_is_replaced_under_its_number():
    pool, started = made(2)
    load(pool, RUNS_EACH + 1, 2)
    started[0].dead = True
    pool.take()
    assert started[0].closed
    load(pool, 2 * RUNS_EACH, 2)
    assert sorted(one.number for one in pool.living()) == [0, 1]


def test_one_that_cannot_be_started_is_missed_by_nobody():
    tried = threading.Event()

    def start(number: int) -> Any:
        if number:
            tried.set()
            raise ResourceError("no process")
        return Fake(number)

    pool = Launchers(start, 3)
    taken = [pool.take() for _ in range(RUNS_EACH + 1)]
    assert tried.wait(5)
    assert {one.number for one in taken} == {0}
    wait_until(lambda: not pool._growing, 5)


def test_the_first_one_says_why_it_cannot_be_started():
    def start(number: int) -> Any:
        raise ResourceError("no process")

    with pytest.raises(ResourceError, match="no process"):
        Launchers(start, 3).take()


def test_a_closed_pool_gives_none():
    pool, started = made(2)
    pool.give_back(pool.take())
    pool.close()
    assert started[0].closed
    with pytest.raises(RequestError, match="closed"):
        pool.take()
