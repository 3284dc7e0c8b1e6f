"""When a run counts as idle, by looks at a clock that the test holds."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from sandbox.launcher import runs
from sandbox.launcher.runs import Run

MS = 1_000_000
STEP = 100 * MS


@pytest.mark.parametrize(
    ("looks", "idle"),
    [
        ("50 zzz", 0),  # too early: nobody looked
        ("100 z 100 z 100 z", 3),
        ("100 z 100 r 100 z", 1),  # it waited for a CPU
        ("100 z 100 z 100 p", 0),  # it had one
        ("900 z", 1),  # the launcher was late itself: it saw one moment
        ("60 z 60 z 60 z 60 z", 2),
    ],
)
def test_idle_is_who_is_not_ready_to_run_at_several_looks(monkeypatch: pytest.MonkeyPatch, looks: str, idle: int) -> None:
    lane, other = socket.socketpair()
    with lane, other:
        request: Any = None  # nobody asks it
        run = Run(request, lane, 0)
        now = 0
        words = looks.split()
        for later, state in zip(words[::2], words[1::2], strict=True):
            now += int(later) * MS
            run.cpu_ns += MS if state == "p" else 0
            monkeypatch.setattr(runs, "can_run", lambda _, state=state: state == "r")
            found = run._idle(now, STEP)
        assert found == idle * STEP
