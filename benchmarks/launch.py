"""Launch times side by side: this library, bubblewrap, a plain subprocess. `make bench`, or with options:

    .venv/bin/python benchmarks/launch.py [--launches 300] [--json out/launch.json]

Each round launches /bin/true once in every way, in turn, so that all see the same machine. Counted is the time from the
call to the result in the caller's hands. Bubblewrap gets the same read-only mounts, tmpfs, /proc, /dev, new namespaces
and the same compiled filter; it is given no control group, no Landlock, no id of its own and no notify filter, which the
library's launches do have (where the host offers them), and it is a fresh process each time, which is how it is used.
The library's launcher is warm: its one start is measured apart.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import sandbox
from sandbox.model.errors import UnsupportedHostError
from sandbox.model.plan import BIND

COMMAND = ["/bin/true"]
WARM_UP = 20


def percentile(ordered: list[float], share: float) -> float:
    """The value below which `share` of the sorted values lie (nearest rank)."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def timed(call) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


class Library:
    """A warm Sandbox; without control groups only where the host refuses them."""

    name = "sandbox"

    def __init__(self) -> None:
        start = time.perf_counter()
        try:
            self.box = sandbox.Sandbox("default")
            self.box.run(COMMAND)
        except UnsupportedHostError as error:
            print(f"note: {error}\nnote: measured with allow_degraded=True", file=sys.stderr)
            start = time.perf_counter()
            self.box = sandbox.Sandbox("default", allow_degraded=True)
            self.box.run(COMMAND)
        self.first_ms = (time.perf_counter() - start) * 1e3
        self.enforced = self.box.run(COMMAND).enforced

    def launch(self) -> None:
        result = self.box.run(COMMAND)
        if not result.ok:
            raise SystemExit(f"the library's run failed: {result}")

    def close(self) -> None:
        self.box.close()


class Bubblewrap:
    """bwrap with what the default profile gives: mounts, tmpfs, proc, dev, all namespaces, the filter."""

    name = "bubblewrap"

    def __init__(self, library: Library) -> None:
        plan = library.box._engine.plan
        arguments = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--hostname", "sandbox"]
        for operation in plan.template:
            if operation.kind == BIND and not operation.target.startswith((b"/dev", b"/proc", b"/sys")):
                arguments += ["--ro-bind-try", os.fsdecode(operation.source), os.fsdecode(operation.target)]
        for link in ("bin", "lib", "lib64", "sbin"):
            if os.path.islink(f"/{link}"):
                arguments += ["--symlink", os.readlink(f"/{link}"), f"/{link}"]
        arguments += ["--tmpfs", "/tmp", "--tmpfs", "/work", "--proc", "/proc", "--dev", "/dev", "--chdir", "/work"]
        self.filter = os.memfd_create("filter", 0)
        os.write(self.filter, plan.filters.main)
        self.command = [*arguments, "--seccomp", str(self.filter), "--", *COMMAND]

    def launch(self) -> None:
        os.lseek(self.filter, 0, os.SEEK_SET)
        subprocess.run(self.command, check=True, pass_fds=(self.filter,), stdin=subprocess.DEVNULL, capture_output=True)

    def close(self) -> None:
        os.close(self.filter)


class Plain:
    """The floor: the same program without any sandbox."""

    name = "subprocess"

    def launch(self) -> None:
        subprocess.run(COMMAND, check=True, stdin=subprocess.DEVNULL, capture_output=True)

    def close(self) -> None:
        pass


def works(way: Bubblewrap) -> bool:
    try:
        way.launch()
    except subprocess.CalledProcessError as error:
        print(f"note: bubblewrap does not run here: {error.stderr.decode(errors='replace').strip()}", file=sys.stderr)
        return False
    return True


def conditions(library: Library) -> dict[str, object]:
    enforced = library.enforced
    bwrap = subprocess.run(["bwrap", "--version"], capture_output=True, text=True, check=False) if shutil.which("bwrap") else None
    return {
        "kernel": platform.release(),
        "cpus": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "uid": os.getuid(),
        "bubblewrap": bwrap.stdout.strip() if bwrap else "not installed",
        "control groups": enforced["cgroup"],
        "landlock": enforced["landlock"]["abi"],
        "id map": enforced["identity"]["id_map"],
        "first launch of the library, launcher included, ms": round(library.first_ms, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--launches", type=int, default=300, help="of each way (300)")
    parser.add_argument("--json", default="out/launch.json", help="where the figures go (out/launch.json)")
    options = parser.parse_args()
    library = Library()
    ways: list = [library, Plain()]
    if shutil.which("bwrap"):
        bubblewrap = Bubblewrap(library)
        if works(bubblewrap):
            ways.insert(1, bubblewrap)
    times: dict[str, list[float]] = {way.name: [] for way in ways}
    for turn in range(WARM_UP + options.launches):
        for shift in range(len(ways)):  # nobody is always the one after the slowest
            way = ways[(turn + shift) % len(ways)]
            took = timed(way.launch)
            if turn >= WARM_UP:
                times[way.name].append(took)
    about = conditions(library)
    for way in ways:
        way.close()
    rows = {}
    for name, values in times.items():
        ordered = sorted(values)
        rows[name] = {f"p{int(share * 100)}_ms": round(percentile(ordered, share), 3) for share in (0.5, 0.9, 0.99)}
    base = rows.get("bubblewrap", rows["subprocess"])["p50_ms"]
    for key, value in about.items():
        print(f"{key}: {value}")
    print(f"\n{options.launches} launches of {COMMAND[0]} each, interleaved; milliseconds")
    print(f"{'':<12}{'p50':>9}{'p90':>9}{'p99':>9}{'ratio':>9}")
    for name, row in rows.items():
        figures = "".join(f"{row[key]:9.2f}" for key in ("p50_ms", "p90_ms", "p99_ms"))
        print(f"{name:<12}{figures}{row['p50_ms'] / base:9.2f}")
    print(f"ratio: p50 to that of {'bubblewrap' if 'bubblewrap' in rows else 'a plain subprocess'}")
    out = Path(options.json)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"conditions": about, "launches": options.launches, "times": rows}, indent=2) + "\n")
    print(f"written: {out}")


if __name__ == "__main__":
    main()
