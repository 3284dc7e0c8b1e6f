"""Every step of a launch with every fault, as a table: `python -m tests.faults.table` (`make faults`).

Runs the tests of this folder and prints what became of each: ok, FAILED, or why it was not run. Exit code of pytest.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

FAULTS = ("error", "KILL", "STOP")


class Collector:
    """Outcome of each test by its name."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Called by pytest after each phase of a test."""
        name = report.nodeid.rpartition("::")[2]
        if report.when == "call" or report.outcome != "passed":
            reason = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else ""
            words = {"passed": "ok", "failed": "FAILED", "skipped": f"- ({reason.rpartition('lacks ')[2].partition(':')[0]})"}
            self.outcomes[name] = words[report.outcome]


def rows(outcomes: dict[str, str]) -> dict[str, dict[str, str]]:
    """Step → fault → outcome."""
    found: dict[str, dict[str, str]] = {}
    for name, outcome in outcomes.items():
        inside = name.partition("[")[2].rstrip("]")
        words = inside.split("-")
        if name.startswith("test_an_error["):
            found.setdefault(inside, {})["error"] = outcome
        elif name.startswith("test_a_process_that_dies_or_stops["):
            fault = next(word for word in words if word in FAULTS)
            step = next(word for word in words if word not in FAULTS)
            found.setdefault(step, {})[fault] = outcome
    return found


def main() -> int:
    """Run, print, and say whether all are closed."""
    from rich.console import Console
    from rich.table import Table

    collector = Collector()
    place = Path(__file__).parent
    with open(os.devnull, "w") as quiet:
        before, sys.stdout = sys.stdout, quiet
        try:
            code = int(
                pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(place), *sys.argv[1:]], plugins=[collector])
            )
        finally:
            sys.stdout = before
    table = Table("step", *FAULTS, box=None, pad_edge=False)
    found = rows(collector.outcomes)
    for step, outcomes in found.items():
        table.add_row(step, *(outcomes.get(fault, "") for fault in FAULTS))
    Console(highlight=False).print(table)
    others = {
        name: outcome for name, outcome in collector.outcomes.items() if not name.startswith(("test_an_error[", "test_a_process"))
    }
    for name, outcome in others.items():
        print(f"{name}: {outcome}")
    closed = sum(outcome == "ok" for outcomes in found.values() for outcome in outcomes.values())
    total = sum(len(outcomes) for outcomes in found.values())
    skipped = sum(outcome.startswith("-") for outcome in collector.outcomes.values())
    print(f"steps: {len(found)}, steps by faults: {total}, closed: {closed}, others: {len(others)}, not run here: {skipped}")
    return code or int(closed + skipped < total)


if __name__ == "__main__":
    sys.exit(main())
