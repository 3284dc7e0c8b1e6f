"""The parts both versions share. Plain files and directories stand for those of the kernel."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from sandbox.model.errors import CgroupError
from sandbox.resources import cgroupfs


@pytest.mark.parametrize(("millicpus", "expected"), [(1000, (100_000, 100_000)), (250, (25_000, 100_000)), (10, (1000, 100_000))])
def test_a_quota_is_a_part_of_the_period(millicpus: int, expected: tuple[int, int]):
    assert cgroupfs.quota(millicpus) == expected


def test_a_quota_is_exact_and_never_below_what_the_kernel_takes():
    for millicpus in range(1, 3000):
        quota, period = cgroupfs.quota(millicpus)
        assert quota >= 1000, millicpus
        assert quota * 1000 == millicpus * period, millicpus


def test_memory_is_rounded_down_to_pages():
    page = os.sysconf("SC_PAGE_SIZE")
    assert [cgroupfs.pages(size) for size in (page - 1, page, page + 1, 10 * page)] == [0, page, page, 10 * page]


@pytest.mark.parametrize(
    ("text", "expected"), [("", set()), ("0\n", {0}), ("0-3,8\n", {0, 1, 2, 3, 8}), ("2,4-5", {2, 4, 5}), ("nonsense", set())]
)
def test_lists_of_cpus(text: str, expected: set[int]):
    assert cgroupfs.cpu_list(text) == expected


def test_keyed_files():
    assert cgroupfs.keyed("oom 0\noom_kill 2\nmax unlimited\n\nlone\n") == {"oom": 0, "oom_kill": 2}


def test_what_did_not_happen_is_no_fact():
    happened = ("memory.events", "oom_kill", 1)
    assert cgroupfs.facts(("pids.events", "max", 0), happened, ("memory.peak", "bytes", 0)) == (happened,)


def test_a_limit_is_read_back(tmp_path: Path):
    directory = os.open(tmp_path, os.O_PATH)
    try:
        (tmp_path / "pids.max").write_text("max\n")
        cgroupfs.require_set(directory, "pids.max", 1234)
        assert (tmp_path / "pids.max").read_text() == "1234"
        (tmp_path / "pids.max").write_text("99999")
        with pytest.raises(CgroupError, match=r"'79999' for pids\.max instead of 7"):
            cgroupfs.require_set(directory, "pids.max", 7)
        with pytest.raises(FileNotFoundError):
            cgroupfs.require_set(directory, "cpu.max", 7)
    finally:
        os.close(directory)


def test_a_tree_is_removed_children_first(tmp_path: Path):
    top = tmp_path / "top"
    for name in ("run-0/deep/deeper", "run-1", "launcher"):
        (top / name).mkdir(parents=True)
    cgroupfs.remove_all((str(top),))
    cgroupfs.remove_all((str(top),))
    assert not top.exists()


def test_what_stays_is_named_and_the_rest_goes(tmp_path: Path):
    stuck, free = tmp_path / "stuck", tmp_path / "free"
    stuck.mkdir()
    free.mkdir()
    (stuck / "pids.max").touch()  # a plain file: the directory is never empty
    with pytest.raises(CgroupError, match=r"stuck' could not be emptied in 0 s.*cgroup\.procs"):
        cgroupfs.remove_all((str(stuck), str(free)), seconds=0)
    assert stuck.is_dir()
    assert not free.exists()


def test_a_group_without_permission_says_what_to_do():
    error = cgroupfs.failure("make", "/group", PermissionError(errno.EACCES, "Permission denied"))
    assert str(error) == "cannot make '/group': Permission denied; the group is not delegated to this user; run `sandbox doctor`"


def test_killing_shuts_the_door_first(tmp_path: Path):
    (tmp_path / "pids.max").write_text("")
    (tmp_path / "cgroup.procs").write_text("0\n")  # a process outside our pid namespace
    cgroupfs.kill_tree(str(tmp_path))
    assert (tmp_path / "pids.max").read_text() == "0"


def test_version_2_kills_in_one_write(tmp_path: Path):
    (tmp_path / "cgroup.kill").touch()
    (tmp_path / "cgroup.procs").write_text(f"{os.getpid()}\n")
    cgroupfs.kill_tree(str(tmp_path))
    assert (tmp_path / "cgroup.kill").read_text() == "1"
