"""From a policy to results: one engine for each policy holds the plan, the launcher and the slots.

A run goes straight through: slot → launcher → lease of a control group → session → LAUNCH … ENDED → counters →
`classify` → result. `Active` is a run in flight; the two drivers (threads, asyncio) differ only in how they wait.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox.launcher import wire
from sandbox.model import launch, steps
from sandbox.model.errors import (
    LauncherDied,
    RequestError,
    ResourceError,
    ScratchError,
)
from sandbox.model.launch import Ended
from sandbox.model.limits import Limits
from sandbox.model.plan import Plan
from sandbox.model.policy import Policy
from sandbox.model.result import CollectedFile, Degraded, Evidence, RunResult, Timings, Usage
from sandbox.resources.cgroups import Base, CgroupLimits, Counters, Lease
from sandbox.runtime import report, request
from sandbox.runtime.capture import Capture
from sandbox.runtime.classify import Facts, classify
from sandbox.runtime.failures import failure_error
from sandbox.runtime.feed import Feed
from sandbox.runtime.launcher import LauncherProcess
from sandbox.runtime.session import Session, unpack_collected
from sandbox.runtime.slots import Slots

Callback = Callable[[bytes], object]


@dataclass(slots=True, kw_only=True)
class Job:
    """What one call asks for, as the caller wrote it."""

    argv: Sequence[request.Word]
    stdin: Any = None
    files: Mapping[str, request.FileContent] | None = None
    collect: Sequence[str] = ()
    env: Mapping[str, str] | None = None
    cwd: str | None = None
    limits: Limits | None = None
    tty: tuple[int, int] | None = None
    on_stdout: Callback | None = None
    on_stderr: Callback | None = None


class Engine:
    """Runs for one plan. Safe from any number of threads.

    Attributes:
        digest: SHA-256 of the plan, hex.
        slots: how many run at once.
    """

    def __init__(self, policy: Policy, plan: Plan, base: Base | None, capacity: int) -> None:
        self.policy = policy
        self.plan = plan
        self.base = base
        self.plan_bytes = plan.encode()
        self.digest = hashlib.sha256(self.plan_bytes).hexdigest()
        self.slots = Slots(capacity)
        self.enforced = report.enforced(policy, plan, base)
        self.degraded: tuple[Degraded, ...] = report.degraded(policy, base)
        self.syscalls = dict(plan.filters.names)
        self.served = 0
        self._launcher: LauncherProcess | None = None
        self._lock = threading.Lock()
        self._closed = False
        _EVERY.add(self)

    def launcher(self) -> LauncherProcess:
        """The warm launcher; a new one when there is none or it has died."""
        with self._lock:
            if self._closed:
                raise RequestError("this Sandbox is closed", hint="make a new one")
            if self._launcher is not None and not self._launcher.alive:
                self._launcher.close()
                self._launcher = None
            if self._launcher is None:
                self._launcher = LauncherProcess(self.plan, self.plan_bytes, self.base)
            return self._launcher

    def drop(self, launcher: LauncherProcess) -> None:
        """This launcher does not answer any more: end it; the next run starts another."""
        launcher.alive = False
        with self._lock:
            if self._launcher is launcher:
                self._launcher = None
        launcher.close()

    def forget(self) -> None:
        """In a forked child: runs, slots and launcher are the parent's; the next run here starts a launcher of its own."""
        self._lock = threading.Lock()
        self._launcher = None
        self.slots = Slots(self.slots.capacity)

    def close(self) -> None:
        """End the launcher with everything that runs in it."""
        with self._lock:
            self._closed = True
            launcher, self._launcher = self._launcher, None
        if launcher is not None:
            launcher.close()

    def begin(self, job: Job, asked: int) -> Active:
        """Start one run; the caller holds a slot. `asked`: monotonic ns of the call. A dead launcher is tried once more."""
        try:
            try:
                return Active(self, job, asked)
            except LauncherDied:
                return Active(self, job, asked)
        except OSError as error:
            raise ResourceError(
                f"a run cannot be prepared: {error.strerror or error}",
                hint="the calling process is out of descriptors, processes or memory; run less at once or raise its limits",
            ) from error


_EVERY: weakref.WeakSet[Engine] = weakref.WeakSet()


