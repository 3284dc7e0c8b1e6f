"""What is written to the payload's stdin, and when; the pipe is drained by hand."""

from __future__ import annotations

import contextlib
import os
import select

import pytest

from sandbox.runtime.feed import Feed
from sandbox.runtime.inflow import Inflow

LARGE = bytes(range(256)) * 3000  # 768,000 bytes: more than a pipe, less than the largest


@pytest.fixture
def epoll():
    with select.epoll() as found:
        yield found


def everything(fd: int) -> bytes:
    parts = []
    while part := os.read(fd, 1 << 20):
        parts.append(part)
    os.close(fd)
    return b"".join(parts)


@contextlib.contextmanager
def feed_of(kind, data, tmp_path):
    (tmp_path / "input").write_bytes(data)
    with open(tmp_path / "input", "rb") as file:
        yield Feed(data if kind == "bytes" else file)


@pytest.mark.parametrize("kind", ["bytes", "a plain file"])
@pytest.mark.parametrize("data", [b"", b"x", b"y" * 60_000])
def test_what_fits_is_written_before_anything_runs(epoll, tmp_path, kind, data):
    with feed_of(kind, data, tmp_path) as feed:
        inflow = Inflow(feed, epoll)
        reader = inflow.open()
        inflow.begin()
    assert (inflow.fd, inflow.error, epoll.poll(0)) == (-1, None, [])
    assert everything(reader) == data


@pytest.mark.parametrize("kind", ["bytes", "a plain file"])
def test_a_large_input_takes_one_event(epoll, tmp_path, kind):
    with feed_of(kind, LARGE, tmp_path) as feed:
        inflow = Inflow(feed, epoll)
        reader = inflow.open()
        inflow.begin()
        for fd, _ in epoll.poll(0):
            inflow.advance(fd)
    assert inflow.fd == -1
    assert everything(reader) == LARGE


def test_a_pipe_that_cannot_grow_is_filled_as_it_drains(epoll, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "the user's share is used up")

    monkeypatch.setattr("fcntl.fcntl", refuse)
    inflow = Inflow(Feed(LARGE), epoll)
    reader = inflow.open()
    inflow.begin()
    got, events = b"", 0
    while inflow.fd >= 0:
        for fd, _ in epoll.poll(0):
            events += 1
            inflow.advance(fd)
        got += os.read(reader, 65536)
    assert got + everything(reader) == LARGE
    assert events >= len(LARGE) // 65536 - 1


def test_a_source_is_waited_for_and_ends(epoll):
    source, theirs = os.pipe()
    inflow = Inflow(Feed(source), epoll)
    reader = inflow.open()
    inflow.begin()
    assert epoll.poll(0) == []  # nothing is there, and the empty pipe wakes nobody
    os.write(theirs, b"late")
    for _ in range(2):
        for fd, _ in epoll.poll(0):
            inflow.advance(fd)
    assert os.read(reader, 100) == b"late"
    os.close(theirs)
    for _ in range(2):
        for fd, _ in epoll.poll(0):
            inflow.advance(fd)
    assert inflow.fd == -1
    assert everything(reader) == b""
    os.close(source)


def test_a_reader_that_has_gone_ends_it(epoll):
    inflow = Inflow(Feed(LARGE), epoll)
    reader = inflow.open()
    inflow.begin()
    os.close(reader)
    for fd, _ in epoll.poll(0):
        inflow.advance(fd)
    assert (inflow.fd, inflow.error) == (-1, None)
