"""`sandbox selftest`: attacks on this host under a profile, and a verdict on each."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from sandbox.cli import errors, text
from sandbox.cli.complete import profile_names

if TYPE_CHECKING:
    from sandbox.selftest.checks import Finding

_EPILOG = """\b
Examples:
  sandbox selftest
  sandbox selftest --profile ./mine.toml
  sandbox selftest --json | jq '.findings[] | select(.verdict == "FAIL")'
"""


@click.command(epilog=_EPILOG)
@click.option("-p", "--profile", default="default", show_default=True, metavar="NAME|FILE", shell_complete=profile_names)
@click.option("--allow-degraded", is_flag=True, help="Test also where the host lacks control groups, with weaker stand-ins.")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@click.pass_context
def selftest(ctx: click.Context, *, profile: str, allow_degraded: bool, as_json: bool) -> None:
    """Attack this host from a sandbox, and say what holds. Exit code 1 when something does not."""
    from sandbox.api import Sandbox
    from sandbox.selftest import checks

    with Sandbox(profile, allow_degraded=allow_degraded, parked=0) as box, _progress() as tell:
        findings = checks.run_all(box, tell)
        enforced = box.run(["python3", "-c", ""]).enforced
    counts = {verdict.value: sum(item.verdict is verdict for item in findings) for verdict in checks.Verdict}
    failed = bool(counts["FAIL"])
    if as_json:
        told = [item.to_dict() for item in findings]
        errors.say_json({"profile": profile, "passed": not failed, "counts": counts, "findings": told, "enforced": enforced})
    else:
        _print(findings, counts)
    ctx.exit(int(failed))


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], object]]:
    """A spinner with the name of the attack, on a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with text.console(sys.stderr).status("attacking") as status:
        yield lambda name: status.update(f"attacking: {name.replace('_', ' ')}")


def _print(findings: Sequence[Finding], counts: Mapping[str, int]) -> None:
    rows = [(item.name, item.verdict.value, item.detail, ", ".join(item.claims)) for item in findings]
    text.table(("ATTACK: TO…", "", "SEEN", "CLAIMS"), rows)
    text.emit("\n{PASS} held, {FAIL} did not, {SKIP} could not be tried\n".format(**counts))
