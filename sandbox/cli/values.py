"""The values of options as people write them. Every mistake is a RequestError that shows the right form."""

from __future__ import annotations

import os
from collections.abc import Iterable

from sandbox.model.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandbox.model.policy import Mount


def pairs(items: Iterable[str], option: str, form: str) -> dict[str, str]:
    """NAME=VALUE words as a mapping; the last one wins."""
    out = {}
    for item in items:
        name, sign, value = item.partition("=")
        if not sign or not name:
            raise RequestError(f"{option} {item!r} is not of the form {form}")
        out[name] = value
    return out


def environment(items: Iterable[str]) -> dict[str, str]:
    """NAME=VALUE sets; NAME alone copies our own value."""
    out = {}
    for item in items:
        name, sign, value = item.partition("=")
        if not sign and name not in os.environ:
            raise RequestError(f"--env {name!r}: there is no such variable here", hint="write NAME=VALUE")
        out[name] = value if sign else os.environ[name]
    return out


def mount(text: str) -> Mount:
    """A mount as `sandbox.policy.mounts` reads it, with the name of our option in its errors."""
    from sandbox.policy.mounts import parse_mount

    try:
        return parse_mount(text)
    except RequestError as error:
        raise RequestError(f"--{error.message}", hint=error.hint) from None
