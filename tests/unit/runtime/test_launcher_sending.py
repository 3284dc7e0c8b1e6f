"""A request that the kernel refuses for what is on its way through sockets already."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from sandbox.launcher import wire
from sandbox.model.errors import ResourceError
from sandbox.runtime import launcher
from sandbox.runtime.launcher import LauncherProcess


class Request:
    def as_tuple(self) -> tuple[int, ...]:
        return ()


def send(monkeypatch: pytest.MonkeyPatch, refusals: int, number: int) -> int:
    """Order one run on a lane that is refused so often; how often that was tried."""
    tried = 0

    def attempt(*_: object) -> None:
        nonlocal tried
        tried += 1
        if tried <= refusals:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(wire, "send", attempt)
    lane: Any = None
    request: Any = Request()
    process = LauncherProcess.__new__(LauncherProcess)
    process.order(lane, request, [])
    return tried


def test_it_is_sent_when_there_is_less(monkeypatch: pytest.MonkeyPatch):
    assert send(monkeypatch, 3, errno.ETOOMANYREFS) == 4


def test_the_patience_has_an_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(launcher, "_IN_FLIGHT_SECONDS", 0.02)
    with pytest.raises(ResourceError, match="on their way through sockets") as caught:
        send(monkeypatch, 10**9, errno.ETOOMANYREFS)
    assert caught.value.retryable


def test_nothing_else_is_tried_again(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ResourceError, match="Too many open files"):
        send(monkeypatch, 1, errno.EMFILE)
