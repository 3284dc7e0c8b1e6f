"""One run in flight: lease of a control group → session → LAUNCH … ENDED → counters → `classify` → result.

The two drivers (threads, asyncio) differ only in how they wait.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from sandbox.launcher import wire
from sandbox.model import launch, steps
from sandbox.model.data import dataclass
from sandbox.model.errors import CgroupError, LauncherDied, RequestError, ResourceError, ScratchError
from sandbox.model.launch import Ended, LaunchRequest
from sandbox.model.limits import Limits
from sandbox.model.policy import Policy
from sandbox.model.result import CollectedFile, Evidence, RunResult, Timings, Usage
from sandbox.resources.groups import CgroupLimits, Counters, Lease
from sandbox.runtime import report, request
from sandbox.runtime.capture import Capture
from sandbox.runtime.classify import Facts, classify
from sandbox.runtime.collected import unpack_collected
from sandbox.runtime.failures import failure_error
from sandbox.runtime.feed import Feed
from sandbox.runtime.parking import Parked
from sandbox.runtime.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket
    from typing import Any

    from sandbox.runtime.engine import Engine

Callback = Callable[[bytes], object]
ANSWER_SECONDS = 60.0  # beyond the wall limit: a set-up (at most 20 s), collection, a very slow host


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
    on_stdout_end: Callable[[], object] | None = None
    on_stderr: Callback | None = None

    def can_be_fed_again(self) -> bool:
        """Whether an attempt that failed has taken nothing of stdin that another would miss."""
        return self.stdin is None or isinstance(self.stdin, bytes | bytearray | memoryview)


class Active:
    """A run in flight. It has the slot that was taken for it, and gives it back with everything else, once."""

    def __init__(self, engine: Engine, job: Job, asked: int) -> None:
        self.engine = engine
        self.job = job
        self.asked = asked
        self.limits: Limits = job.limits or engine.policy.limits
        self.lease: Lease | None = None
        self._lock = threading.Lock()
        self._over = False
        self._slots = engine.slots
        self.launcher = engine.launchers.take()
        try:
            self.submitted = time.monotonic_ns()
            self.prepared = self._prepare()
            parked = self._take_parked()
            if parked is None:
                self._take_group()
            self._launch(parked.lane if parked else None)
        except BaseException:
            try:
                self._release_lease()
            finally:
                engine.launchers.give_back(self.launcher)
            raise

    def _prepare(self) -> request.Prepared:
        job, engine = self.job, self.engine
        return request.prepare(
            engine.policy,
            self.limits,
            job.argv,
            env=job.env,
            cwd=job.cwd,
            files=job.files,
            collect=job.collect,
            tty=job.tty,
            degraded=self.launcher.group is None,
            shares_user=not engine.plan.ids.slots,
        )

    def _take_parked(self) -> Parked | None:
        """A sandbox that is ready, with its control group under this run's limits."""
        parked = self.launcher.parking.take(self.prepared.launch, self.launcher.runs)
        if parked is None:
            return None
        try:
            wanted = group_limits(self.engine.policy, self.limits)
            if parked.lease is not None and wanted != self.engine.usual.limits:
                parked.lease.tighten(wanted)
            if parked.alive():
                self.lease = parked.lease
                return parked
        except CgroupError:
            pass  # it uses more already: a new group says what comes of that
        except BaseException:
            parked.close()
            raise
        parked.close()
        return None

    def _take_group(self) -> None:
        group = self.launcher.group
        if group is None:
            return
        try:
            self.lease = group.lease(group_limits(self.engine.policy, self.limits))
        except CgroupError as error:
            if self.launcher.gone():
                raise LauncherDied("the launcher is gone", hint="try again: a new one is started") from error
            raise

    def _launch(self, lane: Socket | None) -> None:
        """On the lane of a parked sandbox, or anew."""
        job, limit = self.job, self.limits.output_bytes
        out, err = Capture(limit, job.on_stdout, job.on_stdout_end), Capture(limit, job.on_stderr)
        try:
            self.session = Session(Feed(job.stdin), out, err, tty=self.prepared.launch.tty, lane=lane)
        except BaseException:
            if lane is not None:
                lane.close()
            raise
        try:
            self._send(parked=lane is not None)
        except BaseException:
            self.session.close()
            raise

    def _send(self, *, parked: bool) -> None:
        session = self.session
        if self.prepared.files:
            try:
                session.passed.append((launch.FD_FILES, wire.pack_files(self.prepared.files)))
            except OSError as error:
                raise ScratchError(f"no memory for the input files: {error.strerror}") from error
        if self.engine.plan.warm.interpreter:  # the launcher's memory is copied into later runs, so it must not read this
            session.passed.append((launch.FD_PROGRAM, wire.memory_file(b"program", (self.prepared.launch.program,))))
        if not (parked and self._order()):
            self.launcher.launch(self._wanted(), session.passed, self.lease)
        session.launched(self.limits.wall_ns / 1e9 + ANSWER_SECONDS)

    def _wanted(self) -> LaunchRequest:
        wanted = self.prepared.launch
        if self.engine.plan.warm.interpreter:  # it was sent in a memfd
            wanted = wanted.replace(program=b"")
        if self.lease is not None:
            wanted = wanted.replace(joins=len(self.lease.join_fds), oom_bytes=self.lease.oom_bytes)
        return wanted

    def _order(self) -> bool:
        """Launch in the parked sandbox. False when it has just died: all is ready then to launch anew."""
        try:
            self.launcher.order(self.session.lane, self._wanted(), self.session.passed)
        except LauncherDied:
            if self.launcher.gone():
                raise
        else:
            return True
        self._release_lease()
        self._take_group()
        self.session.renew_lane()
        return False

    def finish(self) -> RunResult:
        """The result of a session that is done. Raises what is no result. Always gives everything back."""
        with self._lock:
            if self._over:
                raise RequestError("this run was closed, it has no result")
            try:
                return self._conclude()
            finally:
                self._release()

    def _conclude(self) -> RunResult:
        session = self.session
        if session.ended is None and session.failure is None and session.error is None and not session.lost:
            if not session.overdue and not self.launcher.gone():
                raise LauncherDied(
                    "the launcher gave this run up without a report",
                    hint="it is out of descriptors or memory, or the process that collects files was killed; try again",
                )
            self.engine.launchers.drop(self.launcher)
        if session.error is None and session.failure is not None:
            if not session.canceled and not self._out_of_memory(session.failure):
                raise failure_error(self.engine.plan, self.prepared, session.failure)
            session.ended = _never_started(
                self.submitted, launch.BY_CALLER if session.canceled else self._oom_reason(session.failure)
            )
        session.check()
        return self._result()

    def _out_of_memory(self, failure: tuple[int, int, int]) -> bool:
        """The kernel killed init for want of memory before it could say that the program runs."""
        if failure[0] != steps.INIT_DIED or self.lease is None:
            return False
        if failure[2] == errno.ENOMEM:  # version 1: the launcher was told of it first, and killed init
            return True
        counters = self.lease.counters()
        return counters.oom_kills > 0 and counters.memory_limit_hits > 0

    @staticmethod
    def _oom_reason(failure: tuple[int, int, int]) -> int:
        return launch.BY_OOM if failure[2] == errno.ENOMEM else launch.NOT_KILLED

    @property
    def over(self) -> bool:
        """Everything was given back."""
        return self._over

    def abandon(self) -> None:
        """Let go: closing the lane kills the sandbox. Safe at any time, from any thread, and again."""
        with self._lock:
            self._release()

    def _release(self) -> None:
        if self._over:
            return
        self._over = True
        try:
            self.session.close()
            self._release_lease()
        finally:
            self.engine.launchers.give_back(self.launcher)
            self._slots.release()

    def _release_lease(self) -> None:
        lease, self.lease = self.lease, None
        self.launcher.parking.retire(lease)

    def _result(self) -> RunResult:
        session, engine = self.session, self.engine
        ended = session.ended
        if ended is None:
            raise LauncherDied("the launcher ended during the run")
        counters = self.lease.counters() if self.lease else None
        oom = counters is not None and counters.oom_kills > 0
        if oom and counters is not None and not counters.memory_limit_hits:
            raise self._killed_from_above()
        if not ended.init_ok and ended.killed_by == launch.NOT_KILLED and not oom:
            raise LauncherDied(
                f"the sandbox's init ended without a report (wait status {ended.status}): something outside killed it",
                hint="look for the host's out-of-memory killer in its log",
            )
        usage = _usage(ended, counters, session.out.total + session.err.total)
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
                cpu_ns=usage.cpu_user_ns + usage.cpu_system_ns,
                syscalls=engine.syscalls,
            )
        )
        files, refused = self._files()
        engine.served += 1
        now = time.monotonic_ns()
        return RunResult(
            outcome=outcome,
            exit=status,
            usage=usage,
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

    @staticmethod
    def _killed_from_above() -> ResourceError:
        error = ResourceError(
            "the kernel killed the program for want of memory, though it was within its limit",
            hint="the host, or a control group above, is out of memory: allow more there, or run less at once",
        )
        error.retryable = True
        return error

    def _files(self) -> tuple[dict[str, CollectedFile], tuple[tuple[str, str], ...]]:
        """The collected files that match what was asked for. A name without wildcard takes all below it."""
        if self.session.collected < 0:
            return {}, ()
        entries, refused = unpack_collected(self.session.collected)
        patterns = self.prepared.collect
        files = {name: CollectedFile(data, mode) for name, mode, data in entries if _wanted(name, patterns)}
        return files, tuple((name, reason) for name, reason in refused if _wanted(name, patterns))


def _wanted(name: str, patterns: tuple[str, ...]) -> bool:
    import fnmatch

    return any(
        pattern in (".", name) or name.startswith(pattern + "/") or fnmatch.fnmatchcase(name, pattern) for pattern in patterns
    )


def group_limits(policy: Policy, limits: Limits) -> CgroupLimits:
    """What the control group of a run is given."""
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
    # The kernel splits the group's time otherwise than that of a process (by ticks with version 1): only sums can be compared.
    used = max(0, counters.cpu_user_ns + counters.cpu_system_ns - ended.init_user_ns - ended.init_system_ns)
    user = min(used, max(0, counters.cpu_user_ns - ended.init_user_ns))
    return Usage(
        cpu_user_ns=user,
        cpu_system_ns=used - user,
        wall_ns=wall,
        memory_peak_bytes=counters.memory_peak_bytes,
        pids_peak=max(0, counters.pids_peak - 1),
        output_bytes=output_bytes,
        throttled_ns=counters.throttled_ns,
    )


def _never_started(submitted: int, killed_by: int) -> Ended:
    """The report of a run that ended before init could report: canceled, or out of memory."""
    return Ended(
        init_ok=False,
        status=9,
        killed_by=killed_by,
        killed_value=int(killed_by == launch.BY_OOM),
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
        file_reached_bytes=0,
        left_alive=False,
        denied=(),
    )
