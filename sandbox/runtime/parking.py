"""Sandboxes that are kept ready: set up by a launcher, in control groups of their own, before anybody asks for them.

One thread for each launcher does what nobody should wait for: it removes the control groups of ended runs, and parks
sandboxes. A parked sandbox is a lane that waits for its LAUNCH; closing the lane gives it back. It serves one run, as
any other. How many are kept follows the load: nothing before the second run, never more than runs were in flight at
once lately, at most MOST, and none some time (IDLE_SECONDS) after the last run; the thread ends then too. Who knows that runs
will come asks for some ahead (`prepare`).
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
import weakref
from collections import deque

from sandbox.launcher import wire
from sandbox.model.data import dataclass
from sandbox.model.errors import CgroupError, LauncherDied, ResourceError
from sandbox.resources.groups import CgroupLimits, Lease

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket

    from sandbox.model.launch import LaunchRequest
    from sandbox.runtime.launcher import LauncherProcess

MOST = 8
IDLE_SECONDS = 10.0
PATIENCE = 0.05  # a run is answered when only its init is left, which is about to end
MOST_RETIRED = 64  # ended runs whose groups still wait to be removed; whoever comes then does it himself
_URGENT = 8  # so many of them come before what is missing


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

    def __init__(self, lane: Socket, lease: Lease | None, terms: LaunchRequest) -> None:
        self.lane = lane
        self.lease = lease
        self.terms = terms
        _EVERY.add(self)

    def alive(self) -> bool:
        """Whether the launcher has said nothing: it would only speak of a failure."""
        poll = select.poll()
        poll.register(self.lane, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Give it back: its launcher ends it."""
        self.lane.close()
        if self.lease is not None:
            _remove(self.lease)


_EVERY: weakref.WeakSet[Parked] = weakref.WeakSet()


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
        self._ahead = 0  # for the first runs, each parked once
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

    def prepare(self, count: int) -> None:
        """Park so many for the runs that come next, once."""
        with self._changed:
            self._ahead = min(self._usual.most, count)
            self._last_run = time.monotonic()
            self._begin(False)
            self._changed.notify()

    def take(self, request: LaunchRequest, busy: int) -> Parked | None:
        """One that fits the request, or None. `busy`: runs in flight, this one included."""
        now = time.monotonic()
        dead = []
        found = None
        with self._changed:
            if self._usual.most and now - self._last_run < IDLE_SECONDS:
                self._wanted = min(self._usual.most, max(self._wanted, busy))
            self._last_run = now
            while self._ready and found is None and self._fits(request):
                parked = self._ready.popleft()
                if parked.alive():
                    found = parked
                else:
                    dead.append(parked)
            self._ahead = min(self._ahead, len(self._ready))
            self.hits += found is not None
            self.misses += found is None
        for parked in dead:
            parked.close()
        return found

    def _fits(self, request: LaunchRequest) -> bool:
        terms = self._ready[0].terms
        same = (terms.scratch_bytes, terms.scratch_inodes) == (request.scratch_bytes, request.scratch_inodes)
        return same and not request.tty

    def retire(self, lease: Lease | None) -> None:
        """A run has ended: its control group goes, and its place is filled, by and by."""
        if lease is not None:
            lease.close_descriptors()
        with self._changed:
            mine = self._closed or len(self._retired) >= MOST_RETIRED or not self._begin(lease is not None)
            if not mine:
                if lease is not None:
                    self._retired.append(lease)
                self._changed.notify()
        if mine and lease is not None:
            lease.close(patience=PATIENCE)

    def _begin(self, needed: bool) -> bool:
        """Have a thread, if there is anything to do. False when the host gives us none."""
        if self._thread is not None or not (needed or self._missing()):
            return True
        thread = threading.Thread(target=_serve, args=(weakref.ref(self), self._changed), name="sandbox-parking", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return False
        self._thread = thread
        return True

    def step(self) -> bool | None:
        """Process: the caller's; its thread. One thing is done: True; there is nothing to do: False; the end: None."""
        with self._changed:
            idle = time.monotonic() - self._last_run >= IDLE_SECONDS
            if idle:
                self._wanted = self._ahead = 0
            if self._closed or (idle and not self._retired and not self._ready):
                self._thread = None
                return None
            if not (self._retired or self._missing() or idle):
                return False
            late = len(self._retired) > _URGENT or not self._missing()
            lease = self._retired.popleft() if self._retired and late else None
            self._working = True
        try:
            if lease is not None:
                _remove(lease)
            elif idle:
                self._give_back()
            elif not self._park():
                self._wanted = self._ahead = 0  # until the next run; its own error says why
        except Exception:  # noqa: BLE001 - whatever the host is short of: this thread goes on, and the next run tells
            self._wanted = self._ahead = 0
        with self._changed:
            self._working = False
            self._changed.notify_all()
        return True

    def tell_idle(self) -> None:
        """The thread has ended: for want of work, or of a launcher."""
        if not self._closed:
            self._launcher.tell_idle()

    def step_is_due(self) -> bool:
        """Whether `step` has something to do, or the end has come. The caller holds the condition."""
        return self._closed or bool(self._retired) or self._missing()

    def _missing(self) -> bool:
        return len(self._ready) < max(self._wanted, self._ahead)

    def _park(self) -> bool:
        """Set one up. False when that cannot be done now."""
        group, limits, terms = self._launcher.group, self._usual.limits, self._usual.terms
        if limits is None or terms is None:
            return False
        lease = parked = theirs = None
        try:
            lease = group.lease(limits) if group is not None else None
            ours, theirs = wire.pair()
            parked = Parked(ours, lease, terms)
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
        """Give everything back, for others need it more. False when there was nothing."""
        with self._changed:
            self._wanted = self._ahead = 0
            had = bool(self._ready or self._retired or self._working)
            self._changed.wait_for(lambda: not self._working, 1.0)
        self._give_back()
        self._remove_retired()
        return had

    def _give_back(self) -> None:
        with self._changed:
            gone, self._ready = self._ready, deque()
        for parked in gone:
            parked.close()

    def _remove_retired(self) -> None:
        with self._changed:
            gone, self._retired = self._retired, deque()
        for lease in gone:
            _remove(lease)

    def close(self) -> None:
        """Give everything back and end the thread. The launcher is ended next. Safe to call twice, from any thread."""
        with self._changed:
            self._closed = True
            thread = self._thread
            self._changed.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self._give_back()
        self._remove_retired()

    def forget(self) -> None:
        """In a forked child: all of it is the parent's, and the thread is not here."""
        self._ready, self._retired = deque(), deque()
        self._changed = threading.Condition()
        self._thread = None
        self._wanted = self._ahead = 0
        self._usual = NOTHING_USUAL
        self._closed = True


def _serve(reference: weakref.ref[Parking], changed: threading.Condition) -> None:
    """Process: the caller's; the thread of a `Parking`, which it does not keep alive."""
    while True:
        parking = reference()
        done = parking.step() if parking is not None else None
        if done is None:
            if parking is not None:
                parking.tell_idle()
            return
        if done is False:
            with changed:
                if parking is not None and parking.step_is_due():
                    continue
                del parking
                changed.wait(IDLE_SECONDS / 4)


def _remove(lease: Lease) -> None:
    with contextlib.suppress(CgroupError, OSError):  # it stays until the launcher's group goes
        lease.close(patience=PATIENCE)


def _after_fork() -> None:
    for parked in list(_EVERY):
        with contextlib.suppress(OSError):
            parked.lane.close()


os.register_at_fork(after_in_child=_after_fork)
