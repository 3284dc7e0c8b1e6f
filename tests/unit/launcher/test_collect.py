from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from sandbox.launcher import collect, wire
from sandbox.model.launch import LaunchRequest
from sandbox.runtime.collected import unpack_collected


def gather(work: Path, *names: str, files: int = 100, size: int = 1 << 20) -> tuple[dict[str, bytes], dict[str, str]]:
    request = LaunchRequest(
        program=b"",
        wall_ns=0,
        cpu_ns=0,
        idle_ns=0,
        cpus=1,
        scratch_bytes=0,
        scratch_inodes=0,
        joins=0,
        tty=(),
        collect=tuple(os.fsencode(name) for name in names),
        collect_bytes=size,
        collect_files=files,
        oom_bytes=0,
        pids=0,
        memory_bytes=0,
    )
    before = len(os.listdir("/proc/self/fd"))
    ours, theirs = wire.pair()
    fd = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
    collect.deliver(fd, request, ours, (31,))
    os.close(fd)
    packet = wire.receive(theirs)
    assert packet is not None
    found, refused = unpack_collected(packet[1][0])
    wire.close_all(packet[1])
    ours.close()
    theirs.close()
    assert len(os.listdir("/proc/self/fd")) == before
    return {name: data for name, _, data in found}, dict(refused)


def test_files_and_trees_are_taken(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "deep").write_bytes(b"1")
    (tmp_path / "top").write_bytes(b"2")
    assert gather(tmp_path, ".") == ({"a/b/deep": b"1", "top": b"2"}, {})
    assert gather(tmp_path, "a", "missing") == ({"a/b/deep": b"1"}, {"missing": "missing"})


@pytest.mark.claim("SEC-IO-01")
def test_links_fifos_sockets_and_hard_links_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("token")
    work = tmp_path / "work"
    work.mkdir()
    (work / "link").symlink_to(secret)
    (work / "dirlink").symlink_to(tmp_path)
    os.mkfifo(work / "fifo")
    os.link(secret, work / "hard")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(work / "sock"))
    found, refused = gather(work, ".", "link", "dirlink/secret", "../secret", "/etc/passwd")
    listener.close()
    assert found == {}
    assert set(refused) >= {"link", "fifo", "hard", "sock", "dirlink", "dirlink/secret", "../secret", "/etc/passwd"}


@pytest.mark.claim("SEC-IO-01")
def test_sizes_and_counts_are_bounded_before_anything_is_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    for number in range(5):
        (tmp_path / f"f{number}").write_bytes(b"x" * 10)
    found, refused = gather(tmp_path, ".", files=3, size=1000)
    assert len(found) == 3
    assert "collect_bytes" in refused["sparse"] or "collect_files" in refused["sparse"]
    found, refused = gather(tmp_path, ".", size=25)
    assert len(found) == 2


@pytest.mark.claim("SEC-IO-01")
def test_depth_and_odd_names_end_well(tmp_path: Path) -> None:
    os.mkdir(tmp_path / "odd")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/odd/\xff\n")).write_bytes(b"x")
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(200):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    found, refused = gather(tmp_path, ".")
    assert list(found.values()) == [b"x"]
    assert "too deep" in refused.values()


def test_an_unreadable_mode_is_named_not_fatal(tmp_path: Path) -> None:
    (tmp_path / "closed").write_bytes(b"x")
    (tmp_path / "closed").chmod(0)
    found, refused = gather(tmp_path, ".")
    assert found == {"closed": b"x"} or "closed" in refused


@pytest.mark.parametrize("name", ("a", "a/b"))
def test_a_name_is_taken_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    assert gather(tmp_path, name, ".")[0] == {name: b"x"}
