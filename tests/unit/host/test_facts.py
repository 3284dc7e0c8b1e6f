"""Facts for the planner: files that people edit are read with care."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from sandbox.host import facts
from sandbox.host.facts import HostFacts, gather, id_ranges, online_cpus, privileged_helper, user_name


def test_ranges_of_a_user_by_name_or_id_largest_first(tmp_path: Path):
    file = tmp_path / "subuid"
    file.write_text("alice:100000:65536\nbob:1:1\n1000:300000:70000\nalice:500:10\n")
    assert id_ranges(str(file), {"alice", "1000"}) == ((300000, 70000), (100000, 65536), (500, 10))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "#alice:1:2",
        "alice",
        "alice:",
        "alice:1",
        "alice:x:5",
        "alice:5:x",
        "alice:-1:5",
        "alice:1:0",
        ":1:5",
        "alice:1:2:3",
        "alice:²:3",
    ],
)
def test_broken_lines_are_skipped(tmp_path: Path, line: str):
    file = tmp_path / "subuid"
    file.write_text(f"{line}\nalice:7:8\n")
    assert id_ranges(str(file), {"alice", ""}) == ((7, 8),)


def test_bytes_that_are_no_text_do_not_stop_the_reading(tmp_path: Path):
    file = tmp_path / "subuid"
    file.write_bytes(b"\xff\xfe:1:2\nalice:7:8\n")
    assert id_ranges(str(file), {"alice"}) == ((7, 8),)


def test_a_missing_file_has_no_ranges(tmp_path: Path):
    assert id_ranges(str(tmp_path / "none"), {"alice"}) == ()


@pytest.mark.parametrize(("mode", "found"), [(0o4755, True), (0o755, False), (0o4775, False), (0o4757, False)])
@pytest.mark.root
def test_a_helper_counts_when_root_alone_can_change_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, found: bool):
    helper = tmp_path / "newuidmap"
    helper.write_text("#!/bin/sh\n")
    helper.chmod(mode)
    monkeypatch.setattr(facts, "_HELPER_DIRECTORIES", str(tmp_path))
    assert privileged_helper("newuidmap") == (str(helper) if found else "")


def test_helpers_of_this_host_are_what_they_seem():
    for path in (gather().newuidmap, gather().newgidmap):
        if path:
            assert os.stat(path).st_uid == 0
            assert os.stat(path).st_mode & stat.S_ISUID or os.getxattr(path, "security.capability")


def test_facts_are_gathered_once_and_quickly():
    took = []
    for _ in range(5):  # the quickest: a busy host may hold up any
        gather.cache_clear()
        start = time.perf_counter()
        first = gather()
        took.append(time.perf_counter() - start)
    assert min(took) < 0.5
    assert gather() is first
    assert (first.uid, first.gid, first.arch) == (os.getuid(), os.getgid(), os.uname().machine)


@pytest.mark.parametrize(("text", "numbers"), [("0-3,8\n", (0, 1, 2, 3, 8)), ("0\n", (0,)), ("", ()), ("none", ()), ("é", ())])
def test_the_list_of_cpus(tmp_path, text, numbers):
    (tmp_path / "online").write_text(text, encoding="utf-8")
    assert online_cpus(str(tmp_path / "online")) == numbers
    assert online_cpus(str(tmp_path / "missing")) == ()


def test_this_process_runs_on_a_cpu_that_is_online():
    assert os.sched_getaffinity(0) <= set(gather().cpus)


def test_the_fingerprint_tells_hosts_apart():
    known = gather()
    values = {name: getattr(known, name) for name in HostFacts.__slots__}
    assert HostFacts(**values).fingerprint == known.fingerprint
    for name, value in {"landlock_abi": 99, "newuidmap": "/x", "subuid": ((1, 2),), "uid": 12345}.items():
        assert HostFacts(**{**values, name: value}).fingerprint != known.fingerprint, name


def test_an_id_without_a_name():
    assert user_name(4_000_000_000) == ""
