"""Words that the shell completes."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from sandbox.model.errors import SandboxError


def profile_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 - click's
    """Names of profiles; the shell completes paths."""
    from sandbox.policy.profile import available

    if "/" in incomplete or incomplete.startswith("."):
        return [CompletionItem(incomplete, type="file")]
    try:
        names = list(available())
    except SandboxError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
