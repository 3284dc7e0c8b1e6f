"""Parked sandboxes: used once, bounded, under the limits of the run that takes them, given back, never in the way."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sandbox import AsyncSandbox, Mount, Outcome, Profile, RequestError, Sandbox, SandboxError
from sandbox.runtime import parking
from tests.support import callers, leaks
from tests.support.clock import limit, seconds, wait_until
from tests.support.programs import INSIDE
from tests.support.require import require

pytestmark = pytest.mark.vm

TRUE = [INSIDE, "exit", "0"]


@pytest.fixture
def box(probe_mounts: tuple[Mount, ...], degraded: bool) -> Iterator[Sandbox]:
    with Sandbox("native", mounts=probe_mounts, allow_degraded=degraded) as made:
        yield made


def warm(box: Sandbox, count: int = 1) -> None:
    """Until `count` sandboxes are parked."""
    for _ in range(2):
        with contextlib.ExitStack() as all_at_once:
            for _ in range(count):
                all_at_once.enter_context(box.start([INSIDE, "sleep", "60"]))
    wait_until(lambda: box.stats()["parked"] >= count, seconds(10), f"{count} are parked: {box.stats()}")


def launcher_of(box: Sandbox) -> int:
    process = box._engine.launchers.living()[0]
    assert process is not None
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
        return int(file.read().split()[0])


def test_many_runs_share_launchers_and_no_host_id(probe_mounts: tuple[Mount, ...], degraded: bool) -> None:
    with Sandbox("native", mounts=probe_mounts, allow_degraded=degraded, max_launchers=2, max_concurrency=16) as box:
        with ThreadPoolExecutor(16) as pool:
            results = list(pool.map(lambda _: box.run([INSIDE, "sleep", "0.3"]), range(48)))
        assert all(result.ok for result in results)
        stats = box.stats()
        assert stats["launchers"] == 2
        shares = [one.plan.ids for one in box._engine.launchers.living()]
        if shares[0].slots:
            ranges = sorted((ids.first_slot, ids.first_slot + ids.slots) for ids in shares)
            assert ranges[0][1] <= ranges[1][0]
    assert box.stats()["launchers"] == 0


def test_nothing_is_parked_for_one_run(box: Sandbox) -> None:
    assert box.run(TRUE).ok
    assert not threading.Event().wait(0.05)
    assert box.stats()["parked"] == 0


def test_a_parked_sandbox_serves_one_run(box: Sandbox) -> None:
    warm(box)
    before = box.stats()["hits"]
    for number in range(5):
        result = box.run(TRUE, files={f"f{number}": b"x"}, collect=["."])
        assert set(result.files) == {f"f{number}"}, "what an earlier run had is there"
    assert box.stats()["hits"] > before


def test_the_result_is_the_same(box: Sandbox) -> None:
    """What a parked sandbox gives differs in nothing from one that was set up for the run."""
    cold: Any = box.run([INSIDE, "args", "x"], stdin=b"in", env={"A": "b"}, cwd="/tmp", limits={"open_files": 100})
    warm(box)
    hits = box.stats()["hits"]
    hot = box.run([INSIDE, "args", "x"], stdin=b"in", env={"A": "b"}, cwd="/tmp", limits={"open_files": 100})
    assert box.stats()["hits"] == hits + 1
    assert (hot.outcome, hot.exit, hot.stdout, hot.stderr, hot.enforced) == (
        cold.outcome,
        cold.exit,
        cold.stdout,
        cold.stderr,
        cold.enforced,
    )


def test_tighter_limits_hold_in_a_parked_sandbox(box: Sandbox) -> None:
    require("cgroup")
    warm(box)
    hits = box.stats()["hits"]
    result = box.run([INSIDE, "alloc", "200"], limits={"memory": "32MiB"})
    assert result.outcome is Outcome.MEMORY, result
    assert box.stats()["hits"] == hits + 1
    warm(box)
    assert box.run([INSIDE, "forks", "20"], limits={"pids": 5}).usage.pids_peak <= 5


def test_what_does_not_fit_is_set_up_anew(box: Sandbox) -> None:
    warm(box)
    misses = box.stats()["misses"]
    assert box.run(TRUE, tty=(24, 80)).ok
    assert box.run(TRUE, limits={"scratch": "1MiB"}).ok
    assert box.stats()["misses"] == misses + 2
    assert box.stats()["parked"] >= 1


def test_the_number_follows_the_load_and_is_bounded(probe_mounts: tuple[Mount, ...], degraded: bool) -> None:
    with Sandbox("native", mounts=probe_mounts, allow_degraded=degraded, parked=3, max_concurrency=6) as box:
        warm(box, 3)
        with ThreadPoolExecutor(6) as pool:
            assert all(result.ok for result in pool.map(lambda _: box.run(TRUE), range(40)))
        wait_until(lambda: box.stats()["parked"] == 3, seconds(10), str(box.stats()))


def test_none_is_kept_when_parking_is_off(probe_mounts: tuple[Mount, ...], degraded: bool) -> None:
    with Sandbox("native", mounts=probe_mounts, allow_degraded=degraded, parked=0) as box:
        for _ in range(3):
            assert box.run(TRUE).ok
        assert (box.stats()["parked"], box.stats()["hits"]) == (0, 0)


def test_what_is_prepared_serves_the_first_runs_and_is_not_made_again(box: Sandbox) -> None:
    box.prepare(4)
    wait_until(lambda: box.stats()["parked"] == 4, seconds(10), str(box.stats()))
    assert (box.stats()["launchers"], box.stats()["served"]) == (1, 0)
    for _ in range(4):
        assert box.run(TRUE).ok
    assert box.stats()["hits"] == 4
    wait_until(lambda: box._engine.launchers.living()[0].parking.at_rest, seconds(10), str(box.stats()))
    assert box.stats()["parked"] <= 1, "as many as runs were in flight"


def test_to_prepare_is_bounded_and_harmless(probe_mounts: tuple[Mount, ...], degraded: bool) -> None:
    with Sandbox("native", mounts=probe_mounts, allow_degraded=degraded, parked=2) as box:
        with pytest.raises(RequestError, match="at least 0, not -1"):
            box.prepare(-1)
        box.prepare(0)
        assert (box.stats()["launchers"], box.stats()["parked"]) == (1, 0)
        box.prepare(1000)
        wait_until(lambda: box.stats()["parked"] == 2, seconds(10), str(box.stats()))
        assert (box.stats()["launchers"], box.run(TRUE).ok) == (1, True)
    with pytest.raises(RequestError, match="closed"):
        box.prepare()


async def _prepared(**options: Any) -> dict[str, int]:
    async with AsyncSandbox("native", **options) as box:
        await box.prepare()
        return box.stats()


def test_an_asynchronous_caller_prepares_too(probe_mounts: tuple[Mount, ...], degraded: bool) -> None:
    assert asyncio.run(_prepared(mounts=probe_mounts, allow_degraded=degraded))["launchers"] == 1


def test_they_are_given_back_when_idle(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    warm(box)
    box.prepare(3)
    monkeypatch.setattr(parking, "IDLE_SECONDS", 0.2)
    assert box.run(TRUE).ok
    wait_until(lambda: box.stats()["parked"] == 0, seconds(10), "nothing is parked")
    launcher = launcher_of(box)
    wait_until(lambda: not leaks.descendants(launcher), seconds(5), "no process is left below the launcher")


@pytest.mark.parametrize("who", ["KILL", "STOP"])
def test_one_that_was_killed_while_it_was_parked_harms_one_run_at_most(box: Sandbox, who: str) -> None:
    warm(box)
    for pid in leaks.descendants(launcher_of(box)):
        with contextlib.suppress(ProcessLookupError):  # the child of one whose turn has come already
            os.kill(pid, getattr(signal, f"SIG{who}"))
    ends = []
    for _ in range(4):
        try:
            ends.append(box.run(TRUE, limits={"wall": limit(1)}).outcome)
        except SandboxError as error:
            ends.append(error.blame)
    assert ends.count(Outcome.EXITED) >= 2, ends
    assert set(ends) <= {Outcome.EXITED, Outcome.WALL_TIME, "host", "launcher"}


@pytest.mark.usefixtures("no_leaks")
def test_closing_takes_everything_with_it(probe_mounts: tuple[Mount, ...], degraded: bool) -> None:
    with Sandbox("native", mounts=probe_mounts, allow_degraded=degraded) as box:
        warm(box, 4)


CHILD = """
import sandbox, threading
with sandbox.Sandbox(**options()) as box:
    for _ in range(3):
        box.run([INSIDE, "exit", "0"])
    pid = os.fork()
    if pid == 0:
        ok = box.run([INSIDE, "exit", "0"]).ok and box.stats()["parked"] == 0
        os._exit(0 if ok else 1)
    status = os.waitpid(pid, 0)[1]
    print(json.dumps([status, box.run([INSIDE, "exit", "0"]).ok]))
