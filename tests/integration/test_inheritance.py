"""What the caller is, and what the host's user has, is not the payload's: priorities, and what the kernel counts per user."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox import Sandbox
from tests.conftest import ROOT
from tests.support.clock import seconds

pytestmark = pytest.mark.vm

ASK = """
import json, os, ctypes
libc = ctypes.CDLL(None, use_errno=True)
numbers = {"x86_64": (252, 135), "aarch64": (31, 92)}[os.uname().machine]
print(json.dumps({"policy": os.sched_getscheduler(0), "nice": os.getpriority(0, 0), "io": libc.syscall(numbers[0], 1, 0),
                  "personality": libc.syscall(numbers[1], 0xffffffff)}))
"""


def ask_from(prefix: list[str], degraded: bool) -> dict[str, int]:
    code = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
import sandbox
print(sandbox.run(["python3", "-c", {ASK!r}], allow_degraded={degraded}).text())
"""
    done = subprocess.run([*prefix, sys.executable, "-c", code], capture_output=True, text=True, timeout=seconds(60), check=True)
    answer: dict[str, int] = json.loads(done.stdout)
    return answer


@pytest.mark.root
@pytest.mark.parametrize(
    "prefix",
    [["chrt", "-f", "10"], ["chrt", "-r", "10"], ["nice", "-n", "-10"], ["ionice", "-c1", "-n0"], ["ionice", "-c2", "-n0"]],
    ids=" ".join,
)
def test_an_advantage_of_the_caller_is_given_up(prefix: list[str], degraded: bool) -> None:
    answer = ask_from(prefix, degraded)
    own = os.sched_getscheduler(0)  # what slows the caller stays
    slow = own in (os.SCHED_BATCH, os.SCHED_IDLE) and prefix[0] != "chrt"
    assert answer["policy"] == (own if slow else os.SCHED_OTHER)
    assert answer["nice"] == max(0, os.getpriority(os.PRIO_PROCESS, 0) - 10 * (prefix[0] == "nice"))
    assert answer["io"] >> 13 in (0, 2)
    assert (answer["io"] & 7) >= 4 or answer["io"] >> 13 == 0


def test_what_slows_the_caller_stays(degraded: bool) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert ask_from(["nice", "-n", "7"], degraded)["nice"] == min(19, max(0, own + 7))


def test_an_odd_personality_is_given_up(degraded: bool) -> None:
    assert ask_from(["setarch", "-R"], degraded)["personality"] == 0


GREEDY = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
instances = 0
while libc.inotify_init1(0) >= 0:
    instances += 1
timers, timer = 0, ctypes.c_void_p()
event = (ctypes.c_int * 16)()
event[2] = 34  # SIGEV_SIGNAL with a real-time signal: each takes one of the user's pending signals
while timers < 20000 and libc.timer_create(1, event, ctypes.byref(timer)) == 0:
    timers += 1
print(instances, timers, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def greedy(degraded: bool) -> Iterator[tuple[int, int]]:
    """A payload that holds all inotify instances and timers that it can get: how many that are."""
    said: list[bytes] = []
    full = threading.Event()
    reader, writer = os.pipe()

    def on_stdout(data: bytes) -> None:
        said.append(data)
        if b"\n" in data:
            full.set()

    with Sandbox("default", allow_degraded=degraded) as box:
        options: dict[str, Any] = {"stdin": reader, "on_stdout": on_stdout}
        handle = box.start(["python3", "-c", GREEDY], **options)
        driving = threading.Thread(target=handle.wait)
        driving.start()
        assert full.wait(seconds(15))
        instances, timers = (int(word) for word in b"".join(said).split())
        yield instances, timers
        os.close(writer)
        driving.join()
        handle.close()
        os.close(reader)


@pytest.mark.claim("SEC-LI-07")
def test_what_the_kernel_counts_per_user_is_left_to_others(greedy: tuple[int, int]) -> None:
    """The host's user has 128 inotify instances and some thousand pending signals, whatever namespaces there are."""
    instances, timers = greedy
    assert 0 < instances <= 16
    assert 0 < timers <= 512
    libc = ctypes.CDLL(None, use_errno=True)
    mine = [libc.inotify_init1(os.O_CLOEXEC) for _ in range(8)]
    try:
        assert min(mine) >= 0
    finally:
        for fd in mine:
            if fd >= 0:
                os.close(fd)


@pytest.mark.claim("SEC-LI-07")
def test_a_terminal_does_not_take_those_of_others(degraded: bool) -> None:
    code = """
import os
held = []
try:
    while True:
        held.append(os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY))
except OSError:
    print(len(held))
"""
    with Sandbox("default", allow_degraded=degraded) as box:
        result = box.run(["python3", "-c", code], tty=(24, 80))
    assert 0 < int(result.stdout) < 16
