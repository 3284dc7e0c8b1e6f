"""What the commands about profiles share: the name of one, and changes to it as `run` takes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sandbox.cli import complete

if TYPE_CHECKING:
    from sandbox.policy.profile import Profile

MOUNT_FORM = "SRC[:DST][:ro|rw][,noexec]"
_Command = TypeVar("_Command", bound=Callable[..., Any])
_OPTIONS: dict[str, Callable[[Any], Any]] = {
    "json": click.option("--json", "as_json", is_flag=True, help="JSON on stdout."),
    "set": click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        shell_complete=complete.override_keys,
        help="With this override, as in `run`.",
    ),
    "limit": click.option(
        "--limit",
        "limits",
        multiple=True,
        metavar="NAME=VALUE",
        shell_complete=complete.limit_names,
        help="With this limit, as in `run`.",
    ),
    "mount": click.option("--mount", "mounts", multiple=True, metavar=MOUNT_FORM, help="With this mount, as in `run`."),
}


def profile_argument(argument: str, **settings: Any) -> Callable[[_Command], _Command]:
    """An argument that is a profile's name or file."""
    return click.argument(argument, metavar="NAME|FILE", shell_complete=complete.profile_names, **settings)


def changeable(*names: str) -> Callable[[_Command], _Command]:
    """Options by name: "set", "limit", "mount", "json"."""

    def decorate(command: _Command) -> _Command:
        for name in reversed(names):
            command = _OPTIONS[name](command)
        return command

    return decorate


def load(name: str, overrides: Sequence[str] = (), limits: Sequence[str] = (), mounts: Sequence[str] = ()) -> Profile:
    """The profile with these changes, as `run` makes them."""
    from sandbox.cli import values
    from sandbox.policy.profile import Profile

    profile = Profile.load(name)
    if overrides:
        profile = profile.tightened(values.pairs(overrides, "--set", "KEY=VALUE"))
    if mounts:
        profile = profile.with_mounts([values.mount(item) for item in mounts])
    if limits:
        named = values.pairs(limits, "--limit", "NAME=VALUE")
        profile = profile.tightened({f"limits.{key.removeprefix('limits.')}": value for key, value in named.items()})
    return profile
