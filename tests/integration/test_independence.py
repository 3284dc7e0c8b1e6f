"""What happens to one run, or to its caller, is nobody else's trouble."""

from __future__ import annotations

import asyncio
import os
import pickle
import resource
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import sandbox
from sandbox import AsyncSandbox, LauncherDied, Mount, Outcome, Profile, RequestError, ResourceError, Sandbox
from tests.support import callers, resting
from tests.support.clock import limit, seconds, wait_until
from tests.support.leaks import alive, control_groups, descendants
from tests.support.programs import INSIDE
from tests.support.require import missing

pytestmark = pytest.mark.vm

TRUE = [INSIDE, "exit", "0"]


@pytest.fixture
def fresh(probe_mounts: tuple[Mount, ...], degraded: bool) -> Iterator[Sandbox]:
    """A launcher for one test, which may lose it."""
    with Sandbox("native", mounts=probe_mounts, allow_degraded=degraded) as made:
        made.run(TRUE)
        yield made


@pytest.fixture
def bare(probe_mounts: tuple[Mount, ...], degraded: bool) -> Iterator[Sandbox]:
    """The same, with no sandbox beside those of the test."""
    with Sandbox("native", mounts=probe_mounts, allow_degraded=degraded, parked=0) as made:
        made.run(TRUE)
        yield made


def launcher_of(box: Sandbox) -> int:
    """The launcher proper: the keeper's only child."""
    process = box._engine.launchers.living()[0]
    assert process is not None
    keeper = process.pid
    with open(f"/proc/{keeper}/task/{keeper}/children") as file:
        found = [int(word) for word in file.read().split()]
    return found[0]


@pytest.mark.claim("SEC-RS-04")
def test_closed_runs_end_no_other(fresh: Sandbox) -> None:
    """Closing takes the group away while the launcher still looks at its clock."""
    with fresh.start([INSIDE, "sleep", "60"]) as victim:
        until = time.monotonic() + min(seconds(2), 10)

        def churn(number: int) -> int:
            count = 0
            while time.monotonic() < until:
                handle = fresh.start(TRUE)
                if count % 2:
                    time_left = (number + count) % 7 / 1000
                    threading.Event().wait(time_left)
                handle.close()
                count += 1
            return count

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(churn, range(4))) > 4
        victim.cancel()
        assert victim.wait().outcome is Outcome.CANCELED
    assert fresh.run(TRUE).ok


@pytest.mark.parametrize("who", ["launcher", "keeper"])
def test_a_launcher_that_died_while_idle_is_replaced(fresh: Sandbox, who: str) -> None:
    before = launcher_of(fresh)
    process = fresh._engine.launchers.living()[0]
    assert process is not None
    os.kill(before if who == "launcher" else process.pid, signal.SIGKILL)
    wait_until(process.gone, seconds(5), "the launcher is gone")
    assert [fresh.run(TRUE).ok for _ in range(3)] == [True] * 3
    assert launcher_of(fresh) != before


def test_events_of_a_reused_descriptor_are_forgotten(bare: Sandbox) -> None:
    """One batch of events: A has ended, B is to be launched and gets A's descriptors, A's lane is closed."""
    launcher = launcher_of(bare)
    for files in ({}, {"x": b"1"}):
        a = bare.start([INSIDE, "sleep", "60"], files={"a": b"1"})
        inits = set(children(launcher))
        os.kill(launcher, signal.SIGSTOP)
        try:
            for pid in inits:
                os.kill(pid, signal.SIGKILL)
            b = bare.start([INSIDE, "sleep", "60"], files=files, limits={"wall": limit(1)})
            closing = threading.Thread(target=a.close)
            closing.start()
            threading.Event().wait(0.1)
        finally:
            os.kill(launcher, signal.SIGCONT)
        assert b.wait(seconds(20)).outcome is Outcome.WALL_TIME
        b.close()
        closing.join()
    assert launcher_of(bare) == launcher


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()]


