"""Draws the results: SVG files for docs/performance.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.loads import LOADS

NAMES = ("latency", "throughput", "where", "flat")
COLOURS = {
    "parked": "#1b6ca8", "unparked": "#6fb1dd", "bubblewrap": "#e08e45", "crun": "#8a6fb0", "firejail": "#b85c5c",
    "subprocess": "#9a9a9a",
}  # fmt: skip


def pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update(
        {"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False}
    )
    from matplotlib import pyplot as plt

    return plt


def save(figure: Any, place: Path, name: str) -> None:
    place.mkdir(parents=True, exist_ok=True)
    figure.savefig(place / f"{name}.svg", facecolor="white", metadata={"Date": None})


def latency(plt: Any, report: dict, place: Path) -> None:
    """One panel a load: p50 as bars, p99 as a mark above."""
    loads = [load for load in LOADS if load.name in report["loads"]]
    figure, axes = plt.subplots(1, len(loads), figsize=(3.2 * len(loads), 3.6), layout="constrained", squeeze=False)
    for axis, load in zip(axes[0], loads, strict=True):
        rows = report["loads"][load.name]["latency"]
        for place_x, (name, row) in enumerate(rows.items()):
            axis.bar(place_x, row["p50_ms"], color=COLOURS[name])
            axis.plot([place_x - 0.35, place_x + 0.35], [row["p99_ms"]] * 2, color="black", linewidth=1)
        axis.set_xticks(range(len(rows)), list(rows), rotation=45, ha="right")
        axis.set_title(load.title, fontsize=10)
    axes[0][0].set_ylabel("ms; bar p50, line p99")
    save(figure, place, "latency")
    plt.close(figure)


def throughput(plt: Any, report: dict, place: Path) -> None:
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, row in report["throughput"].items():
        if name != "subprocess":  # an order of magnitude above: in the table
            axis.plot(range(len(row)), list(row.values()), marker="o", color=COLOURS[name], label=name)
    axis.set_xticks(range(len(row)), list(row))
    axis.set_xlabel("callers")
    axis.set_ylabel("launches of /bin/true a second")
    axis.set_ylim(bottom=0)
    axis.legend()
    save(figure, place, "throughput")
    plt.close(figure)


def where(plt: Any, report: dict, place: Path) -> None:
    rows = report["ways"].get("parked", {}).get("profile_ms", {})
    figure, axis = plt.subplots(figsize=(8, 5), layout="constrained")
    for place_y, (name, value) in enumerate(reversed(rows.items())):
        mine = "Python" in name or "user code" in name
        colour = COLOURS["parked"] if mine else COLOURS["subprocess"] if name == "the program itself" else COLOURS["bubblewrap"]
        axis.barh(place_y, value, color=colour)
        axis.text(value, place_y, f" {value:.2f}", va="center", fontsize=9)
    axis.set_yticks(range(len(rows)), list(reversed(rows)))
    axis.set_xlabel("CPU ms a launch (blue: Python, orange: kernel, grey: the program)")
    save(figure, place, "where")
    plt.close(figure)


def flat(plt: Any, report: dict, place: Path) -> None:
    figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
    samples = report["flat"]["samples"]
    axis.plot([count for count, _ in samples], [size for _, size in samples], color=COLOURS["parked"])
    axis.set_ylim(bottom=0)
    axis.set_xlabel("runs of map that were answered")
    axis.set_ylabel("anonymous memory, MB")
    save(figure, place, "flat")
    plt.close(figure)


def draw(root: dict, found: dict, place: Path) -> None:
    """All plots, of the figures as root."""
    plt = pyplot()
    latency(plt, root, place)
    throughput(plt, root, place)
    where(plt, found, place)
    flat(plt, root, place)
