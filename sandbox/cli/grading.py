"""What the commands that grade have in common: the extra that they need, progress, tables of cases, files that they write."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from sandbox.cli import text
from sandbox.model.errors import RequestError

if TYPE_CHECKING:
    from sandbox.grader.grade import Event
    from sandbox.grader.model import CaseResult, Problem, Report

_NEEDED = {"yaml": "pyyaml", "jinja2": "jinja2"}


def options(command: Callable[..., None]) -> Callable[..., None]:
    """What every command takes that grades a problem."""
    for option in (
        click.option("--allow-degraded", is_flag=True, help="Grade also where the host lacks control groups."),
        click.option("--json", "as_json", is_flag=True, help="JSON on stdout, also on a terminal."),
        click.option(
            "--html", "html_file", metavar="FILE", type=click.Path(dir_okay=False), help="Write a report as one page to FILE too."
        ),
        click.option("--time-limit", metavar="TIME", help='CPU time of a case instead of the problem\'s: "2s".'),
        click.option("-j", "--jobs", type=click.IntRange(1, 1024), help="Cases at once; as many as there are cores by default."),
    ):
        command = option(command)
    return command


def need_extra() -> None:
    """Raises RequestError where the packages of the extra are not installed."""
    missing = [package for module, package in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise RequestError(f"grading needs {' and '.join(missing)}", hint="pip install 'sandbox[grader]'")


def check_place(path: str | None) -> None:
    """That a file can be written there, before anything is graded. Raises RequestError."""
    if path is None:
        return
    directory = os.path.dirname(path) or "."
    if os.path.isdir(path) or not os.access(path if os.path.exists(path) else directory, os.W_OK):
        raise RequestError(f"{path} cannot be written: it is no file, or in no directory, that we may write to")


def write(path: str, content: str) -> None:
    """Write a text file. Raises RequestError."""
    try:
        with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(content)
    except OSError as error:
        raise RequestError(f"{path} cannot be written: {error.strerror}") from None


def load(path: str, time_limit: str | None = None) -> Problem:
    """The problem, perhaps with another time limit. Raises RequestError."""
    import dataclasses

    from sandbox.grader import packages

    problem = packages.load(path)
    if time_limit is None:
        return problem
    limits = dataclasses.replace(problem.limits, time_s=seconds(time_limit), time_is_given=True)
    return dataclasses.replace(problem, limits=limits)


def seconds(word: str) -> float:
    """A duration as of limits ("2s", "500ms"), or a plain number of seconds. Raises RequestError."""
    from sandbox.policy import units

    with contextlib.suppress(ValueError):
        word = f"{round(float(word) * 1000)}ms"
    try:
        nanoseconds = units.duration(word)
    except ValueError as error:
        raise RequestError(f"--time-limit {word!r}: {error}", hint='write "2s" or "500ms"') from None
    if nanoseconds <= 0:
        raise RequestError(f"--time-limit {word!r} must be more than nothing", hint='write "2s" or "500ms"')
    return nanoseconds / 1e9


@contextlib.contextmanager
def bar() -> Iterator[Callable[[str, int, int], object]]:
    """A bar on stderr, on a terminal: call it with (what is done, how much of it, of how much)."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=text.console(sys.stderr), transient=True) as progress:
        task = progress.add_task("starting", total=None)

        def tell(what: str, done: int, total: int) -> None:
            from rich.markup import escape

            progress.update(task, description=escape(text.one_line(what)[:60]), completed=done, total=total or None)

        yield tell


def follow(tell: Callable[[str, int, int], object]) -> Callable[[Event], None]:
    """What passes the events of a grading on to a bar."""

    def on_event(event: Event) -> None:
        name = os.path.basename(event.submission.rstrip("/"))
        tell(name if event.kind == "case" else f"{name}: {event.kind}", event.done, event.total)

    return on_event


def heading(report: Report) -> str:
    """A submission and its verdict on one line."""
    score = f", score {report.score:g}" if report.score is not None else ""
    decided = f" ({report.decided_by})" if report.decided_by else ""
    reason = f": {report.reason}" if report.reason else ""
    return text.one_line(
        f"{report.submission} [{report.language or 'unknown language'}] {report.verdict}{score}{decided}{reason}"
    )


def cases(results: Sequence[CaseResult]) -> None:
    """A table of verdicts, times and memory."""
    rows = [
        (
            case.case.name,
            case.verdict.value,
            f"{case.timing.cpu_s:.3f}" if case.timing is not None else "",
            f"{case.timing.wall_s:.3f}" if case.timing is not None else "",
            text.size(case.memory_bytes) if case.memory_bytes is not None else "",
            case.reason,
        )
        for case in results
    ]
    text.table(("CASE", "VERDICT", "CPU, S", "ELAPSED, S", "MEMORY", "REASON"), rows)
