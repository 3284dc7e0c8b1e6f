"""What the command says on stderr about a run: a line when it ended badly, a warning when controls were weaker, or all of it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

from sandbox.cli import text
from sandbox.cli.errors import INTERRUPTED, KILLED
from sandbox.model.result import Exited, Outcome, RunResult

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rich.console import Console

_OWN = (Outcome.EXITED, Outcome.SIGNALED)


def exit_code(result: RunResult, interrupted_by: int = 0) -> int:
    """The payload's own code; 128 + signal; 137 when a limit ended it (see docs/cli.md)."""
    if result.outcome is Outcome.CANCELED:
        return 128 + interrupted_by if interrupted_by else INTERRUPTED
    if isinstance(result.exit, Exited):
        ended_well_by_itself = result.outcome in _OWN or result.exit.code
        return result.exit.code if ended_well_by_itself else KILLED
    return 128 + result.exit.signal


def notes(result: RunResult, *, warnings_only: bool) -> list[str]:
    """What is said when nobody asked for a report, a line each: weaker controls always, the rest unless it must be quiet."""
    lines = []
    if result.degraded:
        weaker = "; ".join(f"{item.control} ({item.consequence})" for item in result.degraded)
        lines.append(f"warning: weaker controls on this host: {weaker}")
    if not warnings_only:
        lines += [f"not collected: {name}: {reason}" for name, reason in result.refused_files]
        if result.outcome not in (*_OWN, Outcome.CANCELED):
            lines.append(f"ended: {result.outcome.value}: {evidence_line(result)}")
    return lines


def evidence_line(result: RunResult) -> str:
    """The evidence on one line."""
    return ", ".join(_fact(item.source, item.key, item.value) for item in result.evidence) or "no evidence"


def _fact(source: str, key: str, value: int | str) -> str:
    return f"{source} {key}={text.value(key, value)}"


def full(result: RunResult, copied: Iterable[tuple[str, str]]) -> None:
    """The whole report, with colours where stderr is a terminal."""
    rows = list(_rows(result, copied))
    if not sys.stderr.isatty():
        for name, value in rows:
            print(f"{name}: {text.one_line(value)}" if name else f"  {text.one_line(value)}", file=sys.stderr)
        return
    _draw(rows, result, text.console(sys.stderr))


def _draw(rows: Sequence[tuple[str, str]], result: RunResult, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    colour = "green" if result.ok else "yellow" if result.outcome in _OWN else "bold red"
    styles = {"outcome": colour, "degraded": "yellow", "not collected": "yellow"}
    for name, value in rows:
        grid.add_row(name, Text(text.one_line(value), style=styles.get(name, "")))
    console.print()
    console.print(grid)


def _rows(result: RunResult, copied: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    usage, timings = result.usage, result.timings
    yield "outcome", result.outcome.value
    yield (
        "exit",
        f"code {result.exit.code}" if isinstance(result.exit, Exited) else f"signal {result.exit.signal} ({result.exit.name})",
    )
    yield from _many("evidence", [_fact(item.source, item.key, item.value) for item in result.evidence])
    cpu = f"{text.duration(usage.cpu_user_ns)} user, {text.duration(usage.cpu_system_ns)} system"
    yield "cpu", cpu + (f", throttled {text.duration(usage.throttled_ns)}" if usage.throttled_ns else "")
    yield "wall", text.duration(usage.wall_ns)
    yield "memory peak", text.size(usage.memory_peak_bytes)
    yield "pids peak", str(usage.pids_peak)
    truncated = f", middle dropped of {', '.join(result.truncated)}" if result.truncated else ""
    yield "output", text.size(usage.output_bytes) + truncated
    yield "set-up", f"{text.duration(timings.setup_ns)}, clean-up {text.duration(timings.teardown_ns)}"
    yield from _many("copied in", [f"{source} as {name}" if source != name else name for source, name in copied])
    yield from _many("collected", [f"{name} ({text.size(len(file.data))})" for name, file in sorted(result.files.items())])
    yield from _many("not collected", [f"{name}: {reason}" for name, reason in result.refused_files])
    yield from _many("enforced", list(enforced_lines(result.enforced)))
    yield from _many("degraded", [f"{item.control}: {item.stand_in}; {item.consequence}" for item in result.degraded])
    yield "plan", result.plan_digest


def _many(name: str, values: Sequence[str]) -> Iterable[tuple[str, str]]:
    for number, value in enumerate(values):
        yield ("" if number else name), value


def enforced_lines(enforced: Mapping[str, Any]) -> Iterable[str]:
    """`RunResult.enforced`, one line for each part; nested parts as name=value."""
    for name, value in enforced.items():
        if isinstance(value, Mapping):
            inner = ", ".join(f"{key}={_short(key, item)}" for key, item in value.items())
            yield f"{name}: {inner}"
        else:
            yield f"{name}: {_short(name, value)}"


def _short(name: str, value: object) -> str:
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        shown = " ".join(str(item) for item in value[:8])
        return shown if len(value) <= 8 else f"{shown} and {len(value) - 8} more"
    if name.endswith("sha256"):
        return str(value)[:16]
    return text.value(name, value)
