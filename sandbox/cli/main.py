"""`sandbox`: the entry point, and the one place where an exception becomes an exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

import sandbox
from sandbox.cli import errors, live, text
from sandbox.model.errors import SandboxError

_EPILOG = """\b
Examples:
  sandbox run -- python3 untrusted.py
  sandbox run --profile strict --limit wall=2s -v -- ./a.out < input
  sandbox profile explain python
  sandbox doctor
"""
_COMMANDS = {
    "run": ("sandbox.cli.run", "run"),
    "profile": ("sandbox.cli.profile", "profile"),
    "doctor": ("sandbox.cli.doctor", "doctor"),
    "selftest": ("sandbox.cli.selftest", "selftest"),
    "bench": ("sandbox.cli.bench", "bench"),
    "completion": ("sandbox.cli.completion", "completion"),
}


class _Lazy(click.Group):
    """Loads the module of a command when it is asked for, so that `--help` of one does not pay for the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        import importlib

        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Keep EPIPE away from click, which would turn it into the exit code 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise errors.ReaderGone from None


@click.group(
    cls=_Lazy,
    epilog=_EPILOG,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(sandbox.__version__, prog_name="sandbox", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Run untrusted programs: rootless, fail closed, with evidence for every outcome."""
    if ctx.invoked_subcommand is None:
        text.emit(ctx.get_help() + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script: never returns, exits with the code of docs/cli.md."""
    live.occupy_standard_streams()
    code = call(list(sys.argv[1:] if arguments is None else arguments))
    if not _stdout_works():
        _forget_stdout()
    sys.exit(code)


def call(arguments: list[str]) -> int:
    """Run the command. Returns its exit code."""
    before = arguments[: arguments.index("--")] if "--" in arguments else arguments
    as_json = "--json" in before
    try:
        code = cli.main(arguments, prog_name="sandbox", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as error:
        return int(error.exit_code)
    except SandboxError as error:
        return errors.show(error, as_json=as_json)
    except click.ClickException as error:
        return errors.show(_in_our_words(error), as_json=as_json)
    except (click.Abort, KeyboardInterrupt):
        return errors.INTERRUPTED
    except (BrokenPipeError, errors.ReaderGone):
        _forget_stdout()
        return errors.BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 - the outermost frame: a traceback is printed, and the code is ours
        return _bug(error, as_json=as_json)


def _in_our_words(error: click.ClickException) -> SandboxError:
    """A usage error of click as an error of ours."""
    from sandbox.model.errors import RequestError

    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "sandbox"
    return RequestError(error.format_message().rstrip("."), hint=f"see `{command} --help`")


def _bug(error: Exception, *, as_json: bool) -> int:
    """Python would exit with 1, which a caller takes for the payload's code."""
    if isinstance(error, OSError):
        from sandbox.model.errors import ResourceError

        exhausted = ResourceError.exhausted("sandbox cannot go on", error.errno)
        if exhausted is not None and error.errno != errno.ENOSPC:
            return errors.show(exhausted, as_json=as_json)
    import traceback

    if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:  # help, which click writes
        errors.complain(f"standard output cannot be written: {error.strerror}")
        return errors.OWN_ERROR
    traceback.print_exception(error)
    message = f"internal error: {type(error).__name__}: {error}; this is a bug, please report it"
    if as_json:
        errors.show(error, as_json=True)
    errors.complain(message)
    return errors.OWN_ERROR


def _stdout_works() -> bool:
    """Whether what is left in the buffer can be written."""
    try:
        sys.stdout.flush()
    except OSError:
        return False
    return True


def _forget_stdout() -> None:
    """What is buffered goes nowhere, instead of failing once more at exit; that it failed has been said."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
