"""The quick comparison of launch times: this library, bubblewrap, a plain subprocess.

    .venv/bin/python benchmarks/launch.py [--launches 300] [--json out/launch.json]

Each round launches /bin/true once in every way, in turn, so that all see the same machine. Counted is the time from the
call to the result in the caller's hands. Bubblewrap gets the same read-only mounts, tmpfs, /proc, /dev, new namespaces
and the same compiled filter; it is given no control group, no Landlock, no id of its own and no notify filter, which the
library's launches do have (where the host offers them), and it is a fresh process each time, which is how it is used.
The library's launcher is warm: its one start is measured apart. `make bench` compares more tools and more than latency.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from sandbox.bench import figures, measure
from sandbox.bench.ways import Ours
from sandbox.model.errors import UnsupportedHostError


def needs_degraded() -> bool:
    """Whether the host refuses control groups, which is told."""
    try:
        Ours("default", measure.PROGRAM, parked=False).close()
    except UnsupportedHostError as error:
        print(f"note: {error}\nnote: measured with allow_degraded=True", file=sys.stderr)
        return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--launches", type=int, default=300, help="of each way (300)")
    parser.add_argument("--json", default="out/launch.json", help="where the figures go (out/launch.json)")
    options = parser.parse_args()
    with measure.opened("default", allow_degraded=needs_degraded()) as (ways, missing):
        ours = next(way for way in ways if isinstance(way, Ours))
        about = {**measure.host(), **measure.strength(ours), "bubblewrap": measure.version("bwrap", "--version")}
        about["first launch of the library, launcher included, ms"] = round(ours.first_ms, 1)
        times = measure.interleaved(ways, measure.PROGRAM, options.launches, lambda _: None)
    rows = {name: figures.summary(values) for name, values in times.items()}
    reference = "bubblewrap" if "bubblewrap" in rows else "subprocess"
    for key, value in {**about, **{f"not measured: {name}": reason for name, reason in missing.items()}}.items():
        print(f"{key}: {value}")
    print(f"\n{options.launches} launches of {measure.PROGRAM[0]} each, interleaved; milliseconds")
    print(f"{'':<12}{'p50':>9}{'p90':>9}{'p99':>9}{'ratio':>9}")
    for name, row in rows.items():
        print(
            f"{name:<12}"
            + "".join(f"{value:9.2f}" for value in row.values())
            + f"{row['p50_ms'] / rows[reference]['p50_ms']:9.2f}"
        )
    print(f"ratio: p50 to that of {reference}")
    out = Path(options.json)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"conditions": about, "launches": options.launches, "times": rows}, indent=2) + "\n")
    print(f"written: {out}")


if __name__ == "__main__":
    main()
