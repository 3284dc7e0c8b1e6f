"""`sandbox verify`: whether the submissions of a problem get what they claim."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from sandbox.cli import errors, grading, text
from sandbox.model.errors import RequestError

if TYPE_CHECKING:
    from sandbox.grader.grade import Verified
    from sandbox.grader.inputs import InputMistake
    from sandbox.grader.model import Problem

_EPILOG = """\b
Examples:
  sandbox verify problem/
  sandbox verify --html report.html problem.zip
  sandbox verify problem/ --json | jq '.submissions[] | select(.holds | not) | .complaints'
"""


@click.command(epilog=_EPILOG)
@click.argument("problem", type=click.Path())
@grading.options
@click.pass_context
def verify(
    ctx: click.Context,
    *,
    problem: str,
    jobs: int | None,
    time_limit: str | None,
    html_file: str | None,
    as_json: bool,
    allow_degraded: bool,
) -> None:
    """Grade every submission of PROBLEM and hold it against what it claims; let its input validators look at every input.

    Exit code 1 when something does not hold.

    On a terminal a table; in a pipe one JSON object.
    """
    from sandbox.grader.grade import verify_all
    from sandbox.grader.inputs import check_inputs

    grading.need_extra()
    grading.check_place(html_file)
    loaded = grading.load(problem, time_limit)
    if not loaded.submissions:
        raise RequestError(f"{loaded.name}: there is nothing to verify: the problem has no submissions")
    mistakes = check_inputs(loaded, jobs=jobs, allow_degraded=allow_degraded)
    with grading.bar() as tell:
        found = verify_all(loaded, jobs=jobs, on_event=grading.follow(tell), allow_degraded=allow_degraded)
    if html_file is not None:
        from sandbox.grader import html

        grading.write(html_file, html.page([item.report for item in found], title=loaded.name))
    if as_json or not sys.stdout.isatty():
        _say_json(loaded, found, mistakes)
    else:
        _print(found, mistakes, _warnings(loaded, found))
    ctx.exit(int(bool(mistakes) or any(item.complaints for item in found)))


def _say_json(problem: Problem, found: Sequence[Verified], mistakes: Sequence[InputMistake]) -> None:
    from sandbox.grader import jsons

    rows = [
        {
            "name": item.name,
            "holds": not item.complaints,
            "complaints": list(item.complaints),
            "report": jsons.report(item.report),
        }
        for item in found
    ]
    said = {
        "problem": problem.name,
        "holds": not mistakes and not any(item.complaints for item in found),
        "warnings": _warnings(problem, found),
        "inputs": [dataclasses.asdict(mistake) for mistake in mistakes],
        "submissions": rows,
    }
    errors.say_json(said)


def _warnings(problem: Problem, found: Sequence[Verified]) -> list[str]:
    """Of the package, and what every grading of it warns of (where its time limit comes from)."""
    common = [note for note in (found[0].report.warnings if found else ()) if all(note in item.report.warnings for item in found)]
    return list(dict.fromkeys((*problem.warnings, *common)))


def _print(found: Sequence[Verified], mistakes: Sequence[InputMistake], warnings: Sequence[str]) -> None:
    rows = [
        (item.name, item.report.language, item.report.verdict.value, "FAIL" if item.complaints else "PASS", item.report.reason)
        for item in found
    ]
    text.table(("SUBMISSION", "LANGUAGE", "VERDICT", "CLAIM", "REASON"), rows)
    for item in found:
        for complaint in item.complaints:
            text.paragraphs(f"{text.one_line(item.name)}: {text.one_line(complaint)}")
    for mistake in mistakes:
        where = f"{mistake.validator}: {mistake.case}" if mistake.case else mistake.validator
        text.paragraphs(f"{text.one_line(where)}: {text.one_line(mistake.reason)}")
    for note in warnings:
        text.paragraphs(f"note: {text.one_line(note)}")
    bad = sum(bool(item.complaints) for item in found)
    text.emit(f"\n{len(found) - bad} hold, {bad} do not\n")