def test_a_launcher_that_does_not_answer_is_given_up(fresh: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    from sandbox.runtime import active

    monkeypatch.setattr(active, "ANSWER_SECONDS", 0.5)
    launcher = launcher_of(fresh)
    os.kill(launcher, signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(LauncherDied, match="did not answer"):
            fresh.run([INSIDE, "sleep", "60"], limits={"wall": "200ms"})
        assert time.monotonic() - started < seconds(20)
    finally:
        with suppress(ProcessLookupError):  # it was dropped, and has gone
            os.kill(launcher, signal.SIGKILL)
    assert fresh.run(TRUE).ok


def test_a_launcher_that_does_not_end_has_ended_when_it_was_closed(fresh: Sandbox) -> None:
    """Its keeper is killed, and the launcher with it, but at once is not before."""
    launcher, process = launcher_of(fresh), fresh._engine.launchers.living()[0]
    fresh.start([INSIDE, "sleep", "60"]).close()
    inside = descendants(launcher)
    os.kill(launcher, signal.SIGSTOP)
    process.close(timeout=0.05)
    assert not alive({launcher, process.pid, *inside})


@pytest.mark.claim("SEC-RS-04")
def test_a_launcher_that_is_stopped_ends_with_its_caller_all_the_same(probe_program: Path, degraded: bool) -> None:
    code = """
from sandbox import Sandbox
box = Sandbox(**options())
box.run([INSIDE, "exit", "0"])
print(box._engine.launchers.living()[0].pid, flush=True)
__import__("signal").pause()
"""
    caller = callers.start(code, probe=str(probe_program), degraded=degraded)
    try:
        keeper = int(caller.stdout.readline()) if caller.stdout else 0
        (launcher,) = children(keeper)
        os.kill(launcher, signal.SIGSTOP)
    finally:
        caller.kill()
        caller.communicate()
    wait_until(lambda: not os.path.exists(f"/proc/{launcher}"), seconds(10), "the launcher is gone")
    wait_until(lambda: not os.path.exists(f"/proc/{keeper}"), seconds(10), "its keeper is gone")


def test_closing_from_another_thread_ends_a_wait(fresh: Sandbox) -> None:
    handle = fresh.start([INSIDE, "sleep", "60"])
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(handle.wait)
        wait_until(lambda: handle._driver, seconds(5), "the other thread waits")
        handle.close()
        with pytest.raises(RequestError, match="closed"):
            waiting.result(seconds(10))
    assert fresh.stats()["busy"] == 0


def test_a_callback_may_close_its_run(fresh: Sandbox) -> None:
    handles: list[Any] = []
    handle = fresh.start([INSIDE, "flood", "1000000"], on_stdout=lambda _: handles[0].close())
    handles.append(handle)
    with pytest.raises(RequestError, match="closed"):
        handle.wait()
    assert fresh.stats()["busy"] == 0


def test_a_wait_may_give_up_and_come_back(fresh: Sandbox) -> None:
    with fresh.start([INSIDE, "sleep", "60"], limits={"wall": limit(1)}) as handle:
        with pytest.raises(TimeoutError):
            handle.wait(timeout=0.05)
        assert handle.wait().outcome is Outcome.WALL_TIME
        assert handle.wait(timeout=0).outcome is Outcome.WALL_TIME


def test_a_handle_that_nobody_keeps_gives_its_slot_back(fresh: Sandbox) -> None:
    with pytest.warns(ResourceWarning, match="neither waited for nor closed"):
        fresh.start([INSIDE, "sleep", "60"])
    assert fresh.stats()["busy"] == 0


def test_an_exception_while_waiting_for_a_slot_takes_no_slot(probe_mounts: tuple[Mount, ...], degraded: bool) -> None:
    class Late(Exception):
        pass

    def too_late(*_: object) -> None:
        raise Late

    with Sandbox("native", mounts=probe_mounts, allow_degraded=degraded, max_concurrency=1) as box:
        handle = box.start([INSIDE, "sleep", "60"])
        before = signal.signal(signal.SIGALRM, too_late)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            with pytest.raises(Late):
                box.run(TRUE)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        handle.close()
        assert box.stats()["waiting"] == box.stats()["busy"] == 0
        assert box.run(TRUE, queue_timeout=seconds(10)).ok


def own_groups() -> set[str]:
    return {path for path in control_groups() if f"-{os.getpid()}-" in path}


def test_canceled_tasks_leave_nothing(bare: Sandbox) -> None:
    """Canceled while it starts, runs or is concluded; the loop may be at its end already."""
    twin = AsyncSandbox.__new__(AsyncSandbox)
    twin._sandbox = bare
    resting.settle()
    fds, groups = len(os.listdir("/proc/self/fd")), own_groups()
    for turn in range(30):
        try:
            asyncio.run(asyncio.wait_for(twin.run(TRUE), 0.0005 * (turn % 20)))
        except TimeoutError:
            continue
    wait_until(lambda: bare.stats()["busy"] == 0, seconds(5), "the slots are free")
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= fds, seconds(5), "the descriptors are closed")
    wait_until(lambda: own_groups() == groups, seconds(5), "the groups are removed")
    assert bare.run(TRUE).ok


@contextmanager
def no_descriptors_left() -> Iterator[None]:
    """Whoever opens something meets EMFILE."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_caller_without_descriptors_loses_one_result_only(fresh: Sandbox) -> None:
    victim = fresh.start([INSIDE, "sleep", "60"])
    collecting = fresh.start(["/bin/sh", "-c", "echo x >out; echo y"], collect=["out"])
    launcher = launcher_of(fresh)
    with no_descriptors_left(), pytest.raises(ResourceError, match="could not be received"):
        collecting.wait()
    with no_descriptors_left(), pytest.raises(ResourceError, match="Too many open files"):
        fresh.run(TRUE)
    victim.cancel()
    assert victim.wait().outcome is Outcome.CANCELED
    assert launcher_of(fresh) == launcher
    collecting.close()
    victim.close()


def test_descriptors_in_flight_are_the_payloads_trouble(probe_mounts: tuple[Mount, ...], degraded: bool) -> None:
    """The kernel counts them for the host's user (ETOOMANYREFS): with the caller's own id they count for him too."""
    if os.getuid() == 0:
        profile = Profile.load("default")  # root's payloads have ids of their own
    else:
        profile = Profile.from_dict({"extends": "default", "identity": {"id_map": "single"}, "limits": {"open_files": 1024}})
    code = """
import array, os, socket, time
fds = [os.dup(2) for _ in range(100)]
pairs, sent = [], 0
try:
    while True:
        pairs.append(socket.socketpair())
        pairs[-1][0].sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
        sent += len(fds)
except OSError as e:
    print("full", flush=True)
time.sleep(60)
"""
    full = threading.Event()
    with Sandbox(profile, mounts=probe_mounts, allow_degraded=degraded) as box:
        handle = box.start(["python3", "-c", code], on_stdout=lambda _: full.set())
        driving = threading.Thread(target=handle.wait)
        driving.start()
        assert full.wait(seconds(15))
        assert [box.run(TRUE).ok for _ in range(3)] == [True] * 3
        handle.cancel()
        driving.join()
        handle.close()


def test_shared_launchers_are_not_closed_under_their_users(degraded: bool) -> None:
    profiles = [Profile.load("strict").tightened(memory=f"{100 + number}MiB") for number in range(12)]

    def serve(number: int) -> list[bool]:
        return [sandbox.run(["true"], profile=profiles[(number + turn) % 12], allow_degraded=degraded).ok for turn in range(8)]

    with ThreadPoolExecutor(8) as pool:
        assert all(ok for answers in pool.map(serve, range(8)) for ok in answers)


def test_output_that_is_there_is_not_lost(fresh: Sandbox) -> None:
    """A payload can make its pipe larger than what is read at once, and a callback may be slow."""
    code = "import fcntl, os; fcntl.fcntl(1, 1031, 1 << 20); os.write(1, b'y' * 900000)"
    result = fresh.run(["python3", "-c", code], on_stdout=lambda _: threading.Event().wait(0.05))
    assert len(result.stdout) == 900_000
    assert not result.truncated


def test_a_forked_child_holds_nothing_of_a_run(fresh: Sandbox) -> None:
    base = len(os.listdir("/proc/self/fd"))
    handles = [fresh.start([INSIDE, "sleep", "60"]) for _ in range(3)]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, b"%d" % len(os.listdir("/proc/self/fd")))
        os._exit(0)
    os.close(writer)
    assert int(os.read(reader, 16)) <= base + 2  # the pipe
    os.close(reader)
    os.waitpid(child, 0)
    for handle in handles:
        handle.close()


def test_errors_travel_between_processes() -> None:
    code = """
import concurrent.futures, sandbox
def work(n):
    sandbox.run([], **options())
with concurrent.futures.ProcessPoolExecutor(1) as pool:
    try:
        pool.submit(work, 1).result()
    except sandbox.SandboxError as error:
        tell(error)
"""
    probe = "/bin/true"
    out = callers.finish(callers.start(code, probe=probe, degraded=missing("cgroup") is not None), seconds(60))
    assert '"RequestError"' in out
    error = sandbox.UnsupportedHostError("userns", "nothing can run", "sysctl x=1")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.feature, again.remedy) == (type(error), str(error), "userns", "sysctl x=1")
