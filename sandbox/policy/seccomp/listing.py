"""A filter in words: one line for each system call and condition, the same text for the same policy.

The golden files in `profiles/golden/` are these listings, so that every change of a filter is reviewed as text.
"""

from __future__ import annotations

from collections.abc import Iterator

from sandbox.model.policy import ArgCondition, SeccompPolicy, SeccompRule
from sandbox.policy.seccomp import rules, tables

_SIGNS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}


def listing(policy: SeccompPolicy, arch: str) -> str:
    """The text for one architecture: names, numbers, decisions, conditions, groups, reasons.

    The lines of one call are in order of effect: the first whose condition holds decides.
    """
    numbers = tables.numbers(arch)
    families = ", ".join(sorted(policy.socket_families, key=lambda name: tables.FAMILIES[name]))
    lines = [
        f"# {arch}",
        "# entries of other architectures (i386, x32, arm): kill_process",
        f"# calls that are not in this list: errno {tables.errno_name(policy.default_errno)}",
        f"# families of socket and socketpair: {families or 'none'}; any other: errno EAFNOSUPPORT",
    ]
    for name, decision in rules.decisions(policy).items():
        if name in numbers:
            lines += [f"{name:<24}{numbers[name]:>4}  {text}" for text in _decision(decision, policy)]
    return "\n".join(lines) + "\n"


def _decision(decision: rules.Decision, policy: SeccompPolicy) -> Iterator[str]:
    for rule in decision.refined:
        conditions = " and ".join(condition_text(item) for item in rule.args)
        yield _line(action_text(rule), f"if {conditions}", rule)
    if decision.base is not None:
        yield _line(action_text(decision.base), "otherwise" if decision.refined else "", decision.base)
    else:
        yield f"{f'errno {tables.errno_name(policy.default_errno)}':<13} otherwise"


def _line(action: str, condition: str, rule: SeccompRule) -> str:
    return f"{action:<13} {condition:<{37 if condition else 0}} [{rule.group or 'profile'}] {rule.why}"


def action_text(rule: SeccompRule) -> str:
    """Such as "allow" or "errno EPERM"."""
    return f"errno {tables.errno_name(rule.errno)}" if rule.action == "errno" else rule.action


def condition_text(item: ArgCondition) -> str:
    """Such as "arg1 & 0xf == 0x3"."""
    if item.op == "masked_eq":
        return f"arg{item.index} & {item.mask:#x} == {item.value:#x}"
    return f"arg{item.index} {_SIGNS[item.op]} {item.value:#x}"
