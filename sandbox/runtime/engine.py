"""One engine for each policy: the plan, the launcher and the slots. What is done with them is in `active`."""

from __future__ import annotations

import os
import threading
import weakref

from sandbox.model.digest import sha256
from sandbox.model.errors import CgroupError, LauncherDied, RequestError, ResourceError
from sandbox.model.limits import Limits
from sandbox.model.plan import Plan
from sandbox.model.policy import Policy
from sandbox.model.result import Degraded
from sandbox.resources.groups import Base
from sandbox.runtime import report, request
from sandbox.runtime.active import Active, Job, group_limits
from sandbox.runtime.keeper import Keeper
from sandbox.runtime.launcher import LauncherProcess
from sandbox.runtime.parking import MOST, Usual
from sandbox.runtime.slots import Slots


class Engine:
    """Runs for one plan. Safe from any number of threads.

    Attributes:
        digest: SHA-256 of the plan, hex.
        slots: how many run at once.
        users: calls that hold it (kept by the registry).
    """

    def __init__(
        self,
        policy: Policy,
        plan: Plan,
        base: Base | None,
        capacity: int,
        parked: int | None = None,
        limits: Limits | None = None,
        started: Keeper | None = None,
    ) -> None:
        """`started`: a keeper of this plan, for the first launcher."""
        self.policy = policy
        self.plan = plan
        self.base = base
        self.plan_bytes = plan.encode()
        self.digest = sha256(self.plan_bytes).hexdigest()
        self.slots = Slots(capacity)
        self.enforced = report.enforced(policy, plan, base)
        self.degraded: tuple[Degraded, ...] = report.degraded(policy, base)
        self.syscalls = dict(plan.filters.names)
        most = MOST if parked is None else parked
        if plan.ids.slots:  # a run that has ended keeps its id until its init is dead
            most = min(most, max(0, plan.ids.slots - 2 * capacity))
        self.usual = Usual(
            limits=group_limits(policy, limits or policy.limits),
            terms=request.terms(policy, limits or policy.limits, degraded=base is None),
            most=most,
        )
        self.served = 0
        self.users = 0
        self._launcher: LauncherProcess | None = None
        self._started = started
        self._lock = threading.Lock()
        self._closed = False
        _EVERY.add(self)

    def launcher(self) -> LauncherProcess:
        """The warm launcher; a new one when there is none or it has died."""
        with self._lock:
            if self._closed:
                raise RequestError("this Sandbox is closed", hint="make a new one")
            if self._launcher is not None and self._launcher.gone():
                self._launcher.close()
                self._launcher = None
            if self._launcher is None:
                started, self._started = self._started, None
                self._launcher = LauncherProcess(self.plan, self.plan_bytes, self.base, self.usual, started)
            return self._launcher

    def drop(self, launcher: LauncherProcess) -> None:
        """This launcher does not answer any more: end it; the next run starts another."""
        launcher.alive = False
        with self._lock:
            if self._launcher is launcher:
                self._launcher = None
        launcher.close(timeout=0.5)

    def stats(self) -> dict[str, int]:
        """See `Sandbox.stats`."""
        slots, launcher = self.slots, self._launcher
        parking = launcher.parking if launcher is not None else None
        return {
            "capacity": slots.capacity,
            "busy": slots.busy,
            "waiting": slots.waiting,
            "served": self.served,
            "parked": parking.parked if parking else 0,
            "hits": parking.hits if parking else 0,
            "misses": parking.misses if parking else 0,
        }

    def forget(self) -> None:
        """In a forked child: runs, slots and launcher are the parent's; the next run here starts a launcher of its own."""
        self._lock = threading.Lock()
        self._launcher = self._started = None
        self.slots = Slots(self.slots.capacity)

    def close(self) -> None:
        """End the launcher with everything that runs in it."""
        with self._lock:
            self._closed = True
            launcher, self._launcher = self._launcher, None
            started, self._started = self._started, None
        if started is not None:
            started.discard()
        if launcher is not None:
            launcher.close()

    def begin(self, job: Job, asked: int) -> Active:
        """Start one run; the caller holds a slot. `asked`: monotonic ns of the call.

        A dead launcher is tried once more, and so is a host that is short of something, when parked sandboxes hold some of it.
        """
        try:
            return self._begin(job, asked)
        except (LauncherDied, ResourceError, CgroupError) as error:
            if not job.can_be_fed_again() or not (isinstance(error, LauncherDied) or self._relinquish()):
                raise
            return self._begin(job, asked)

    def _relinquish(self) -> bool:
        launcher = self._launcher
        return launcher is not None and launcher.parking.relinquish()

    def _begin(self, job: Job, asked: int) -> Active:
        try:
            return Active(self, job, asked)
        except OSError as error:
            exhausted = ResourceError.exhausted("a run cannot be prepared", error.errno)
            raise exhausted or ResourceError(f"a run cannot be prepared: {error.strerror or error}") from error


_EVERY: weakref.WeakSet[Engine] = weakref.WeakSet()


def _after_fork() -> None:
    for engine in list(_EVERY):
        engine.forget()


os.register_at_fork(after_in_child=_after_fork)
