"""`sandbox grade`: compile once, run every case, and say a verdict with its evidence."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from sandbox.cli import errors, grading, text
from sandbox.cli.complete import language_names
from sandbox.model.errors import RequestError

if TYPE_CHECKING:
    from sandbox.grader.model import Problem, Report, Source
    from sandbox.grader.schedule import Mode

_EPILOG = """\b
Examples:
  sandbox grade problem/ solution.cpp
  sandbox grade --all --html report.html problem.zip mine/ other.py
  sandbox grade problem/ solution.py --time-limit 2s --json | jq .reports[0].verdict
"""
_ACCEPTED, _REJECTED, _JUDGE_FAILED = 0, 1, 2


@click.command(epilog=_EPILOG)
@click.argument("problem", type=click.Path())
@click.argument("submissions", nargs=-1, type=click.Path())
@click.option("--all", "everything", is_flag=True, help="Run all cases, also after the one that decided.")
@click.option(
    "--language", metavar="NAME", shell_complete=language_names, help="Language of the submissions, if not what they look like."
)
@grading.options
@click.pass_context
def grade(
    ctx: click.Context,
    *,
    problem: str,
    submissions: tuple[str, ...],
    everything: bool,
    jobs: int | None,
    language: str | None,
    time_limit: str | None,
    html_file: str | None,
    as_json: bool,
    allow_degraded: bool,
) -> None:
    """Grade SUBMISSIONS (files, folders, archives) of PROBLEM, a folder or an archive; without any, those of the problem.

    On a terminal tables; in a pipe one JSON object. Exit code 0: all were accepted, 1: some were not, 2: the judge failed.
    """
    from sandbox.grader.model import Verdict

    grading.need_extra()
    grading.check_place(html_file)
    loaded = grading.load(problem, time_limit)
    reports = _graded(
        loaded, submissions, language, mode="all" if everything else "first", jobs=jobs, allow_degraded=allow_degraded
    )
    if html_file is not None:
        from sandbox.grader import html

        grading.write(html_file, html.page(reports))
    if as_json or not sys.stdout.isatty():
        from sandbox.grader import jsons

        errors.say_json({"problem": loaded.name, "reports": [jsons.report(report) for report in reports]})
    else:
        _print(reports)
    verdicts = {report.verdict for report in reports}
    ctx.exit(_JUDGE_FAILED if Verdict.JE in verdicts else _REJECTED if verdicts - {Verdict.AC, Verdict.PAC} else _ACCEPTED)


def _graded(
    problem: Problem, paths: Sequence[str], language: str | None, *, mode: Mode, jobs: int | None, allow_degraded: bool
) -> list[Report]:
    from sandbox.grader.grade import grade as judge

    named: list[tuple[str, Source | str]] = [(path, _source(path, language)) for path in paths]
    named = named or [(name, source) for name, source, _ in problem.submissions]
    if not named:
        raise RequestError(
            f"{problem.name}: there is nothing to grade", hint="name a submission; the problem has none of its own"
        )
    with grading.bar() as tell:
        follow = grading.follow(tell)
        return [
            dataclasses.replace(
                judge(problem, item, mode=mode, jobs=jobs, on_event=follow, allow_degraded=allow_degraded), submission=name
            )
            for name, item in named
        ]


def _source(path: str, language: str | None) -> Source | str:
    """The source with the language that was said; without one the path, which `grade` reads itself. Raises RequestError."""
    if not os.path.lexists(path):
        raise RequestError(f"{path}: there is no such file or folder")
    if language is None:
        return path
    from sandbox.grader import languages, sources

    return sources.read(path, language=languages.get(language).id)


def _print(reports: Sequence[Report]) -> None:
    for number, report in enumerate(reports):
        if number:
            text.emit("\n")
        text.emit(grading.heading(report) + "\n")
        for said in filter(None, (report.compile_output, report.judge_output)):
            text.paragraphs(said[:4096])
        if report.tests is not None:
            grading.cases(report.all_cases())
        for note in (*report.warnings, *report.degraded):
            text.paragraphs(f"note: {text.one_line(note)}")
