"""What a list of rules means for one system call. Compiler, listing and OCI export read it from here.

A later layer (a group further down the list, or the profile itself) replaces all that earlier layers say about a system
call. Within a layer the order of rules does not matter. For one call the first of these that applies decides:

    1. socket and socketpair: a family that is not in `socket_families` is answered with EAFNOSUPPORT
    2. a conditional "errno" whose conditions hold; of several the lowest number
    3. a conditional "notify" or "kill" whose conditions hold
    4. a conditional "log", then a conditional "allow" whose conditions hold
    5. the rule without conditions
    6. `default_errno`
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sandbox.model.errors import ProfileError
from sandbox.model.policy import ArgCondition, SeccompPolicy, SeccompRule

SOCKET_CALLS = ("socket", "socketpair")
REFUSALS = ("errno",)
REPORTS = ("notify", "kill")
ADMISSIONS = ("log", "allow")
ORDER = (*REFUSALS, *REPORTS, *ADMISSIONS)
_COMPARE: Mapping[str, Callable[[int, int], object]] = {
    name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")
}
# What the launcher's last steps need after the filter is on: exec, and the report of a failed one.
NEEDED = ("execve", "write", "exit_group", "brk", "mmap", "munmap")


@dataclass(frozen=True, slots=True)
class Decision:
    """All that holds for one system call. `base` is the rule without conditions; `refined` the others, in order of effect."""

    name: str
    base: SeccompRule | None
    refined: tuple[SeccompRule, ...]

    @property
    def admitted(self) -> bool:
        """Some call of it is made, or reported."""
        return any(rule.action not in REFUSALS for rule in (self.base, *self.refined) if rule is not None)


def decisions(policy: SeccompPolicy) -> Mapping[str, Decision]:
    """The decision for every named system call, by name. Raises ProfileError for rules that contradict each other."""
    return {name: _decide(name, rules) for name, rules in sorted(_last_layers(policy.rules).items())}


def holds(condition: ArgCondition, args: Sequence[int]) -> bool:
    """Whether a condition is true for six unsigned 64-bit arguments."""
    given, value = args[condition.index], condition.value
    if condition.op == "masked_eq":
        return given & condition.mask == value
    return bool(_COMPARE[condition.op](given, value))


def contradiction(rules: Sequence[SeccompRule]) -> tuple[str, str, str] | None:
    """(system call, message, hint) of the first contradiction among rules; None when there is none."""
    for name, found in sorted(_last_layers(rules).items()):
        words = _clash(name, found)
        if words is not None:
            return name, *words
    return None


def refused_of_needed(decided: Mapping[str, Decision]) -> list[str]:
    """Those of NEEDED that are not allowed whatever their arguments."""
    bases = {name: decided[name].base for name in NEEDED if name in decided}
    return [name for name in NEEDED if (base := bases.get(name)) is None or base.action not in ADMISSIONS]


def _last_layers(rules: Sequence[SeccompRule]) -> Mapping[str, list[SeccompRule]]:
    """System call → the rules of the last layer that says something about it."""
    layers: dict[str, list[SeccompRule]] = {}
    for rule in rules:
        for name in rule.syscalls:
            known = layers.setdefault(name, [])
            if known and known[-1].group != rule.group:
                known.clear()
            known.append(rule)
    return layers


def _clash(name: str, rules: list[SeccompRule]) -> tuple[str, str] | None:
    if len({(rule.action, rule.errno) for rule in rules if not rule.args}) > 1:
        return f"two rules without conditions say different things about {name!r}", "keep one of them"
    if len({rule.action for rule in rules if rule.action in REPORTS}) > 1:
        return f"{name!r} is both notified and killed on", "one system call can have only one of the two"
    return None


def _decide(name: str, rules: list[SeccompRule]) -> Decision:
    clash = _clash(name, rules)
    if clash is not None:
        raise ProfileError(clash[0], path="seccomp.rules", hint=clash[1])
    plain = [rule for rule in rules if not rule.args]
    refined = sorted((rule for rule in rules if rule.args), key=lambda rule: (ORDER.index(rule.action), rule.errno))
    return Decision(name, plain[-1] if plain else None, tuple(refined))
