"""Writes docs/performance.md and its plots from the JSON files: `python -m benchmarks.page`. No figure is typed by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import plots
from benchmarks.goals import GOALS, QUIET_MS, Goal, Unmeasured
from benchmarks.loads import CASES, LOADS

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "img"
QUANTILES = ("p50_ms", "p90_ms", "p99_ms")
WHO = {"root": "as root", "user": "as an ordinary user"}

HEAD = """# What launches cost

This page is written by `python -m benchmarks.page` from `benchmarks/results/`; `make bench` measures anew. `sandbox bench`
measures the same things on your host.

How it is measured: every round launches each way once, in turn, so that all see the same machine; counted is the time from the
call to the result in the caller's hands. *parked* and *unparked* are this library with a warm launcher, with all that the
conditions list. bubblewrap gets `--unshare-all`, the same read-only places, private `/tmp` and `/work`, the same filter, and no
limits. crun gets the same, in a user namespace, and starts a container each time. firejail runs without a profile, with its own
default filter. *subprocess* is the program without any sandbox. A percentile of few launches is their slowest.
"""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(['---'] * len(head))}|"]
    return "\n".join(lines + [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]) + "\n"


def number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def conditions(reports: dict[str, Any]) -> str:
    keys = list(dict.fromkeys(key for report in reports.values() for key in report["conditions"]))
    rows = []
    for key in keys:
        cells = [words(report["conditions"].get(key, "")) for report in reports.values()]
        rows.append((key.replace("_", " "), *cells))
    counts = [words(report["counts"]) for report in reports.values()]
    return "## Conditions\n\n" + table(("", *(WHO[name] for name in reports)), [*rows, ("counts", *counts)])


def words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {words(item)}" for key, item in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value))
    return {True: "yes", False: "no", None: "none"}.get(value, str(value)) if isinstance(value, bool | None) else str(value)


def goals(reports: dict[str, Any], where: dict[str, Any]) -> str:
    rows: list[tuple[str, ...]] = []
    notes: dict[tuple[str, str], list[str]] = {}
    for goal in GOALS:
        cells = []
        for name, report in reports.items():
            try:
                value = goal.figure(report)
            except Unmeasured as reason:
                cells.append("not measured")
                notes.setdefault((name, f"not measured: {reason}."), []).append(goal.title)
                continue
            cells.append(f"{value:.3f} {'met' if goal.met(value) else '**not met**'}")
            if not goal.met(value):
                notes.setdefault((name, f"not met: {rest(goal, report, where)}"), []).append(goal.title)
        rows.append((goal.title, goal.wanted(), *cells))
    text = "## What was wanted\n\n" + table(("", "wanted", *(WHO[name] for name in reports)), rows)
    lines = [f"- {WHO[name]}, {'; '.join(f'*{title}*' for title in titles)}: {said}" for (name, said), titles in notes.items()]
    return text + ("\nWhere the rest goes:\n\n" + "\n".join(lines) + "\n" if lines else "")


def rest(goal: Goal, report: dict[str, Any], where: dict[str, Any]) -> str:
    """Where the time of a goal that was not met goes, in one line."""
    way = "unparked" if goal.title.startswith("without") else "parked"
    if goal.why == "stages":
        parts = report["loads"]["true"]["stages"][way]
        said = ", ".join(f"{stage} {number(row['p50_ms'])}" for stage, row in parts.items())
        least = where.get("floor_ms", {}).get("network")
        floor = f"; a C program needs {number(least)} ms for the namespaces and the program alone" if least else ""
        return f"p50 of the stages in ms: {said}{floor}."
    if goal.why == "cpu":
        most = list(where.get("ways", {}).get(way, {}).get("profile_ms", {}).items())[:4]
        if most:
            return "most CPU ms a launch: " + ", ".join(f"{name} {number(value)}" for name, value in most) + "; see below."
    if goal.why == "shell":
        return f"of it {number(report['conditions']['first_launch_ms'])} ms are the plan, the start of a launcher and the run."
    return "see below."


def latencies(name: str, report: dict[str, Any]) -> str:
    rows = []
    for load in LOADS:
        found = report["loads"].get(load.name)
        if found is not None:
            for way, row in found["latency"].items():
                rows.append((load.title, way, *(number(row[key]) for key in QUANTILES), str(found["runs"])))
    rows += [
        ("`/bin/true` every 50 ms", way, *(number(row[key]) for key in QUANTILES), str(report["counts"]["paced"]))
        for way, row in report["paced"].items()
    ]
    return f"### {WHO[name].capitalize()}, ms\n\n" + table(("", "", "p50", "p90", "p99", "launches"), rows)


def missing(name: str, report: dict[str, Any]) -> str:
    lines = {f"- {WHO[name]}, {way}: {reason}" for found in report["missing"].values() for way, reason in found.items()}
    return "".join(f"{line}\n" for line in sorted(lines))


def rates(name: str, report: dict[str, Any]) -> str:
    callers = list(next(iter(report["throughput"].values())))
    cpu = report["cpu"]
    quiet = cpu["background_ms_a_second"] <= QUIET_MS
    rows = [
        (
            way,
            *(number(row[key]) for key in callers),
            number(report["grading"][way]["case_ms"]) if way in report["grading"] else "",
            number(cpu["machine_ms"][way]) if quiet else "not quiet",
            number(cpu["group_ms"][way]) if way in cpu["group_ms"] else "",
        )
        for way, row in report["throughput"].items()
    ]
    head = (
        "",
        *(f"{count} callers" for count in callers),
        f"ms a case of {CASES}",
        "CPU ms a run, machine",
        "CPU ms a run, own group",
    )
    used = number(cpu["background_ms_a_second"])
    others = f"\nOthers used {used} ms of CPU a second meanwhile, which is taken off the figure of the machine.\n"
    return f"### {WHO[name].capitalize()}\n\n" + table(head, rows) + others


def stages(reports: dict[str, Any]) -> str:
    rows = [
        (WHO[name], way, stage, *(number(row[key]) for key in QUANTILES))
        for name, report in reports.items()
        for way, parts in report["loads"]["true"]["stages"].items()
        for stage, row in parts.items()
    ]
    return "## Stages of a launch of /bin/true, ms\n\n" + table(("", "", "stage", "p50", "p90", "p99"), rows)


def memory(reports: dict[str, Any]) -> str:
    lines = ["## Memory\n"]
    for name, report in reports.items():
        found, flat = report["memory"], report["flat"]
        if "missing" in found:
            lines.append(f"- {WHO[name]}: {found['missing']}.")
        else:
            lines.append(
                f"- {WHO[name]}: {found['parked']} parked sandboxes of two processes each hold {found['parked_private_mb']} MB"
                f" a sandbox of their own ({found['parked_pss_mb']} MB with their share of what is common). The launcher has"
                f" {found['launcher_rss_mb']} MB resident, {found['launcher_private_mb']} MB of its own."
            )
        lines.append(
            f"- {WHO[name]}: a caller of `map` has {flat['early_mb']} MB of anonymous memory early in {flat['runs']} runs and"
            f" {flat['late_mb']} MB at their end ({number(flat['runs_a_second'])} runs a second)."
        )
    return "\n".join(lines) + "\n\n![memory of a caller over the runs of map](img/flat.svg)\n"


def spent(where: dict[str, Any]) -> str:
    found = where["ways"]
    about = (
        f"CPU ms a launch of `/bin/true`, from samples of the whole machine ({where['runs']} launches, load"
        f" {where['conditions']['load']}; the sampling costs some too). A sample belongs to the first line that names a function"
        " on its stack, in the order network namespace, control groups, mounts, other namespaces, filters, page faults, exec,"
        " fork, the rest. Kernel workers serve the whole machine: what is later is ours alone only where nothing else runs.\n"
    )
    text = [
        "## Where the CPU time goes\n",
        about,
        table(("", *found), profile_rows(found)),
        "\n![CPU time of a launch from a parked sandbox](img/where.svg)\n",
        "A launch in numbers; page faults without I/O are those of processes that somebody waited for:\n",
        table(("", *found), count_rows(found)),
    ]
    floor = where.get("floor_ms")
    if floor:
        text += [
            "\nThe floor, as a C program meets it (`benchmarks/floor.c`), p50 in ms:\n",
            table(("step", "ms"), [(FLOOR[name], number(value)) for name, value in floor.items()]),
        ]
    text += [f"\n- not measured: {name}: {reason}" for name, reason in where["missing"].items()]
    return "\n".join(text) + "\n"


FLOOR = {
    "exec": "vfork, exec of /bin/true, wait",
    "namespaces": "the same in new user, mount, pid, ipc, uts and cgroup namespaces",
    "network": "and a new network namespace",
    "fork_small": "fork of a small program that ends at once",
    "fork_20_mb": "the same with 20 MB that were written to",
}


def profile_rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    names = list(dict.fromkeys(name for way in found.values() for name in way.get("profile_ms", {})))
    rows = [(name, *(number(way.get("profile_ms", {}).get(name, 0)) for way in found.values())) for name in names]
    return [*rows, ("**all**", *(number(sum(way.get("profile_ms", {}).values())) for way in found.values()))]


def count_rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    # Without a launcher, calls of the sandbox are among those of the caller.
    rows: list[tuple[str, ...]] = [
        (f"page faults, {who}", *(number(way["page_faults"][who]) for way in found.values()))
        for who in next(iter(found.values()), {}).get("page_faults", {})
    ]
    for who in next(iter(found.values()), {}).get("system_calls", {}):
        calls = [way["system_calls"].get(who) for way in found.values()]
        rows.append((f"system calls, {who}", *(number(item["all"]) if item else "in the above" for item in calls)))
        rows.append(("of these", *(most(item["most"]) if item else "" for item in calls)))
    return rows


def most(counts: dict[str, float]) -> str:
    return ", ".join(f"{name} {number(count)}" for name, count in counts.items())


def render(reports: dict[str, Any], where: dict[str, Any]) -> str:
    """The page. `reports`: by who, root first."""
    absent = "".join(missing(name, report) for name, report in reports.items())
    busy = (
        "## Throughput and CPU time\n\nLaunches of `/bin/true` a second; the loop of a grader with as many callers as CPUs.\n\n"
        "![throughput, as root](img/throughput.svg)\n"
    )
    parts = [
        HEAD,
        goals(reports, where),
        "## Latency\n\n![latency by load and tool, as root](img/latency.svg)\n",
        *(latencies(name, report) for name, report in reports.items()),
        *([f"Not measured:\n\n{absent}"] if absent else []),
        busy,
        *(rates(name, report) for name, report in reports.items()),
        stages(reports),
        spent(where),
        memory(reports),
        conditions(reports),
    ]
    return "\n".join(parts)


def read(place: Path = RESULTS) -> tuple[dict[str, Any], dict[str, Any]]:
    """(reports by who, where the time goes)."""
    reports = {name: json.loads((place / f"{name}.json").read_text()) for name in WHO if (place / f"{name}.json").exists()}
    return reports, json.loads((place / "where.json").read_text())


def main() -> None:
    reports, where = read()
    plots.draw(reports["root"], where, IMAGES)
    PAGE.write_text(render(reports, where))
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