"""


def test_a_forked_child_has_none_of_them(probe_program: Any, degraded: bool) -> None:
    process = callers.start(CHILD, probe=str(probe_program), degraded=degraded)
    import json

    assert json.loads(callers.finish(process, seconds(60)).splitlines()[-1]) == [0, True]


def test_one_that_dies_when_it_is_taken_harms_nobody(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at it and the order: the run is launched anew with all of its stdin, other runs go on."""
    warm(box)
    alive = parking.Parked.alive

    def and_dies(parked: parking.Parked) -> bool:
        answer = alive(parked)
        parked.lane.shutdown(socket.SHUT_RDWR)
        return answer

    with box.start([INSIDE, "sleep", "60"]) as other:
        warm(box)
        launcher = launcher_of(box)
        monkeypatch.setattr(parking.Parked, "alive", and_dies)
        result = box.run([INSIDE, "echo"], stdin=(line for line in (b"one\n", b"two\n", b"three\n")))
        monkeypatch.undo()
        assert result.stdout == b"one\ntwo\nthree\n"
        assert launcher_of(box) == launcher
        other.cancel()
        assert other.wait().outcome is Outcome.CANCELED


def test_a_tightening_that_a_parked_group_cannot_have_is_no_error(probe_mounts: tuple[Mount, ...], degraded: bool) -> None:
    """Its group was made without a CPU quota; and limits of the Sandbox are those that it is parked with."""
    profile = Profile.from_dict({"extends": "native", "limits": {"cpu_quota": 0}, "why": {"limits.cpu_quota": "a test"}})
    with Sandbox(profile, mounts=probe_mounts, allow_degraded=degraded, limits={"scratch": "1MiB"}) as box:
        warm(box)
        hits = box.stats()["hits"]
        assert box.run(TRUE).ok
        assert box.stats()["hits"] == hits + 1
        warm(box)
        assert box.run(TRUE, limits={"cpu_quota": "0.5"}).ok


