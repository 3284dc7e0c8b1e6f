from __future__ import annotations

import os
import socket

import pytest

from sandbox.launcher import wire
from sandbox.model import codec


def pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = wire.pair()
    return socket.socket(fileno=ours.detach()), socket.socket(fileno=theirs.detach())


def test_messages_carry_values_and_descriptors() -> None:
    ours, theirs = pair()
    with ours, theirs:
        reader, writer = os.pipe()
        wire.send(ours, (7, b"x", ("y", None)), [writer])
        os.close(writer)
        packet = wire.receive(theirs)
        assert packet is not None
        message, fds = packet
        assert message == (7, b"x", ("y", None))
        assert not os.get_inheritable(fds[0])
        os.write(fds[0], b"!")
        assert os.read(reader, 1) == b"!"
        wire.close_all([reader, *fds])


def test_large_bodies_travel_in_a_sealed_memfd() -> None:
    ours, theirs = pair()
    with ours, theirs:
        wire.send(ours, (1, b"z" * 5_000_000))
        packet = wire.receive(theirs)
        assert packet is not None
        assert len(packet[0][1]) == 5_000_000
        assert packet[1] == []


def test_end_of_file_is_none() -> None:
    ours, theirs = pair()
    ours.close()
    assert wire.receive(theirs) is None
    theirs.close()


@pytest.mark.parametrize("raw", (b"\2", b"\0", b"\0garbage", b"\1", b"\0" + codec.encode(()), b"\0" + codec.encode((b"kind",))))
def test_malformed_packets_are_refused(raw: bytes) -> None:
    ours, theirs = pair()
    with ours, theirs:
        ours.send(raw)
        with pytest.raises(wire.WireError):
            wire.receive(theirs)


def test_memory_files_cannot_be_changed_by_who_holds_them() -> None:
    memfd = wire.memory_file(b"test", (b"abc",))
    with pytest.raises(PermissionError):
        os.write(memfd, b"x")
    with pytest.raises(PermissionError):
        os.ftruncate(memfd, 1)
    assert wire.read_memory_file(memfd) == b"abc"
    with pytest.raises(wire.WireError):
        wire.read_memory_file(memfd, limit=2)
    os.close(memfd)


def test_file_sets_round_trip_and_lies_about_sizes_are_refused() -> None:
    memfd = wire.file_set([(b"a", 0o644, 1), (b"b/c", 0o755, 2)], (b"extra",), lambda fd: os.write(fd, b"122"), b"test")
    entries, extra, offset = wire.read_index(memfd)
    assert entries == ((b"a", 0o644, 1), (b"b/c", 0o755, 2))
    assert extra == (b"extra",)
    assert os.pread(memfd, 3, offset) == b"122"
    os.close(memfd)
    short = wire.file_set([(b"a", 0o644, 4)], (), lambda fd: os.write(fd, b"1"))
    with pytest.raises(wire.WireError):
        wire.read_index(short)
    os.close(short)
