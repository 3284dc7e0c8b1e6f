"""The named groups of system calls in `profiles/syscalls/*.toml`."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.model.errors import ProfileError
from sandbox.model.policy import ArgCondition, SeccompRule
from sandbox.policy.lines import key_lines, line_of
from sandbox.policy.locate import profiles_dir
from sandbox.policy.seccomp import tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandbox.model.policy import Action

ACTIONS: tuple[Action, ...] = ("allow", "errno", "kill", "log", "notify")
OPERATORS = ("eq", "ne", "lt", "le", "gt", "ge", "masked_eq")
_GROUP_KEYS = {"name", "why", "rules"}
_RULE_KEYS = {"syscalls", "action", "errno", "args", "why"}
_ARG_KEYS = {"index", "op", "value", "mask"}

_Wrong = Callable[[str, str, str], ProfileError]


@dataclass(frozen=True, slots=True)
class Group:
    """A named set of rules with the reason for it."""

    name: str
    why: str
    rules: tuple[SeccompRule, ...]


@functools.cache
def load_groups(directory: Path | None = None) -> Mapping[str, Group]:
    """All groups by name. Raises ProfileError that names file, line and place of the first mistake."""
    files = sorted((directory or profiles_dir() / "syscalls").glob("*.toml"))
    groups = (_read(file) for file in files)
    return {group.name: group for group in groups}


def _read(file: Path) -> Group:
    try:
        text = file.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise ProfileError(f"cannot be read: {error}", file=str(file)) from None
    lines = key_lines(text)

    def wrong(message: str, path: str, hint: str = "") -> ProfileError:
        return ProfileError(message, file=str(file), line=line_of(path, lines), path=path, hint=hint)

    for key in sorted(set(data) - _GROUP_KEYS):
        raise wrong("unknown key", key, tables.nearest(key, _GROUP_KEYS))
    for key in ("name", "why"):
        if not isinstance(data.get(key), str) or not data[key].strip():
            raise wrong("must be a text", key)
    if data["name"] != file.stem:
        raise wrong(f"the group is called {data['name']!r}, its file {file.stem!r}", "name", "give both the same name")
    rules = data.get("rules")
    if not isinstance(rules, list) or not rules or not all(isinstance(rule, Mapping) for rule in rules):
        raise wrong("must be a list of tables, one for each rule", "rules", "write [[rules]]")
    parsed = (parse_rule(rule, data["name"], str(file), f"rules[{index}]", lines) for index, rule in enumerate(rules))
    return Group(data["name"], data["why"], tuple(parsed))


def parse_rule(rule: Mapping[str, Any], group: str, file: str, path: str, lines: Mapping[str, int] | None = None) -> SeccompRule:
    """One rule of a group or profile. `lines` are line numbers by path.

    Raises ProfileError with what was expected and the nearest known word.
    """

    def wrong(message: str, key: str, hint: str = "") -> ProfileError:
        place = f"{path}.{key}"
        return ProfileError(message, file=file, line=line_of(place, lines or {}), path=place, hint=hint)

    for key in sorted(set(rule) - _RULE_KEYS):
        raise wrong("unknown key", key, tables.nearest(key, _RULE_KEYS))
    names = rule.get("syscalls")
    if not isinstance(names, list | tuple) or not names:
        raise wrong("must be a list of names of system calls", "syscalls")
    for name in names:
        if not isinstance(name, str) or name not in tables.every_name():
            raise wrong(f"unknown system call {name!r}", "syscalls", tables.nearest(str(name), tables.every_name()))
    action = rule.get("action")
    if action not in ACTIONS:
        raise wrong(f"{action!r} is none of {', '.join(ACTIONS)}", "action", tables.nearest(str(action), ACTIONS))
    if not isinstance(rule.get("why"), str) or not rule["why"].strip():
        raise wrong("every rule says why", "why")
    args = rule.get("args") or ()
    if not isinstance(args, list | tuple):
        raise wrong("must be a list of conditions", "args")
    conditions = tuple(_condition(item, wrong) for item in args)
    if len({item.index for item in conditions}) != len(conditions):
        raise wrong("an argument is compared twice in one rule", "args", "use one masked_eq, or two rules")
    return SeccompRule(
        syscalls=tuple(names), action=action, errno=_errno(rule, wrong), args=conditions, group=group, why=rule["why"]
    )


def _errno(rule: Mapping[str, Any], wrong: _Wrong) -> int:
    if rule["action"] != "errno":
        if rule.get("errno") is not None:
            raise wrong('goes only with action = "errno"', "errno", "")
        return 0
    word = rule.get("errno")
    try:
        return tables.errno_number("EPERM" if word is None else word)
    except KeyError:
        raise wrong(f"unknown errno {word!r}", "errno", "such as EPERM or ENOSYS") from None


def _condition(item: Any, wrong: _Wrong) -> ArgCondition:
    if not isinstance(item, Mapping) or set(item) - _ARG_KEYS or not {"index", "op", "value"} <= set(item):
        raise wrong("a condition has index, op, value, and mask for masked_eq", "args", "")
    for key in ("index", "value", "mask"):
        if isinstance(item.get(key, 0), bool) or not isinstance(item.get(key, 0), int):
            raise wrong(f"{key} must be a number", "args", "")
    if item["op"] not in OPERATORS:
        raise wrong(f"{item['op']!r} is none of {', '.join(OPERATORS)}", "args", tables.nearest(str(item["op"]), OPERATORS))
    if not 0 <= item["index"] <= 5 or not 0 <= item["value"] < 1 << 64 or not 0 <= item.get("mask", 0) < 1 << 64:
        raise wrong("index is 0 to 5, value and mask are unsigned 64-bit numbers", "args", "")
    if ("mask" in item) != (item["op"] == "masked_eq"):
        raise wrong("mask goes with masked_eq, and only with it", "args", "")
    if item["op"] == "masked_eq" and item["value"] & ~item["mask"]:
        raise wrong("value has bits that are not in mask, so the condition can never hold", "args", "")
    return ArgCondition(index=item["index"], op=item["op"], value=item["value"], mask=item.get("mask", 0))
