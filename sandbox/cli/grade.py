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
@click.option("--entry-point", metavar="NAME", default="", help="Their main file or class, where it is not clear.")
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
    entry_point: str,
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
    named = _named(loaded, submissions, language, entry_point)
    reports = _graded(loaded, named, mode="all" if everything else "first", jobs=jobs, allow_degraded=allow_degraded)
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


def _named(problem: Problem, paths: Sequence[str], language: str | None, entry_point: str) -> Sequence[tuple[str, Source | str]]:
    """What is graded, by name: the submissions at `paths`, else those of the problem. Raises RequestError."""
    if paths:
        return [(path, _source(path, language, entry_point)) for path in paths]
    if not problem.submissions:
        raise RequestError(
            f"{problem.name}: there is nothing to grade", hint="name a submission; the problem has none of its own"
        )
    if language or entry_point:
        raise RequestError(
            "--language and --entry-point are about submissions that the command names",
            hint="those of a problem have `language` and `entrypoint` in submissions/submissions.yaml",
        )
    return [(name, source) for name, source, _ in problem.submissions]


def _graded(
    problem: Problem, named: Sequence[tuple[str, Source | str]], *, mode: Mode, jobs: int | None, allow_degraded: bool
) -> list[Report]:
    from sandbox.grader.grade import grade as judge

    with grading.bar() as tell:
        follow = grading.follow(tell)
        return [
            dataclasses.replace(
                judge(problem, item, mode=mode, jobs=jobs, on_event=follow, allow_degraded=allow_degraded), submission=name
            )
            for name, item in named
        ]


def _source(path: str, language: str | None, entry_point: str) -> Source | str:
    """The source with what was said of it; where nothing was, the path, which `grade` reads itself. Raises RequestError."""
    if not os.path.lexists(path):
        raise RequestError(f"{path}: there is no such file or folder")
    if language is None and not entry_point:
        return path
    from sandbox.grader import languages, sources

    known = languages.get(language).id if language else ""
    try:
        return sources.read(path, language=known, entry_point=entry_point)
    except RequestError:
        return path  # `grade` says why it cannot be read, as a compile error


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
