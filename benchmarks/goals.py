"""What was wanted of speed, and whether the figures of one run reach it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Report = dict[str, Any]
QUIET_MS = 100.0  # CPU ms a second that others use: above it the machine's figures are no figures of ours
FLAT_MB = 1.0


class Unmeasured(Exception):
    """There is no figure, for this reason."""


@dataclass(frozen=True)
class Goal:
    """One line of the goals.

    Attributes:
        title: what is compared.
        bound: the ratio (or MB) that was wanted.
        most: whether the bound is the most, else the least.
        figure: of one report. Raises Unmeasured.
        why: which part of the page says where the rest goes.
    """

    title: str
    bound: float
    figure: Callable[[Report], float]
    why: str
    most: bool = True
    unit: str = ""

    def wanted(self) -> str:
        return f"{'≤' if self.most else '≥'} {self.bound:g} {self.unit}".strip()

    def met(self, value: float) -> bool:
        return value <= self.bound if self.most else value >= self.bound


def part(report: Report, *keys: str) -> Any:
    found: Any = report
    for key in keys:
        if isinstance(found, dict) and "missing" in found and key not in found:
            raise Unmeasured(str(found["missing"]))
        if not isinstance(found, dict) or key not in found:
            raise Unmeasured(f"no figure for {' '.join(keys)}")
        found = found[key]
    return found


def latency(way: str, quantile: str) -> Callable[[Report], float]:
    def figure(report: Report) -> float:
        rows = part(report, "loads", "true", "latency")
        return float(part(rows, way, quantile) / part(rows, "bubblewrap", quantile))

    return figure


def throughput(callers: int) -> Callable[[Report], float]:
    def figure(report: Report) -> float:
        rows = part(report, "throughput")
        return float(part(rows, "parked", str(callers)) / part(rows, "bubblewrap", str(callers)))

    return figure


def cpu(kind: str) -> Callable[[Report], float]:
    def figure(report: Report) -> float:
        others = part(report, "cpu", "background_ms_a_second")
        if kind == "machine_ms" and others > QUIET_MS:
            raise Unmeasured(f"the machine was not quiet, others used {others:g} ms of CPU a second")
        if kind == "group_ms" and not part(report, "cpu", "group_ms"):
            raise Unmeasured("an ordinary user has no control group of version 1")
        rows = part(report, "cpu", kind)
        return float(part(rows, "parked") / part(rows, "bubblewrap"))

    return figure


def paced(report: Report) -> float:
    return float(part(report, "paced", "parked", "p90_ms") / part(report, "paced", "bubblewrap", "p90_ms"))


def warm(name: str) -> Callable[[Report], float]:
    def figure(report: Report) -> float:
        return float(part(report, "warm", name, "warm", "p50_ms") / part(report, "warm", name, "subprocess", "p50_ms"))

    return figure


def shell(report: Report) -> float:
    return float(part(report, "shell", "sandbox run", "p50_ms") / part(report, "shell", "python3 -I -c pass", "p50_ms"))


def flat(report: Report) -> float:
    return float(part(report, "flat", "late_mb") - part(report, "flat", "early_mb"))


GOALS = (
    Goal("`/bin/true` from a parked sandbox, p50, to bubblewrap's", 0.4, latency("parked", "p50_ms"), "stages"),
    Goal("the same, p99", 0.6, latency("parked", "p99_ms"), "stages"),
    Goal("without parking, p50", 0.8, latency("unparked", "p50_ms"), "stages"),
    Goal("launches a second at 2 callers, to bubblewrap's", 1.6, throughput(2), "cpu", most=False),
    Goal("at 4 callers", 1.6, throughput(4), "cpu", most=False),
    Goal("at 8 callers", 1.6, throughput(8), "cpu", most=False),
    Goal("CPU ms a run, whole machine, to bubblewrap's", 0.8, cpu("machine_ms"), "cpu"),
    Goal("CPU ms a run, own control group (no kernel workers)", 0.8, cpu("group_ms"), "cpu"),
    Goal("one launch every 50 ms, p90, to bubblewrap's", 0.8, paced, "stages"),
    Goal("warm Python `pass`, p50, to unsandboxed `python3 -I -c pass`", 0.3, warm("pass"), "stages"),
    Goal("warm `import numpy`, p50, to the same unsandboxed", 0.05, warm("numpy"), "stages"),
    Goal("`sandbox run -- /bin/true` from the shell, p50, to `python3 -I -c pass`", 4, shell, "shell"),
    Goal(
        "private memory of a parked sandbox",
        3,
        lambda report: float(part(report, "memory", "parked_private_mb")),
        "memory",
        unit="MB",
    ),
    Goal(
        "resident memory of the launcher",
        20,
        lambda report: float(part(report, "memory", "launcher_rss_mb")),
        "memory",
        unit="MB",
    ),
    Goal("growth of a caller over the runs of `map`", FLAT_MB, flat, "memory", unit="MB"),
)
