"""`sandbox completion`."""

from __future__ import annotations

import click

_EPILOG = """\b
Examples:
  sandbox completion bash > ~/.local/share/bash-completion/completions/sandbox
  sandbox completion zsh > ~/.zfunc/_sandbox
  sandbox completion fish > ~/.config/fish/completions/sandbox.fish
"""


@click.command(epilog=_EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    from sandbox.cli.main import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click has no completion for {shell}")
    maker = kind(cli, {}, "sandbox", "_SANDBOX_COMPLETE")
    click.echo(maker.source_template % maker.source_vars())