def test_clocks_wait_for_input_files(box: Sandbox) -> None:
    """What we write before the program starts is not on its account."""
    files = {f"f{number}": bytes(20 << 20) for number in range(2)}
    results = []
    for _ in range(5):  # a busy host may hold up the program itself
        results.append(box.run(TRUE, files=files, limits={"cpu": limit(0.05), "wall": limit(0.5)}))
        if results[-1].ok and results[-1].timings.run_ns < results[-1].timings.setup_ns:
            return
    pytest.fail(f"what was written is on its account: {results}")


def test_few_ids_are_enough(probe_mounts: tuple[Mount, ...], degraded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many ids as runs at once: parked and dying sandboxes make way."""
    require("newuidmap")
    from sandbox.policy import idmaps

    monkeypatch.setattr(idmaps, "MAX_SLOTS", 4)
    options: Any = {"mounts": probe_mounts, "allow_degraded": degraded, "max_concurrency": 4, "parked": 4}
    with Sandbox("native", **options) as box, ThreadPoolExecutor(4) as pool:
        assert box._engine.plan.ids.slots == 4
        assert all(result.ok for result in pool.map(lambda _: box.run(TRUE), range(60)))


@pytest.mark.filterwarnings("ignore")
def test_a_sandbox_that_nobody_closes_is_collected(probe_mounts: tuple[Mount, ...], degraded: bool) -> None:
    box = Sandbox("native", mounts=probe_mounts, allow_degraded=degraded)
    warm(box)
    launcher = launcher_of(box)
    del box

    def ended() -> bool:
        gc.collect()  # its thread may hold it for a moment
        return not leaks.alive({launcher})

    wait_until(ended, seconds(10), "its launcher has ended")
