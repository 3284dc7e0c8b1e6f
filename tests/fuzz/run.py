"""Fuzz one or all targets with atheris, guided by coverage: `python -m tests.fuzz.run [TARGET]... [--seconds 60]`.

What it finds is kept as tests/fuzz/seeds/TARGET/crash-*, and every seed is a test from then on (test_seeds.py).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def one(name: str, seconds: int) -> None:
    """Fuzz a target in this process; atheris ends it. A crash is written to the seeds."""
    import atheris

    with atheris.instrument_imports(include=["sandbox", "tests.fuzz"]):
        from tests.fuzz.targets import TARGETS
    seeds, corpus = HERE / "seeds" / name, ROOT / "out" / "fuzz" / name
    corpus.mkdir(parents=True, exist_ok=True)
    seeds.mkdir(parents=True, exist_ok=True)
    arguments = [
        f"-max_total_time={seconds}",
        "-timeout=300",
        "-rss_limit_mb=4096",
        "-max_len=65536",
        f"-artifact_prefix={seeds}/",
    ]
    atheris.Setup([sys.argv[0], *arguments, "-print_final_stats=1", str(corpus), str(seeds)], TARGETS[name])
    atheris.Fuzz()


def main() -> int:
    if "--here" in sys.argv:  # before anything of ours is imported, which must be instrumented
        one(sys.argv[1], int(sys.argv[-1]))
        return 0
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; all when none is named")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    options = parser.parse_args()
    unknown = [name for name in options.targets if name not in TARGETS]
    if unknown:
        parser.error(f"no such target: {', '.join(unknown)}")
    bad = []
    for name in options.targets or TARGETS:
        command = [sys.executable, "-m", "tests.fuzz.run", name, "--here", "--seconds", str(options.seconds)]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONWARNINGS": "ignore"}, capture_output=True, check=False)
        tail = done.stderr.decode("utf-8", "replace").splitlines()
        executed = next((line.split()[-1] for line in tail if "number_of_executed_units" in line), "?")
        covered = next((line for line in reversed(tail) if " cov: " in line), "").partition(" cov: ")[2].split()[:1]
        print(f"{name:<14}{options.seconds:>6} s  {executed:>10} inputs  coverage {covered[0] if covered else '?':>6}"
              f"  {'ok' if done.returncode == 0 else 'FOUND SOMETHING'}", flush=True)  # fmt: skip
        if done.returncode:
            bad.append(name)
            print("\n".join(tail[-40:]), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
