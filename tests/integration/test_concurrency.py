"""Many at once, in threads, tasks and forked processes: every run gets its own answer and nothing is left."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sandbox import AsyncSandbox, CapacityError, LauncherDied, Outcome, RequestError, Sandbox
from tests.conftest import ROOT
from tests.support.clock import SLOWNESS, seconds, wait_until
from tests.support.leaks import alive, descendants
from tests.support.programs import INSIDE
from tests.support.require import require

pytestmark = [pytest.mark.vm, pytest.mark.heavy]

THREADS = 64
RUNS, TASKS = (50, 500) if SLOWNESS == 1 else (3, 100)  # the slow machine shows races by being slow


@pytest.fixture
def options(probe_mounts: Any, degraded: bool) -> dict[str, Any]:
    return {"profile": "native", "mounts": probe_mounts, "allow_degraded": degraded}


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("no_leaks")
def test_threads(options: dict[str, Any]) -> None:
    wrong: list[Any] = []
    with Sandbox(**options) as box:

        def serve(thread: int) -> int:
            for turn in range(RUNS):
                word = f"{thread}.{turn}"
                result = box.run([INSIDE, "args", word])
                if not result.ok or result.stdout != word.encode() + b"\0":
                    wrong.append((word, result))
            return RUNS

        with ThreadPoolExecutor(THREADS) as pool:
            assert sum(pool.map(serve, range(THREADS))) == THREADS * RUNS
        assert box.stats()["busy"] == 0
        assert box.stats()["served"] == THREADS * RUNS
    assert not wrong, wrong[:3]


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("no_leaks")
def test_tasks(options: dict[str, Any]) -> None:
    async def one(box: AsyncSandbox, number: int) -> bool:
        result = await box.run([INSIDE, "echo"], stdin=b"%d" % number)
        return result.ok and result.stdout == b"%d" % number

    async def main() -> list[bool]:
        async with AsyncSandbox(**options) as box:
            return await asyncio.gather(*(one(box, number) for number in range(TASKS)))

    assert asyncio.run(main()) == [True] * TASKS


@pytest.mark.timeout(600)
def test_arun_shares_one_launcher(options: dict[str, Any], no_leaks: None) -> None:
    import sandbox
    from sandbox.runtime.registry import shared

    async def main() -> list[Any]:
        runs = (sandbox.arun([INSIDE, "args", str(number)], **options) for number in range(TASKS))
        return await asyncio.gather(*runs)

    results = asyncio.run(main())
    assert [result.stdout for result in results] == [b"%d\0" % number for number in range(TASKS)]
    assert len({result.plan_digest for result in results}) == 1
    shared.close()


@pytest.fixture
def uvloop() -> Any:
    """The module, after a first loop: libuv keeps one pair of pipes for the life of the process."""
    require("uvloop")
    import uvloop as module

    module.new_event_loop().close()
    return module


def test_uvloop(uvloop: Any, no_leaks: None, options: dict[str, Any]) -> None:
    async def main() -> list[Any]:
        async with AsyncSandbox(**options) as box:
            return await asyncio.gather(*(box.run([INSIDE, "args", str(number)]) for number in range(40)))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        results = runner.run(main())
    assert [result.stdout for result in results] == [b"%d\0" % number for number in range(40)]


FORKING = """
import os, sys, threading
import sandbox
from sandbox import Mount
mounts = (Mount(source=sys.argv[1], target={inside!r}, writable=False, executable=True, requirement="required", why="test"),)
options = dict(profile="native", mounts=mounts, allow_degraded=sys.argv[2] == "True")

def right(word):
    return sandbox.run([{inside!r}, "args", word], **options).stdout == word.encode() + b"\\0"

assert right("before")                      # the launcher is warm when the workers are forked
busy = threading.Thread(target=lambda: [right("busy") for _ in range(10)])
busy.start()                                # and another thread is in the middle of runs
workers = []
for number in range(4):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if all(right(f"{{number}}.{{turn}}") for turn in range(5)) else 2
            sandbox.runtime.registry.shared.close()
        finally:
            os._exit(status)
    workers.append(pid)
