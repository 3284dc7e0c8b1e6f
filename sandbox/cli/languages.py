"""`sandbox languages`: what this host can compile and run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from sandbox.cli import errors, grading, text

if TYPE_CHECKING:
    from sandbox.grader.languages import Found

_EPILOG = """\b
Examples:
  sandbox languages
  sandbox languages --json | jq -r '.[] | select(.available) | .id'
"""


@click.command(epilog=_EPILOG)
@click.option("--versions/--no-versions", default=True, help="Ask compilers and interpreters for their versions, in sandboxes.")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout, also on a terminal.")
def languages(*, versions: bool, as_json: bool) -> None:
    """List the languages that `sandbox grade` knows, and which of them this host really has.

    On a terminal a table; in a pipe one JSON list.
    """
    from sandbox.grader import languages as known

    grading.need_extra()
    found = known.available()
    with grading.bar() as tell:
        rows = []
        for number, item in enumerate(found):
            tell(item.language.name, number, len(found))
            rows.append(_row(item, versions=versions))
    if as_json or not sys.stdout.isatty():
        errors.say_json(rows)
    else:
        cells = [
            (
                row["id"],
                row["name"],
                "PASS" if row["available"] else "-",
                row["version"] or _lacking(row),
                " ".join(row["extensions"]),
            )
            for row in rows
        ]
        text.table(("ID", "LANGUAGE", "HERE", "VERSION", "FILES"), cells)


def _lacking(row: dict[str, Any]) -> str:
    return f"not here: {', '.join(row['missing'])}" if row["missing"] else ""


def _row(item: Found, *, versions: bool) -> dict[str, Any]:
    language = item.language
    return {
        "id": language.id,
        "name": language.name,
        "available": not item.missing,
        "version": _version(item) if versions and not item.missing else "",
        "programs": dict(item.programs),
        "missing": list(item.missing),
        "extensions": list(language.extensions),
        "aliases": list(language.aliases),
    }


def _version(item: Found) -> str:
    from sandbox.grader.compiling import version_of

    return version_of(item.language, allow_degraded=True)[0]  # what is run is the host's own
