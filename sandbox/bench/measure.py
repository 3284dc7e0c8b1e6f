"""Measuring launches on this host: interleaved, so that every way sees the same machine."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import platform
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sandbox.bench import figures
from sandbox.bench.ways import Bubblewrap, Command, Ours, Way, plan_of, tried
from sandbox.policy.profile import Profile

PROGRAM = ("/bin/true",)
CALLERS = (1, 2, 4, 8)
WARM_UP = 10
STAGES = ("queue", "setup", "run", "teardown")

Tell = Callable[[str, float], object]
"""Called with what is done now, and the share (0 to 1) of everything that is done."""


def timed(call: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def interleaved(
    ways: Sequence[Way], argv: Sequence[str], runs: int, tell: Callable[[float], object], stdin: bytes = b""
) -> dict[str, list[float]]:
    """Milliseconds of `runs` launches of each way, in turn; some more before are not counted."""
    times: dict[str, list[float]] = {way.name: [] for way in ways}
    for turn in range(-WARM_UP, runs):
        if not turn:
            for way in ways:
                if isinstance(way, Ours):
                    way.clear()
        for shift in range(len(ways)):  # nobody is always the one after the slowest
            way = ways[(turn + shift) % len(ways)]
            took = timed(lambda way=way: way.launch(argv, stdin))  # type: ignore[misc]
            if turn >= 0:
                times[way.name].append(took)
        tell((turn + WARM_UP + 1) / (runs + WARM_UP))
    return times


def throughput(way: Way, argv: Sequence[str], callers: int, runs: int) -> float:
    """Launches a second of `callers` threads that do `runs` of them in all. Raises what a launch raised."""
    left, lock = runs, threading.Lock()
    errors: list[BaseException] = []

    def work() -> None:
        nonlocal left
        while not errors:
            with lock:
                if left <= 0:
                    return
                left -= 1
            try:
                way.launch(argv)
            except BaseException as error:  # noqa: BLE001 - raised below, in the thread of the caller
                errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(callers)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - start
    if errors:
        raise errors[0]
    return runs / took


def stages(timings: Sequence[dict[str, int]]) -> dict[str, dict[str, float]]:
    """Where the time of runs went: for each stage p50, p90 and p99."""
    return {stage: figures.summary([item[f"{stage}_ns"] / 1e6 for item in timings]) for stage in STAGES}


def host() -> dict[str, Any]:
    """The conditions that do not depend on what is measured."""
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "uid": os.getuid(),
    }


def version(*command: str) -> str:
    """What a tool says of its version, one line; "" when it is not there."""
    with contextlib.suppress(OSError):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return next(iter((done.stdout or done.stderr).splitlines()), "").strip()
    return ""


def strength(ours: Ours) -> dict[str, Any]:
    """What a run of ours has that is measured."""
    enforced = ours.box.run(list(PROGRAM)).enforced
    return {
        "namespaces": enforced["namespaces"],
        "network": enforced["network"],
        "control groups": enforced["cgroup"],
        "landlock": enforced["landlock"]["abi"],
        "id map": enforced["identity"]["id_map"],
        "filter instructions": enforced["seccomp"]["instructions"],
    }


@contextlib.contextmanager
def opened(profile: str | Profile, *, allow_degraded: bool) -> Iterator[tuple[list[Way], dict[str, str]]]:
    """All ways that there are here, ours first, and those that are missing with the reason."""
    with contextlib.ExitStack() as stack:
        ways: list[Way] = []
        for parked in (True, False):
            ours = Ours(profile, PROGRAM, parked=parked, allow_degraded=allow_degraded)
            stack.callback(ours.close)
            ways.append(ours)
        first = ways[0]
        missing = {}
        if isinstance(first, Ours):
            other, reason = tried(Bubblewrap, plan_of(first), PROGRAM)
            if other is None:
                missing["bubblewrap"] = reason
            else:
                stack.callback(other.close)
                ways.append(other)
        ways.append(Command())
        yield ways, missing


def run_all(profile: str | Profile, runs: int, *, allow_degraded: bool, tell: Tell) -> dict[str, Any]:
    """Measure everything: see docs/cli.md. Raises SandboxError when the profile cannot be used here.

    Args:
        profile: name, file or Profile; it must show /bin/true.
        runs: launches of each way, and for each number of callers.
        allow_degraded: as for `Sandbox`.
        tell: hears what is done now, and how far everything is.
    """
    before = host()
    with opened(profile, allow_degraded=allow_degraded) as (ways, missing):
        steps = 1 + len(ways) * len(CALLERS)
        times = interleaved(ways, PROGRAM, runs, lambda share: tell("latency", share / steps))
        mine = [way for way in ways if isinstance(way, Ours)]
        report: dict[str, Any] = {
            "conditions": {**before, **strength(mine[0]), "bubblewrap": version("bwrap", "--version") or "not installed"},
            "program": PROGRAM[0],
            "runs": runs,
            "missing": missing,
            "first_launch_ms": round(mine[0].first_ms, 1),
            "latency": {name: figures.summary(values) for name, values in times.items()},
            "stages": {way.name: stages(way.timings) for way in mine},
            "found_parked": round(mine[0].hits(), 3),
            "throughput": {way.name: {} for way in ways},
        }
        done = 1
        for callers in CALLERS:
            for way in ways:
                tell(f"{way.name}, {callers} callers", done / steps)
                report["throughput"][way.name][str(callers)] = round(throughput(way, PROGRAM, callers, runs), 1)
                done += 1
    tell("done", 1.0)
    return report
