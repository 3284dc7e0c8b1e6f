"""Rules → two BPF programs, compiled by libseccomp.

`main` decides everything but what is reported; `notify` reports. The kernel runs both and takes the stricter answer, so
what `notify` reports must pass `main`. `notify` is loaded before the launcher's last steps and must refuse nothing itself.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Mapping
from typing import Any

from sandbox.kernel.libraries import by_usual_names
from sandbox.model.errors import ProfileError, ResourceError, UnsupportedHostError
from sandbox.model.plan import Filters
from sandbox.model.policy import ArgCondition, SeccompPolicy, SeccompRule
from sandbox.policy.seccomp import rules, tables
from sandbox.policy.seccomp.early import may_come_early
from sandbox.policy.seccomp.stages import CONTINUE, SKIP, Refinements, Stage, link

_LOW_32_BITS = 0xFFFFFFFF


@functools.lru_cache(maxsize=64)
def compile_policy(policy: SeccompPolicy, arch: str) -> Filters:
    """The programs of `policy` for "x86_64" or "aarch64". Raises ProfileError, UnsupportedHostError."""
    decided = _decided(policy, arch)
    library = _library()
    reported = {number: decision for number, decision in decided.items() if _reports(decision)}
    return Filters(
        main=link(_main_stages(library, arch, policy, decided)),
        notify=link(_notify_stages(library, arch, reported)) if reported else b"",
        kill=tuple(sorted(number for number, decision in reported.items() if _reports(decision)[0].action == "kill")),
        names=tuple(sorted((number, decision.name) for number, decision in reported.items())),
        early=may_come_early(decided, arch),
    )


def compile_alone(policy: SeccompPolicy, arch: str) -> bytes:
    """One program for a loader without a listener: it decides all by itself. Raises as `compile_policy` does.

    A call that would be reported is answered with EPERM, and one that ends the sandbox kills its process.
    """
    return link(_main_stages(_library(), arch, policy, _decided(policy, arch), alone=True))


def _decided(policy: SeccompPolicy, arch: str) -> Mapping[int, rules.Decision]:
    """The decision for every number of the architecture."""
    if arch not in tables.ARCHITECTURES:
        raise UnsupportedHostError("seccomp", f"there are no system call tables for {arch!r}", "use x86_64 or aarch64")
    known = tables.numbers(arch)
    table = rules.decisions(policy)
    _check_usable(table)
    return {known[name]: decision for name, decision in table.items() if name in known}


def _reports(decision: rules.Decision) -> list[SeccompRule]:
    return [rule for rule in (decision.base, *decision.refined) if rule is not None and rule.action in rules.REPORTS]


def _main_stages(
    library: Any, arch: str, policy: SeccompPolicy, decided: Mapping[int, rules.Decision], *, alone: bool = False
) -> list[Stage]:
    families, no_family = Stage(library, arch, CONTINUE), Stage(library, arch, CONTINUE)
    default = library.ERRNO(policy.default_errno)
    refinements, base = Refinements(library, arch), Stage(library, arch, default)
    for number, decision in decided.items():
        if decision.name in rules.SOCKET_CALLS and decision.admitted:
            for name in policy.socket_families:
                families.add(SKIP, number, (_low_32_bits(0, tables.FAMILIES[name]),))
            no_family.add(library.ERRNO(errno.EAFNOSUPPORT), number)
        for rule in decision.refined:
            refinements.add(_main_action(library, rule, alone=alone), number, rule)
        if decision.base is not None and _main_action(library, decision.base, alone=alone) != default:
            base.add(_main_action(library, decision.base, alone=alone), number)
    return [families, no_family, *refinements.stages(), base]


def _main_action(library: Any, rule: SeccompRule, *, alone: bool) -> int:
    """What is reported passes: the other program has it. Without another program it is refused here."""
    refusals = {"notify": library.ERRNO(errno.EPERM), "kill": library.KILL_PROCESS} if alone else {}
    actions = {"errno": library.ERRNO(rule.errno), "log": library.LOG, **refusals}
    action: int = actions.get(rule.action, library.ALLOW)
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


def _check_usable(table: Mapping[str, rules.Decision]) -> None:
    for name in rules.refused_of_needed(table):
        raise ProfileError(
            f"the filter does not allow {name!r}, without which nothing can be executed",
            path="seccomp.groups",
            hint='add the group "start"',
        )


def _library() -> Any:
    try:
        with by_usual_names():
            import pyseccomp
    except (ImportError, OSError, RuntimeError) as error:
        exhausted = ResourceError.exhausted("the filter cannot be compiled", getattr(error, "errno", None))
        if exhausted is not None:
            raise exhausted from error
        raise UnsupportedHostError(
            "libseccomp", f"pyseccomp cannot be loaded: {error}", "apt install libseccomp2 && pip install pyseccomp"
        ) from error
    return pyseccomp
