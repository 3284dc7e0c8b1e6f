"""Version 2's leaf and its files, on a directory that looks like one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.model.errors import CgroupError
from sandbox.resources import version2
from sandbox.resources.groups import CgroupLimits
from sandbox.resources.version2 import Lease2

CPU_STAT = "usage_usec 3000\nuser_usec 2000\nsystem_usec 1000\nnr_periods 9\nnr_throttled 4\nthrottled_usec 70\n"
WRITABLE = ("memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cpu.max")
ALL = frozenset({"memory", "pids", "cpu", "cpuset", "io"})


@pytest.fixture
def leaf(tmp_path: Path) -> Path:
    path = tmp_path / "run-0"
    path.mkdir()
    for name in WRITABLE:
        (path / name).touch()
    (path / "cpu.stat").write_text(CPU_STAT)
    (path / "memory.events").write_text("low 0\nhigh 0\nmax 5\noom 1\noom_kill 2\noom_group_kill 1\n")
    (path / "pids.events").write_text("max 3\n")
    (path / "memory.peak").write_text("4096\n")
    return path


@pytest.fixture
def lease(leaf: Path) -> Iterator[Lease2]:
    made = Lease2(str(leaf))
    made.open()
    yield made
    made.paths = ()  # plain files cannot be removed as those of the kernel are
    made.close()


def test_every_limit_is_written(lease: Lease2, leaf: Path):
    lease.apply(CgroupLimits(memory_bytes=(1 << 26) + 1, pids=9, cpu_quota_millicpus=500), ALL, has_swap=True)
    assert {name: (leaf / name).read_text() for name in WRITABLE} == {
        "memory.max": "67108864",
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "9",
        "cpu.max": "50000 100000",
    }


def test_what_was_not_asked_for_is_not_touched(lease: Lease2, leaf: Path):
    lease.apply(CgroupLimits(memory_bytes=1 << 26, pids=9), frozenset({"memory", "pids"}), has_swap=False)
    assert (leaf / "cpu.max").read_text() == ""


def test_swap_that_cannot_be_turned_off_is_refused(lease: Lease2, leaf: Path):
    (leaf / "memory.swap.max").unlink()
    limits = CgroupLimits(memory_bytes=1 << 26, pids=9)
    lease.apply(limits, ALL, has_swap=False)
    with pytest.raises(CgroupError, match="swap is on"):
        lease.apply(limits, ALL, has_swap=True)


@pytest.mark.parametrize(
    ("controller", "limits"),
    [
        ("cpu", CgroupLimits(memory_bytes=1 << 26, pids=9, cpu_quota_millicpus=100)),
        ("cpuset", CgroupLimits(memory_bytes=1 << 26, pids=9, cpus=(0,))),
        ("io", CgroupLimits(memory_bytes=1 << 26, pids=9, io_bytes_per_second=1)),
    ],
)
def test_a_limit_without_its_controller_is_refused(lease: Lease2, controller: str, limits: CgroupLimits):
    with pytest.raises(CgroupError, match=f"the {controller} controller is not enabled"):
        lease.apply(limits, ALL - {controller}, has_swap=False)


def test_counters_and_their_sources(lease: Lease2):
    found = lease.counters()
    assert (found.memory_peak_bytes, found.oom_kills, found.oom_events, found.memory_limit_hits) == (4096, 2, 1, 5)
    assert (found.cpu_user_ns, found.cpu_system_ns) == (2_000_000, 1_000_000)
    assert (found.throttled_ns, found.nr_throttled) == (70_000, 4)
    assert (found.pids_peak, found.pids_max_events) == (0, 3)
    assert found.sources == (
        ("memory.peak", "bytes", 4096),
        ("memory.events", "oom_kill", 2),
        ("memory.events", "oom", 1),
        ("pids.events", "max", 3),
        ("cpu.stat", "usage_usec", 3000),
        ("cpu.stat", "nr_throttled", 4),
    )


def test_what_this_kernel_does_not_keep_is_no_source(lease: Lease2, leaf: Path):
    (leaf / "memory.peak").unlink()
    (leaf / "pids.events").write_text("max 0\n")
    found = lease.counters()
    assert found.memory_peak_bytes == 0
    assert not {"memory.peak", "pids.events"} & {source[0] for source in found.sources}


def test_counters_that_cannot_be_read_are_an_error(lease: Lease2, leaf: Path):
    (leaf / "memory.events").unlink()
    with pytest.raises(CgroupError, match="cannot read the counters of"):
        lease.counters()


def test_closing_twice_closes_once(leaf: Path):
    lease = Lease2(str(leaf))
    lease.open()
    lease.paths = ()
    lease.close()
    reused = os.open("/dev/null", os.O_RDONLY)
    try:
        lease.close()
        os.fstat(reused)
    finally:
        os.close(reused)


def test_enable_returns_what_is_there(tmp_path: Path):
    (tmp_path / "cgroup.controllers").write_text("memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("memory pids rdma\n")
    assert version2.enable(str(tmp_path), "") == {"memory", "pids"}


def test_a_base_with_processes_is_not_taken_by_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "cgroup.subtree_control").touch()

    def busy(path: str, text: str) -> None:
        raise OSError(16, os.strerror(16), path)

    monkeypatch.setattr(version2, "write_path", busy)
    with pytest.raises(OSError, match="busy"):
        version2.enable(str(tmp_path), "")
    (tmp_path / "cgroup.procs").touch()
    with pytest.raises(CgroupError, match="does not become empty"):
        version2.enable(str(tmp_path), "caller")


def test_the_scope_must_not_be_our_own_group(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sandbox.host.cgroups.group_of", lambda pid: "/sys/fs/cgroup/session-1.scope")
    with pytest.raises(CgroupError, match="not started in a scope of its own"):
        version2.Base2("", ALL, "a scope", ("systemd-run",)).open_group(1)
