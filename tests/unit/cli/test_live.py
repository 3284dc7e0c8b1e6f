"""Signals, streams and the terminal, without a sandbox."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest

from sandbox.cli import live
from sandbox.model.errors import RequestError

ROOT = Path(__file__).resolve().parents[3]
STUCK = """
import signal, sys
from sandbox.cli.live import Signals

class Run:
    def cancel(self):
        print("canceled", flush=True)

with Signals(Run(), resizes=False, before_exit=lambda: print("restored", flush=True)):
    print("ready", flush=True)
    while True:
        signal.pause()
"""


@pytest.mark.parametrize(("first", "second"), [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGHUP)])
def test_a_second_signal_ends_a_command_that_is_stuck(first, second):
    with subprocess.Popen(
        [sys.executable, "-c", STUCK], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(first)
        assert process.stdout.readline() == b"canceled\n"
        process.send_signal(second)
        assert process.stdout.read() == b"restored\n"
        assert process.wait(10) == 128 + second


def test_a_slow_non_blocking_reader_gets_every_byte():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    data = os.urandom(1 << 20)
    got = bytearray()

    def read():
        while part := os.read(reader, 10_000):
            got.extend(part)

    thread = threading.Thread(target=read)
    thread.start()
    live.Output().writer(writer)(data)
    os.close(writer)
    thread.join(10)
    os.close(reader)
    assert bytes(got) == data


def test_a_full_disk_and_a_gone_reader_are_told_apart():
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(RequestError, match="No space left"):
        live.Output().writer(full)(b"x")
    os.close(full)
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        live.Output().writer(writer)(b"x")
    os.close(writer)


def test_a_terminal_is_restored_also_after_an_error():
    master, slave = os.openpty()
    before = termios.tcgetattr(slave)
    with pytest.raises(ZeroDivisionError), live.RawTerminal(slave):
        assert termios.tcgetattr(slave) != before
        raise ZeroDivisionError
    assert termios.tcgetattr(slave) == before
    raw = live.RawTerminal(slave)
    os.close(master)
    os.close(slave)
    raw.restore()  # a terminal that has gone away


def test_closed_streams_are_taken_before_anything_else_can():
    code = """
import os
from sandbox.cli.live import occupy_standard_streams
occupy_standard_streams()
print("out", flush=True)
os._exit(os.open("/", os.O_RDONLY))
"""
    for closing, expected in (("<&-", b"out\n"), (">&-", b""), ("<&- >&- 2>&-", b"")):
        done = subprocess.run(
            ["/bin/sh", "-c", f'exec "$0" -c "$1" {closing}', sys.executable, code],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        assert done.returncode > 2
        assert done.stdout == expected
