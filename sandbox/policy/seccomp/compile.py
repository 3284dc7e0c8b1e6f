"""Rules → two BPF programs, compiled by libseccomp.

`main` decides everything but what is reported; `notify` reports. The kernel runs both and takes the stricter answer, so
what `notify` reports must pass `main`. `notify` is loaded before the launcher's last steps and must refuse nothing itself.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Mapping
from typing import Any

from sandbox.model.errors import ProfileError, UnsupportedHostError
from sandbox.model.plan import Filters
from sandbox.model.policy import ArgCondition, SeccompPolicy, SeccompRule
from sandbox.policy.seccomp import rules, tables
from sandbox.policy.seccomp.stages import CONTINUE, SKIP, Refinements, Stage, link

_LOW_32_BITS = 0xFFFFFFFF
# What the launcher's last steps need after the filter is on: exec, and the report of a failed one.
NEEDED = ("execve", "write", "exit_group", "brk", "mmap", "munmap")


@functools.lru_cache(maxsize=64)
def compile_policy(policy: SeccompPolicy, arch: str) -> Filters:
    """The programs of `policy` for "x86_64" or "aarch64". Raises ProfileError, UnsupportedHostError."""
    if arch not in tables.ARCHITECTURES:
        raise UnsupportedHostError("seccomp", f"there are no system call tables for {arch!r}", "use x86_64 or aarch64")
    known = tables.numbers(arch)
    decided = {known[name]: decision for name, decision in rules.decisions(policy).items() if name in known}
    _check_usable(decided, known)
    library = _library()
    reported = {number: decision for number, decision in decided.items() if _reports(decision)}
    return Filters(
        main=link(_main_stages(library, arch, policy, decided)),
        notify=link(_notify_stages(library, arch, reported)) if reported else b"",
        kill=tuple(sorted(number for number, decision in reported.items() if _reports(decision)[0].action == "kill")),
        names=tuple(sorted((number, decision.name) for number, decision in reported.items())),
    )


def _reports(decision: rules.Decision) -> list[SeccompRule]:
    return [rule for rule in (decision.base, *decision.refined) if rule is not None and rule.action in rules.REPORTS]


def _main_stages(library: Any, arch: str, policy: SeccompPolicy, decided: Mapping[int, rules.Decision]) -> list[Stage]:
    families, no_family = Stage(library, arch, CONTINUE), Stage(library, arch, CONTINUE)
    default = library.ERRNO(policy.default_errno)
    refinements, base = Refinements(library, arch), Stage(library, arch, default)
    for number, decision in decided.items():
        if decision.name in rules.SOCKET_CALLS and decision.admitted:
            for name in policy.socket_families:
                families.add(SKIP, number, (_low_32_bits(0, tables.FAMILIES[name]),))
            no_family.add(library.ERRNO(errno.EAFNOSUPPORT), number)
        for rule in decision.refined:
            refinements.add(_main_action(library, rule), number, rule)
        if decision.base is not None and _main_action(library, decision.base) != default:
            base.add(_main_action(library, decision.base), number)
    return [families, no_family, *refinements.stages(), base]


def _main_action(library: Any, rule: SeccompRule) -> int:
    """What is reported passes: the other program has it."""
    action: int = library.ERRNO(rule.errno) if rule.action == "errno" else library.LOG if rule.action == "log" else library.ALLOW
    return action


def _notify_stages(library: Any, arch: str, reported: Mapping[int, rules.Decision]) -> list[Stage]:
    refinements, base = Refinements(library, arch), Stage(library, arch, library.ALLOW)
    for number, decision in reported.items():
        for rule in decision.refined:
            if rule.action in rules.REPORTS:
                refinements.add(library.NOTIFY, number, rule)
            elif rule.action in rules.ADMISSIONS:
                refinements.add(library.ALLOW, number, rule)
        if decision.base is not None and decision.base.action in rules.REPORTS:
            base.add(library.NOTIFY, number)
    return [*refinements.stages(), base]


def _low_32_bits(index: int, value: int) -> ArgCondition:
    """An int argument: the kernel ignores the upper half of the register, and so must the filter."""
    return ArgCondition(index=index, op="masked_eq", value=value, mask=_LOW_32_BITS)


def _check_usable(decided: Mapping[int, rules.Decision], known: Mapping[str, int]) -> None:
    for name in NEEDED:
        decision = decided.get(known[name])
        if decision is None or decision.base is None or decision.base.action not in rules.ADMISSIONS:
            raise ProfileError(
                f"the filter does not allow {name!r}, without which nothing can be executed",
                path="seccomp.groups",
                hint='add the group "start"',
            )


def _library() -> Any:
    try:
        import pyseccomp  # its import costs 35 ms
    except (ImportError, OSError, RuntimeError) as error:
        raise UnsupportedHostError(
            "libseccomp", f"pyseccomp cannot be loaded: {error}", "apt install libseccomp2 && pip install pyseccomp"
        ) from error
    return pyseccomp
