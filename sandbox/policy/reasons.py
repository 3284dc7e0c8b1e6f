"""Which settings of a profile are weaker than the hardened defaults without a reason.

A reason covers what the policy allows as of its layer. So it stands in the layer that sets a value, or in a later one; and
whoever extends a profile and goes further than it gives a reason of his own.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sandbox.model.policy import Policy
from sandbox.policy.diff import Difference, diff
from sandbox.policy.lines import line_of
from sandbox.policy.load import Layer
from sandbox.policy.resolve import merge
from sandbox.policy.seccomp.rules import Decision, decisions

_CALL = "seccomp "
_COVERED = ("paths.masked", "paths.readonly")


@dataclass(frozen=True, slots=True)
class Unexplained:
    """A weaker setting: the key that [why] must name, where it was said, the default and what it is now."""

    key: str
    place: str
    left: str
    right: str


def unexplained(policy: Policy, layers: Sequence[Layer]) -> tuple[Unexplained, ...]:
    """One for each key and layer that lacks a reason."""
    steps = [merge(layers[: count + 1]) for count in range(len(layers))]
    after = [_looser(step, policy) for step in steps]  # what later layers opened further
    steps_open = [{}, *(_looser(lower, upper) for lower, upper in itertools.pairwise(steps))]
    table = decisions(policy.seccomp)
    found: dict[tuple[str, int], Unexplained] = {}
    for ident, item in _looser(steps[0], policy).items():
        keys = _keys(item, policy, table)
        reasons = [depth for depth, layer in enumerate(layers) if any(layer.content.why.get(key) is not None for key in keys)]
        if not keys or any(ident not in after[depth] for depth in reasons):
            continue
        depth = max(depth for depth, opened in enumerate(steps_open) if ident in opened)
        place = f"{layers[depth].file}:{line_of(keys[0], layers[depth].lines)}"
        found.setdefault((keys[0], depth), Unexplained(keys[0], place, item.left, item.right))
    return tuple(found.values())


def _looser(left: Policy, right: Policy) -> dict[tuple[str, ...], Difference]:
    """What the right one allows more, by key; each entry of a set is a difference of its own."""
    return {_ident(item): item for item in diff(left, right) if item.direction == "looser"}


def _ident(item: Difference) -> tuple[str, ...]:
    alone = not item.left or not item.right
    return (item.key, item.left or item.right) if alone else (item.key,)


def _keys(item: Difference, policy: Policy, table: Mapping[str, Decision]) -> tuple[str, ...]:
    """The keys under which [why] can give the reason, the one to name first; none for what has a reason of its own."""
    if item.key.startswith("mounts "):
        return ()
    if item.key.startswith(_CALL):
        return (_source(table[item.key.removeprefix(_CALL)]),)
    if item.key in _COVERED:
        return ("paths.unmasked", item.key)
    if item.key == "seccomp.socket_families" and policy.origins.get(item.key) == policy.origins.get("seccomp.oci"):
        return ("seccomp.oci", item.key)
    return (item.key,)


def _source(decision: Decision) -> str:
    """The key that decides a system call."""
    groups = {rule.group for rule in (decision.base, *decision.refined) if rule is not None}
    if "oci" in groups:
        return "seccomp.oci"
    return "seccomp.rules" if any(":" in group for group in groups) else "seccomp.groups"
