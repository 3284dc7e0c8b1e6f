"""Time that can be defended: whole cores for runs, repeated runs near the limit, and what the host took away.

A verdict rests on CPU time, which does not grow while others use the machine, but it has noise. A run whose time lies near
the limit is repeated, and the fastest one counts: noise only ever adds. How far the runs lay apart stays in the result.
"""

from __future__ import annotations

import contextlib
import heapq
import math
import os
import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sandbox.grader.model import Limits, Timing
from sandbox.model.result import Outcome, RunResult

MARGIN = 0.1  # of the limit, on both sides: within it one more run may change the verdict
MOST_RUNS = 3
ALLOWANCE = 1.25  # the sandbox ends a run here: a time above the limit can be seen as a number, not only as an end
_LEAST_ALLOWANCE_S = 0.1
_IDLE_S = 2.0
_WALL_FACTOR = 4.0
_WALL_S = 10.0
_WAITED = 0.5  # of the time that a program did not run: the part in which its core was free, so that it waited of its own accord
_SHARE = 0.05  # of a busy core: who can run has more, unless there are twenty others that run all the time
_LEAST_PIPE_BYTES = 4096  # for who has many pipes already; source: pipe(7), /proc/sys/fs/pipe-user-pages-soft
_STEAL = 7  # fields of a line of /proc/stat after its name; source: proc_stat(5)
_IDLE = (3, 4)  # idle, and idle while a disk is waited for


def cpu_s(run: RunResult) -> float:
    """CPU seconds of everything in the sandbox."""
    return (run.usage.cpu_user_ns + run.usage.cpu_system_ns) / 1e9


def again(times: Sequence[float], limit_s: float) -> bool:
    """Whether one more run is worth it, after runs that took `times` CPU seconds.

    A time within the margin above the limit is measured up to three times, since the next may be below. One within the margin
    below the limit is accepted as it is, and measured once more for the spread.
    """
    if not times or len(times) >= MOST_RUNS:
        return False
    best = min(times)
    if best <= limit_s:
        return best >= (1 - MARGIN) * limit_s and len(times) < 2
    return best <= (1 + MARGIN) * limit_s


def fastest(runs: Sequence[RunResult]) -> RunResult:
    """The run that counts: the least CPU time."""
    return min(runs, key=cpu_s)


@dataclass(frozen=True, slots=True)
class Clocks:
    """After how many seconds a sandbox ends a run. `idle_s`: without any progress of CPU time; None is not watched."""

    cpu_s: float
    wall_s: float
    idle_s: float | None


def clocks(limits: Limits, allowance: float = ALLOWANCE, *, interactive: bool = False) -> Clocks:
    """How long a sandbox lets a submission go on.

    CPU time up to `allowance` limits, by default a quarter above one, so that a near miss is measured. Elapsed time is generous:
    a busy host must not make a verdict. Who sleeps is found by the lack of progress instead; an interactive submission waits for
    its judge by right.
    """
    cpu = max(limits.time_s * allowance, limits.time_s + _LEAST_ALLOWANCE_S)
    if interactive:
        return Clocks(cpu, 2 * limits.time_s + _WALL_S / 2, None)
    return Clocks(cpu, _WALL_FACTOR * limits.time_s + _WALL_S, max(_IDLE_S, 2 * limits.time_s))


def record(runs: Sequence[RunResult], counts: RunResult, cpus: tuple[int, ...], steal: float | None) -> Timing:
    """What the time of a case rests on. The kernel's count of preemptions is not in a `RunResult`: it stays unknown."""
    return Timing(
        cpu_s=cpu_s(counts),
        wall_s=counts.usage.wall_ns / 1e9,
        runs=tuple(cpu_s(run) for run in runs),
        throttled_s=counts.usage.throttled_ns / 1e9 if _is_counted(counts) else None,
        steal_s=steal,
        cpus=cpus,
    )


def _is_counted(run: RunResult) -> bool:
    """Whether control groups counted: stand-ins do not see throttling."""
    return not any(item.control in ("cpu", "cgroup") for item in run.degraded)


