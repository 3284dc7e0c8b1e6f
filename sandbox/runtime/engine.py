"""One engine for each policy: the plan, the launcher and the slots. What is done with them is in `active`."""

from __future__ import annotations

import os
import weakref

from sandbox.model.digest import sha256
from sandbox.model.errors import CgroupError, LauncherDied, ResourceError
from sandbox.model.limits import Limits
from sandbox.model.plan import Plan
from sandbox.model.policy import Policy
from sandbox.model.result import Degraded
from sandbox.resources.groups import Base
from sandbox.runtime import report, request
from sandbox.runtime.active import Active, Job, group_limits
from sandbox.runtime.keeper import Keeper
from sandbox.runtime.launcher import LauncherProcess
from sandbox.runtime.launchers import Launchers, default_most
from sandbox.runtime.parking import MOST, Usual
from sandbox.runtime.slots import Slots


class Engine:
    """Runs for one plan. Safe from any number of threads.

    Attributes:
        digest: SHA-256 of the plan, hex.
        slots: how many run at once.
        launchers: the processes that start them.
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
        launchers: int | None = None,
    ) -> None:
        """`started`: a keeper of this plan, for the first launcher, which is then the only one."""
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
        count = 1 if started is not None else launchers or default_most()
        if plan.ids.slots:  # a run that has ended keeps its id until its init is dead
            count = max(1, min(count, plan.ids.slots // (2 * capacity + MOST)))
            most = min(most, max(0, plan.ids.slots // count - 2 * capacity))
        self.usual = Usual(
            limits=group_limits(policy, limits or policy.limits),
            terms=request.terms(policy, limits or policy.limits, degraded=base is None),
            most=most,
        )
        self.served = 0
        self.users = 0
        self.launchers = Launchers(self._start, count)
        self._started = started
        _EVERY.add(self)

    def _start(self, number: int) -> LauncherProcess:
        """Launcher `number`: each has a share of the host ids, so that no two runs have the same."""
        started, self._started = self._started, None
        ids, count = self.plan.ids, self.launchers.most
        if count == 1 or not ids.slots:
            return LauncherProcess(self.plan, self.plan_bytes, self.base, self.usual, started, number)
        share = ids.slots // count
        plan = self.plan.replace(ids=ids.replace(first_slot=ids.first_slot + number * share, slots=share))
        return LauncherProcess(plan, plan.encode(), self.base, self.usual, started, number)

    def stats(self) -> dict[str, int]:
        """See `Sandbox.stats`."""
        slots, launchers = self.slots, self.launchers.living()
        parking = [launcher.parking for launcher in launchers]
        return {
            "capacity": slots.capacity,
            "busy": slots.busy,
            "waiting": slots.waiting,
            "served": self.served,
            "launchers": len(launchers),
            "parked": sum(one.parked for one in parking),
            "hits": self.launchers.hits + sum(one.hits for one in parking),
            "misses": self.launchers.misses + sum(one.misses for one in parking),
        }

    def forget(self) -> None:
        """In a forked child: runs, slots and launchers are the parent's; the next run here starts a launcher of its own."""
        self._started = None
        self.launchers.forget()
        self.slots = Slots(self.slots.capacity)

    def close(self) -> None:
        """End the launchers with everything that runs in them."""
        self.launchers.close()
        started, self._started = self._started, None
        if started is not None:
            started.discard()

    def prepare(self, parked: int) -> None:
        """Start the first launcher, if there is none, and park so many sandboxes there for the next runs. Raises SandboxError."""
        launcher = self.launchers.take()
        try:
            launcher.parking.prepare(parked)
        finally:
            self.launchers.give_back(launcher)

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
        had = [launcher.parking.relinquish() for launcher in self.launchers.living()]
        return any(had)

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
