"""Every form of stdin, and sources that take their time or lie."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import AsyncSandbox, Exited, Outcome, RequestError, Sandbox
from tests.conftest import ROOT
from tests.support.clock import limit, seconds
from tests.support.programs import INSIDE

pytestmark = pytest.mark.vm

ECHO = [INSIDE, "echo"]


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Opened at the end, so that no source of a test waits for ever."""
    event = threading.Event()
    yield event
    event.set()


def slow(gate: threading.Event) -> Iterator[bytes]:
    yield b"first"
    gate.wait()
    yield b"second"


def test_the_end_of_stdout_is_told_while_the_program_goes_on(box: Sandbox, gate: threading.Event) -> None:
    result = box.run(["sh", "-c", "echo out; exec >&-; cat >&2"], stdin=slow(gate), on_stdout_end=gate.set)
    assert (result.ok, result.stdout, result.stderr) == (True, b"out\n", b"firstsecond")


def test_an_error_of_who_is_told_of_the_end_comes_from_the_run(box: Sandbox) -> None:
    def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        box.run(["sh", "-c", "exec >&-; sleep 60"], on_stdout_end=fails)


def test_a_source_that_blocks_holds_up_nothing(box: Sandbox, gate: threading.Event) -> None:
    started = time.monotonic()
    assert box.run([INSIDE, "exit", "3"], stdin=slow(gate)).exit.to_dict() == {"code": 3}
    result = box.run(ECHO, stdin=slow(gate), limits={"wall": limit(0.3)})
    assert (result.outcome, result.stdout) == (Outcome.WALL_TIME, b"first")
    assert time.monotonic() - started < seconds(15)


def test_a_cancel_does_not_wait_for_the_source(box: Sandbox, gate: threading.Event) -> None:
    with box.start(ECHO, stdin=slow(gate)) as handle:
        handle.cancel()
        assert handle.wait().outcome is Outcome.CANCELED


def test_objects_with_read(box: Sandbox) -> None:
    data = os.urandom(300_000)
    assert box.run(ECHO, stdin=io.BytesIO(data), limits={"output": "1MiB"}).stdout == data
    with pytest.raises(RequestError, match="str instead of bytes"):
        box.run(ECHO, stdin=io.StringIO("text"))


def test_iterables_memory_and_numbers(box: Sandbox, tmp_path: Path) -> None:
    assert box.run(ECHO, stdin=[b"a", bytearray(b"b"), memoryview(b"c"), b""]).stdout == b"abc"
    assert box.run(ECHO, stdin=bytearray(b"array")).stdout == b"array"
    (tmp_path / "in").write_bytes(b"file")
    fd = os.open(tmp_path / "in", os.O_RDONLY)
    try:
        assert box.run(ECHO, stdin=fd).stdout == b"file"
    finally:
        os.close(fd)


@pytest.mark.parametrize("wrong", ["text", 3.5, type, 10**6], ids=str)
def test_what_is_no_stdin_is_an_error(box: Sandbox, wrong: Any) -> None:
    with pytest.raises(RequestError, match="stdin"):
        box.run(ECHO, stdin=wrong)


def test_a_file_that_was_closed_is_an_error(box: Sandbox) -> None:
    source = io.BytesIO(b"x")
    source.close()
    with pytest.raises((RequestError, ValueError)):
        box.run(ECHO, stdin=source)


async def numbers(count: int) -> AsyncIterator[bytes]:
    for number in range(count):
        yield b"%d\n" % number
        await asyncio.sleep(0)


def test_asynchronous_sources(probe_mounts: Any, degraded: bool) -> None:
    async def main() -> None:
        async with AsyncSandbox("native", mounts=probe_mounts, allow_degraded=degraded) as box:
            assert (await box.run(ECHO, stdin=numbers(3))).stdout == b"0\n1\n2\n"
            assert (await box.run([INSIDE, "exit", "0"], stdin=numbers(10**9))).ok
            reader = asyncio.StreamReader()
            reader.feed_data(b"one\ntwo")
            reader.feed_eof()
            assert (await box.run(ECHO, stdin=reader)).stdout == b"one\ntwo"

            async def broken() -> AsyncIterator[bytes]:
                yield b"x"
                raise KeyError("mine")

            with pytest.raises(KeyError, match="mine"):
                await box.run(ECHO, stdin=broken())
            assert box.stats()["busy"] == 0

    asyncio.run(main())


def test_a_blocking_source_does_not_block_the_loop(probe_mounts: Any, degraded: bool, gate: threading.Event) -> None:
    async def main() -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        async with AsyncSandbox("native", mounts=probe_mounts, allow_degraded=degraded) as box:
            ticking = asyncio.ensure_future(tick())
            result = await box.run(ECHO, stdin=slow(gate), limits={"wall": limit(0.5)})
            ticking.cancel()
        assert result.outcome is Outcome.WALL_TIME
        return ticks

    assert asyncio.run(main()) >= 5


def test_an_asynchronous_source_in_a_plain_call_is_an_error(box: Sandbox) -> None:
    with pytest.raises(RequestError, match="AsyncSandbox"):
        box.run(ECHO, stdin=numbers(1))


def test_sigpipe_may_have_its_default_action(degraded: bool) -> None:
    """Command line tools give it back; a payload that does not read must not end its caller then."""
    code = f"""
import signal, sys; sys.path.insert(0, {str(ROOT)!r})
import sandbox
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
for source in (bytes(10_000_000), iter([bytes(10_000_000)])):
    print(sandbox.run(["true"], stdin=source, allow_degraded={degraded}).outcome)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=seconds(60), check=False)
    assert (done.returncode, done.stdout) == (0, "exited\nexited\n"), done.stderr
    assert done.returncode != -signal.SIGPIPE


def test_streams_can_be_opened_by_their_names(run_options):
    """As JavaScript, shells and contest programs do; the pipes are of the caller's user, who is another one inside."""
    words = "cat /dev/stdin; echo out > /dev/stdout; echo err > /dev/stderr; echo more >> /proc/self/fd/1"
    with Sandbox("default", **run_options) as box:
        result = box.run(["sh", "-c", words], stdin=b"in\n")
    assert (result.exit, result.stdout, result.stderr) == (Exited(0), b"in\nout\nmore\n", b"err\n")
