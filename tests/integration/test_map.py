"""`map`: every request gets its own answer, memory and reading are bounded, and an early end leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from sandbox import AsyncSandbox, CommandNotFound, Outcome, Request, RequestError, Sandbox
from tests.support.clock import SLOWNESS, seconds, wait_until
from tests.support.leaks import alive, descendants
from tests.support.programs import INSIDE

pytestmark = pytest.mark.vm

TRUE = [INSIDE, "exit", "0"]
SLEEP = ["/bin/sh", "-c", "echo here; exec sleep 60"]


@pytest.fixture
def options(probe_mounts: Any, degraded: bool) -> dict[str, Any]:
    return {"profile": "native", "mounts": probe_mounts, "allow_degraded": degraded}


def word(number: int) -> Any:
    """One request in each of its forms, in turn."""
    argv = [INSIDE, "args", str(number)]
    return (argv, {"argv": argv}, Request(argv, env={"A": "b"}))[number % 3]


def test_every_request_has_its_own_answer(options: dict[str, Any]) -> None:
    requests = [word(number) for number in range(40)]
    with Sandbox(**options) as box:
        items = list(box.map(iter(requests), concurrency=4))
        assert box.stats()["busy"] == 0
    assert sorted(item.index for item in items) == list(range(40))
    for item in items:
        assert item.request is requests[item.index]
        assert item.unwrap().stdout == b"%d\0" % item.index


def test_results_come_as_they_end(options: dict[str, Any]) -> None:
    """The first request sleeps until all others have their results."""
    with Sandbox(**options) as box, contextlib.closing(box.map([SLEEP, *[TRUE] * 5], concurrency=2)) as items:
        assert [item.index for item in itertools.islice(items, 5)] == [1, 2, 3, 4, 5]


def test_the_error_of_one_run_is_its_own(options: dict[str, Any]) -> None:
    def refuse(_: bytes) -> None:
        raise ZeroDivisionError

    requests: list[Any] = [
        TRUE, ["/no/such"], 7, "a string", {"stdin": b""}, Request(TRUE, nonsense=1),
        Request(SLEEP, on_stdout=refuse), Request(TRUE, limits={"memory": "1TiB"}), TRUE,
    ]  # fmt: skip
    with Sandbox(**options) as box:
        items = sorted(box.map(requests, concurrency=3), key=lambda item: item.index)
    names = [type(item.error).__name__ for item in items]
    assert names == ["NoneType", "CommandNotFound", "RequestError", "RequestError", "RequestError", "TypeError",
                     "ZeroDivisionError", "PolicyError", "NoneType"]  # fmt: skip
    assert [item.index for item in items if item.result is not None] == [0, 8]
    with pytest.raises(CommandNotFound):
        items[1].unwrap()


def test_reading_ahead_is_bounded(options: dict[str, Any]) -> None:
    read = 0

    def endless() -> Iterator[list[str]]:
        nonlocal read
        while True:
            read += 1
            yield TRUE

    with Sandbox(**options) as box, contextlib.closing(box.map(endless(), concurrency=2)) as items:
        for taken in range(1, 20):
            assert next(items).unwrap().ok
            assert taken <= read <= taken + 4


@pytest.mark.usefixtures("no_leaks")
def test_an_early_close_leaves_nothing(options: dict[str, Any]) -> None:
    with Sandbox(**options) as box:
        assert box.run(TRUE).ok
        items = box.map([TRUE, *[SLEEP] * 20], concurrency=4)
        assert next(items).index == 0
        wait_until(lambda: box.stats()["busy"] == 4, seconds(20), "four sleep")
        items.close()  # type: ignore[attr-defined]
        assert (box.stats()["busy"], box.stats()["waiting"]) == (0, 0)
        assert not [thread for thread in threading.enumerate() if thread.name == "sandbox-map"]
        assert box.run(TRUE).ok


@pytest.mark.usefixtures("no_leaks")
def test_a_close_does_not_wait_for_a_slot_that_others_have(options: dict[str, Any]) -> None:
    with Sandbox(**options, max_concurrency=1) as box, box.start(SLEEP) as run:

        def requests() -> Iterator[list[str]]:
            yield TRUE
            wait_until(lambda: box.stats()["waiting"] == 1, seconds(20), "one waits")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            list(box.map(requests()))
        assert (box.stats()["busy"], box.stats()["waiting"]) == (1, 0)
        run.cancel()
        assert run.wait().outcome is Outcome.CANCELED


@pytest.mark.usefixtures("no_leaks")
def test_an_error_of_the_iterable_comes_after_what_was_read(options: dict[str, Any]) -> None:
    def broken() -> Iterator[list[str]]:
        yield TRUE
        yield TRUE
        raise LookupError("broken")

    seen = []
    with Sandbox(**options) as box:
        with pytest.raises(LookupError, match="broken"):
            for item in box.map(broken(), concurrency=4):
                seen.append(item.unwrap().ok)  # noqa: PERF401 - what came before the error is wanted
        assert box.run(TRUE).ok
    assert seen == [True, True]


def test_nothing_is_run_for_nothing(options: dict[str, Any]) -> None:
    with Sandbox(**options) as box:
        assert list(box.map([])) == []
        for wrong in (0, -1):
            with pytest.raises(RequestError, match="concurrency must be at least 1"):
                box.map([], concurrency=wrong)


def resident_kib() -> int:
    with open("/proc/self/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon"))


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_memory_stays_flat(options: dict[str, Any]) -> None:
    """Each result has 64 KiB of output: 2,000 of them kept would be 125 MiB."""
    count = 2000 if SLOWNESS == 1 else 200
    early = 0
    with Sandbox(**options) as box:
        requests = (Request(["/bin/sh", "-c", "head -c 65536 /dev/zero"]) for _ in range(count))
        for number, item in enumerate(box.map(requests)):
            assert len(item.unwrap().stdout) == 65536
            if number == count // 4:
                early = resident_kib()
    assert resident_kib() - early < 8192


@pytest.mark.usefixtures("no_leaks")
def test_the_asynchronous_twin(options: dict[str, Any]) -> None:
    read = 0

    async def source() -> AsyncIterator[Any]:
        nonlocal read
        for number in range(30):
            read += 1
            await asyncio.sleep(0)
            yield word(number)

    async def main() -> None:
        async with AsyncSandbox(**options) as box:
            numbers = []
            async for item in box.map(source(), concurrency=3):
                numbers.append(item.index)
                assert item.unwrap().stdout == b"%d\0" % item.index
                assert read <= len(numbers) + 6
            assert sorted(numbers) == list(range(30))
            items = [item async for item in box.map([TRUE, ["/no/such"], 7])]
            errors = {item.index: type(item.error).__name__ for item in items}
            assert errors == {0: "NoneType", 1: "CommandNotFound", 2: "RequestError"}

    asyncio.run(main())


@pytest.mark.usefixtures("no_leaks")
def test_a_slow_asynchronous_source_holds_up_no_result(options: dict[str, Any]) -> None:
    async def main() -> None:
        answered = asyncio.Event()

        async def source() -> AsyncIterator[Any]:
            yield TRUE
            await asyncio.wait_for(answered.wait(), seconds(20))
            yield TRUE
            raise LookupError("broken")

        async with AsyncSandbox(**options) as box:
            with pytest.raises(LookupError, match="broken"):
                async for item in box.map(source()):
                    assert item.unwrap().ok
                    answered.set()

    asyncio.run(main())


@pytest.mark.usefixtures("no_leaks")
@pytest.mark.parametrize("how", ["close", "cancel"])
def test_an_early_end_of_the_twin_leaves_nothing(options: dict[str, Any], how: str) -> None:
    async def consume(box: AsyncSandbox, first: asyncio.Event, go_on: asyncio.Event) -> None:
        async with contextlib.aclosing(box.map([TRUE, *[SLEEP] * 20], concurrency=4)) as items:
            async for item in items:
                assert item.index == 0
                first.set()
                await go_on.wait()
                if how == "close":
                    break

    async def main() -> None:
        async with AsyncSandbox(**options) as box:
            first, go_on = asyncio.Event(), asyncio.Event()
            task = asyncio.ensure_future(consume(box, first, go_on))
            await asyncio.wait_for(first.wait(), seconds(20))
            await asyncio.to_thread(wait_until, lambda: box.stats()["busy"] == 4, seconds(20), "four sleep")
            if how == "cancel":
                task.cancel()
            else:
                go_on.set()
            await asyncio.wait([task])
            assert task.cancelled() is (how == "cancel")
            assert box.stats()["waiting"] == 0
            # A launch that was under way in a worker thread is taken back by that thread.
            await asyncio.to_thread(wait_until, lambda: box.stats()["busy"] == 0, seconds(5), "every slot is given back")

    before = alive(descendants(os.getpid()))
    asyncio.run(main())
    wait_until(lambda: alive(descendants(os.getpid())) <= before, seconds(5), "nothing is left")
