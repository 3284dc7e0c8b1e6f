"""A filter in words: one line for each system call and condition, the same text for the same policy.

The golden files in `profiles/golden/` are these listings, so that every change of a filter is reviewed as text.
"""

from __future__ import annotations

from collections.abc import Iterator

from sandbox.model.policy import ArgCondition, SeccompPolicy, SeccompRule
from sandbox.policy.seccomp import rules, tables

_SIGNS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}


def listing(policy: SeccompPolicy, arch: str) -> str:
    """The text for one architecture: names, numbers, decisions, conditions, groups."""
    numbers = tables.numbers(arch)
    lines = [
        f"# {arch}; other architectures, x32 and i386: kill_process",
        f"# every other call: errno {tables.errno_name(policy.default_errno)}",
        f"# socket families: {' '.join(policy.socket_families) or 'none'}; others: errno EAFNOSUPPORT",
    ]
    for name, decision in rules.decisions(policy).items():
        if name in numbers:
            lines += [f"{name:<26}{numbers[name]:>4}  {text}" for text in _decision(decision)]
    return "\n".join(lines) + "\n"


def _decision(decision: rules.Decision) -> Iterator[str]:
    for rule in (*([decision.base] if decision.base else []), *decision.refined):
        conditions = " and ".join(condition_text(item) for item in rule.args)
        yield f"{action_text(rule):<14} {'if ' + conditions if conditions else '':<44} [{rule.group or 'profile'}]".rstrip()


def action_text(rule: SeccompRule) -> str:
    """Such as "allow" or "errno EPERM"."""
    return f"errno {tables.errno_name(rule.errno)}" if rule.action == "errno" else rule.action


def condition_text(item: ArgCondition) -> str:
    """Such as "arg1 & 0xf == 0x3"."""
    if item.op == "masked_eq":
        return f"arg{item.index} & {item.mask:#x} == {item.value:#x}"
    return f"arg{item.index} {_SIGNS[item.op]} {item.value:#x}"
