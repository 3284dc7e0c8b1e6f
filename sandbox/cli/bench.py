"""`sandbox bench`: what launches cost on the user's host, beside bubblewrap and a plain process."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from sandbox.cli import errors, text
from sandbox.cli.complete import profile_names
from sandbox.model.errors import RequestError

_EPILOG = """\b
Examples:
  sandbox bench
  sandbox bench --profile strict --runs 1000
  sandbox bench --json here.json --plot here.svg
  sandbox bench | jq .latency
"""
_QUANTILES = ("p50_ms", "p90_ms", "p99_ms")
_MEANING = {
    "parked": "parked (set up before it is asked for)",
    "unparked": "unparked (set up when it is asked for)",
    "bubblewrap": "bubblewrap (same places and filter, no limits)",
    "subprocess": "subprocess (no sandbox)",
}


@click.command(epilog=_EPILOG)
@click.option("-p", "--profile", default="default", show_default=True, metavar="NAME|FILE", shell_complete=profile_names)
@click.option("--runs", type=click.IntRange(10, 100_000), default=200, show_default=True, help="Launches of each way.")
@click.option("--json", "json_file", metavar="FILE", type=click.Path(dir_okay=False), help="Write the figures to FILE too.")
@click.option("--plot", "plot_file", metavar="FILE", type=click.Path(dir_okay=False), help="Draw them (svg, png, pdf).")
@click.option("--allow-degraded", is_flag=True, help="Measure also where the host lacks control groups.")
def bench(*, profile: str, runs: int, json_file: str | None, plot_file: str | None, allow_degraded: bool) -> None:
    """Measure launches of /bin/true on this host: latency, stages, throughput; beside bubblewrap and a plain process.

    On a terminal a table and a plot; in a pipe one JSON object. Nothing else should run meanwhile.
    """
    from sandbox.bench import measure

    for path in (json_file, plot_file):
        _check_place(path)
    if plot_file is not None:
        _need_matplotlib(plot_file)
    with _progress() as tell:
        report = measure.run_all(profile, runs, allow_degraded=allow_degraded, tell=tell)
    report = {"profile": profile, **report}
    if json_file is not None:
        _write(json_file, json.dumps(report, indent=2) + "\n")
    if plot_file is not None:
        _draw(report, plot_file)
    if sys.stdout.isatty():
        _print(report)
        _plot(report)
    else:
        errors.say_json(report)


def _check_place(path: str | None) -> None:
    """Before anything is measured. Raises RequestError."""
    directory = os.path.dirname(path or "") or "."
    if not os.access(directory, os.W_OK):
        raise RequestError(f"{path} cannot be written: {directory} is no directory that we may write to")


def _need_matplotlib(path: str) -> None:
    import importlib.util

    if importlib.util.find_spec("matplotlib") is None:
        raise RequestError(f"{path} cannot be drawn: matplotlib is not installed", hint="install it, or leave --plot out")
    if os.path.splitext(path)[1] not in (".svg", ".png", ".pdf"):
        raise RequestError(f"{path} must end in .svg, .png or .pdf")


def _write(path: str, content: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)
    except OSError as error:
        raise RequestError(f"{path} cannot be written: {error.strerror}") from None


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str, float], object]]:
    """A bar on stderr, on a terminal."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:<24}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=text.console(sys.stderr), transient=True) as progress:
        task = progress.add_task("starting", total=1.0)
        yield lambda what, share: progress.update(task, description=what, completed=share)


def _print(report: dict[str, Any]) -> None:
    conditions, latency = report["conditions"], report["latency"]
    text.emit(
        f"{report['runs']} launches of {report['program']} each, in turn; profile {report['profile']}, kernel "
        f"{conditions['kernel']}, {conditions['cpus']} CPUs, load {conditions['load']:g}\n\n"
    )
    rows = [(_MEANING.get(name, name), *(f"{row[key]:.2f}" for key in _QUANTILES)) for name, row in latency.items()]
    text.table(("LATENCY, MS", "P50", "P90", "P99"), rows)
    text.emit(f"\nfirst launch, launcher included: {report['first_launch_ms']:.0f} ms\n")
    text.emit(f"runs that found a sandbox parked: {report['found_parked']:.0%}\n\n")
    for name, parts in report["stages"].items():
        rows = [(stage, *(f"{row[key]:.2f}" for key in _QUANTILES)) for stage, row in parts.items()]
        text.table((f"STAGES, {name.upper()}, MS", "P50", "P90", "P99"), rows)
        text.emit("\n")
    counts = list(next(iter(report["throughput"].values())))
    rows = [(name, *(f"{row[count]:.0f}" for count in counts)) for name, row in report["throughput"].items()]
    text.table(("LAUNCHES A SECOND, CALLERS:", *counts), rows)
    for name, reason in report["missing"].items():
        text.emit(f"\nnot measured: {text.one_line(name)}: {text.one_line(reason)}\n")


def _plot(report: dict[str, Any]) -> None:
    """Bars on the terminal, where plotext is installed; the table says it all."""
    try:
        import plotext
    except ImportError:
        return
    names = list(report["latency"])
    plotext.multiple_bar(
        names, [[report["latency"][name][key] for name in names] for key in _QUANTILES], labels=["p50", "p90", "p99"]
    )
    plotext.title("latency, ms")
    plotext.plotsize(min(90, max(40, text.console(sys.stdout).width)), 18)
    plotext.theme("clear")
    drawn = plotext.build()
    text.emit("\n" + (plotext.uncolorize(drawn) if os.environ.get("NO_COLOR") else drawn) + "\n")


def _draw(report: dict[str, Any], path: str) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    names = list(report["latency"])
    for place, key in enumerate(_QUANTILES):
        heights = [report["latency"][name][key] for name in names]
        left.bar([number + (place - 1) * 0.27 for number in range(len(names))], heights, 0.25, label=key[:-3])
    left.set_xticks(range(len(names)), names)
    left.set_ylabel("latency, ms")
    left.legend()
    for name, row in report["throughput"].items():
        right.plot([int(count) for count in row], list(row.values()), marker="o", label=name)
    right.set_xscale("log", base=2)
    right.set_xticks([int(count) for count in row], list(row))
    right.set_xlabel("callers")
    right.set_ylabel("launches a second")
    right.set_ylim(bottom=0)
    right.legend()
    figure.suptitle(f"{report['program']}, profile {report['profile']}, kernel {report['conditions']['kernel']}")
    try:
        figure.savefig(path)
    except OSError as error:
        raise RequestError(f"{path} cannot be written: {error.strerror}") from None
    plt.close(figure)
