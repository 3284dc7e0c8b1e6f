"""`sandbox run`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from sandbox.cli import complete, running
from sandbox.cli.changes import MOUNT_FORM

_EPILOG = """\b
Examples:
  sandbox run -- python3 untrusted.py            # the script is copied in
  sandbox run --limit wall=2s --limit memory=64MiB -v -- ./a.out < input
  sandbox run --profile compile --file main.c --collect a.out --out built -- gcc main.c
  sandbox run --mount ./data:/data:ro,noexec -- python3 count.py /data
  sandbox run --json -- python3 untrusted.py | jq .outcome
  sandbox run -t -- bash

\b
Exit codes: the program's own; 128+n when signal n ended it (137 for a limit); 130 after Ctrl-C;
125 when sandbox itself failed, 126 when the program cannot be executed, 127 when it does not exist.
"""


def _option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    return click.option(*names, **settings)


@click.command(epilog=_EPILOG, context_settings={"allow_interspersed_args": False}, options_metavar="[OPTIONS] --")
@_option(
    "-p",
    "--profile",
    default="default",
    show_default=True,
    metavar="NAME|FILE",
    shell_complete=complete.profile_names,
    help="Profile.",
)
@_option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=complete.override_keys,
    help="Tighten the profile, e.g. network.mode=none.",
)
@_option(
    "--limit",
    "limits",
    multiple=True,
    metavar="NAME=VALUE",
    shell_complete=complete.limit_names,
    help="Lower a limit: cpu, wall, memory, pids, output…",
)
@_option("--mount", "mounts", multiple=True, metavar=MOUNT_FORM, help="Show a host path inside; read-only by default.")
@_option("--env", "env", multiple=True, metavar="NAME[=VALUE]", help="Set a variable; NAME alone copies ours.")
@_option("--file", "files", multiple=True, metavar="PATH[=NAME]", help="Copy a file or directory into the work directory.")
@_option("--collect", multiple=True, metavar="NAME", help="Take a file, directory or pattern out of the work directory.")
@_option("--out", metavar="DIR", help="New directory for the collected files.")
@_option("--stdin", metavar="FILE", help="Read standard input from a file; /dev/null gives none.")
@_option("--cwd", metavar="DIR", help="Working directory inside (absolute).")
@_option("-t", "--tty", is_flag=True, help="Give the program a private terminal that follows ours.")
@_option("--allow-degraded", is_flag=True, help="Run also where the host lacks control groups, with weaker stand-ins.")
@_option("--copy/--no-copy", default=True, show_default=True, help="Copy in files that the command names (docs/cli.md).")
@_option("-v", "--report/--no-report", "report", help="Report on stderr how it ended, what it used, what was enforced.")
@_option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors and the warning of weaker controls.")
@_option("--json", "as_json", is_flag=True, help="One JSON object on stdout instead (docs/result.md).")
@_option("--plan-cache/--no-plan-cache", default=True, show_default=True, help="Keep the compiled plan (docs/cli.md).")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND [ARG]...")
def run(command: tuple[str, ...], **given: Any) -> int:
    """Run COMMAND in a sandbox and pass its output, input and exit code through."""
    return running.run(running.Options(**given), command)