def steal_s(text: str, cpus: tuple[int, ...], ticks: int) -> float | None:
    """Seconds that the hypervisor took from these CPUs (all where none is named), from the text of /proc/stat."""
    return _fields_s(text, cpus, ticks, (_STEAL,))


def idle_s(text: str, cpus: tuple[int, ...], ticks: int) -> float | None:
    """Seconds in which these CPUs (all where none is named) had nothing to do; None where the kernel does not count them."""
    return _fields_s(text, cpus, ticks, _IDLE) or None


def _fields_s(text: str, cpus: tuple[int, ...], ticks: int, fields: tuple[int, ...]) -> float | None:
    names = {f"cpu{number}" for number in cpus} or {"cpu"}
    found = [line.split() for line in text.splitlines() if line.split(" ", 1)[0] in names]
    if not found or any(len(words) <= max(fields) + 1 for words in found):
        return None
    return sum(int(words[field + 1]) for words in found for field in fields) / ticks


@dataclass(frozen=True, slots=True)
class Counted:
    """What the kernel has counted of some CPUs until now, in seconds; None where it does not say."""

    idle_s: float | None
    steal_s: float | None


def counted(cpus: tuple[int, ...]) -> Counted:
    """Of these CPUs; where none is named, idle time of all that this process may use, and steal of all. One look costs 40 µs."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            text = file.read()
        ticks = os.sysconf("SC_CLK_TCK")
        return Counted(idle_s(text, cpus or tuple(sorted(os.sched_getaffinity(0))), ticks), steal_s(text, cpus, ticks))
    except (OSError, ValueError):
        return Counted(None, None)


def between(before: float | None, after: float | None) -> float | None:
    """How much a counter grew; None when one end is not known."""
    return after - before if before is not None and after is not None else None


def total(parts: Iterable[float | None]) -> float | None:
    """Their sum; None when one is not known."""
    known = list(parts)
    return None if None in known else sum(part for part in known if part is not None)


def has_fair_share() -> bool:
    """Whether our programs get as much of a busy core as those of others: they are neither nice nor of the idle class."""
    ours = os.sched_getscheduler(0) in (os.SCHED_OTHER, os.SCHED_FIFO, os.SCHED_RR)
    return ours and os.getpriority(os.PRIO_PROCESS, 0) <= 0


def never_waits_for_us(run: RunResult, input_bytes: int) -> bool:
    """Whether the smallest pipe held all that went in, before the start, and all that came out: nobody fills or empties it."""
    return not run.truncated and max(input_bytes, len(run.stdout), len(run.stderr)) < _LEAST_PIPE_BYTES


def starved(run: RunResult, idle: float | None, beside_s: float = 0.0, *, fair: bool = False, alone: bool = False) -> bool:
    """Whether others had the CPU while a clock ran out: then the run says nothing about the program.

    A program that could run does so while its core is free. Who was ended for elapsed time, or for doing nothing, waited of its
    own accord when its core was free for much of the time in which it did not run. So did, on a core that is shared fairly, who
    used less of it than the share of one among many, and who was ended for doing nothing: whenever the sandbox looked, nothing
    in it was ready to run.

    Args:
        run: of the submission.
        idle: seconds in which its core was free meanwhile; None where that is not known, and only throttling can be seen.
        beside_s: CPU seconds of our own programs on that core (an interactor), for which it may have waited.
        fair: what `has_fair_share` says, where nobody took the core itself away.
        alone: what `never_waits_for_us` says: else it may have waited for one of us who got no CPU.
    """
    if not waited(run):
        return False
    off_s = run.usage.wall_ns / 1e9 - cpu_s(run) - beside_s
    if run.usage.throttled_ns / 1e9 > (1 - _WAITED) * off_s > 0:
        return True
    if alone and run.outcome is Outcome.IDLE_TIME:
        return False
    if fair and cpu_s(run) < _SHARE * off_s:
        return False
    return idle is not None and idle < _WAITED * off_s


def infer_limit(accepted: Mapping[str, float], limits: Limits) -> float:
    """The time limit of a problem that gives none: `ac_to_time_limit` times the slowest accepted submission, rounded up.

    Args:
        accepted: slowest case of each accepted submission, in CPU seconds.
        limits: the multipliers, and `time_resolution` of which the limit is a multiple.

    Source: problem package format 2025-09, "Timelimit inference" and `time_resolution`.
    """
    if not accepted:
        return limits.time_s
    steps = math.ceil(max(accepted.values()) * limits.ac_to_time_limit / limits.time_resolution - 1e-9)
    return max(1, steps) * limits.time_resolution


def too_fast(limit_s: float, slow: Mapping[str, float], limits: Limits) -> list[str]:
    """Submissions that have to be too slow, and are not by the margin `time_limit_to_tle`; each as a sentence."""
    least = limit_s * limits.time_limit_to_tle
    return [
        f"{name} takes {taken:.2f} s, but has to be slower than {least:.2f} s ({limits.time_limit_to_tle:g} times the time limit)"
        for name, taken in sorted(slow.items())
        if taken < least
    ]


def waited(run: RunResult) -> bool:
    """Whether elapsed time ended the run: its CPU time does not tell how long it would have taken."""
    return run.outcome in (Outcome.IDLE_TIME, Outcome.WALL_TIME)


def clock_ended(run: RunResult) -> bool:
    """Whether elapsed time ended the run although the program was computing: a busy host may be why, another run can tell."""
    return run.outcome is Outcome.WALL_TIME and cpu_s(run) * 1e9 > 0.2 * run.usage.wall_ns


@dataclass(frozen=True, slots=True, order=True)
class Core:
    """A place for one run at a time. `cpus` is empty where runs cannot be pinned."""

    number: int
    cpus: tuple[int, ...]


class Cores:
    """Lends each core to one case at a time, so that parallel cases do not share one."""

    def __init__(self, count: int | None = None, *, pinned: bool = True) -> None:
        usable = sorted(os.sched_getaffinity(0))
        count = count or len(usable)
        # more cases than cores were asked for: sharing a core on purpose would be worse than the kernel's choice
        named = usable if pinned and count <= len(usable) else []
        self._free = [Core(number, (named[number],) if named else ()) for number in range(count)]  # a heap
        self._waiting: deque[queue.SimpleQueue[Core]] = deque()
        self._lock = threading.Lock()

    def free(self, most: int) -> tuple[Core, ...]:
        """Those that are lent next, if nobody else comes first: none when all are in use."""
        with self._lock:
            return tuple(heapq.nsmallest(most, self._free))

    @contextlib.contextmanager
    def lend(self) -> Iterator[Core]:
        """A core, as soon as one is free, in order of arrival: the one with the lowest number, whose launcher is the warmest."""
        turn: queue.SimpleQueue[Core] = queue.SimpleQueue()
        with self._lock:
            if self._free:
                turn.put(heapq.heappop(self._free))
            else:
                self._waiting.append(turn)
        core = turn.get()
        try:
            yield core
        finally:
            with self._lock:
                if self._waiting:
                    self._waiting.popleft().put(core)
                else:
                    heapq.heappush(self._free, core)


_shared: dict[bool, Cores] = {}
_shared_lock = threading.Lock()


def cores(jobs: int | None, *, pinned: bool) -> Cores:
    """Where the cases of a grading run. All gradings of this process share its cores, unless more at once are asked for."""
    if jobs is not None and jobs > len(os.sched_getaffinity(0)):
        return Cores(jobs, pinned=False)
    with _shared_lock:
        if pinned not in _shared:
            _shared[pinned] = Cores(pinned=pinned)
        return _shared[pinned]


def _after_fork() -> None:
    global _shared_lock
    _shared_lock = threading.Lock()
    _shared.clear()


os.register_at_fork(after_in_child=_after_fork)