def _after_fork() -> None:
    for engine in list(_EVERY):
        engine.forget()


os.register_at_fork(after_in_child=_after_fork)


@dataclass(slots=True)
class Active:
    """A run in flight."""

    engine: Engine
    job: Job
    asked: int
    limits: Limits = field(init=False)
    session: Session = field(init=False)
    lease: Lease | None = field(init=False, default=None)
    launcher: LauncherProcess = field(init=False)
    prepared: request.Prepared = field(init=False)
    submitted: int = field(init=False)

    def __post_init__(self) -> None:
        engine, job = self.engine, self.job
        self.limits = job.limits or engine.policy.limits
        self.launcher = engine.launcher()
        group = self.launcher.group
        self.submitted = time.monotonic_ns()
        if group is not None:
            self.lease = group.lease(_group_limits(engine.policy, self.limits))
        try:
            self._launch()
        except BaseException:
            self._release_lease()
            raise

    def _launch(self) -> None:
        engine, job = self.engine, self.job
        joins = self.lease.join_fds if self.lease else ()
        self.prepared = request.prepare(
            engine.policy,
            self.limits,
            job.argv,
            env=job.env,
            cwd=job.cwd,
            files=job.files,
            collect=job.collect,
            tty=job.tty,
            degraded=self.lease is None,
            joins=len(joins),
        )
        limit = self.limits.output_bytes
        tty = self.prepared.launch.tty
        self.session = Session(Feed(job.stdin), Capture(limit, job.on_stdout), Capture(limit, job.on_stderr), tty=tty)
        try:
            self._send(joins)
        except BaseException:
            self.session.close()
            raise

    def _send(self, joins: tuple[int, ...]) -> None:
        session, lease = self.session, self.lease
        fds = [session.peer_lane.fileno(), *session.child_fds]
        present = launch.FD_LANE
        if session.child_fds:
            present |= launch.FD_STDIN | launch.FD_STDOUT | launch.FD_STDERR
        memfd = -1
        if self.prepared.files:
            try:
                memfd = wire.memory_file(b"files", wire.pack_files(self.prepared.files))
            except OSError as error:
                raise ScratchError(f"no memory for the input files: {error.strerror}") from error
            fds.append(memfd)
            present |= launch.FD_FILES
        if lease is not None:
            for fd, bit in ((lease.cpu_fd, launch.FD_CPU), (lease.oom_fd, launch.FD_OOM), (lease.cgroup2_fd, launch.FD_CGROUP2)):
                if fd is not None and fd >= 0:
                    fds.append(fd)
                    present |= bit
        try:
            self.launcher.launch(self.prepared.launch, present, [*fds, *joins])
        finally:
            if memfd >= 0:
                os.close(memfd)
        session.launched()

    def finish(self) -> RunResult:
        """The result of a session that is done. Raises what is no result. Always gives everything back."""
        try:
            session = self.session
            if session.ended is None and session.failure is None and not session.canceled:
                self.engine.drop(self.launcher)
            if session.error is None and session.failure is not None:
                if not session.canceled and not self._out_of_memory(session.failure):
                    raise failure_error(self.engine.plan, self.prepared, session.failure)
                session.ended = _never_started(self.submitted, canceled=session.canceled)
            session.check()
            return self._result()
        finally:
            self.abandon()

    def _out_of_memory(self, failure: tuple[int, int, int]) -> bool:
        """The kernel killed init for want of memory before it could say that the program runs."""
        return failure[0] == steps.INIT_DIED and self.lease is not None and self.lease.counters().oom_kills > 0

    def abandon(self) -> None:
        """Let go: closing the lane kills the sandbox. Safe to call again."""
        self.session.close()
        self._release_lease()

    def _release_lease(self) -> None:
        lease, self.lease = self.lease, None
        if lease is not None:
            lease.close()

    def _result(self) -> RunResult:
        session, engine = self.session, self.engine
        ended = session.ended
        if ended is None:
            raise LauncherDied("the launcher ended during the run")
        counters = self.lease.counters() if self.lease else None
        oom = counters is not None and counters.oom_kills > 0
        if not ended.init_ok and ended.killed_by == launch.NOT_KILLED and not oom:
            raise LauncherDied(
                f"the sandbox's init ended without a report (wait status {ended.status}): something outside killed it",
                hint="look for the host's out-of-memory killer in its log",
            )
        larger = max(session.out, session.err, key=lambda capture: capture.total)
        outcome, status, evidence = classify(
            Facts(
                ended=ended,
                limits=self.limits,
                counters=tuple(Evidence(*source) for source in counters.sources) if counters else (),
                oom=oom,
                pids_hit=counters is not None and counters.pids_max_events > 0,
                degraded=counters is None,
                output_total=larger.total,
                output_exceeded=larger.exceeded,
                canceled=session.canceled,
                syscalls=engine.syscalls,
            )
        )
        files, refused = self._files()
        engine.served += 1
        now = time.monotonic_ns()
        return RunResult(
            outcome=outcome,
            exit=status,
            usage=_usage(ended, counters, session.out.total + session.err.total),
            timings=Timings(
                queue_ns=self.submitted - self.asked,
                setup_ns=ended.started - self.submitted,
                run_ns=ended.ended - ended.started,
                teardown_ns=now - ended.ended,
            ),
            stdout=session.out.kept(),
            stderr=session.err.kept(),
            truncated=tuple(name for name, part in (("stdout", session.out), ("stderr", session.err)) if part.exceeded),
            files=files,
            refused_files=refused,
            evidence=evidence,
            enforced={**engine.enforced, "limits": report.limits_applied(self.limits)},
            degraded=engine.degraded,
            plan_digest=engine.digest,
        )

    def _files(self) -> tuple[dict[str, CollectedFile], tuple[tuple[str, str], ...]]:
        """The collected files that match what was asked for. A name without wildcard takes all below it."""
        if self.session.collected < 0:
            return {}, ()
        entries, refused = unpack_collected(self.session.collected)
        patterns = self.prepared.collect
        files = {name: CollectedFile(data, mode) for name, mode, data in entries if _wanted(name, patterns)}
        return files, tuple((name, reason) for name, reason in refused if _wanted(name, patterns))


