"""Who made a group, and whether it may go. Plain directories stand for groups: both are removed by rmdir."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.resources import janitor
from sandbox.resources.janitor import Owner


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""])
    process.wait()
    return process.pid


def name_of(owner: Owner) -> str:
    return "sandbox-{}-{}-{}-{}-0123abcd".format(*dataclasses.astuple(owner))


@pytest.fixture
def me() -> Owner:
    found = janitor.parse(janitor.new_name())
    assert found is not None
    return found


def test_a_name_tells_its_maker(me: Owner):
    assert (me.uid, me.pid) == (os.getuid(), os.getpid())
    assert me.start == janitor.start_time(os.getpid()) > 0
    assert me.namespace == os.stat("/proc/self/ns/pid").st_ino


def test_no_two_names_are_the_same():
    assert len({janitor.new_name() for _ in range(200)}) == 200


@pytest.mark.parametrize(
    "name",
    [
        "",
        "sandbox",
        "sandbox-0-1-2-3",
        "sandbox-0-1-2-3-xyz",
        "sandbox-0-1-2-3-0123abc",
        "sandbox-0-1-2-3-0123abcd/..",
        "sandbox-0-1-2-3-0123abcd\n",
        "sandbox-0--1-2-3-0123abcd",
        "xsandbox-0-1-2-3-0123abcd",
        "user.slice",
    ],
)
def test_other_names_are_nobodys(name: str):
    assert janitor.parse(name) is None


def test_the_living_are_not_stale(me: Owner):
    assert not janitor.is_stale(me)


def test_the_dead_are_stale(me: Owner):
    assert janitor.is_stale(dataclasses.replace(me, pid=dead_pid()))


def test_a_reused_pid_is_stale(me: Owner):
    assert janitor.is_stale(dataclasses.replace(me, start=me.start - 1))


def test_a_zombie_is_dead():
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""], stdout=subprocess.PIPE)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    try:
        assert janitor.start_time(process.pid) == -1
    finally:
        process.communicate()


@pytest.mark.parametrize("foreign", ["uid", "namespace"])
def test_others_cannot_be_judged(me: Owner, foreign: str):
    other = dataclasses.replace(me, pid=dead_pid())
    assert not janitor.is_stale(dataclasses.replace(other, **{foreign: getattr(me, foreign) + 1}))


def test_a_sweep_takes_only_what_is_stale_and_ours(tmp_path: Path, me: Owner):
    dead = dataclasses.replace(me, pid=dead_pid())
    stale, living = tmp_path / name_of(dead), tmp_path / name_of(me)
    foreign = tmp_path / name_of(dataclasses.replace(dead, namespace=me.namespace + 1))
    for path in (stale / "run-0", stale / "launcher", living, foreign, tmp_path / "user.slice"):
        path.mkdir(parents=True)
    assert janitor.sweep([str(tmp_path), str(tmp_path / "nowhere")]) == (str(stale),)
    assert sorted(tmp_path.iterdir()) == sorted([living, foreign, tmp_path / "user.slice"])


def test_a_sweep_leaves_what_another_user_owns(tmp_path: Path, me: Owner, monkeypatch: pytest.MonkeyPatch):
    stale = tmp_path / name_of(dataclasses.replace(me, pid=dead_pid()))
    stale.mkdir()
    theirs = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: theirs)
    assert janitor.sweep([str(tmp_path)]) == ()
    assert stale.is_dir()


def test_a_sweep_does_not_follow_a_link(tmp_path: Path, me: Owner):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "inside").mkdir(parents=True)
    base = tmp_path / "base"
    base.mkdir()
    (base / name_of(dataclasses.replace(me, pid=dead_pid()))).symlink_to(elsewhere)
    assert janitor.sweep([str(base)]) == ()
    assert (elsewhere / "inside").is_dir()
