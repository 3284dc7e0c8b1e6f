"""`make soak`: thousands of runs of every kind from several callers, some of which are killed. Everything must stay flat.

    python -m tests.soak.run [--runs 20000] [--callers 8] [--json FILE]

Prints a table (start, middle, end of what could grow) and a plot; exit code 1 when something grew or a result was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.escape.arena import has_base
from tests.support import leaks
from tests.support.programs import build

ROOT = Path(__file__).resolve().parents[2]
SAMPLE_SECONDS = 1.0
# What may differ between the second and the last part: absolute, or a share of the former.
ALLOWED = {
    "caller fds": (4, 0),
    "launcher fds": (8, 0),
    "processes": (30, 0),
    "groups": (30, 0),
    "mounts": (0, 0),
    "caller KiB": (1500, 0.05),
    "launcher KiB": (1500, 0.05),
    "disk KiB": (2048, 0.02),
    "kernel groups": (300, 0),
}


@dataclass
class Caller:
    """One caller process, started again when it was killed."""

    number: int
    runs: int
    degraded: bool
    probe: Path
    victim: bool
    done: int = 0
    lives: int = 0
    problems: list[str] = field(default_factory=list)
    finished: bool = False
    process: subprocess.Popen[str] | None = None

    def serve(self) -> None:
        """Run to the end, over as many lives as it takes."""
        while not self.finished:
            command = [sys.executable, "-m", "tests.soak.caller", str(self.probe), "--runs", str(self.runs - self.done)]
            command += ["--seed", str(1000 * self.number + self.lives), *(["--degraded"] if self.degraded else [])]
            self.lives += 1
            base, self.process = self.done, subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
            for line in self.process.stdout or ():
                words = line.split()
                if words[0] == "WRONG":
                    self.problems.append(line.strip())
                elif words[0] == "END":
                    self.done, self.finished = base + int(words[1]), True
                else:
                    self.done = base + int(words[0])
            status = self.process.wait()
            if not self.finished and status != -signal.SIGKILL:
                self.problems.append(f"caller {self.number} ended with {status}")
                return
            if self.done >= self.runs:
                self.finished = True

    def kill(self) -> None:
        """kill -9, in the middle of whatever it does."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()


def status_of(pid: int) -> tuple[int, int]:
    """(open descriptors, resident KiB); zeros when it has gone."""
    try:
        fds = len(os.listdir(f"/proc/{pid}/fd"))
        with open(f"/proc/{pid}/status") as file:
            resident = next((int(line.split()[1]) for line in file if line.startswith("RssAnon")), 0)
    except OSError:
        return 0, 0
    return fds, resident


def launcher_of(pid: int) -> int:
    """The launcher proper below a caller: the only grandchild by way of the keeper."""
    for keeper in leaks.descendants(pid):
        try:
            with open(f"/proc/{keeper}/cmdline", "rb") as file:
                command = file.read()
            with open(f"/proc/{keeper}/task/{keeper}/children") as file:
                below = file.read().split()
        except OSError:
            continue
        if b"launcher/__main__.py" in command and below and len(below) == 1:
            return int(below[0])
    return 0


def sample(callers: Sequence[Caller]) -> dict[str, float]:
    """One look at everything that could grow. Per-process figures are of the callers that are never killed."""
    steady = [caller for caller in callers if not caller.victim and caller.process is not None and not caller.finished]
    own = [status_of(caller.process.pid) for caller in steady if caller.process is not None]
    launchers = [status_of(launcher_of(caller.process.pid)) for caller in steady if caller.process is not None]
    disk = os.statvfs(os.environ.get("TMPDIR", "/tmp"))
    with open("/proc/cgroups") as file:
        memory = [int(line.split()[2]) for line in file if line.startswith("memory")]
    out: dict[str, float] = {
        "done": sum(caller.done for caller in callers),
        "processes": len(leaks.descendants(os.getpid())),
        "groups": len(leaks.control_groups()),
        "mounts": len(leaks.mounts()),
        "disk KiB": (disk.f_blocks - disk.f_bfree) * disk.f_frsize / 1024,
        "kernel groups": memory[0] if memory else 0,
    }
    if own:
        out |= {"caller fds": max(fds for fds, _ in own), "caller KiB": statistics.mean(size for _, size in own)}
    seen = [item for item in launchers if item[1]]
    if seen:
        out |= {"launcher fds": max(fds for fds, _ in seen), "launcher KiB": statistics.mean(size for _, size in seen)}
    return out


