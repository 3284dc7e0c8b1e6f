"""The launchers of one engine: one at first, more when more runs are in flight than one can serve, fewer when they idle.

A launcher is one process that serves its runs in turn. What it does for a run is a small part of what the run costs, so
that one is enough for several CPUs (docs/performance.md).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable

from sandbox.model.errors import RequestError, SandboxError
from sandbox.runtime.launcher import LauncherProcess

RUNS_EACH = 8  # in flight, before another launcher is started
IDLE_SECONDS = 10.0  # also between two attempts to start a further one
MOST = 8
_CPUS_EACH = 4
_CLOSE_SECONDS = 0.5
_OTHERS_SECONDS = 40.0  # `close` waits so long for those that other threads are starting or ending


def default_most() -> int:
    """One for every four CPUs, at least one, at most MOST."""
    return max(1, min(MOST, len(os.sched_getaffinity(0)) // _CPUS_EACH))


class Launchers:
    """Safe from any number of threads, and from handles that are collected as garbage at any time.

    A launcher is started and ended without the lock: the ends of other runs need it. Its number is its own until it is dead,
    because its share of the host ids goes with it.

    Args:
        start: starts the one with this number, which none of the living has; takes a while, and raises what stands in the way.
        most: how many there are at once.

    Attributes:
        hits, misses: of launchers that have ended: runs that were, and were not, given a parked sandbox.
    """

    def __init__(self, start: Callable[[int], LauncherProcess], most: int) -> None:
        self.most = most
        self.hits = 0
        self.misses = 0
        self._start = start
        self._closed = False
        self.forget()

    def forget(self) -> None:
        """In a forked child: they are the parent's."""
        self._lock = threading.RLock()
        self._first = threading.RLock()  # who starts one where there is none; the others wait for that one
        self._living: list[LauncherProcess] = []
        self._taken: list[int] = []  # of those that are being started, live, or are being ended
        self._freed = threading.Condition(self._lock)
        self._growing = False
        self._not_before = 0.0

    def living(self) -> tuple[LauncherProcess, ...]:
        """All that are there, the oldest first."""
        return tuple(self._living)

    def take(self) -> LauncherProcess:
        """The one with the fewest runs, for one more (`give_back` must follow); a new one when there is none.

        Raises SandboxError.
        """
        with self._lock:
            gone = self._weed()
            found = self._pick()
        if found is None:
            self._end(gone)  # their host ids are free then
            found = self._pick_or_start()
        elif gone and not _later(self._end, gone):
            self._end(gone)
        with self._lock:
            grow = self._should_grow()
        if grow and not _later(self._grow):
            self._growing = False
        return found

    def _pick_or_start(self) -> LauncherProcess:
        with self._first:
            with self._lock:
                found = self._pick()
            if found is not None:
                return found
            return self._add(runs=1)

    def _pick(self) -> LauncherProcess | None:
        """The caller holds the lock."""
        if self._closed:
            raise _closed()
        if not self._living:
            return None
        found = min(self._living, key=lambda launcher: launcher.runs)
        found.runs += 1
        return found

    def _add(self, runs: int) -> LauncherProcess:
        """Start one. Raises SandboxError."""
        with self._lock:
            if self._closed:
                raise _closed()
            # All are taken only while the last one is being ended: its share then serves its successor.
            number = next((number for number in range(self.most) if number not in self._taken), self.most - 1)
            self._taken.append(number)
        made = None
        try:
            made = self._start(number)
            made.on_idle = weakref.WeakMethod(self.retire)
            with self._lock:
                if not self._closed:
                    made.runs = runs
                    self._living.append(made)
                    return made
        except BaseException:
            self._free(number)
            raise
        self._end([made])
        raise RequestError("this Sandbox was closed meanwhile", hint="make a new one")

    def give_back(self, launcher: LauncherProcess) -> None:
        """A run has ended."""
        with self._lock:
            launcher.runs -= 1
            launcher.last_used = time.monotonic()

    def drop(self, launcher: LauncherProcess) -> None:
        """This one does not answer any more: end it; the next run starts another."""
        launcher.alive = False
        with self._lock:
            mine = launcher in self._living
            if mine:
                self._living.remove(launcher)
        if mine:
            self._end([launcher])

    def retire(self, launcher: LauncherProcess) -> None:
        """It has had nothing to do for a while: it ends, unless it is the only one or has just been given a run."""
        with self._lock:
            surplus = launcher in self._living[1:] and launcher.runs == 0
            if surplus:
                self._living.remove(launcher)
        if surplus:
            self._end([launcher])

    def close(self) -> None:
        """End all, with everything that runs in them. Raises the first SandboxError that one ended with, after all have ended.

        Those too that another thread is ending, or finds closed when it has started one.
        """
        with self._lock:
            self._closed = True
            ending, self._living = self._living, []
        problem = None
        for launcher in ending:
            try:
                launcher.close()
            except SandboxError as error:
                problem = problem or error
            finally:
                self._count(launcher)
        with self._freed:
            self._freed.wait_for(lambda: not self._taken, _OTHERS_SECONDS)
        if problem is not None:
            raise problem

    def _end(self, launchers: Iterable[LauncherProcess]) -> None:
        """What of their control groups cannot be removed is found by the next caller (`janitor`)."""
        for launcher in launchers:
            try:
                with contextlib.suppress(SandboxError):
                    launcher.close(timeout=_CLOSE_SECONDS)
            finally:
                self._count(launcher)

    def _count(self, launcher: LauncherProcess) -> None:
        """It has ended: what it did is kept, its number is free."""
        with self._lock:
            self.hits += launcher.parking.hits
            self.misses += launcher.parking.misses
        self._free(launcher.number)

    def _free(self, number: int) -> None:
        with self._freed:
            if number in self._taken:  # it is not in a forked child
                self._taken.remove(number)
            self._freed.notify_all()

    def _weed(self) -> list[LauncherProcess]:
        """Take out the dead, and the idle ones beyond the first. The caller holds the lock, and ends them without it."""
        now = time.monotonic()
        dead = [launcher for launcher in self._living if launcher.gone()]
        left = [launcher for launcher in self._living if launcher not in dead]
        idle = [one for one in left[1:] if one.runs == 0 and now - one.last_used >= IDLE_SECONDS]
        self._living = [launcher for launcher in left if launcher not in idle]
        return dead + idle

    def _should_grow(self) -> bool:
        """The caller holds the lock, and calls `_grow` when told so."""
        count = len(self._living)
        wanted = count < self.most and sum(launcher.runs for launcher in self._living) > RUNS_EACH * count
        if not wanted or self._growing or time.monotonic() < self._not_before:
            return False
        self._growing = True
        return True

    def _grow(self) -> None:
        """Process: the caller's, in a thread of its own: nobody waits for the start of a further launcher."""
        try:
            self._add(runs=0)
        except Exception:  # noqa: BLE001 - whatever the host is short of: the others serve on, and it is tried again later
            self._not_before = time.monotonic() + IDLE_SECONDS
        finally:
            self._growing = False


def _closed() -> RequestError:
    return RequestError("this Sandbox is closed", hint="make a new one")


def _later(do: Callable[..., None], *arguments: object) -> bool:
    """Do it in a thread of its own. False where the host has none to give."""
    try:
        threading.Thread(target=do, args=arguments, name="sandbox-launchers", daemon=True).start()
    except RuntimeError:
        return False
    return True