def _wanted(name: str, patterns: tuple[str, ...]) -> bool:
    return any(
        pattern in (".", name) or name.startswith(pattern + "/") or fnmatch.fnmatchcase(name, pattern) for pattern in patterns
    )


def _group_limits(policy: Policy, limits: Limits) -> CgroupLimits:
    return CgroupLimits(
        memory_bytes=limits.memory_bytes,
        pids=limits.pids + 1,  # init is in the group too
        cpu_quota_millicpus=limits.cpu_quota_millicpus,
        cpus=policy.cgroup.cpus,
        io_bytes_per_second=policy.cgroup.io_bytes_per_second,
    )


def _usage(ended: Ended, counters: Counters | None, output_bytes: int) -> Usage:
    """Figures of the control group without init's own part; of the waited-for processes where there is no group."""
    wall = ended.ended - ended.started
    if counters is None:
        return Usage(
            cpu_user_ns=ended.user_ns,
            cpu_system_ns=ended.system_ns,
            wall_ns=wall,
            memory_peak_bytes=max(ended.max_rss_bytes, ended.peak_rss_bytes),
            pids_peak=ended.peak_pids,
            output_bytes=output_bytes,
        )
    return Usage(
        cpu_user_ns=max(0, counters.cpu_user_ns - ended.init_user_ns),
        cpu_system_ns=max(0, counters.cpu_system_ns - ended.init_system_ns),
        wall_ns=wall,
        memory_peak_bytes=counters.memory_peak_bytes,
        pids_peak=max(0, counters.pids_peak - 1),
        output_bytes=output_bytes,
        throttled_ns=counters.throttled_ns,
    )


def _never_started(submitted: int, *, canceled: bool) -> Ended:
    """The report of a run that ended before init could report: canceled, or out of memory."""
    return Ended(
        init_ok=False,
        status=9,
        killed_by=launch.BY_CALLER if canceled else launch.NOT_KILLED,
        killed_value=0,
        received=submitted,
        started=submitted,
        ended=time.monotonic_ns(),
        init_user_ns=0,
        init_system_ns=0,
        user_ns=0,
        system_ns=0,
        max_rss_bytes=0,
        peak_pids=0,
        peak_rss_bytes=0,
        scratch_free_bytes=-1,
        scratch_free_inodes=-1,
        left_alive=False,
        denied=(),
    )
