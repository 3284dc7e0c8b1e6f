"""The thread that makes moves between control groups quick: what it writes, and when it keeps still."""

from __future__ import annotations

import os
import threading

import pytest

from sandbox.resources import haste
from sandbox.resources.haste import Haste


@pytest.fixture
def place(tmp_path):
    (tmp_path / "cgroup.procs").touch()
    return tmp_path


def wait():
    for thread in threading.enumerate():
        if thread.name == "sandbox-haste":
            thread.join(30)
            assert not thread.is_alive()


def test_our_own_process_is_written_where_it_is(place):
    made = Haste(os.fspath(place))
    made.expect_move()
    made.expect_move()
    wait()
    first = (place / "cgroup.procs").read_bytes()
    made.expect_move()
    wait()
    assert first == b"0" * len(first) != b""
    assert len((place / "cgroup.procs").read_bytes()) >= 1


def test_one_thread_is_enough(place):
    made = Haste(os.fspath(place))
    for _ in range(50):
        made.expect_move()
    assert sum(thread.name == "sandbox-haste" for thread in threading.enumerate()) == 1
    wait()


def test_who_was_moved_by_somebody_stays_there(place, monkeypatch):
    made = Haste(os.fspath(place))
    monkeypatch.setattr(haste, "_groups", lambda: b"8:pids:/elsewhere\n")
    made.expect_move()
    wait()
    assert (place / "cgroup.procs").read_bytes() == b""


def test_a_forked_child_writes_nothing(place):
    made = Haste(os.fspath(place))
    made._owner = os.getppid()
    made.expect_move()
    wait()
    assert (place / "cgroup.procs").read_bytes() == b""


def test_what_cannot_be_written_is_left_alone(tmp_path):
    made = Haste(os.fspath(tmp_path))
    made.expect_move()
    wait()
    made.expect_move()
    assert not any(thread.name == "sandbox-haste" for thread in threading.enumerate())
