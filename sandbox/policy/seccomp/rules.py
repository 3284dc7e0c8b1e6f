"""What a list of rules means for one system call. Both the compiler and the listing read it from here.

A later layer (a group further down the list, or the profile itself) replaces what earlier layers say about a system
call. Within a layer rules add up: conditional refusals refine an unconditional "allow".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sandbox.model.errors import ProfileError
from sandbox.model.policy import ArgCondition, SeccompPolicy, SeccompRule
from sandbox.policy.seccomp import tables

SOCKET_CALLS = ("socket", "socketpair")


@dataclass(frozen=True, slots=True)
class Decision:
    """All that holds for one system call. `base` is the unconditional rule, `refined` the conditional ones."""

    name: str
    base: SeccompRule | None
    refined: tuple[SeccompRule, ...]

    @property
    def admitted(self) -> bool:
        """The main filter must let it through (perhaps for the refining one to refuse)."""
        return self.base is not None and self.base.action in ("allow", "notify", "kill", "log")


def decisions(policy: SeccompPolicy) -> Mapping[str, Decision]:
    """The decision for every named system call. Raises ProfileError for rules that contradict each other."""
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
    refined = tuple(rule for rule in rules if rule.args)
    if len({(rule.action, rule.errno) for rule in plain}) > 1:
        raise ProfileError(f"two rules without conditions say different things about {name!r}", path="seccomp.rules")
    base = plain[-1] if plain else None
    if base is None and any(rule.action not in ("allow", "log") for rule in refined):
        raise ProfileError(
            f"{name!r} is refused under a condition but never allowed",
            path="seccomp.rules",
            hint='add a rule with action "allow"',
        )
    if base is not None and base.action != "allow" and refined:
        raise ProfileError(f"the conditions on {name!r} are without effect beside {base.action!r}", path="seccomp.rules")
    if len({rule.action for rule in (*plain, *refined) if rule.action in ("kill", "notify")}) > 1:
        raise ProfileError(f"{name!r} cannot be both killed on and notified", path="seccomp.rules")
    return Decision(name, base, () if base is not None and base.action != "allow" else refined)


def refused_families(policy: SeccompPolicy) -> Iterator[ArgCondition]:
    """Conditions on the first argument of socket(2) that together are everything but the allowed families.

    Compared with all 64 bits: a family with high bits set is above every known number and refused (SF10).
    """
    allowed = {tables.FAMILIES[name] for name in policy.socket_families}
    for number in range(tables.HIGHEST_FAMILY + 1):
        if number not in allowed:
            yield ArgCondition(index=0, op="eq", value=number, mask=0)
    yield ArgCondition(index=0, op="gt", value=tables.HIGHEST_FAMILY, mask=0)