busy.join()
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers]
assert codes == [0, 0, 0, 0], codes
assert right("after")                       # the parent's launcher is still its own
print("right")
"""


def test_forked_workers(options: dict[str, Any], probe_program: Any, degraded: bool) -> None:
    """As gunicorn does it: import and warm up, fork, use it in every worker and in the parent."""
    command = [
        sys.executable,
        "-W",
        "ignore::DeprecationWarning",
        "-c",
        FORKING.format(inside=INSIDE),
        str(probe_program),
        str(degraded),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds(60), check=False)
    assert (done.returncode, done.stdout) == (0, "right\n"), done.stderr


@pytest.mark.usefixtures("no_leaks")
def test_cancel_from_another_thread(options: dict[str, Any]) -> None:
    started = threading.Event()
    with Sandbox(**options) as box:
        command = ["/bin/sh", "-c", "echo here; exec sleep 60"]
        with box.start(command, on_stdout=lambda _: started.set()) as run:
            times: list[float] = []

            def cancel() -> None:
                if started.wait(seconds(20)):
                    times.append(time.monotonic())
                    run.cancel()

            thread = threading.Thread(target=cancel)
            thread.start()
            result = run.wait()
            ended = time.monotonic()
            thread.join()
        assert result.outcome is Outcome.CANCELED
        assert result.stdout == b"here\n"
        assert ended - times[0] < seconds(10)  # it would sleep for a minute
        assert box.run([INSIDE, "exit", "0"]).ok


@pytest.mark.usefixtures("no_leaks")
def test_a_canceled_task_kills_its_run(options: dict[str, Any]) -> None:
    async def main() -> None:
        others = set(descendants(os.getpid()))  # launchers that earlier tests keep
        async with AsyncSandbox(**options, parked=0) as box:  # none that would be made meanwhile
            running = asyncio.Event()
            task = asyncio.ensure_future(
                box.run(["/bin/sh", "-c", "echo here; exec sleep 60"], on_stdout=lambda _: running.set())
            )
            await asyncio.wait_for(running.wait(), seconds(20))
            before = [pid for pid in descendants(os.getpid()) if pid not in others]
            assert len(before) > 2
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            warm = 2  # the keeper and the launcher stay
            await asyncio.to_thread(wait_until, lambda: len(alive(before)) <= warm, seconds(10), "the run's processes are gone")
            assert (await box.run([INSIDE, "exit", "0"])).ok
            assert box.stats()["busy"] == 0

    asyncio.run(main())


def test_output_comes_as_it_is_written(options: dict[str, Any]) -> None:
    async def main() -> tuple[list[tuple[str, bytes]], Any]:
        async with AsyncSandbox(**options) as box, await box.start(["/bin/sh", "-c", "echo one; echo two >&2"]) as run:
            chunks = [(chunk.stream, chunk.data) async for chunk in run]
            return chunks, await run.wait()

    chunks, result = asyncio.run(main())
    assert sorted(chunks) == [("stderr", b"two\n"), ("stdout", b"one\n")]
    assert (result.stdout, result.stderr) == (b"one\n", b"two\n")


@pytest.mark.usefixtures("no_leaks")
def test_an_error_of_the_callers_callback_ends_the_run(options: dict[str, Any]) -> None:
    def refuse(_: bytes) -> None:
        raise ZeroDivisionError

    with Sandbox(**options) as box:
        with pytest.raises(ZeroDivisionError):
            box.run(["/bin/sh", "-c", "echo here; exec sleep 60"], on_stdout=refuse)
        assert box.stats()["busy"] == 0
        assert box.run([INSIDE, "exit", "0"]).ok


@pytest.mark.usefixtures("no_leaks")
def test_capacity_is_bounded(options: dict[str, Any]) -> None:
    started = threading.Event()
    with Sandbox(**options, max_concurrency=1) as box:
        with box.start(["/bin/sh", "-c", "echo here; exec sleep 60"], on_stdout=lambda _: started.set()) as run:
            thread = threading.Thread(target=run.wait)
            thread.start()
            assert started.wait(seconds(20))
            with pytest.raises(CapacityError, match="1 slots") as caught:
                box.run([INSIDE, "exit", "0"], queue_timeout=0.05)
            assert caught.value.retryable
            run.cancel()
            thread.join()
        assert box.run([INSIDE, "exit", "0"], queue_timeout=seconds(10)).ok


@pytest.mark.usefixtures("no_leaks")
def test_close_ends_runs_in_flight(options: dict[str, Any]) -> None:
    started = threading.Event()
    box = Sandbox(**options)
    run = box.start(["/bin/sh", "-c", "echo here; exec sleep 60"], on_stdout=lambda _: started.set())
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            run.wait()
        except LauncherDied as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert started.wait(seconds(20))
    box.close()
    thread.join(seconds(10))
    assert len(errors) == 1
    with pytest.raises(RequestError, match="closed"):
        box.run([INSIDE, "exit", "0"])
