"""Sandboxes that are kept ready: set up by a launcher, in control groups of their own, before anybody asks for them.

One thread for each launcher does what nobody should wait for: it removes the control groups of ended runs, and parks
sandboxes. A parked sandbox is a lane that waits for its LAUNCH; closing the lane gives it back. It serves one run, as
any other. How many are kept follows the load: nothing before the second run, never more than runs were in flight at
once lately, at most MOST, and none after IDLE_SECONDS without a run.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandbox.launcher import wire
from sandbox.model.errors import CgroupError, LauncherDied, ResourceError
from sandbox.resources.groups import CgroupLimits, Lease

if TYPE_CHECKING:
    from sandbox.model.launch import LaunchRequest
    from sandbox.runtime.launcher import LauncherProcess

MOST = 8
IDLE_SECONDS = 10.0
PATIENCE = 0.05  # a run is answered when only its init is left, which is about to end
MOST_RETIRED = 64  # ended runs whose groups still wait to be removed; whoever comes then does it himself


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """What runs of one engine can ask for at most: parked sandboxes are set up with it.

    Attributes:
        limits: of the control group.
        terms: the request of PARK, for a lease without joins.
        most: how many are parked; 0 for none.
    """

    limits: CgroupLimits | None
    terms: LaunchRequest | None
    most: int


NOTHING_USUAL = Usual(limits=None, terms=None, most=0)


class Parked:
    """A sandbox that waits for its order.

    Attributes:
        lane: our end of its lane.
        lease: its control group; None where there are none.
        terms: what it was set up with.
    """

    def __init__(self, lane: socket.socket, lease: Lease | None, terms: LaunchRequest) -> None:
        self.lane = lane
        self.lease = lease
        self.terms = terms

    def alive(self) -> bool:
        """Whether the launcher has said nothing: it would only speak of a failure."""
        poll = select.poll()
        poll.register(self.lane, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Give it back: its launcher ends it."""
        self.lane.close()
        if self.lease is not None:
            with contextlib.suppress(CgroupError):  # it stays until the launcher's group goes
                self.lease.close()


class Parking:
    """What is parked with one launcher, and the thread that sees to it.

    Attributes:
        hits, misses: runs that were, and were not, given a parked sandbox.
    """

    def __init__(self, launcher: LauncherProcess, usual: Usual) -> None:
        self._launcher = launcher
        self._usual = usual
        self._ready: deque[Parked] = deque()
        self._retired: deque[Lease] = deque()
        self._wanted = 0
        self._last_run = 0.0
        self._closed = False
        self._working = False
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self.hits = 0
        self.misses = 0

    @property
    def parked(self) -> int:
        """How many wait."""
        return len(self._ready)

    @property
    def at_rest(self) -> bool:
        """Whether there is nothing to do until the next run."""
        with self._changed:
            return not (self._working or self._retired or self._missing())

    def take(self, request: LaunchRequest, busy: int) -> Parked | None:
        """One that fits the request, or None. `busy`: runs in flight, this one included."""
        now = time.monotonic()
        with self._changed:
            if self._usual.most and now - self._last_run < IDLE_SECONDS:
                self._wanted = min(self._usual.most, max(self._wanted, busy))
            self._last_run = now
        while not request.tty:
            try:
                parked = self._ready.popleft()
            except IndexError:
                break
            terms = parked.terms
            if (terms.scratch_bytes, terms.scratch_inodes) != (request.scratch_bytes, request.scratch_inodes):
                self._ready.append(parked)
                break
            if parked.alive():
                self.hits += 1
                return parked
            parked.close()
        self.misses += 1
        return None

    def retire(self, lease: Lease | None) -> None:
        """A run has ended: its control group goes, and its place is filled, by and by."""
        with self._changed:
            if self._closed or len(self._retired) >= MOST_RETIRED:
                late = lease
            else:
                late = None
                if lease is not None:
                    self._retired.append(lease)
                if lease is not None or self._wanted > len(self._ready):
                    self._begin()
                    self._changed.notify()
        if late is not None:
            late.close(patience=PATIENCE)

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="sandbox-parking", daemon=True)
            self._thread.start()

    def _serve(self) -> None:
        """Process: the caller's; the thread of this object, until `close`."""
        while True:
            with self._changed:
                while not self._closed and not self._retired and not self._missing():
                    if not self._changed.wait(IDLE_SECONDS) and self._idle():
                        break
                if self._closed:
                    return
                late = len(self._retired) > MOST_RETIRED // 8 or not self._missing()
                lease = self._retired.popleft() if self._retired and late else None
                self._working = True
            try:
                self._work(lease)
            except Exception:  # noqa: BLE001 - whatever the host is short of: this thread goes on, and the next run tells
                self._wanted = 0
            self._working = False

    def _work(self, lease: Lease | None) -> None:
        """One thing at a time: what is missing first."""
        if lease is not None:
            _remove(lease)
        elif self._idle():
            self._wanted = 0
            self._give_back()
        elif self._missing() and not self._park():
            self._wanted = 0  # until the next run; its own error says why

    def _missing(self) -> bool:
        return len(self._ready) < self._wanted

    def _idle(self) -> bool:
        return time.monotonic() - self._last_run >= IDLE_SECONDS

    def _park(self) -> bool:
        """Set one up. False when that cannot be done now."""
        group, limits, terms = self._launcher.group, self._usual.limits, self._usual.terms
        if limits is None or terms is None:
            return False
        lease = parked = theirs = None
        try:
            lease = group.lease(limits) if group is not None else None
            ours, theirs = wire.pair()
            parked = Parked(socket.socket(fileno=ours.detach()), lease, terms)
            if lease is not None:
                parked.terms = terms.replace(joins=len(lease.join_fds), oom_bytes=lease.oom_bytes)
            self._launcher.park(parked.terms, theirs.fileno(), lease)
        except (CgroupError, LauncherDied, ResourceError, OSError):
            if parked is not None:
                parked.close()
            elif lease is not None:
                _remove(lease)
            return False
        finally:
            if theirs is not None:
                theirs.close()
        with self._changed:
            if not self._closed:
                self._ready.append(parked)
                return True
        parked.close()
        return False

    def relinquish(self) -> bool:
        """Give everything back, for others need it more. False when nothing was parked."""
        with self._changed:
            self._wanted = 0
        had = bool(self._ready)
        self._give_back()
        return had

    def _give_back(self) -> None:
        while self._ready:
            with contextlib.suppress(IndexError):
                self._ready.popleft().close()

    def close(self) -> None:
        """Give everything back and end the thread. The launcher is ended next."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self._give_back()
        while self._retired:
            _remove(self._retired.popleft())

    def forget(self) -> None:
        """In a forked child: all of it is the parent's, and the thread is not here."""
        ready, self._ready = self._ready, deque()
        self._retired = deque()
        self._changed = threading.Condition()
        self._thread = None
        self._wanted = 0
        self._usual = NOTHING_USUAL
        self._closed = True
        for parked in ready:
            os.close(parked.lane.detach())


def _remove(lease: Lease) -> None:
    with contextlib.suppress(CgroupError):  # it stays until the launcher's group goes
        lease.close(patience=PATIENCE)
