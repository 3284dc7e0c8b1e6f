"""`make soak`: thousands of runs of every kind from several callers, some of which are killed. Everything must stay flat.

    python -m tests.soak.run [--runs 20000] [--callers 8] [--json FILE]

Prints a table (start, middle, end of what could grow) and a plot; exit code 1 when something grew or a result was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
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
from tests.support.clock import seconds, wait_until
from tests.support.programs import build

ROOT = Path(__file__).resolve().parents[2]
SAMPLE_SECONDS = 1.0
_PR_SET_CHILD_SUBREAPER = 36
# What may differ between the second and the last part: absolute, or a share of the former.
ALLOWED = {
    "caller fds": (4, 0),
    "caller KiB": (1500, 0.05),
    "launcher fds": (8, 0),
    "launcher KiB": (1500, 0.05),
    "launcher mounts": (0, 0),
    "warm caller fds": (4, 0),
    "warm caller KiB": (1500, 0.05),
    "warm launcher fds": (8, 0),
    "warm launcher KiB": (1500, 0.05),
    "warm launcher mounts": (0, 0),
    "processes": (8, 0),  # as many as one caller has in flight: they come and go
    "groups": (8, 0),
    "mounts": (0, 0),
    "disk KiB": (2048, 0.02),
    "kernel groups": (100, 0),  # the kernel frees those that are gone some time later
}


@dataclass
class Caller:
    """One caller process, started again when it was killed."""

    number: int
    runs: int
    degraded: bool
    probe: Path
    victim: bool
    warm: bool = False
    done: int = 0
    lives: int = 0
    problems: list[str] = field(default_factory=list)
    finished: bool = False
    process: subprocess.Popen[str] | None = None
    pids: list[int] = field(default_factory=list)

    def serve(self) -> None:
        """Run to the end, over as many lives as it takes."""
        while not self.finished:
            command = [sys.executable, "-m", "tests.soak.caller", str(self.probe), "--runs", str(self.runs - self.done)]
            command += ["--seed", str(1000 * self.number + self.lives)]
            command += [*(["--degraded"] if self.degraded else []), *(["--warm"] if self.warm else [])]
            self.lives += 1
            base, self.process = self.done, subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
            self.pids.append(self.process.pid)
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


def launchers_of(pid: int) -> list[int]:
    """The launchers proper below a caller: what its keepers have started."""
    found = []
    for keeper in leaks.descendants(pid):
        try:
            with open(f"/proc/{keeper}/cmdline", "rb") as file:
                command = file.read()
            with open(f"/proc/{keeper}/status") as file:
                parent = next(int(line.split()[1]) for line in file if line.startswith("PPid:"))
            with open(f"/proc/{keeper}/task/{keeper}/children") as file:
                below = file.read().split()
        except (OSError, StopIteration):
            continue
        if b"launcher/__main__.py" in command and parent == pid and len(below) == 1:
            found.append(int(below[0]))
    return found


def mounts_of(pid: int) -> int:
    """How many mounts a launcher sees; 0 when it has gone."""
    try:
        with open(f"/proc/{pid}/mountinfo", "rb") as file:
            return len(file.readlines())
    except OSError:
        return 0


def reap(callers: Sequence[Caller]) -> None:
    """What killed callers leave comes to us (we are its subreaper): the dead are taken away, the living are counted."""
    own = {pid for caller in callers for pid in caller.pids}
    with open(f"/proc/self/task/{threading.get_native_id()}/children") as file:
        strangers = set(map(int, file.read().split())) - own
    for pid in strangers:
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)


def figures(callers: Sequence[Caller], prefix: str) -> dict[str, float]:
    """What callers and their launchers hold now; nothing for those that are over."""
    living = [caller.process.pid for caller in callers if caller.process is not None and not caller.finished]
    launchers = [pid for caller in living for pid in launchers_of(caller)]
    out: dict[str, float] = {}
    for who, pids in (("caller", living), ("launcher", launchers)):
        seen = [item for item in map(status_of, pids) if item[1]]
        if seen:
            out[f"{prefix}{who} fds"] = max(fds for fds, _ in seen)
            out[f"{prefix}{who} KiB"] = statistics.mean(size for _, size in seen)
    if launchers:
        out[f"{prefix}launcher mounts"] = max(map(mounts_of, launchers))
    return out


def sample(callers: Sequence[Caller]) -> dict[str, float]:
    """One look at everything that could grow. Per-process figures are of the callers that are never killed."""
    reap(callers)
    disk = os.statvfs(os.environ.get("TMPDIR", "/tmp"))
    with open("/proc/cgroups") as file:
        memory = [int(line.split()[2]) for line in file if line.startswith("memory")]
    return {
        "done": sum(caller.done for caller in callers),
        "processes": len(leaks.descendants(os.getpid())),
        "groups": len(leaks.control_groups()),
        "mounts": len(leaks.mounts()),
        "disk KiB": (disk.f_blocks - disk.f_bfree) * disk.f_frsize / 1024,
        "kernel groups": memory[0] if memory else 0,
        **figures([caller for caller in callers if not caller.victim and not caller.warm], ""),
        **figures([caller for caller in callers if not caller.victim and caller.warm], "warm "),
    }


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
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    degraded, probe = not has_base(), build()
    before = (leaks.mounts(), set(os.listdir("/dev/shm")))
    each = options.runs // options.callers
    quarter = options.callers // 4  # are killed, and as many run Python in warm interpreters: one of each is both
    callers = [
        Caller(number, each, degraded, probe, victim=number < quarter, warm=quarter <= number + 1 < 2 * quarter + 1)
        for number in range(options.callers)
    ]
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


def _left_by(callers: Sequence[Caller], owners: Sequence[str]) -> list[str]:
    """Groups that are named after a caller, and processes that outlive them."""
    reap(callers)
    groups = [path for path in leaks.control_groups() if any(owner in path for owner in owners)]
    return sorted(groups) + [f"process {pid}" for pid in leaks.descendants(os.getpid())]


def report(
    callers: Sequence[Caller], samples: Sequence[dict[str, float]], before: tuple[object, ...], took: float, file: str
) -> int:
    """Print what was found. Returns the exit code."""
    rows = verdicts(samples)
    problems = [problem for caller in callers for problem in caller.problems]
    owners = [f"-{pid}-" for caller in callers for pid in caller.pids]
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not _left_by(callers, owners), seconds(3), "everything is gone")
    left = _left_by(callers, owners) + sorted(set(leaks.mounts()) - set(before[0]))  # type: ignore[call-overload]
    left += [f"/dev/shm/{name}" for name in set(os.listdir("/dev/shm")) - set(before[1])]  # type: ignore[call-overload]
    done, lives = sum(caller.done for caller in callers), sum(caller.lives for caller in callers)
    plot(samples)
    print(f"{'':<22}{'early':>12}{'middle':>12}{'late':>12}")
    for name, early, middle, late, flat in rows:
        print(f"{name:<22}{early:>12.0f}{middle:>12.0f}{late:>12.0f}  {'flat' if flat else 'GREW'}")
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
