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


def limit_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 - click's
    """Names of limits, with the sign that follows."""
    from sandbox.policy.resolve import LIMITS

    return [CompletionItem(f"{name}=") for name in LIMITS if name.startswith(incomplete)]


def override_keys(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 - click's
    """Keys that a caller can override, and their values where there are only a few."""
    from sandbox.policy.tighten import ORDERED, known_keys

    key, sign, _ = incomplete.partition("=")
    if not sign:
        return [CompletionItem(f"{name}=") for name in known_keys() if name.startswith(incomplete)]
    _, values = ORDERED.get(key, ("", ()))
    words = [f"{key}={str(value).lower()}" for value in values]
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def language_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 - click's
    """Ids of languages, with their names beside them."""
    from sandbox.grader import languages

    try:
        known = languages.load()
    except SandboxError:
        return []
    return [CompletionItem(name, help=item.name) for name, item in known.items() if name.startswith(incomplete)]
