"""What `sandbox run` does, once its options are known: without the library that reads them, so that a short command is quick."""

from __future__ import annotations

import contextlib
import os

from sandbox.cli import errors, live, planned
from sandbox.model.data import dataclass
from sandbox.model.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sandbox.cli.collected import Destination
    from sandbox.cli.inputs import Inputs
    from sandbox.model.result import RunResult
    from sandbox.policy.plancache import Entry
    from sandbox.runtime.keeper import Keeper


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
    plan_cache: bool = True


@dataclass(slots=True)
class Cached:
    """A plan from the cache, and a keeper that was started with it."""

    entry: Entry
    keeper: Keeper


def run(options: Options, command: tuple[str, ...], cached: Cached | None = None) -> int:
    """Run it. Returns the exit code."""
    with contextlib.ExitStack() as stack:
        if cached is not None:
            stack.callback(cached.keeper.discard)
        _check(options)
        out = None
        if options.out is not None:
            from sandbox.cli.collected import Destination

            out = stack.enter_context(contextlib.closing(Destination(options.out)))
        output = live.Output()
        result, inputs, ended_by = _execute(options, command, stack, output, cached)
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
    options: Options, command: tuple[str, ...], stack: contextlib.ExitStack, output: live.Output, cached: Cached | None
) -> tuple[RunResult, Inputs, int]:
    """Run it. Returns the result, what went in, and the signal that asked for the end (0 for none)."""
    from sandbox.cli import inputs, values

    values.pairs(options.limits, "--limit", "NAME=VALUE")  # mistakes first, in the order of the options
    values.pairs(options.overrides, "--set", "KEY=VALUE")
    environment = values.environment(options.env)
    planning = planned.planning(options, cached)
    going_in = inputs.gather(command, planning.policy, cwd=options.cwd, explicit=options.files, copy=options.copy)
    _announce(options, going_in)
    stdin = _stdin(options, stack)
    if options.tty and "TERM" in os.environ:
        environment.setdefault("TERM", os.environ["TERM"])
    run = stack.enter_context(
        planning.start(
            stack,
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
    planning.keep()
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
