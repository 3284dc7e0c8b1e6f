"""The launchers of one engine: one at first, more when more runs are in flight than one can serve, fewer when they idle.

A launcher is one process that serves its runs in turn. What it does for a run is a small part of what the run costs, so
that one is enough for several CPUs (docs/performance.md).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable

from sandbox.model.errors import RequestError, SandboxError
from sandbox.runtime.launcher import LauncherProcess

RUNS_EACH = 8  # in flight, before another launcher is started
IDLE_SECONDS = 10.0
MOST = 8
_CPUS_EACH = 4


def default_most() -> int:
    """One for every four CPUs, at least one, at most MOST."""
    return max(1, min(MOST, len(os.sched_getaffinity(0)) // _CPUS_EACH))


class Launchers:
    """Safe from any number of threads.

    Args:
        start: starts the one with this number, which none of the living has; takes a while, and raises what stands in the way.
        most: how many there are at once.
    """

    def __init__(self, start: Callable[[int], LauncherProcess], most: int) -> None:
        self.most = most
        self._start = start
        self._living: list[LauncherProcess] = []
        self._lock = threading.Lock()
        self._closed = False
        self._growing = False

    def living(self) -> tuple[LauncherProcess, ...]:
        """All that are there, the oldest first."""
        return tuple(self._living)

    def take(self) -> LauncherProcess:
        """The one with the fewest runs, for one more (`give_back` must follow); a new one when there is none.

        Raises SandboxError.
        """
        self.shrink()
        with self._lock:
            if self._closed:
                raise RequestError("this Sandbox is closed", hint="make a new one")
            if not self._living:
                self._living.append(self._start(self._free_number()))
            found = min(self._living, key=lambda launcher: launcher.runs)
            found.runs += 1
            grow = self._should_grow()
        if grow:
            threading.Thread(target=self._grow, name="sandbox-launcher", daemon=True).start()
        return found

    def give_back(self, launcher: LauncherProcess) -> None:
        """A run has ended."""
        with self._lock:
            launcher.runs -= 1
            launcher.last_used = time.monotonic()

    def drop(self, launcher: LauncherProcess) -> None:
        """This one does not answer any more: end it; the next run starts another."""
        launcher.alive = False
        with self._lock:
            if launcher in self._living:
                self._living.remove(launcher)
        launcher.close(timeout=0.5)

    def shrink(self) -> None:
        """End the dead, and those beyond the first that had nothing to do for IDLE_SECONDS."""
        with self._lock:
            surplus = self._weed()
        for launcher in surplus:
            launcher.close(timeout=0.5)

    def close(self) -> None:
        """End all, with everything that runs in them."""
        with self._lock:
            self._closed = True
            ending, self._living = self._living, []
        for launcher in ending:
            launcher.close()

    def forget(self) -> None:
        """In a forked child: they are the parent's."""
        self._lock = threading.Lock()
        self._living = []
        self._growing = False

    def _weed(self) -> list[LauncherProcess]:
        """Take out the dead, and the idle ones beyond the first. The caller holds the lock, and closes them without it."""
        now = time.monotonic()
        dead = [launcher for launcher in self._living if launcher.gone()]
        left = [launcher for launcher in self._living if launcher not in dead]
        idle = [one for one in left[1:] if one.runs == 0 and now - one.last_used >= IDLE_SECONDS]
        self._living = [launcher for launcher in left if launcher not in idle]
        return dead + idle

    def _should_grow(self) -> bool:
        count = len(self._living)
        wanted = count < self.most and sum(launcher.runs for launcher in self._living) > RUNS_EACH * count
        if not wanted or self._growing:
            return False
        self._growing = True
        return True

    def _free_number(self) -> int:
        taken = {launcher.number for launcher in self._living}
        return next(number for number in range(self.most) if number not in taken)

    def _grow(self) -> None:
        """Process: the caller's, in a thread of its own: nobody waits for the start of a further launcher."""
        made = None
        with contextlib.suppress(SandboxError, OSError):  # the others serve on; whoever needs what the host lacks is told
            made = self._start(self._free_number())
        with self._lock:
            self._growing = False
            if made is not None and not self._closed:
                self._living.append(made)
                return
        if made is not None:
            made.close()