def verdicts(samples: Sequence[dict[str, float]]) -> list[tuple[str, float, float, float, bool]]:
    """(what, early, middle, late, flat). Early is the second tenth: launchers and caches are warm by then."""
    rows = []
    for name, (extra, share) in ALLOWED.items():
        values = [item[name] for item in samples if name in item]
        if len(values) < 20:
            continue
        tenth = len(values) // 10
        early, late = values[tenth : 3 * tenth], values[-3 * tenth : -tenth]
        middle = values[5 * tenth : 6 * tenth] or values[len(values) // 2 : len(values) // 2 + 1]
        before, after = statistics.median(early), statistics.median(late)
        rows.append((name, before, statistics.median(middle), after, after - before <= max(extra, share * before)))
    return rows


def plot(samples: Sequence[dict[str, float]]) -> None:
    """Everything relative to its median, over the runs that were done."""
    import plotext

    for name in ("caller KiB", "launcher KiB", "launcher fds", "groups"):
        points = [(item["done"], item[name]) for item in samples if name in item]
        scale = statistics.median(value for _, value in points) or 1
        plotext.plot([x for x, _ in points], [value / scale for _, value in points], label=name)
    plotext.title("relative to the median, over runs done")
    plotext.plotsize(100, 20)
    plotext.theme("clear")
    drawn = plotext.build()
    print(drawn if sys.stdout.isatty() else plotext.uncolorize(drawn))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--kill-every", type=float, default=5.0, help="seconds between two kills of a caller")
    parser.add_argument("--json", default="out/soak.json")
    options = parser.parse_args()
    degraded, probe = not has_base(), build()
    before = (leaks.own_groups(), leaks.mounts(), set(os.listdir("/dev/shm")))
    each = options.runs // options.callers
    callers = [Caller(number, each, degraded, probe, victim=number < options.callers // 4) for number in range(options.callers)]
    threads = [threading.Thread(target=caller.serve) for caller in callers]
    for thread in threads:
        thread.start()
    started, samples, next_kill, chance = time.monotonic(), [], time.monotonic() + options.kill_every, random.Random(7)
    pause = threading.Event()
    while any(thread.is_alive() for thread in threads):
        samples.append(sample(callers))
        if time.monotonic() >= next_kill:
            chance.choice(callers[: max(1, options.callers // 4)]).kill()
            next_kill = time.monotonic() + options.kill_every
        if sys.stderr.isatty():
            print(f"\r\x1b[K{samples[-1]['done']:.0f}/{options.runs} runs", end="", file=sys.stderr, flush=True)
        pause.wait(SAMPLE_SECONDS)
    took = time.monotonic() - started
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    return report(callers, samples, before, took, options.json)


def report(
    callers: Sequence[Caller], samples: Sequence[dict[str, float]], before: tuple[object, ...], took: float, file: str
) -> int:
    """Print what was found. Returns the exit code."""
    rows = verdicts(samples)
    problems = [problem for caller in callers for problem in caller.problems]
    left = sorted(leaks.own_groups() - set(before[0])) + sorted(set(leaks.mounts()) - set(before[1]))  # type: ignore[call-overload]
    left += [f"/dev/shm/{name}" for name in set(os.listdir("/dev/shm")) - set(before[2])]  # type: ignore[call-overload]
    left += [f"process {pid}" for pid in leaks.descendants(os.getpid())]
    done, lives = sum(caller.done for caller in callers), sum(caller.lives for caller in callers)
    plot(samples)
    print(f"{'':<14}{'early':>12}{'middle':>12}{'late':>12}")
    for name, early, middle, late, flat in rows:
        print(f"{name:<14}{early:>12.0f}{middle:>12.0f}{late:>12.0f}  {'flat' if flat else 'GREW'}")
    print(
        f"runs {done}, callers {len(callers)}, killed {lives - len(callers)} times, {took:.0f} s, {done / took:.0f} runs a second"
    )
    for line in problems[:20] + left[:20]:
        print("PROBLEM", line)
    good = not problems and not left and all(row[-1] for row in rows) and len(rows) == len(ALLOWED)
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"good": good, "runs": done, "seconds": took, "rows": rows, "samples": samples}) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
