"""Roots and mounts whose owner is nobody's friend: links where directories should be, swapped after the plan was made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sandbox import LaunchError, Mount, Outcome, Profile, ProfileError, Sandbox
from tests.conftest import ROOT
from tests.support.require import missing

pytestmark = pytest.mark.vm

LINKS = {"proc": "/etc", "dev": "/etc", "tmp": "/etc", "work": "/etc", "etc/shadow": "/proc/1/environ", ".points": "/etc",
         ".scratch": "/etc", ".lower": "/etc", ".root": "/etc", "mnt/a": "/etc", "opt": "/proc/1/root"}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory that every user may look into."""
    for path in (tmp_path, *tmp_path.parents[:2]):
        os.chmod(path, 0o755)
    return tmp_path


def skeleton(place: Path) -> Path:
    """A root with the host's programs in it, by links into a mount of /usr."""
    root = place / "root"
    for name in ("etc", "mnt", "usr", "home"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), root / name)
    return root


def profile(root: Path, *, writable: bool, **more: Any) -> Profile:
    usr = {"source": "/usr", "why": "the programs"}
    data = {"extends": "base", "rootfs": {"kind": "directory", "source": str(root), "writable": writable}, "mounts": [usr]}
    data["seccomp"] = {"groups": ["processes", "ipc"]}
    mounts = more.pop("mounts", [])
    return Profile.from_dict({**data, **more, "mounts": [usr, *mounts]})


BOTH = pytest.mark.parametrize("writable", [pytest.param(False, id="read-only"), pytest.param(True, id="overlay")])


@pytest.mark.claim("SEC-FS-08")
@BOTH
def test_links_in_a_root_lead_nowhere(place: Path, degraded: bool, writable: bool) -> None:
    root = skeleton(place)
    for name, target in LINKS.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        os.symlink(target, path)
    script = """
cat /etc/shadow /opt/etc/shadow
ls /mnt/a/passwd
for p in /proc /dev /tmp /work; do readlink $p; done
echo x >/work/f; cat /work/f
"""
    with Sandbox(profile(root, writable=writable), allow_degraded=degraded) as box:
        result = box.run(["/bin/sh", "-c", script])
    assert result.outcome is Outcome.EXITED
    assert result.stdout == b"x\n"
    assert not os.path.exists("/etc/f")


@pytest.mark.claim("SEC-FS-08")
@BOTH
def test_an_entry_that_is_swapped_for_a_link_is_an_error(place: Path, degraded: bool, writable: bool) -> None:
    root = skeleton(place)
    (root / "data").mkdir()
    (place / "secret").write_text("token")
    with Sandbox(profile(root, writable=writable), allow_degraded=degraded) as box:
        os.rmdir(root / "data")
        os.symlink(place, root / "data")
        if writable:  # links in it are looked up inside
            assert b"token" not in box.run(["/bin/sh", "-c", "cat /data/secret; true"]).stdout
        else:
            with pytest.raises(LaunchError, match="symbolic links"):
                box.run(["/bin/true"])


@pytest.mark.claim("SEC-FS-08")
def test_a_mount_source_that_is_swapped_for_a_link_is_an_error(place: Path, degraded: bool) -> None:
    data = place / "data"
    data.mkdir()
    (place / "secret").mkdir()
    mount = Mount(source=str(data), target="/data", writable=False, executable=False, requirement="required", why="test")
    with Sandbox("default", mounts=[mount], allow_degraded=degraded) as box:
        data.rmdir()
        os.symlink(place / "secret", data)
        with pytest.raises(LaunchError, match="symbolic links"):
            box.run(["/bin/true"])


