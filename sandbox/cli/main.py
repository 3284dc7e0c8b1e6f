"""`sandbox`: the command with all that it knows."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

import sandbox
from sandbox.cli import ending, errors, live, text
from sandbox.model.errors import SandboxError

_EPILOG = """\b
Examples:
  sandbox run -- python3 untrusted.py
  sandbox run --profile strict --limit wall=2s -v -- ./a.out < input
  sandbox grade problem/ solution.cpp
  sandbox profile explain python
  sandbox doctor
"""
_COMMANDS = {
    "run": ("sandbox.cli.run", "run"),
    "grade": ("sandbox.cli.grade", "grade"),
    "verify": ("sandbox.cli.verify", "verify"),
    "evaluate": ("sandbox.cli.evaluate", "evaluate"),
    "languages": ("sandbox.cli.languages", "languages"),
    "serve": ("sandbox.cli.serve", "serve"),
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
    ending.finish(call(list(sys.argv[1:] if arguments is None else arguments)))


def call(arguments: list[str]) -> int:
    """Run the command. Returns its exit code."""
    before = arguments[: arguments.index("--")] if "--" in arguments else arguments
    as_json = "--json" in before
    return ending.guarded(lambda: _command(arguments, as_json=as_json), as_json=as_json)


def _command(arguments: list[str], *, as_json: bool) -> int:
    try:
        code = cli.main(arguments, prog_name="sandbox", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as error:
        return int(error.exit_code)
    except click.ClickException as error:
        return errors.show(_in_our_words(error), as_json=as_json)
    except click.Abort:
        return errors.INTERRUPTED


def _in_our_words(error: click.ClickException) -> SandboxError:
    """A usage error of click as an error of ours."""
    from sandbox.model.errors import RequestError

    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "sandbox"
    return RequestError(error.format_message().rstrip("."), hint=f"see `{command} --help`")
