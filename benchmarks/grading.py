"""A problem of 100 cases in C++: `grade` beside a shell loop over bubblewrap with `timeout`: `python -m benchmarks.grading`.

In turn, on two cores. Both start from the source, compile it, run all cases, compare the output, and say a verdict. The loop has
neither limits of memory nor evidence for a verdict. Each round has a source of its own, so that no compiled program is there
already. The goal is to be 1.5 times as fast. How far that is reached depends on the cases: each of ours costs a sandbox with
limits and a record, on two cores; each of the loop's costs a smaller one, on one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from sandbox.grader import packages
from sandbox.grader.grade import grade

GOAL = 1.5
SIZES = [1_000, 100_000, 250_000]  # programs of about 2, 30 and 80 ms
PROGRAM = """// round %s
#include <algorithm>
#include <iostream>
#include <vector>
int main() {
    int n;
    std::cin >> n;
    std::vector<long long> xs(n);
    for (auto &x : xs) std::cin >> x;
    std::sort(xs.begin(), xs.end());
    for (auto x : xs) std::cout << x << "\\n";
}
"""
LOOP = """
set -u
cd "$1"
box="bwrap --unshare-all --die-with-parent --ro-bind /usr /usr --symlink usr/lib /lib --symlink usr/lib64 /lib64"
box="$box --symlink usr/bin /bin --proc /proc --dev /dev --tmpfs /tmp --chdir /work"
$box --bind "$1/work" /work timeout 60 g++ -O2 -std=c++20 -o a.out a.cpp || exit 3
for input in "$2"/data/secret/*.in; do
    $box --ro-bind "$1/work" /work timeout 2 ./a.out <"$input" >"$1/out" || exit 1
    cmp -s "$1/out" "${input%.in}.ans" || exit 2
done
"""


def make_problem(place: Path, cases: int, numbers: int) -> None:
    secret = place / "data" / "secret"
    secret.mkdir(parents=True)
    (place / "problem.yaml").write_text("name: Sorting\nlimits:\n  time_limit: 2.0\n")
    (place / ".timelimit").write_text("2\n")
    chance = random.Random(1)
    for number in range(cases):
        values = [chance.randrange(10**9) for _ in range(numbers)]
        (secret / f"{number:03d}.in").write_text(f"{numbers}\n" + " ".join(map(str, values)) + "\n")
        (secret / f"{number:03d}.ans").write_text("".join(f"{value}\n" for value in sorted(values)))


def by_loop(problem: Path, source: str) -> float:
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "work").mkdir()
        (Path(place) / "work" / "a.cpp").write_text(source)
        begin = time.perf_counter()
        done = subprocess.run(["sh", "-c", LOOP, "sh", place, str(problem)], check=False)
        seconds = time.perf_counter() - begin
    if done.returncode:
        raise SystemExit(f"the loop failed with {done.returncode}")
    return seconds


def by_us(problem: Path, source: str) -> float:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "a.cpp"
        path.write_text(source)
        begin = time.perf_counter()
        report = grade(packages.load(problem), path, mode="all")
        seconds = time.perf_counter() - begin
    if report.verdict != "AC" or report.cached:
        raise SystemExit(f"{report.verdict}: {report.reason}, cached: {report.cached}")
    return seconds


def of_size(numbers: int, cases: int, rounds: int) -> dict[str, object]:
    """Both ways in turn, with cases that sort so many numbers."""
    with tempfile.TemporaryDirectory() as place:
        problem = Path(place)
        make_problem(problem, cases, numbers)
        pairs = []
        for _ in range(rounds):
            source = PROGRAM % time.time_ns()
            pairs.append((by_loop(problem, source), by_us(problem, source)))
    faster = statistics.median(theirs / ours for theirs, ours in pairs)
    return {
        "numbers": numbers,
        "rounds": [{"loop_s": round(theirs, 3), "grade_s": round(ours, 3)} for theirs, ours in pairs],
        "times_faster_median": round(faster, 3),
        "reached": faster >= GOAL,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--numbers", type=int, nargs="+", default=SIZES, help="that a case sorts: how long its program runs")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    sizes = [of_size(numbers, arguments.cases, arguments.rounds) for numbers in arguments.numbers]
    print(json.dumps({"cases": arguments.cases, "goal": GOAL, "sizes": sizes, "load": os.getloadavg()[0]}, indent=2))


if __name__ == "__main__":
    main()
