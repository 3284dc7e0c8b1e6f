"""`sandbox evaluate`: completions of a language model against the tests of their tasks, with pass@k."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any

import click

from sandbox.cli import errors, grading, text
from sandbox.model.errors import RequestError

if TYPE_CHECKING:
    pass

_EPILOG = """\b
Examples:
  sandbox evaluate samples.jsonl --tasks HumanEval.jsonl.gz
  sandbox evaluate samples.jsonl --batch 128   # all of one origin: half the time of plain python3
  sandbox evaluate samples.jsonl -k 1 -k 10 --time-limit 3s --out results.jsonl
  sandbox evaluate samples.jsonl | jq '."pass@1"'
"""


@click.command(epilog=_EPILOG)
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--tasks", "tasks_file", metavar="FILE", type=click.Path(dir_okay=False), help="Prompts and tests, by task_id.")
@click.option("--out", metavar="FILE", type=click.Path(dir_okay=False), help="Results; FILE_results.jsonl by default.")
@click.option("--restart", is_flag=True, help="Grade everything again, also what the results have already.")
@click.option("-k", "ks", type=click.IntRange(1), multiple=True, default=(1, 10, 100), show_default=True, help="k of pass@k.")
@click.option("-j", "--jobs", type=click.IntRange(1, 1024), help="Sandboxes at once; as many as there are cores by default.")
@click.option("--batch", type=click.IntRange(1, 1024), default=1, show_default=True, help="Samples that share a sandbox: faster.")
@click.option("--time-limit", metavar="TIME", default="10s", show_default=True, help="CPU time of a sample.")
@click.option("--memory", metavar="SIZE", default="512MiB", show_default=True, help="Memory of a sample.")
@click.option("-p", "--profile", default="python-warm", show_default=True, metavar="NAME", help="What completions run under.")
@click.option("--allow-degraded", is_flag=True, help="Grade also where the host lacks control groups.")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout, also on a terminal.")
@click.pass_context
def evaluate(
    ctx: click.Context,
    /,
    *,
    file: str,
    tasks_file: str | None,
    out: str | None,
    restart: bool,
    ks: tuple[int, ...],
    time_limit: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Grade the completions of FILE, rows of JSON with task_id, completion and (here or in --tasks) prompt, test, entry_point.

    A pass is proved by the process of the tests, which a completion cannot reach. What is in the results already is not graded
    again. Exit code 0 when everything could be judged, 2 when the judge failed on something.
    """
    from sandbox.grader import function_files, functions

    grading.need_extra()
    options["time_limit_s"] = grading.seconds(time_limit)
    known = function_files.tasks(tasks_file) if tasks_file is not None else None
    samples = list(function_files.samples(file, known))
    if not samples:
        raise RequestError(f"{file} has no samples")
    conditions = (options["time_limit_s"], options["memory"], options["profile"])
    keys = [function_files.digest(sample, conditions) for sample in samples]
    out = out or f"{file}_results.jsonl"
    grading.check_place(out)
    with function_files.Results(out, restart=restart) as results, grading.bar() as tell:
        missing = [index for index, key in enumerate(keys) if (index, key) not in results.done]
        graded = functions.iterate([samples[index] for index in missing], **options)
        for done, result in enumerate(graded, len(samples) - len(missing) + 1):
            index = missing[result.index]
            results.add(dataclasses.replace(result, index=index), keys[index])
            tell(result.task_id, done, len(samples))
        rows = [results.done[index, key] for index, key in enumerate(keys)]
    found = {**functions.summary(rows, sorted(set(ks))), "results": out}
    if as_json or not sys.stdout.isatty():
        errors.say_json(found)
    else:
        _print(found)
    ctx.exit(2 if "JE" in found["verdicts"] else 0)


def _print(found: dict[str, Any]) -> None:
    text.emit(f"{found['passed']} of {found['samples']} samples of {found['tasks']} tasks passed\n\n")
    text.table(("VERDICT", "SAMPLES"), [(name, str(count)) for name, count in found["verdicts"].items()])
    rows = [(name, f"{value:.4f}") for name, value in found.items() if name.startswith("pass@")]
    if rows:
        text.emit("\n")
        text.table(("ESTIMATE", ""), rows)
    text.emit(f"\n{text.one_line(found['results'])}\n")
