"""Overrides by the caller. They can only tighten: whatever would allow more is refused, naming both values."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable, Mapping
from typing import Any

from sandbox.model.errors import PolicyError
from sandbox.model.limits import Limits
from sandbox.model.policy import COLD, ArgCondition, Policy, SeccompRule
from sandbox.policy import units
from sandbox.policy.paths import is_clean
from sandbox.policy.places import hides
from sandbox.policy.resolve import LIMITS
from sandbox.policy.seccomp import tables
from sandbox.policy.seccomp.rules import NEEDED, decisions, refused_of_needed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandbox.model.policy import Action

OFF_IS_ZERO = ("idle", "cpu_quota")
_PARSERS: Mapping[str, Callable[[object], int]] = {
    **dict.fromkeys(("cpu", "wall", "idle"), units.duration),
    **dict.fromkeys(("memory", "output", "scratch", "file_size", "stack", "collect"), units.size),
    **dict.fromkeys(("pids", "scratch_inodes", "open_files", "collect_files"), units.count),
    "cpu_quota": units.cpus,
}
_SHORT = {
    "network": "network.mode",
    "uid": "identity.uid",
    "gid": "identity.gid",
    "hostname": "identity.hostname",
    "cwd": "process.cwd",
    **{name: f"limits.{name}" for name in LIMITS},
}
# key → (field path in Policy, values from tightest to loosest)
ORDERED: Mapping[str, tuple[str, tuple[Any, ...]]] = {
    "network.mode": ("network", ("none", "loopback")),
    "cgroup.requirement": ("cgroup.requirement", ("required", "best_effort")),
    "landlock.requirement": ("landlock", ("required", "if_present")),
    "paths.proc": ("proc", ("pids", "full")),
    "rootfs.writable": ("rootfs.writable", (False, True)),
    "scratch.tmp": ("scratch.tmp", (False, True)),
    "scratch.shm": ("scratch.shm", (False, True)),
    "scratch.executable": ("scratch.executable", (False, True)),
    "work.executable": ("work.executable", (False, True)),
    "work.follow_symlinks": ("work.follow_symlinks", (False, True)),
    "namespaces.time": ("namespaces.time", (True, False)),
    "identity.id_map": ("identity.id_map", ("ranges", "auto", "single")),
}
SUBSETS = {
    "dev.devices": "devices",
    "capabilities.keep": "capabilities",
    "seccomp.socket_families": "seccomp.socket_families",
    "environment.inherit": "environment.inherit",
    "warm.preload": "warm.preload",
}
_ADDITIONS = {"paths.masked": "masked_paths", "paths.readonly": "readonly_paths"}
_FREE: Mapping[str, tuple[str, Callable[[object], object]]] = {
    "identity.uid": ("identity.uid", units.user_id),
    "identity.gid": ("identity.gid", units.user_id),
    "identity.hostname": ("identity.hostname", units.host_name),
    "process.cwd": ("cwd", units.directory),
}
# What is said in another way: the argument of the library, which the command shows as its option
_ELSEWHERE = {"environment": "env=", "mounts": "mounts=", "limits": "limits="}
_CLONE_THREAD = 0x10000
_ONLY_TIGHTEN = "a caller can only tighten; change the profile file"
_DENIALS: Mapping[str, tuple[Action, int]] = {"seccomp.deny": ("errno", errno.EPERM), "seccomp.kill": ("kill", 0)}


def known_keys() -> list[str]:
    """Every key that can be overridden."""
    other = ["cgroup.cpus", "cgroup.io_per_second", "process.umask", "seccomp.groups", "warm.interpreter"]
    other += ["mounts.read_only", "mounts.remove"]
    return sorted([*ORDERED, *SUBSETS, *_ADDITIONS, *_FREE, *_DENIALS, *other, *(f"limits.{name}" for name in LIMITS)])


def full_key(key: str) -> str:
    """The whole key for a short one ("memory" is limits.memory); any other stays as it is."""
    return _SHORT.get(key, key)


def tighten(policy: Policy, overrides: Mapping[str, object]) -> Policy:
    """The policy with `overrides` ("limits.memory" or "memory" → value, also as text). Raises PolicyError."""
    for given, value in overrides.items():
        key = full_key(given)
        if key.startswith("limits."):
            limits = tighten_limits(policy.limits, {key.removeprefix("limits."): value})
            policy = dataclasses.replace(policy, limits=limits)
        else:
            policy = _override(policy, key, value)
    return policy


def tighten_limits(limits: Limits, overrides: Mapping[str, object], whose: str = "the profile's") -> Limits:
    """Lower limits, by the names of the file ("memory") or of the fields ("memory_bytes"). `whose` they are, for messages.

    Raises PolicyError.
    """
    by_field = {field: name for name, field in LIMITS.items()}
    for given, value in overrides.items():
        name = by_field.get(given, given.removeprefix("limits."))
        if name not in LIMITS:
            hint = tables.nearest(name, list(LIMITS)) or f"known limits: {', '.join(LIMITS)}"
            raise PolicyError(f"there is no limit {given!r}", path=f"limits.{given}", hint=hint)
        field = LIMITS[name]
        try:
            plain = given == field and isinstance(value, int)  # bytes or nanoseconds, say
            number = units.count(value, most=units.MAX_NS) if plain else _PARSERS[name](value)
        except ValueError as error:
            raise PolicyError(str(error), path=f"limits.{name}") from None
        limits = dataclasses.replace(limits, **{field: _lower(name, number, getattr(limits, field), whose)})
    return limits


def check_limits(limits: Limits, wanted: Limits, whose: str = "the profile's") -> Limits:
    """`wanted`, if it is nowhere above `limits`. Raises PolicyError."""
    for name, field in LIMITS.items():
        _lower(name, getattr(wanted, field), getattr(limits, field), whose)
    return wanted


def _lower(name: str, wanted: int, allowed: int, whose: str) -> int:
    path = f"limits.{name}"
    off = name in OFF_IS_ZERO
    if wanted == 0 and not off and not name.startswith("collect"):
        raise PolicyError("must be more than 0", path=path)
    if _is_lower(wanted, allowed, off=off):
        return wanted
    raise PolicyError(
        f"{units.limit_text(name, wanted)} would be more than {whose} {units.limit_text(name, allowed)}",
        path=path,
        hint=_ONLY_TIGHTEN if whose == "the profile's" else "a call can only lower them",
    )


def _is_lower(wanted: int, allowed: int, *, off: bool) -> bool:
    """Whether `wanted` is no more than what is allowed; with `off` 0 is without a bound."""
    return (off and allowed == 0) or (wanted <= allowed and not (off and wanted == 0 < allowed))


def _override(policy: Policy, key: str, value: object) -> Policy:
    if key in ORDERED:
        field, order = ORDERED[key]
        return _set(policy, field, _ordered(key, _word(value, order, key), _get(policy, field), order))
    if key in SUBSETS:
        names = _names(value)
        _check_subset(key, names, _get(policy, SUBSETS[key]))
        return _set(policy, SUBSETS[key], names)
    if key in _ADDITIONS:
        return _cover(policy, key, _names(value))
    if key in _FREE:
        field, parse = _FREE[key]
        return _set(policy, field, _parsed(key, value, parse))
    if key in _DENIALS:
        return _deny(policy, key, _names(value))
    return _other(policy, key, value)


def _other(policy: Policy, key: str, value: object) -> Policy:
    if key == "cgroup.cpus":
        cpus = tuple(sorted({_parsed(key, item, units.count) for item in _items(value)}))
        if policy.cgroup.cpus:
            _check_subset(key, cpus, policy.cgroup.cpus)
        return _set(policy, "cgroup.cpus", cpus)
    if key == "cgroup.io_per_second":
        wanted, allowed = _parsed(key, value, units.size), policy.cgroup.io_bytes_per_second
        if not _is_lower(wanted, allowed, off=True):
            texts = [units.size_text(number) if number else "no bound" for number in (wanted, allowed)]
            raise PolicyError(f"{texts[0]} would be more than the profile's {texts[1]}", path=key, hint=_ONLY_TIGHTEN)
        return _set(policy, "cgroup.io_bytes_per_second", wanted)
    if key == "process.umask":
        umask = _parsed(key, value, units.umask)
        if umask & policy.umask != policy.umask:
            message = f"{umask:#05o} would leave out bits of the profile's {policy.umask:#05o}"
            raise PolicyError(message, path=key, hint=_ONLY_TIGHTEN)
        return dataclasses.replace(policy, umask=umask)
    if key == "warm.interpreter":
        return _cold(policy, key, value)
    if key == "seccomp.groups":
        return _fewer_groups(policy, key, _names(value))
    if key in ("mounts.read_only", "mounts.remove"):
        targets = _names(value)
        _check_subset(key, targets, tuple(mount.target for mount in policy.mounts))
        if key == "mounts.remove":
            _check_uncovers_nothing(policy, targets)
            return dataclasses.replace(policy, mounts=tuple(item for item in policy.mounts if item.target not in targets))
        mounts = tuple(dataclasses.replace(item, writable=False) if item.target in targets else item for item in policy.mounts)
        return dataclasses.replace(policy, mounts=mounts)
    elsewhere = _ELSEWHERE.get(key.partition(".")[0])
    hint = f"use {elsewhere}" if elsewhere else tables.nearest(key, known_keys()) or f"keys: {', '.join(known_keys())}"
    raise PolicyError("cannot be overridden by a caller", path=key, hint=hint)


def _cold(policy: Policy, key: str, value: object) -> Policy:
    """A warm interpreter can be taken away by a caller, and nothing else."""
    if value == "":
        return dataclasses.replace(policy, warm=COLD)
    if value != policy.warm.interpreter:
        raise PolicyError(
            f"{value!r} is not the profile's {policy.warm.interpreter!r}", path=key, hint='only "" can be said here'
        )
    return policy


def _check_uncovers_nothing(policy: Policy, targets: tuple[str, ...]) -> None:
    """What lies over a part of something else may be there to cover it."""
    others = [item.target for item in policy.mounts if item.target not in targets]
    below = ["/"] if policy.rootfs.kind == "directory" else others
    for target in targets:
        for other in below:
            if target.startswith(other.rstrip("/") + "/"):
                raise PolicyError(
                    f"removing {target!r} would uncover what {other!r} has there", path="mounts.remove", hint="remove both"
                )


def _parsed(key: str, value: object, parse: Callable[[object], Any]) -> Any:
    try:
        return parse(value)
    except ValueError as error:
        raise PolicyError(str(error), path=key) from None


def _cover(policy: Policy, key: str, added: tuple[str, ...]) -> Policy:
    for path in added:
        if not is_clean(path):
            raise PolicyError(f"{path!r} is no clean absolute path", path=key)
        hidden = hides(policy, path)
        if hidden:
            raise PolicyError(f"{path!r} would take away {hidden!r}", path=key, hint="name what lies in it instead")
    field = _ADDITIONS[key]
    return _set(policy, field, tuple(dict.fromkeys((*_get(policy, field), *added))))


def _fewer_groups(policy: Policy, key: str, names: tuple[str, ...]) -> Policy:
    present = {rule.group for rule in policy.seccomp.rules if not _is_written(rule)}
    _check_subset(key, names, tuple(sorted(present)))
    rules = tuple(rule for rule in policy.seccomp.rules if rule.group in names or _is_written(rule))
    tighter = _set(policy, "seccomp.rules", _only_refusals_of_lost(rules, names, policy.seccomp.rules))
    for name in refused_of_needed(decisions(tighter.seccomp)):
        raise PolicyError(f"nothing can be executed without {name!r}", path=key, hint='keep the group "start"')
    return tighter


def _is_written(rule: SeccompRule) -> bool:
    """Whether it belongs to no group, but to a profile ("profile:1") or to an override ("override:seccomp.deny")."""
    return ":" in rule.group


def _only_refusals_of_lost(
    rules: tuple[SeccompRule, ...], names: tuple[str, ...], before: tuple[SeccompRule, ...]
) -> tuple[SeccompRule, ...]:
    """Taking a group away must never uncover a looser rule of an earlier group for the same system call."""
    lost = {name for rule in before if rule.group not in names and not _is_written(rule) for name in rule.syscalls}
    kept = []
    for rule in rules:
        remaining = tuple(name for name in rule.syscalls if name not in lost or _is_written(rule))
        if remaining:
            kept.append(dataclasses.replace(rule, syscalls=remaining))
    return tuple(kept)


def _deny(policy: Policy, key: str, names: tuple[str, ...]) -> Policy:
    action, number = _DENIALS[key]
    for name in names:
        if name not in tables.every_name():
            raise PolicyError(f"unknown system call {name!r}", path=key, hint=tables.nearest(name, tables.every_name()))
        if name in NEEDED:
            raise PolicyError(f"{name!r} is needed to start any program", path=key)
    rule = SeccompRule(
        syscalls=names, action=action, errno=number, args=(), group=f"override:{key}", why="asked for by the caller"
    )
    clone = _only_threads(policy, rule) if {"fork", "vfork"} & set(names) and "clone" not in names else ()
    return _set(policy, "seccomp.rules", (*policy.seccomp.rules, *clone, rule))


def _only_threads(policy: Policy, rule: SeccompRule) -> tuple[SeccompRule, ...]:
    """Who says fork means new processes, which the C library starts with clone: what is left of that is CLONE_THREAD."""
    decision = decisions(policy.seccomp).get("clone")
    if decision is None:
        return ()
    thread = ArgCondition(index=0, op="masked_eq", value=0, mask=_CLONE_THREAD)
    refused = dataclasses.replace(rule, syscalls=("clone",), args=(thread,))
    before = [item for item in (decision.base, *decision.refined) if item is not None]
    kept = [dataclasses.replace(item, syscalls=("clone",), group=rule.group) for item in before]
    if rule.action == "kill":  # a call cannot be reported on for two reasons
        kept = [dataclasses.replace(item, action="kill") if item.action == "notify" else item for item in kept]
    return (*kept, refused)


def _ordered(key: str, wanted: object, current: object, order: tuple[Any, ...]) -> object:
    if order.index(wanted) > order.index(current):
        raise PolicyError(
            f"{wanted!r} would be looser than the profile's {current!r}",
            path=key,
            hint=_ONLY_TIGHTEN,
        )
    return wanted


def _word(value: object, order: tuple[Any, ...], key: str) -> object:
    if isinstance(order[0], bool) and isinstance(value, str):
        value = {"true": True, "false": False}.get(value.lower(), value)
    if isinstance(value, bool) != isinstance(order[0], bool) or value not in order:
        expected = ", ".join(str(item).lower() if isinstance(item, bool) else repr(item) for item in order)
        raise PolicyError(
            f"{value!r} is none of {expected}", path=key, hint=tables.nearest(str(value), [str(item) for item in order])
        )
    return value


def _items(value: object) -> list[object]:
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    return list(value) if isinstance(value, list | tuple) else [value]


def _names(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in _items(value))


def _check_subset(key: str, wanted: tuple[Any, ...], allowed: tuple[Any, ...]) -> None:
    extra = [item for item in wanted if item not in allowed]
    if extra:
        raise PolicyError(f"{extra[0]!r} is not among the profile's {', '.join(map(str, allowed)) or 'none'}", path=key)


def _get(policy: Policy, field: str) -> Any:
    value: Any = policy
    for part in field.split("."):
        value = getattr(value, part)
    return value


def _set(policy: Policy, field: str, value: Any) -> Policy:
    head, _, rest = field.partition(".")
    if rest:
        value = dataclasses.replace(getattr(policy, head), **{rest: value})
    changes: dict[str, Any] = {head: value}
    return dataclasses.replace(policy, **changes)
