"""What a filter answers to one call, and which rule decides it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.model.errors import RequestError
from sandbox.model.policy import SeccompPolicy, SeccompRule
from sandbox.policy.seccomp import rules, tables
from sandbox.policy.seccomp.compile import compile_policy
from sandbox.policy.seccomp.listing import action_text, condition_text
from sandbox.policy.seccomp.simulate import verdict

_LOW_32_BITS = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to a call.

    Attributes:
        call, number, arch, args: the call.
        action: "allow", "log", "errno", "notify" (refused with EPERM and recorded) or "kill" (the sandbox ends).
        errno: the name for "errno", else "".
        rule: the rule that decides; None for the default, and for a socket family.
        reason: why, in words.
    """

    call: str
    number: int
    arch: str
    args: tuple[int, ...]
    action: str
    errno: str
    rule: SeccompRule | None
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        plain = {name: getattr(self, name) for name in ("call", "number", "arch", "action", "errno", "reason")}
        rule = None
        if self.rule is not None:
            conditions = [condition_text(item) for item in self.rule.args]
            rule = {"group": self.rule.group, "action": action_text(self.rule), "if": conditions, "why": self.rule.why}
        return {**plain, "args": list(self.args), "rule": rule}


def answer(policy: SeccompPolicy, arch: str, call: str, args: Sequence[int]) -> Answer:
    """Ask the compiled filter of an architecture. Raises RequestError for a call that it does not have."""
    numbers = tables.numbers(arch)
    if call not in numbers:
        elsewhere = "exists on another architecture only" if call in tables.every_name() else "is unknown"
        hint = tables.nearest(call, numbers) if call not in tables.every_name() else f"{arch} has no such call"
        raise RequestError(f"the system call {call!r} {elsewhere}", hint=hint)
    filters = compile_policy(policy, arch)
    found = verdict(filters, arch, numbers[call], args)
    rule, reason = _deciding(policy, call, args)
    return Answer(
        call=call,
        number=numbers[call],
        arch=arch,
        args=tuple(args),
        action="kill" if found.action == "notify" and numbers[call] in filters.kill else found.action,
        errno=tables.errno_name(found.data) if found.action == "errno" else "",
        rule=rule,
        reason=reason,
    )


def _deciding(policy: SeccompPolicy, call: str, args: Sequence[int]) -> tuple[SeccompRule | None, str]:
    """The rule that decides, by the order of effect in `rules`, and the words for it."""
    default = f"no rule allows it, and everything else is answered with {tables.errno_name(policy.default_errno)}"
    decision = rules.decisions(policy).get(call)
    if decision is None:
        return None, default
    padded = (*args, 0, 0, 0, 0, 0, 0)[:6]
    if call in rules.SOCKET_CALLS and decision.admitted:
        family = padded[0] & _LOW_32_BITS
        if family not in {tables.FAMILIES[name] for name in policy.socket_families}:
            name = next((known for known, number in tables.FAMILIES.items() if number == family), str(family))
            return None, f"the family {name} is none of socket_families ({', '.join(policy.socket_families) or 'none'})"
    for rule in decision.refined:
        if all(rules.holds(item, padded) for item in rule.args):
            return rule, rule.why
    if decision.base is not None:
        return decision.base, decision.base.why
    return None, default
