"""Time in tests: everything is scaled for slow machines, nothing sleeps for a guessed time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

SLOWNESS = max(1.0, float(os.environ.get("SANDBOX_TEST_SLOWNESS") or 1))


def seconds(value: float) -> float:
    """A duration of a fast machine, as long as this machine needs."""
    return value * SLOWNESS


def limit(value: float) -> str:
    """The same as the text of a limit, such as "2.5s"."""
    return f"{int(seconds(value) * 1000)}ms"


def wait_until(true: Callable[[], object], within: float, what: str = "") -> float:
    """Wait until `true()` holds; returns the seconds it took, fails after `within` (not scaled).

    For what the kernel does by itself after a process has died; it has no event that another process could wait for.
    """
    start = time.monotonic()
    while not true():
        if time.monotonic() - start > within:
            raise AssertionError(f"not true within {within:g} s: {what or true!r}")
        time.sleep(0.005)
    return time.monotonic() - start