@pytest.mark.claim("SEC-FS-08")
@BOTH
def test_a_mount_below_a_link_of_the_root_never_lands_on_the_host(place: Path, degraded: bool, writable: bool) -> None:
    root = skeleton(place)
    (root / "srv").mkdir()
    outside = place / "outside" / "bin"
    outside.mkdir(parents=True)
    (outside / "harness").write_text("hostile")
    os.symlink(place / "outside", root / "srv" / "local")
    trusted = place / "trusted"
    trusted.mkdir()
    (trusted / "harness").write_text("trusted")
    mounts = [{"source": str(trusted), "target": "/srv/local/bin", "why": "test"}]
    chosen = profile(root, writable=writable, mounts=mounts)
    if not writable:
        with pytest.raises(ProfileError, match="is a link"):
            Sandbox(chosen, allow_degraded=degraded)
        return
    with Sandbox(chosen, allow_degraded=degraded) as box:
        assert box.run(["/bin/cat", "/srv/local/bin/harness"]).stdout == b"trusted"
    assert sorted(os.listdir(outside)) == ["harness"]


@BOTH
def test_masks_and_read_only_paths_hold_in_a_root(place: Path, degraded: bool, writable: bool) -> None:
    root = skeleton(place)
    for name in ("srv/secret", "srv/fixed"):
        (root / name).mkdir(parents=True)
        os.chmod(root / name, 0o777)
    (root / "srv/secret/key").write_text("token")
    (root / "srv/conf").write_text("token")
    paths = {"masked": ["/srv/secret", "/srv/conf", "/srv/missing/x"], "readonly": ["/srv/fixed"]}
    script = """
cat /srv/secret/key /srv/conf; ls /srv/secret
echo x >/srv/fixed/x && echo written
echo x >/top && echo ok; true
"""
    with Sandbox(profile(root, writable=writable, paths=paths), allow_degraded=degraded) as box:
        result = box.run(["/bin/sh", "-c", script])
        assert result.stdout == (b"ok\n" if writable else b"")
        assert "/srv/secret" in result.enforced["masked_paths"]
        assert not box.run(["/bin/sh", "-c", "ls /top"]).ok  # gone with its run
    assert not (root / "top").exists()


@BOTH
def test_a_root_does_not_open_proc_for_writing(place: Path, degraded: bool, writable: bool) -> None:
    files = "/proc/self/oom_score_adj /proc/self/comm /proc/pressure/cpu /proc/sys/kernel/hostname"
    code = f"for f in {files}; do echo 5 >$f && echo $f; done; true"
    with Sandbox(profile(skeleton(place), writable=writable), allow_degraded=degraded) as box:
        assert box.run(["/bin/sh", "-c", code]).stdout == b""


def test_odd_files_at_the_top_of_a_root_are_left_out(place: Path, degraded: bool) -> None:
    root = skeleton(place)
    os.mkfifo(root / "initctl")
    with Sandbox(profile(root, writable=False), allow_degraded=degraded) as box:
        assert b"initctl" not in box.run(["/bin/ls", "/"]).stdout


def test_a_directory_of_the_callers_own_can_be_written(place: Path, degraded: bool) -> None:
    """A host user of its own could not: with id_map "auto" an ordinary caller's mounts decide."""
    data = place / "data"
    data.mkdir(mode=0o700)
    (data / "mine").write_text("mine")
    os.chmod(data / "mine", 0o600)
    mount = Mount(source=str(data), target="/data", writable=True, executable=False, requirement="required", why="test")
    with Sandbox("default", mounts=[mount], allow_degraded=degraded) as box:
        result = box.run(["/bin/sh", "-c", "cat /data/mine && echo theirs >/data/theirs"])
    if os.getuid() == 0:  # root's files are never a payload's
        assert b"Permission denied" in result.stderr
        return
    assert result.ok, result.stderr
    assert (data / "theirs").read_text() == "theirs\n"
    assert result.enforced["identity"]["id_map"] == "single"
    with Sandbox("default", allow_degraded=degraded) as box:
        ranges = missing("newuidmap") is None
        assert box.run(["/bin/true"]).enforced["identity"]["id_map"] == ("ranges" if ranges else "single")


@pytest.mark.root
def test_the_command_says_why_a_mount_cannot_be_used(place: Path) -> None:
    words = [sys.executable, "-m", "sandbox.cli", "run", "--mount", f"{place}:/data:rw", "--", "touch", "/data/x"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"note: {place} can be written by uid 0 only" in done.stderr
