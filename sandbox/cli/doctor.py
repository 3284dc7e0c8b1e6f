"""`sandbox doctor`: what this host lacks, what follows from that, and the command that cures it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from sandbox.cli import errors, text

if TYPE_CHECKING:
    from sandbox.host.doctor import Check


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@click.pass_context
def doctor(ctx: click.Context, *, as_json: bool) -> None:
    """Examine this host. Exit code 1 when a check FAILs: runs of the shipped profiles are refused then."""
    from sandbox.host import doctor as host

    checks = [dataclasses.replace(check, remedy=errors.in_our_words(check.remedy)) for check in host.run_checks()]
    failed = host.worst(checks) is host.Status.FAIL
    if as_json:
        errors.say_json(host.to_dict(checks))
    else:
        _print(checks)
    ctx.exit(int(failed))


def _print(checks: Sequence[Check]) -> None:
    text.table(("CHECK", "", "FOUND"), [(check.name, check.status.value, check.found) for check in checks])
    for check in checks:
        if check.status.value == "PASS":
            continue
        text.emit("\n")
        text.paragraphs(f"{check.name} ({check.status.value}): {text.one_line(check.consequence)}")
        # As it is: a command that was wrapped cannot be copied.
        text.emit("".join(f"    {text.printable(line)}\n" for line in check.remedy.splitlines()))
    counts = [sum(check.status.value == word for check in checks) for word in ("PASS", "CAUTION", "FAIL")]
    text.emit("\n{} passed, {} to be cautious about, {} failed\n".format(*counts))
