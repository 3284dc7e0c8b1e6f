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

from collections.abc import Mapping
from dataclasses import dataclass

from sandbox.model.errors import ProfileError
from sandbox.model.policy import SeccompPolicy, SeccompRule

SOCKET_CALLS = ("socket", "socketpair")
REFUSALS = ("errno",)
REPORTS = ("notify", "kill")
ADMISSIONS = ("log", "allow")
ORDER = (*REFUSALS, *REPORTS, *ADMISSIONS)


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
    layers: dict[str, list[SeccompRule]] = {}
    for rule in policy.rules:
        for name in rule.syscalls:
            known = layers.setdefault(name, [])
            if known and known[-1].group != rule.group:
                known.clear()
            known.append(rule)
    return {name: _decide(name, rules) for name, rules in sorted(layers.items())}


def _decide(name: str, rules: list[SeccompRule]) -> Decision:
    plain = [rule for rule in rules if not rule.args]
    if len({(rule.action, rule.errno) for rule in plain}) > 1:
        raise ProfileError(
            f"two rules without conditions say different things about {name!r}", path="seccomp.rules", hint="keep one of them"
        )
    if len({rule.action for rule in rules if rule.action in REPORTS}) > 1:
        raise ProfileError(
            f"{name!r} is both notified and killed on", path="seccomp.rules", hint="one system call can have only one of the two"
        )
    refined = sorted((rule for rule in rules if rule.args), key=lambda rule: (ORDER.index(rule.action), rule.errno))
    return Decision(name, plain[-1] if plain else None, tuple(refined))
