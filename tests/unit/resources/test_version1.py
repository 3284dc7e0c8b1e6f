"""Version 1: what can be told without its files."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sandbox.model.errors import CgroupError
from sandbox.resources.groups import CgroupLimits
from sandbox.resources.version1 import Base1, LauncherGroup1, _split


@pytest.mark.parametrize(
    ("used", "user", "system", "expected"),
    [(100, 0, 0, (100, 0)), (100, 40, 40, (50, 50)), (90, 30, 60, (30, 60)), (0, 4, 4, (0, 0)), (7, 1, 2, (2, 5))],
)
def test_the_exact_time_is_divided_as_the_ticks_are(used: int, user: int, system: int, expected: tuple[int, int]):
    assert _split(used, user, system) == expected


def test_directories_are_named_once():
    base = Base1({"memory": "/m", "pids": "/p", "cpu": "/c", "cpuacct": "/c"}, has_swap=False)
    assert base.directories() == ("/m", "/p", "/c")
    assert base.controllers == {"memory", "pids", "cpu", "cpuacct"}


def test_no_groups_for_a_dead_launcher(tmp_path: os.PathLike[str]):
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""])
    process.wait()
    base = Base1(dict.fromkeys(("memory", "pids", "cpuacct"), os.fspath(tmp_path)), has_swap=False)
    with pytest.raises(CgroupError, match=f"process {process.pid}. is gone"):
        base.open_group(process.pid)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("controller", "limits"),
    [
        ("cpu", CgroupLimits(memory_bytes=1 << 26, pids=9, cpu_quota_millicpus=100)),
        ("cpuset", CgroupLimits(memory_bytes=1 << 26, pids=9, cpus=(0,))),
        ("blkio", CgroupLimits(memory_bytes=1 << 26, pids=9, io_bytes_per_second=1)),
    ],
)
def test_a_limit_without_its_controller_is_refused(tmp_path: os.PathLike[str], controller: str, limits: CgroupLimits):
    places = dict.fromkeys(("memory", "pids", "cpuacct"), os.fspath(tmp_path))
    with pytest.raises(CgroupError, match=f"the {controller} controller is not usable"):
        LauncherGroup1(places, (os.fspath(tmp_path),), has_swap=False).lease(limits)
    assert os.listdir(tmp_path) == []


def test_a_lease_that_fails_leaves_nothing(tmp_path: os.PathLike[str]):
    places = {name: os.path.join(tmp_path, name) for name in ("memory", "pids", "cpuacct")}
    for path in places.values():
        os.mkdir(path)
    group = LauncherGroup1(places, tuple(places.values()), has_swap=False)
    with pytest.raises(CgroupError, match="cannot make or limit the control group"):
        group.lease(CgroupLimits(memory_bytes=1 << 26, pids=9))  # plain directories come without files
    assert [os.listdir(path) for path in places.values()] == [[], [], []]


def test_swap_that_is_not_counted_is_refused(tmp_path: os.PathLike[str]):
    places = {name: os.path.join(tmp_path, name) for name in ("memory", "pids", "cpuacct")}
    with pytest.raises(CgroupError, match="swap is on, but not accounted"):
        LauncherGroup1(places, (), has_swap=True).lease(CgroupLimits(memory_bytes=1 << 26, pids=9))
    assert os.listdir(tmp_path) == []
