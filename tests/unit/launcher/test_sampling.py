"""The stand-in for control groups: what a process tree used, also when parts of it vanish between two looks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sandbox.launcher import sampling
from sandbox.launcher.sampling import Process, Sampler
from tests.support.clock import seconds, wait_until

TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def process(parent: int, own: tuple[int, int] = (0, 0), waited: tuple[int, int] = (0, 0), start: int = 1) -> Process:
    fields = ["S", "1", *["0"] * 9, *map(str, (*own, *waited)), "20", "0", "1", "0", str(start)]
    return Process(parent, f"7 (a b) c) {' '.join(fields)}".encode(), 7, 4096)


def run(monkeypatch: pytest.MonkeyPatch, *looks: dict[int, Process]) -> Sampler:
    sampler = Sampler(1)
    for look in looks:
        monkeypatch.setattr(sampling, "tree", lambda _, look=look: look)
        sampler.sample(0)
    return sampler


def test_a_line_of_stat_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    found = process(5, own=(3, 4), waited=(1, 2), start=99)
    assert (found.parent, found.start, found.tasks) == (5, 99, 1)
    assert (found.own, found.waited) == ((3 * TICK, 4 * TICK), (TICK, 2 * TICK))


def test_a_reaped_child_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {1: process(0), 2: process(1, own=(10, 5))}
    after = {1: process(0, waited=(11, 5))}
    sampler = run(monkeypatch, before, after)
    assert (sampler.user_ns, sampler.system_ns) == (11 * TICK, 5 * TICK)


def test_a_child_that_nobody_waits_for_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [{1: process(0), 2: process(1), 3 + n: process(2, own=(7, 0), start=n)} for n in range(4)]
    sampler = run(monkeypatch, *looks, {1: process(0), 2: process(1)})
    assert sampler.user_ns == 4 * 7 * TICK


def test_a_reused_pid_is_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = run(
        monkeypatch, {1: process(0), 2: process(1, own=(9, 0), start=1)}, {1: process(0), 2: process(1, own=(1, 0), start=2)}
    )
    assert sampler.user_ns == 10 * TICK


def test_a_whole_branch_that_vanishes_is_charged_to_who_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {1: process(0), 2: process(1, own=(5, 0)), 3: process(2, own=(6, 0))}
    assert run(monkeypatch, before, {1: process(0)}).user_ns == 11 * TICK
    assert run(monkeypatch, before, {1: process(0, waited=(11, 0))}).user_ns == 11 * TICK


THREADED = """
import ctypes, sys, threading
hold = bytearray(64 << 20)
hold[::4096] = b"x" * len(hold[::4096])
def stay():
    print("ready", flush=True)
    sys.stdin.read()
threading.Thread(target=stay).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_the_memory_of_a_process_whose_first_thread_has_ended_is_seen() -> None:
    with subprocess.Popen([sys.executable, "-c", THREADED], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        state = Path(f"/proc/{child.pid}/stat")
        wait_until(lambda: state.read_text().rpartition(")")[2].split()[0] == "Z", seconds(10), "its first thread has ended")
        found = sampling.tree(child.pid)[child.pid]
        assert found.resident > 64 << 20
        assert sampling.proportional(child.pid, found.living, found.resident) > 64 << 20
        assert sampling.proportional(child.pid, child.pid, found.resident) > 64 << 20, "its first thread tells nothing"
        child.kill()
    assert sampling.proportional(child.pid, child.pid, 1) == 0


def test_threads_that_end_do_not_hide_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    slurp, gone = sampling.slurp, f"/proc/{os.getpid()}/task/{os.getpid()}/statm".encode()

    def once(path: bytes) -> bytes:
        if path == gone:
            monkeypatch.setattr(sampling, "slurp", slurp)
            raise ProcessLookupError
        return slurp(path)

    monkeypatch.setattr(sampling, "slurp", once)
    assert sampling.tree(os.getpid())[os.getpid()].resident > 0


SPINNING = """
import subprocess, sys, threading
if len(sys.argv) > 1:
    while True:
        pass
child = subprocess.Popen([sys.executable, __file__, "spin"])
print("ready", flush=True)
sys.stdin.read()
child.kill()
"""


def test_who_runs_or_waits_for_a_cpu_is_seen_among_those_that_sleep(tmp_path: Path) -> None:
    (script := tmp_path / "spinning.py").write_text(SPINNING)
    with subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        wait_until(lambda: sampling.can_run(child.pid), seconds(10), "its child runs")
        child.communicate()
    assert not sampling.can_run(child.pid), "it is gone"
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as sleeper:
        wait_until(lambda: not sampling.can_run(sleeper.pid), seconds(10), "it waits for its input")


def test_a_thread_that_ends_hides_no_children_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    slurp = sampling.slurp

    def but_the_first(path: bytes) -> bytes:
        if path.endswith(b"/children") and b"/task/%d/" % os.getpid() in path:
            raise ProcessLookupError
        return slurp(path)

    def start() -> None:
        with subprocess.Popen(["sleep", "60"]) as child:
            found.update(sampling.tree(os.getpid()))
            child.kill()
        found[-1] = found.pop(child.pid)

    found: dict[int, Process] = {}
    monkeypatch.setattr(sampling, "slurp", but_the_first)
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert -1 in found, "a child of the second thread"


def test_shared_pages_are_counted_once_before_anybody_is_blamed() -> None:
    code = """
import mmap, os, sys
shared = mmap.mmap(-1, 32 << 20)
shared[:] = b"x" * len(shared)
for _ in range(4):
    if os.fork() == 0:
        sum(shared[n] for n in range(0, len(shared), 4096))
        os.write(1, b"ready\\n")
        sys.stdin.read()
        os._exit(0)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert [child.stdout.readline() for _ in range(4)] == [b"ready\n"] * 4
        sampler = Sampler(os.getpid())
        sampler.root = child.pid
        plain = sum(item.resident for pid, item in sampling.tree(child.pid).items() if pid != child.pid)
        assert plain > 4 * (32 << 20)
        assert sampler.sample(64 << 20) < 64 << 20
        assert sampler.sample(0) >= 4 * (32 << 20)
        child.kill()
