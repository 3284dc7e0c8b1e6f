"""`sandbox run`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from sandbox.cli import complete, errors, live
from sandbox.cli.changes import MOUNT_FORM
from sandbox.model.errors import RequestError

if TYPE_CHECKING:
    from sandbox.cli.collected import Destination
    from sandbox.cli.inputs import Inputs
    from sandbox.model.result import RunResult

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options as they were given; see their help."""

    profile: str
    overrides: tuple[str, ...]
    limits: tuple[str, ...]
    mounts: tuple[str, ...]
    env: tuple[str, ...]
    files: tuple[str, ...]
    collect: tuple[str, ...]
    out: str | None
    stdin: str | None
    cwd: str | None
    tty: bool
    allow_degraded: bool
    copy: bool
    report: bool
    quiet: bool
    as_json: bool


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
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND [ARG]...")
def run(command: tuple[str, ...], **given: Any) -> int:
    """Run COMMAND in a sandbox and pass its output, input and exit code through."""
    options = Options(**given)
    _check(options)
    with contextlib.ExitStack() as stack:
        out = None
        if options.out is not None:
            from sandbox.cli.collected import Destination

            out = stack.enter_context(contextlib.closing(Destination(options.out)))
        output = live.Output()
        result, inputs, ended_by = _execute(options, command, stack, output)
        return _conclude(options, result, inputs, out, output, ended_by)


def _check(options: Options) -> None:
    if options.collect and options.out is None and not options.as_json:
        raise RequestError("--collect needs a place for the files", hint="add --out DIR, or --json")
    if options.out is not None and not options.collect:
        raise RequestError("--out is for collected files, and nothing is collected", hint="add --collect NAME")
    if options.tty and options.as_json:
        raise RequestError("--tty and --json exclude each other", hint="a terminal shows output as it comes")
    if options.tty and (options.stdin is not None or not os.isatty(0)):
        raise RequestError("--tty needs a terminal as standard input", hint="leave --tty out where there is none")


def _execute(
    options: Options, command: tuple[str, ...], stack: contextlib.ExitStack, output: live.Output
) -> tuple[RunResult, Inputs, int]:
    """Run it. Returns the result, what went in, and the signal that asked for the end (0 for none)."""
    from sandbox.api import Sandbox
    from sandbox.cli import inputs, values
    from sandbox.policy.profile import Profile

    limits = values.pairs(options.limits, "--limit", "NAME=VALUE")
    overrides = values.pairs(options.overrides, "--set", "KEY=VALUE")
    environment = values.environment(options.env)
    mounts = [values.mount(item) for item in options.mounts]
    profile = Profile.load(options.profile)
    profile = profile.tightened(overrides) if overrides else profile
    profile = profile.with_mounts(mounts) if mounts else profile
    going_in = inputs.gather(command, profile.policy, cwd=options.cwd, explicit=options.files, copy=options.copy)
    _announce(options, going_in)
    stdin = _stdin(options, stack)
    if options.tty and "TERM" in os.environ:
        environment.setdefault("TERM", os.environ["TERM"])
    box = stack.enter_context(
        Sandbox(profile, limits=limits or None, allow_degraded=options.allow_degraded, max_concurrency=1, parked=0)
    )
    run = stack.enter_context(
        box.start(
            going_in.argv,
            stdin=stdin,
            files=going_in.files,
            collect=options.collect,
            env=environment,
            cwd=options.cwd,
            on_stdout=None if options.as_json else output.writer(1),
            on_stderr=None if options.as_json else output.writer(2),
            tty=live.terminal_size() if options.tty else None,
        )
    )
    raw = stack.enter_context(live.RawTerminal(0)) if options.tty else None
    restore = raw.restore if raw else _nothing
    try:
        with live.Signals(run, resizes=options.tty, before_exit=restore) as signals:
            result = run.wait()
    finally:
        restore()
    return result, going_in, signals.ended_by


def _announce(options: Options, going_in: Inputs) -> None:
    """Say what goes in that the caller may not have meant; the report has it too."""
    if going_in.announced and not options.quiet and not options.report:
        errors.complain(f"copied in: {', '.join(going_in.announced)} (--no-copy keeps them out)")
    for path, reason in () if options.quiet else going_in.left_out:
        errors.complain(f"not copied in: {path}: {reason}")


def _nothing() -> None:
    """There is no terminal to restore."""


def _stdin(options: Options, stack: contextlib.ExitStack) -> Any:
    """Our own standard input unless a file is named."""
    if options.stdin is None:
        return 0
    try:
        return stack.enter_context(open(options.stdin, "rb", buffering=0))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RequestError(f"--stdin {options.stdin!r} cannot be read: {reason}") from None


def _conclude(
    options: Options, result: RunResult, going_in: Inputs, out: Destination | None, output: live.Output, ended_by: int
) -> int:
    """Write files, JSON and reports. Returns the exit code."""
    from sandbox.cli import report

    if out is not None:
        out.write(result.files)
    if options.as_json:
        errors.say_json(result.to_dict())
    lines = report.notes(result, warnings_only=options.report or options.quiet)
    if lines or options.report:
        output.end_line()
    if not result.ok and not options.quiet:
        lines += _unusable_mounts(options, result)
    for line in lines:
        errors.complain(line)
    if options.report:
        report.full(result, going_in.copied)
    return report.exit_code(result, ended_by)


def _unusable_mounts(options: Options, result: RunResult) -> list[str]:
    """A run that failed may have met "Permission denied" in what was mounted for it: say why."""
    from sandbox.cli import values
    from sandbox.policy.idmaps import closed_to_others

    if not options.mounts or result.enforced["identity"]["id_map"] != "ranges":
        return []
    lines = []
    for text in options.mounts:
        mount = values.mount(text)
        owner = closed_to_others(mount.source, writable=mount.writable)
        if owner is not None:
            what = "be written" if mount.writable else "be read"
            lines.append(f"note: {mount.source} can {what} by uid {owner} only, and the program runs as a host user of its own")
    return lines
