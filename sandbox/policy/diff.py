"""Two policies side by side: what differs, and which of the two allows more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sandbox.model.policy import Policy
from sandbox.policy.resolve import LIMITS
from sandbox.policy.seccomp import cubes
from sandbox.policy.seccomp.listing import action_text, condition_text
from sandbox.policy.seccomp.rules import ADMISSIONS, Decision, decisions
from sandbox.policy.tighten import OFF_IS_ZERO, ORDERED, SUBSETS
from sandbox.policy.units import limit_text, size_text


@dataclass(frozen=True, slots=True)
class Difference:
    """One key that differs. `direction`: "tighter" or "looser" (the right one against the left), or "neutral"."""

    key: str
    left: str
    right: str
    direction: str

    def to_dict(self) -> dict[str, str]:
        """The JSON form."""
        return {"key": self.key, "left": self.left, "right": self.right, "direction": self.direction}


def diff(left: Policy, right: Policy) -> tuple[Difference, ...]:
    """All differences, by key."""
    found = [*_limits(left, right), *_ordered(left, right), *_sets(left, right), *_mounts(left, right), *_calls(left, right)]
    found += _warm(left, right)
    return tuple(sorted([*found, *_rest(left, right)], key=lambda item: item.key))


def _limits(left: Policy, right: Policy) -> Iterator[Difference]:
    for name, field in LIMITS.items():
        a, b = getattr(left.limits, field), getattr(right.limits, field)
        if a != b:
            direction = _more(a, b, off=name in OFF_IS_ZERO)
            yield Difference(f"limits.{name}", limit_text(name, a), limit_text(name, b), direction)
    a, b = left.cgroup.io_bytes_per_second, right.cgroup.io_bytes_per_second
    if a != b:
        texts = [size_text(number) if number else "no bound" for number in (a, b)]
        yield Difference("cgroup.io_per_second", texts[0], texts[1], _more(a, b, off=True))


def _more(left: int, right: int, *, off: bool) -> str:
    """The direction of two numbers; with `off` 0 is without a bound."""
    larger = (right or float("inf") if off else right) > (left or float("inf") if off else left)
    return "looser" if larger else "tighter"


def _ordered(left: Policy, right: Policy) -> Iterator[Difference]:
    for key, (field, order) in ORDERED.items():
        a, b = _get(left, field), _get(right, field)
        if a != b:
            yield Difference(key, _text(a), _text(b), "looser" if order.index(b) > order.index(a) else "tighter")


def _sets(left: Policy, right: Policy) -> Iterator[Difference]:
    for key, field in SUBSETS.items():
        yield from _set(key, set(_get(left, field)), set(_get(right, field)), more="looser")
    for key, field in (("paths.masked", "masked_paths"), ("paths.readonly", "readonly_paths")):
        yield from _set(key, set(_get(left, field)), set(_get(right, field)), more="tighter")


def _set(key: str, left: set[str], right: set[str], *, more: str) -> Iterator[Difference]:
    less = "tighter" if more == "looser" else "looser"
    for item in sorted(right - left):
        yield Difference(key, "", item, more)
    for item in sorted(left - right):
        yield Difference(key, item, "", less)


def _mounts(left: Policy, right: Policy) -> Iterator[Difference]:
    before = {mount.target: mount for mount in left.mounts}
    after = {mount.target: mount for mount in right.mounts}
    for target in sorted({*before, *after}):
        a, b = before.get(target), after.get(target)
        if a is None or b is None or (a.source, a.writable, a.executable) != (b.source, b.writable, b.executable):
            texts = [
                f"{item.source}{' rw' if item.writable else ''}{'' if item.executable else ' noexec'}" if item else ""
                for item in (a, b)
            ]
            if a is None:
                direction = "looser"
            elif b is None:
                direction = "tighter"
            elif a.source != b.source:
                direction = "neutral"
            else:
                direction = "looser" if (b.writable, b.executable) > (a.writable, a.executable) else "tighter"
            yield Difference(f"mounts {target}", texts[0], texts[1], direction)


def _warm(left: Policy, right: Policy) -> Iterator[Difference]:
    """Runs of a warm interpreter have more in common than others."""
    a, b = left.warm.interpreter, right.warm.interpreter
    if a != b:
        yield Difference("warm.interpreter", a, b, "neutral" if a and b else "looser" if b else "tighter")


def _calls(left: Policy, right: Policy) -> Iterator[Difference]:
    before, after = decisions(left.seccomp), decisions(right.seccomp)
    for name in sorted({*before, *after}):
        a, b = _decision(before.get(name)), _decision(after.get(name))
        if a != b:
            yield Difference(f"seccomp {name}", a, b, _direction(before.get(name), after.get(name)))


def _direction(left: Decision | None, right: Decision | None) -> str:
    """Looser when some arguments pass on the right alone, else tighter when some pass on the left alone."""
    try:
        before, after = _admitted(left), _admitted(right)
        return "looser" if _beyond(after, before) else "tighter" if _beyond(before, after) else "neutral"
    except OverflowError:
        return "looser"  # too many conditions to compare


def _admitted(decision: Decision | None) -> list[cubes.Region]:
    """The arguments with which a call is made, as disjoint regions."""
    if decision is None:
        return []
    ordered = [(cubes.regions(rule.args), rule.action in ADMISSIONS) for rule in decision.refined]
    base = decision.base is not None and decision.base.action in ADMISSIONS
    return [region for region, passes in cubes.partition(ordered, base) if passes]


def _beyond(regions: list[cubes.Region], others: list[cubes.Region]) -> bool:
    """Whether there is something in `regions` that is in none of the others."""
    for region in regions:
        left = [region]
        for other in others:
            left = [rest for part in left for rest in cubes.without(part, other)]
            if len(left) > cubes.MAX_REGIONS:
                raise OverflowError
        if left:
            return True
    return False


def _decision(decision: Decision | None) -> str:
    if decision is None:
        return "refused by default"
    parts = [action_text(decision.base)] if decision.base else []
    for rule in decision.refined:
        conditions = " and ".join(condition_text(item) for item in rule.args)
        parts.append(f"{action_text(rule)} if {conditions}")
    return "; ".join(parts)


def _rest(left: Policy, right: Policy) -> Iterator[Difference]:
    """Keys without an order: they differ, neither allows more."""
    keys = {
        "identity.uid": "identity.uid",
        "identity.gid": "identity.gid",
        "identity.hostname": "identity.hostname",
        "rootfs.kind": "rootfs.kind",
        "rootfs.source": "rootfs.source",
        "work.path": "work.path",
        "cgroup.cpus": "cgroup.cpus",
        "environment.set": "environment.values",
        "process.cwd": "cwd",
        "process.umask": "umask",
        "seccomp.default_errno": "seccomp.default_errno",
    }
    for key, field in keys.items():
        a, b = _get(left, field), _get(right, field)
        if a != b:
            yield Difference(key, _text(a), _text(b), "neutral")


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join("=".join(item) if isinstance(item, tuple) else str(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _get(policy: Policy, field: str) -> Any:
    value: Any = policy
    for part in field.split("."):
        value = getattr(value, part)
    return value
