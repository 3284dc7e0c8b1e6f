"""Everything, interleaved with other tools, as root and as an ordinary user; then the plots and docs/performance.md.

    make bench                        # all of it: some 20 minutes on two quiet CPUs
    make bench SCALE=0.02             # does it work here? a few minutes; the figures go to out/bench, the page stays as it is

As root the same is done once more as the ordinary user of the tests (scripts/as-user), and `benchmarks.where` looks where
the CPU time goes. Figures go into {root,user,where}.json in benchmarks/results. A tool that is missing is named there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import loads, parts
from sandbox.bench import measure
from sandbox.bench.ways import Ours
from sandbox.model.errors import UnsupportedHostError

ROOT = Path(__file__).resolve().parents[1]
TOOLS = {
    "bubblewrap": ("bwrap", "--version"),
    "crun": ("crun", "--version"),
    "firejail": ("firejail", "--version"),
    "system python": (loads.PYTHON, "--version"),
    "numpy": (loads.PYTHON, "-c", "import numpy; print(numpy.__version__)"),
    "gcc": ("gcc", "--version"),
}
BEGIN = time.monotonic()


def tell(what: str) -> None:
    print(f"bench: {time.monotonic() - BEGIN:5.0f} s  {what}", file=sys.stderr, flush=True)


def needs_degraded() -> bool:
    try:
        Ours("default", measure.PROGRAM, parked=False).close()
    except UnsupportedHostError as error:
        tell(f"measured with allow_degraded=True: {error}")
        return True
    return False


def conditions(commit: str, *, degraded: bool) -> dict:
    ours = Ours("default", measure.PROGRAM, parked=True, allow_degraded=degraded)
    try:
        model = next(
            (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ""
        )
        return {
            **measure.host(),
            "processor": model,
            "commit": commit,
            "degraded": degraded,
            "first_launch_ms": round(ours.first_ms, 1),
            **measure.strength(ours),
            "versions": {name: measure.version(*command) or "not installed" for name, command in TOOLS.items()},
        }
    finally:
        ours.close()


def compared(counts: dict[str, int], group: parts.OwnGroup, *, degraded: bool) -> dict:
    """Everything that is measured side by side."""
    report: dict = {"loads": {}, "missing": {}}
    for load in loads.LOADS:
        reason = loads.lacking(load)
        if reason:
            report["missing"][load.name] = {"all": reason}
            continue
        tell(load.title)
        with parts.opened(load, degraded=degraded) as (ways, missing):
            report["loads"][load.name] = parts.latency(load, ways, max(5, int(counts["launches"] * load.share)))
            report["missing"][load.name] = missing
            if load is loads.TRUE:
                tell("one launch every 50 ms")
                report["paced"] = parts.paced(ways, counts["paced"])
                tell("CPU time a run")
                report["cpu"] = parts.cpu(ways, counts["cpu"], counts["rounds"], group)
                tell("throughput")
                report["throughput"] = parts.throughput(ways, counts["launches"], counts["rounds"])
    tell(loads.GRADER.title)
    with parts.opened(loads.GRADER, degraded=degraded) as (ways, missing):
        report["grading"] = parts.grading(ways, counts["rounds"])
        report["missing"]["grading"] = missing
    return report


def measured(scale: float, commit: str) -> dict:
    """One uid's figures."""
    counts = {name: max(least, int(full * scale)) for name, (full, least) in {
        "launches": (400, 20), "paced": (200, 20), "cpu": (200, 20), "rounds": (5, 1), "map": (10_000, 200), "shell": (60, 5),
    }.items()}  # fmt: skip
    group = parts.OwnGroup()
    try:
        degraded = needs_degraded()
        report = {"conditions": conditions(commit, degraded=degraded), "counts": counts}
        report |= compared(counts, group, degraded=degraded)
        tell("memory")
        with contextlib.closing(Ours("default", measure.PROGRAM, parked=True, allow_degraded=degraded)) as ours:
            report["memory"] = parts.memory(ours)
        tell(f"{counts['map']} runs of map")
        report["flat"] = parts.flat(counts["map"], degraded=degraded)
        tell("from the shell, and warm interpreters")
        report["shell"] = parts.shell(counts["shell"], degraded=degraded)
        with tempfile.TemporaryDirectory() as place:
            report["warm"] = parts.warm(counts["shell"], Path(place), degraded=degraded)
    finally:
        group.close()
    report["conditions"]["load_after"] = round(os.getloadavg()[0], 2)
    report["conditions"]["seconds"] = round(time.monotonic() - BEGIN)
    return report


def as_user(scale: float, commit: str, results: str) -> None:
    """The same as the ordinary user of the tests."""
    words = ["--scale", str(scale), "--commit", commit, "--results", results, "--no-page"]
    environment = {**os.environ, "KEEP": f"{results}/user.json"}
    subprocess.run([ROOT / "scripts" / "as-user", "--module", "benchmarks.all", *words], env=environment, check=True)


def commit_of() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return measure.version(*command)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="of all counts (1.0)")
    parser.add_argument("--commit", default="", help="what is measured, where there is no git")
    parser.add_argument("--no-user", action="store_true", help="as root: not also as an ordinary user, and not where time goes")
    parser.add_argument("--results", default="benchmarks/results", help="directory below the repository (benchmarks/results)")
    parser.add_argument("--no-page", action="store_true", help="leave plots and docs/performance.md as they are")
    options = parser.parse_args()
    commit = options.commit or commit_of()
    report = measured(options.scale, commit)
    results = ROOT / options.results
    results.mkdir(parents=True, exist_ok=True)
    (results / f"{'user' if os.getuid() else 'root'}.json").write_text(json.dumps(report, indent=1) + "\n")
    if os.getuid() == 0 and not options.no_user:
        as_user(options.scale, commit, options.results)
        tell("where the time goes")
        words = ["--runs", str(max(20, int(300 * options.scale))), "--json", str(results / "where.json")]
        subprocess.run([sys.executable, "-m", "benchmarks.where", *words], check=True, cwd=ROOT)
    if not options.no_page:
        from benchmarks import page

        page.main()
    tell("done")


if __name__ == "__main__":
    main()
