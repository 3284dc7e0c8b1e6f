"""The system calls of a chain of layers: groups, an OCI file in their place, rules, socket families."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sandbox.model.policy import SeccompPolicy, SeccompRule
from sandbox.policy.merged import Merged, wrong_in
from sandbox.policy.seccomp import groups as seccomp_groups
from sandbox.policy.seccomp import rules, tables

MAX_OCI_BYTES = 4 << 20
_DECIDED_BY_OCI = ("groups", "without", "default_errno")


def merged_calls(merged: Merged) -> SeccompPolicy:
    """The rules of all groups in the order they are named, then the rules of the profiles, later files last.

    An OCI file takes the place of all groups, of the default answer, and of the socket families of lower layers.
    Raises ProfileError.
    """
    found = _of_groups(merged)
    families = _families(merged)
    default = _default_errno(merged)
    imported = _imported(merged)
    if imported is not None:
        found, default = list(imported.rules), imported.default_errno
        merged.origins["seccomp.default_errno"] = merged.origins["seccomp.oci"]
        if merged.depth("seccomp.socket_families") < merged.depth("seccomp.oci"):
            families = imported.socket_families
            merged.origins["seccomp.socket_families"] = merged.origins["seccomp.oci"]
    return SeccompPolicy(default_errno=default, rules=(*found, *_written(merged)), socket_families=families)


def _of_groups(merged: Merged) -> list[SeccompRule]:
    known = seccomp_groups.load_groups()
    chosen: dict[str, None] = {}
    for layer in merged.layers:
        section = layer.content.seccomp
        for key, names in (("groups", section.groups or ()), ("without", section.without or ())):
            for name in names:
                if name not in known:
                    hint = tables.nearest(name, list(known)) or f"known groups: {', '.join(known)}"
                    raise wrong_in(layer, f"seccomp.{key}", f"there is no group {name!r}", hint)
        chosen.update(dict.fromkeys(section.groups or ()))
        for name in section.without or ():
            chosen.pop(name, None)
    return [rule for name in chosen for rule in known[name].rules]


def _families(merged: Merged) -> tuple[str, ...]:
    families: list[str] = merged.value("seccomp.socket_families")
    for name in families:
        if name not in tables.FAMILIES:
            raise merged.wrong("seccomp.socket_families", f"unknown family {name!r}", tables.nearest(name, list(tables.FAMILIES)))
    return tuple(families)


def _default_errno(merged: Merged) -> int:
    word = merged.value("seccomp.default_errno")
    try:
        return tables.errno_number(word)
    except KeyError:
        raise merged.wrong("seccomp.default_errno", f"unknown errno {word!r}", "such as ENOSYS") from None


def _written(merged: Merged) -> Iterator[SeccompRule]:
    """The rules that stand in profiles."""
    for depth, layer in enumerate(merged.layers):
        parsed = [
            seccomp_groups.parse_rule(item, f"profile:{depth}", layer.file, f"seccomp.rules[{number}]", layer.lines)
            for number, item in enumerate(layer.content.seccomp.rules or ())
        ]
        clash = rules.contradiction(parsed)
        if clash is not None:
            name, message, hint = clash
            last = max(number for number, rule in enumerate(parsed) if name in rule.syscalls)
            raise wrong_in(layer, f"seccomp.rules[{last}]", message, hint)
        yield from parsed


def _imported(merged: Merged) -> SeccompPolicy | None:
    """The filter of `seccomp.oci`, a Docker or OCI file."""
    if merged.get("seccomp.oci") is None:
        return None
    _check_alone(merged)
    from sandbox.policy.seccomp.oci import import_oci  # only a few profiles need it

    return import_oci(oci_data(merged), source=str(_oci_file(merged)))


def _oci_file(merged: Merged) -> Path:
    """It lies beside the profile that names it."""
    return Path(merged.origins["seccomp.oci"].file).parent / str(merged.value("seccomp.oci"))


def oci_data(merged: Merged) -> Any:
    """The JSON that `seccomp.oci` names. Raises ProfileError."""
    file = _oci_file(merged)
    try:
        if file.stat().st_size > MAX_OCI_BYTES:
            raise ValueError(f"it is larger than {MAX_OCI_BYTES >> 20} MiB")
        return json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise merged.wrong("seccomp.oci", f"{file} cannot be read: {reason}") from None


def _check_alone(merged: Merged) -> None:
    """What the OCI file decides cannot be said beside it, or above it: it would have no effect."""
    first = merged.depth("seccomp.oci")
    for layer in merged.layers[first:]:
        for key in _DECIDED_BY_OCI:
            if getattr(layer.content.seccomp, key) is not None:
                said = merged.origins["seccomp.oci"]
                raise wrong_in(
                    layer,
                    f"seccomp.{key}",
                    f"has no effect beside seccomp.oci ({said.file}:{said.line}), which decides it",
                    "leave one of the two out; [[seccomp.rules]] can be added to an OCI file",
                )


def blame_for(name: str, merged: Merged) -> tuple[int, str]:
    """(depth, path) of what is to blame that the filter refuses a call."""
    known = seccomp_groups.load_groups()
    for depth in range(len(merged.layers) - 1, -1, -1):
        written = merged.layers[depth].content.seccomp.rules or ()
        for number in range(len(written) - 1, -1, -1):
            if name in written[number].get("syscalls", ()):
                return depth, f"seccomp.rules[{number}]"
    if merged.get("seccomp.oci") is not None:
        return merged.depth("seccomp.oci"), "seccomp.oci"
    for depth in range(len(merged.layers) - 1, -1, -1):
        for group in merged.layers[depth].content.seccomp.without or ():
            if any(name in rule.syscalls for rule in known[group].rules):
                return depth, "seccomp.without"
    return merged.depth("seccomp.groups"), "seccomp.groups"
