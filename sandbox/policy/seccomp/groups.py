"""The named groups of system calls in `profiles/syscalls/*.toml`."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.model.errors import ProfileError
from sandbox.model.policy import Action, ArgCondition, SeccompRule
from sandbox.policy.locate import profiles_dir
from sandbox.policy.seccomp import tables

ACTIONS = ("allow", "errno", "kill", "log", "notify")
OPERATORS = ("eq", "ne", "lt", "le", "gt", "ge", "masked_eq")
_RULE_KEYS = {"syscalls", "action", "errno", "args", "why"}
_ARG_KEYS = {"index", "op", "value", "mask"}


@dataclass(frozen=True, slots=True)
class Group:
    """A named set of rules with the reason for it."""

    name: str
    why: str
    rules: tuple[SeccompRule, ...]


@functools.cache
def load_groups(directory: Path | None = None) -> Mapping[str, Group]:
    """All groups by name. Raises ProfileError that names file and place of the first mistake."""
    groups = {}
    for file in sorted((directory or profiles_dir() / "syscalls").glob("*.toml")):
        group = _read(file)
        if group.name != file.stem:
            raise ProfileError(f"the group is called {group.name!r}, its file {file.stem!r}", file=str(file), path="name")
        groups[group.name] = group
    return groups


def _read(file: Path) -> Group:
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProfileError(f"cannot be read: {error}", file=str(file)) from None
    unknown = set(data) - {"name", "why", "rules"}
    if unknown or not isinstance(data.get("name"), str) or not isinstance(data.get("why"), str) or not data["why"]:
        raise ProfileError("a group has name, why and rules, nothing else", file=str(file), path=", ".join(sorted(unknown)))
    rules = [parse_rule(rule, data["name"], str(file), f"rules[{index}]") for index, rule in enumerate(data.get("rules", []))]
    return Group(data["name"], data["why"], tuple(rules))


def parse_rule(rule: Mapping[str, Any], group: str, file: str, path: str) -> SeccompRule:
    """One rule of a group or profile. Raises ProfileError with what was expected and the nearest known word."""

    def wrong(message: str, key: str, hint: str = "") -> ProfileError:
        return ProfileError(message, file=file, path=f"{path}.{key}", hint=hint)

    for key in set(rule) - _RULE_KEYS:
        raise wrong("unknown key", key, tables.nearest(key, _RULE_KEYS))
    names = rule.get("syscalls")
    if not isinstance(names, list | tuple) or not names:
        raise wrong("must be a list of names of system calls", "syscalls")
    for name in names:
        if name not in tables.every_name():
            raise wrong(f"unknown system call {name!r}", "syscalls", tables.nearest(str(name), tables.every_name()))
    action = rule.get("action")
    if action not in ACTIONS:
        raise wrong(f"{action!r} is none of {', '.join(ACTIONS)}", "action", tables.nearest(str(action), ACTIONS))
    if not isinstance(rule.get("why"), str) or not rule["why"].strip():
        raise wrong("every rule says why", "why")
    return SeccompRule(
        syscalls=tuple(names),
        action=_action(action),
        errno=_errno(rule, wrong),
        args=tuple(_condition(item, wrong) for item in rule.get("args", ())),
        group=group,
        why=rule["why"],
    )


def _action(word: str) -> Action:
    return {action: action for action in ACTIONS}[word]  # type: ignore[return-value]


def _errno(rule: Mapping[str, Any], wrong: Any) -> int:
    if rule["action"] != "errno":
        if rule.get("errno") is not None:
            raise wrong('goes only with action = "errno"', "errno")
        return 0
    try:
        return tables.errno_number(rule.get("errno", "EPERM"))
    except KeyError:
        raise wrong(f"unknown errno {rule.get('errno')!r}", "errno", "such as EPERM or ENOSYS") from None


def _condition(item: Mapping[str, Any], wrong: Any) -> ArgCondition:
    if not isinstance(item, Mapping) or set(item) - _ARG_KEYS or not {"index", "op", "value"} <= set(item):
        raise wrong("a condition has index, op, value, and mask for masked_eq", "args")
    for key in ("index", "value", "mask"):
        if isinstance(item.get(key, 0), bool) or not isinstance(item.get(key, 0), int):
            raise wrong(f"{key} must be a number", "args")
    if item["op"] not in OPERATORS:
        raise wrong(f"{item['op']!r} is none of {', '.join(OPERATORS)}", "args", tables.nearest(str(item["op"]), OPERATORS))
    if not 0 <= item["index"] <= 5 or not 0 <= item["value"] < 1 << 64 or not 0 <= item.get("mask", 0) < 1 << 64:
        raise wrong("index is 0 to 5, value and mask are unsigned 64-bit numbers", "args")
    if ("mask" in item) != (item["op"] == "masked_eq"):
        raise wrong("mask goes with masked_eq, and only with it", "args")
    return ArgCondition(index=item["index"], op=item["op"], value=item["value"], mask=item.get("mask", 0))
