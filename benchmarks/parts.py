"""What is measured of one way or of all in turn. Everything returns plain data for the JSON file."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import loads, tools
from benchmarks.loads import Load
from sandbox.bench import figures, measure
from sandbox.bench.ways import Ours, Way

SETTLE = 0.5  # seconds in which the kernel takes down what has ended, and sandboxes are parked anew
TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
ROOT = Path(__file__).resolve().parents[1]
Tell = Callable[[str], object]


@contextlib.contextmanager
def opened(load: Load, *, degraded: bool) -> Iterator[tuple[list[Way], dict[str, str]]]:
    """All ways to launch this load, ours first; and those that are missing."""
    with contextlib.ExitStack() as stack:
        ours = []
        for parked in (True, False):
            way = (
                Ours(load.profile, load.argv, parked=parked, allow_degraded=degraded)
                if not load.stdin
                else with_input(load, parked=parked, degraded=degraded)
            )
            stack.callback(way.close)
            ours.append(way)
        rest, missing = tools.others(ours[0], load.argv, load.stdin, load.expected)
        for way in rest:
            stack.callback(way.close)
        yield [*ours, *rest], missing


def with_input(load: Load, *, parked: bool, degraded: bool) -> Ours:
    """Its first launch, which nobody counts, has no input: it runs /bin/true."""
    return Ours(load.profile, measure.PROGRAM, parked=parked, allow_degraded=degraded)


def latency(load: Load, ways: list[Way], runs: int) -> dict:
    """p50, p90, p99 of each way in turn, and the stages of ours."""
    times = measure.interleaved(ways, load.argv, runs, lambda _: None, load.stdin)
    mine = [way for way in ways if isinstance(way, Ours)]
    return {
        "runs": runs,
        "latency": {name: figures.summary(values) for name, values in times.items()},
        "stages": {way.name: measure.stages(way.timings) for way in mine},
        "found_parked": round(mine[0].hits(), 3),
    }


def throughput(ways: list[Way], runs: int, rounds: int) -> dict:
    """Launches a second at 1, 2, 4 and 8 callers: the median of rounds in turn."""
    seen: dict[str, dict[str, list[float]]] = {way.name: {} for way in ways}
    for turn in range(rounds):
        for callers in measure.CALLERS:
            for way in ways[turn % len(ways) :] + ways[: turn % len(ways)]:
                rate = measure.throughput(way, loads.TRUE.argv, callers, runs)
                seen[way.name].setdefault(str(callers), []).append(rate)
                time.sleep(SETTLE / 5)
    return {name: {key: round(figures.percentile(rates, 0.5), 1) for key, rates in row.items()} for name, row in seen.items()}


def busy_ms() -> float:
    """CPU time of the whole machine that was not idle, kernel workers too."""
    with open("/proc/stat", encoding="ascii") as file:
        values = [int(word) for word in file.readline().split()[1:9]]
    user, nice, system, _, _, irq, softirq, steal = values
    return (user + nice + system + irq + softirq + steal) * TICK_MS


class OwnGroup:
    """A cpuacct group around this process, where root can make one: what others do is not in its figures."""

    def __init__(self) -> None:
        self._place = Path("/sys/fs/cgroup/cpuacct") / f"bench-{os.getpid()}"
        try:
            self._place.mkdir()
            (self._place / "cgroup.procs").write_text(str(os.getpid()))
        except OSError:
            self._place = Path()

    def used_ms(self) -> float | None:
        """CPU time of this process and everything below it; None without a group."""
        if self._place == Path():
            return None
        return int((self._place / "cpuacct.usage").read_text()) / 1e6

    def close(self) -> None:
        if self._place != Path():
            (self._place.parent / "cgroup.procs").write_text(str(os.getpid()))
            with contextlib.suppress(OSError):  # somebody is still in it: it stays, empty, until he has gone
                self._place.rmdir()


def cpu(ways: list[Way], runs: int, rounds: int, group: OwnGroup) -> dict:
    """CPU ms a run: of the whole machine less what it does without us, and of our own group."""
    idle = []
    machine: dict[str, list[float]] = {way.name: [] for way in ways}
    own: dict[str, list[float]] = {way.name: [] for way in ways}
    for turn in range(rounds):
        start, before = time.perf_counter(), busy_ms()
        time.sleep(2)
        idle.append((busy_ms() - before) / (time.perf_counter() - start))
        for way in ways[turn % len(ways) :] + ways[: turn % len(ways)]:
            start, before, mine = time.perf_counter(), busy_ms(), group.used_ms()
            for _ in range(runs):
                way.launch(loads.TRUE.argv)
            time.sleep(SETTLE)
            used = busy_ms() - before - idle[-1] * (time.perf_counter() - start)
            machine[way.name].append(used / runs)
            after = group.used_ms()
            if mine is not None and after is not None:
                own[way.name].append((after - mine) / runs)
    return {
        "runs": runs * rounds,
        "background_ms_a_second": round(figures.percentile(idle, 0.5), 1),
        "machine_ms": {name: round(figures.percentile(values, 0.5), 3) for name, values in machine.items()},
        "group_ms": {name: round(figures.percentile(values, 0.5), 3) for name, values in own.items() if values},
    }


def paced(ways: list[Way], runs: int, pitch: float = 0.05) -> dict:
    """Latency at one launch every 50 ms: blocks of 20 of each way in turn."""
    times: dict[str, list[float]] = {way.name: [] for way in ways}
    for turn in range(max(1, runs // 20)):
        for way in ways[turn % len(ways) :] + ways[: turn % len(ways)]:
            begin = time.perf_counter()
            for number in range(min(runs, 20) + 2):
                time.sleep(max(0.0, begin + number * pitch - time.perf_counter()))
                took = measure.timed(lambda way=way: way.launch(loads.TRUE.argv))
                if number >= 2:
                    times[way.name].append(took)
    return {name: figures.summary(values) for name, values in times.items()}


def grading(ways: list[Way], rounds: int) -> dict:
    """Milliseconds a case of a loop over all cases with as many callers as CPUs; every answer is checked."""
    every, callers = loads.cases(), len(os.sched_getaffinity(0))
    seen: dict[str, list[float]] = {way.name: [] for way in ways}
    for turn in range(rounds):
        for way in ways[turn % len(ways) :] + ways[: turn % len(ways)]:
            start = time.perf_counter()
            with ThreadPoolExecutor(callers) as pool:
                said = list(pool.map(lambda case, way=way: way.launch(loads.GRADER.argv, case[0]), every))
            took = (time.perf_counter() - start) * 1e3 / len(every)
            if said != [expected for _, expected in every]:
                raise RuntimeError(f"{way.name} gave a wrong answer")
            seen[way.name].append(took)
    return {name: {"case_ms": round(figures.percentile(values, 0.5), 3)} for name, values in seen.items()}


def rollup(pid: int) -> dict[str, float]:
    """Resident, proportional and private memory of a process in MB."""
    found = {}
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for line in file.readlines()[1:]:
            name, value, *_ = line.split()
            found[name.rstrip(":")] = int(value) / 1024
    return {"rss": found["Rss"], "pss": found["Pss"], "private": found["Private_Clean"] + found["Private_Dirty"]}


def memory(ours: Ours) -> dict:
    """What a parked sandbox and the launcher hold, in MB."""
    from tests.support import leaks

    with ThreadPoolExecutor(8) as pool:
        for _ in range(4):
            list(pool.map(lambda _: ours.launch(["/bin/sleep", "0.1"]), range(8)))
    deadline = time.monotonic() + 5
    while ours.box.stats()["parked"] < 8 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(SETTLE)
    parked = ours.box.stats()["parked"]
    process = ours.box._engine.launchers.living()[0]
    (launcher,) = (int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
    below = leaks.descendants(launcher)
    try:
        each = [rollup(pid) for pid in below]
        whole = rollup(launcher)
    except PermissionError:
        return {"missing": "an ordinary user may not look into these processes: they are not dumpable"}
    return {
        "parked": parked,
        "processes": len(below),
        "parked_private_mb": round(sum(item["private"] for item in each) / max(1, parked), 2),
        "parked_pss_mb": round(sum(item["pss"] for item in each) / max(1, parked), 2),
        "launcher_rss_mb": round(whole["rss"], 2),
        "launcher_private_mb": round(whole["private"], 2),
    }


FLAT = """
import json, sys
import sandbox
count, degraded = int(sys.argv[1]), sys.argv[2] == "1"
def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 1024
samples = []
with sandbox.Sandbox("default", allow_degraded=degraded) as box:
    for number, item in enumerate(box.map(["/bin/true"] for _ in range(count))):
        item.unwrap()
        if number % max(1, count // 50) == 0:
            samples.append((number, round(resident(), 2)))
print(json.dumps(samples))
"""


def flat(count: int, *, degraded: bool) -> dict:
    """Anonymous memory of a caller, in MB, over many runs of `Sandbox.map`."""
    start = time.perf_counter()
    command = [sys.executable, "-c", FLAT, str(count), str(int(degraded))]
    samples = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    took = time.perf_counter() - start
    early = [size for _, size in samples[len(samples) // 10 : len(samples) // 5 + 1]]
    late = [size for _, size in samples[-max(1, len(samples) // 10) :]]
    return {
        "runs": count,
        "runs_a_second": round(count / took, 1),
        "early_mb": figures.percentile(early, 0.5),
        "late_mb": figures.percentile(late, 0.5),
        "samples": samples,
    }


def pairs(calls: dict[str, Callable[[], object]], runs: int) -> dict:
    """Latency of some calls in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(-3, runs):
        for name, call in calls.items():
            took = measure.timed(call)
            if turn >= 0:
                times[name].append(took)
    return {name: figures.summary(values) for name, values in times.items()}


def shell(runs: int, *, degraded: bool) -> dict:
    """`sandbox run -- /bin/true` as a shell starts it, beside `python3 -I -c pass`."""
    command = [str(Path(sys.executable).with_name("sandbox")), "run", *(["--allow-degraded", "-q"] if degraded else [])]

    def call(words: list[str]) -> Callable[[], object]:
        return lambda: subprocess.run(words, check=True, stdin=subprocess.DEVNULL, capture_output=True)

    return pairs({"sandbox run": call([*command, "--", "/bin/true"]), "python3 -I -c pass": call(list(loads.PASS.argv))}, runs)


WARM = 'extends = "python-warm"\n[warm]\npreload = ["numpy"]\n[why]\n"warm.preload" = "it is measured"\n'


def warm(runs: int, place: Path, *, degraded: bool) -> dict:
    """A warm interpreter beside an unsandboxed one: `pass`, and a script that imports numpy."""
    import sandbox
    from sandbox.model.errors import SandboxError

    file = place / "numpy-warm.toml"
    file.write_text(WARM)
    found: dict = {}
    for name, profile, code in (("pass", "python-warm", "pass"), ("numpy", str(file), "import numpy")):
        plain = [loads.PYTHON, "-I", "-c", code]
        try:
            with sandbox.Sandbox(profile, allow_degraded=degraded) as box:
                argv = [loads.PYTHON, "-c", code]
                if not box.run(argv).ok:
                    raise SandboxError("the run did not end well")
                calls = {
                    "warm": lambda box=box, argv=argv: box.run(argv),
                    "subprocess": lambda plain=plain: subprocess.run(plain, check=True, capture_output=True),
                }
                found[name] = pairs(calls, runs if name == "pass" else max(5, runs // 5))
        except SandboxError as error:
            found[name] = {"missing": " ".join(str(error).split())}
    return found
