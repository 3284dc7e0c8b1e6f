"""Docker and OCI seccomp profiles: in and out.

Source: OCI runtime specification, config-linux.md, "Seccomp"; moby profiles/seccomp (includes, excludes, archMap).

What cannot be said in our rules is treated so that nothing gets looser: TRAP and TRACE become an errno, KILL_THREAD ends
the sandbox like KILL_PROCESS, a name that no architecture has is left out (unknown calls are refused anyway).
"""

from __future__ import annotations

import errno
import platform
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sandbox.model.errors import ProfileError
from sandbox.model.policy import Action, ArgCondition, SeccompPolicy, SeccompRule
from sandbox.policy.seccomp import tables

_ACTIONS: Mapping[str, Action] = {
    "SCMP_ACT_ALLOW": "allow",
    "SCMP_ACT_LOG": "log",
    "SCMP_ACT_ERRNO": "errno",
    "SCMP_ACT_TRAP": "errno",
    "SCMP_ACT_TRACE": "errno",
    "SCMP_ACT_NOTIFY": "notify",
    "SCMP_ACT_KILL": "kill",
    "SCMP_ACT_KILL_THREAD": "kill",
    "SCMP_ACT_KILL_PROCESS": "kill",
}
_OPERATORS = {
    "SCMP_CMP_EQ": "eq",
    "SCMP_CMP_NE": "ne",
    "SCMP_CMP_LT": "lt",
    "SCMP_CMP_LE": "le",
    "SCMP_CMP_GT": "gt",
    "SCMP_CMP_GE": "ge",
    "SCMP_CMP_MASKED_EQ": "masked_eq",
}
_ARCH_NAMES = {"x86_64": ("SCMP_ARCH_X86_64", "amd64"), "aarch64": ("SCMP_ARCH_AARCH64", "arm64")}
_GROUP = "oci"


def import_oci(
    data: Mapping[str, Any],
    *,
    arch: str | None = None,
    capabilities: Iterable[str] = (),
    kernel: tuple[int, int] | None = None,
    source: str = "",
) -> SeccompPolicy:
    """The rules of an OCI or Docker profile (or of a config.json that contains one).

    Args:
        data: the parsed JSON.
        arch: decides `includes` and `excludes`; this machine's by default.
        capabilities: those the payload keeps, also for `includes`.
        kernel: (major, minor) for `minKernel`; this machine's by default.
        source: file name for messages.

    Raises ProfileError for what is no such profile.
    """
    where = _Where(source)
    if not isinstance(data, Mapping):
        raise where.wrong("", "expected a JSON object")
    data = _unwrap(data)
    if "defaultAction" not in data:
        raise where.wrong("defaultAction", "is missing: this is no seccomp profile")
    default = _action(data["defaultAction"], "defaultAction", where)
    if default not in ("errno", "kill", "notify"):
        raise where.wrong(
            "defaultAction", f"{data['defaultAction']} allows what is not named; only refusing profiles can be used"
        )
    facts = _Facts(arch or platform.machine(), frozenset(capabilities), kernel or _kernel())
    default_errno = _number(data.get("defaultErrnoRet", errno.EPERM), "defaultErrnoRet", where)
    rules: list[SeccompRule] = []
    entries = data.get("syscalls") or []
    if not isinstance(entries, list):
        raise where.wrong("syscalls", "expected a list")
    for number, entry in enumerate(entries):
        path = f"syscalls[{number}]"
        if not isinstance(entry, Mapping):
            raise where.wrong(path, "expected an object")
        if facts.applies(entry):
            rules.extend(_rules(entry, path, where))
    return SeccompPolicy(
        default_errno=default_errno if default == "errno" else errno.EPERM,
        rules=tuple(_without_conflicts(rules, default_errno)),
        socket_families=tuple(sorted(name for name in tables.FAMILIES if name != "AF_UNSPEC")),
    )


class _Where:
    def __init__(self, source: str) -> None:
        self.source = source

    def wrong(self, path: str, message: str) -> ProfileError:
        return ProfileError(message, file=self.source, path=path)


class _Facts:
    """What `includes` and `excludes` ask for."""

    def __init__(self, arch: str, capabilities: frozenset[str], kernel: tuple[int, int]) -> None:
        self.words = set(_ARCH_NAMES.get(arch, (arch,))) | {arch}
        self.capabilities = capabilities
        self.kernel = kernel

    def applies(self, entry: Mapping[str, Any]) -> bool:
        """Whether an entry counts on this host with these capabilities."""
        wanted, unwanted = entry.get("includes") or {}, entry.get("excludes") or {}
        if wanted.get("arches") and not self.words & set(wanted["arches"]):
            return False
        if wanted.get("caps") and not set(wanted["caps"]) <= self.capabilities:
            return False
        if wanted.get("minKernel") and _version(wanted["minKernel"]) > self.kernel:
            return False
        if unwanted.get("arches") and self.words & set(unwanted["arches"]):
            return False
        if unwanted.get("caps") and set(unwanted["caps"]) & self.capabilities:
            return False
        return not (unwanted.get("minKernel") and _version(unwanted["minKernel"]) <= self.kernel)


def _unwrap(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The seccomp part of a whole config.json."""
    linux = data.get("linux")
    if isinstance(linux, Mapping) and isinstance(linux.get("seccomp"), Mapping):
        inner: Mapping[str, Any] = linux["seccomp"]
        return inner
    return data


def _kernel() -> tuple[int, int]:
    return _version(platform.release())


def _version(text: str) -> tuple[int, int]:
    words = [("".join(filter(str.isdigit, part)) or "0") for part in str(text).split(".")[:2]]
    return int(words[0]), int(words[1]) if len(words) > 1 else 0


def _action(word: object, path: str, where: _Where) -> Action:
    if word not in _ACTIONS:
        raise where.wrong(path, f"unknown action {word!r} {tables.nearest(str(word), list(_ACTIONS))}".strip())
    return _ACTIONS[str(word)]


def _number(value: object, path: str, where: _Where) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise where.wrong(path, f"expected an unsigned number, not {value!r}")
    return value


def _rules(entry: Mapping[str, Any], path: str, where: _Where) -> Iterator[SeccompRule]:
    names = entry.get("names") or ([entry["name"]] if isinstance(entry.get("name"), str) else None)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise where.wrong(f"{path}.names", "expected a list of names")
    action = _action(entry.get("action"), f"{path}.action", where)
    number = _number(entry.get("errnoRet", errno.EPERM), f"{path}.errnoRet", where)
    args = entry.get("args") or []
    if not isinstance(args, list):
        raise where.wrong(f"{path}.args", "expected a list")
    conditions = tuple(_condition(item, f"{path}.args", where) for item in args)
    known = tuple(name for name in names if name in tables.every_name())
    if known:
        why = str(entry.get("comment") or "from an OCI profile")
        # runc and Docker read several conditions on one argument as alternatives, on different ones as "and"
        repeated = len({item.index for item in conditions}) != len(conditions)
        for alternative in [(item,) for item in conditions] if repeated else [conditions]:
            yield SeccompRule(
                syscalls=known, action=action, errno=number if action == "errno" else 0, args=alternative, group=_GROUP, why=why
            )


def _condition(item: object, path: str, where: _Where) -> ArgCondition:
    if not isinstance(item, Mapping) or item.get("op") not in _OPERATORS:
        raise where.wrong(path, f"expected an object with a known op, not {item!r}")
    index = _number(item.get("index"), f"{path}.index", where)
    if index > 5:
        raise where.wrong(f"{path}.index", f"there are arguments 0 to 5, not {index}")
    value = _number(item.get("value", 0), f"{path}.value", where)
    if item["op"] == "SCMP_CMP_MASKED_EQ":
        second = _number(item.get("valueTwo", 0), f"{path}.valueTwo", where)
        return ArgCondition(index=index, op="masked_eq", value=second, mask=value)
    return ArgCondition(index=index, op=_OPERATORS[item["op"]], value=value, mask=0)  # type: ignore[arg-type]


def _without_conflicts(rules: list[SeccompRule], default_errno: int) -> Iterator[SeccompRule]:
    """libseccomp's reading of overlapping rules: one without conditions replaces those with conditions.

    Two unconditional rules that differ, or a conditional refusal of a call that is refused anyway, keep the first.
    """
    plain: dict[str, SeccompRule] = {}
    for rule in rules:
        if not rule.args:
            for name in rule.syscalls:
                plain.setdefault(name, rule)
    for rule in rules:
        names = []
        for name in rule.syscalls:
            base = plain.get(name)
            if not rule.args:
                keep = base is rule
            elif base is None:
                keep = rule.action in ("allow", "log")
            else:
                keep = False
            if keep:
                names.append(name)
        if names and not (rule.action == "errno" and rule.errno == default_errno and not rule.args):
            yield SeccompRule(
                syscalls=tuple(names), action=rule.action, errno=rule.errno, args=rule.args, group=rule.group, why=rule.why
            )


def export_oci(policy: SeccompPolicy, arch: str = "x86_64") -> dict[str, Any]:
    """The policy as an OCI profile for one architecture.

    OCI rules are alternatives: a conditional refusal beside an "allow" cannot be said. Such a call is exported as
    everything that is not refused, in masked comparisons; where that is not possible it is left out (refused), so that
    the exported profile never allows more. `notify` becomes an errno, as there is no listener.
    """
    from sandbox.policy.seccomp.rules import SOCKET_CALLS, decisions

    numbers = tables.numbers(arch)
    entries: list[dict[str, Any]] = []
    for name, decision in decisions(policy).items():
        if name not in numbers:
            continue
        base = decision.base
        if name in SOCKET_CALLS and decision.admitted:
            for family in policy.socket_families:
                for kind in (1, 2, 5):
                    conditions = [_exported(ArgCondition(index=0, op="eq", value=tables.FAMILIES[family], mask=0))]
                    conditions.append(_exported(ArgCondition(index=1, op="masked_eq", value=kind, mask=0xF)))
                    entries.append(_entry(name, "SCMP_ACT_ALLOW", conditions))
        elif base is None:
            entries += [
                _entry(name, _outgoing(rule.action), [_exported(item) for item in rule.args]) for rule in decision.refined
            ]
        elif base.action in ("notify", "kill", "errno"):
            number = base.errno if base.action == "errno" else errno.EPERM
            action = "SCMP_ACT_KILL_PROCESS" if base.action == "kill" else "SCMP_ACT_ERRNO"
            if not (action == "SCMP_ACT_ERRNO" and number == policy.default_errno):
                entries.append(_entry(name, action, [], number))
        elif not decision.refined:
            entries.append(_entry(name, _outgoing(base.action), []))
        else:
            entries += [_entry(name, _outgoing(base.action), [_exported(item)]) for item in _complement(decision.refined)]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": policy.default_errno,
        "architectures": [_ARCH_NAMES[arch][0]],
        "syscalls": entries,
    }


def _entry(name: str, action: str, args: list[dict[str, Any]], number: int = 0) -> dict[str, Any]:
    entry: dict[str, Any] = {"names": [name], "action": action}
    if action == "SCMP_ACT_ERRNO":
        entry["errnoRet"] = number
    if args:
        entry["args"] = args
    return entry


def _outgoing(action: Action) -> str:
    return {"allow": "SCMP_ACT_ALLOW", "log": "SCMP_ACT_LOG"}.get(action, "SCMP_ACT_ERRNO")


def _exported(item: ArgCondition) -> dict[str, Any]:
    op = {ours: theirs for theirs, ours in _OPERATORS.items()}[item.op]
    if item.op == "masked_eq":
        return {"index": item.index, "value": item.mask, "valueTwo": item.value, "op": op}
    return {"index": item.index, "value": item.value, "op": op}


def _complement(refusals: tuple[SeccompRule, ...]) -> list[ArgCondition]:
    """Masked comparisons that together are everything but the refusals; [] where that cannot be said.

    Two forms occur: forbidden bits (one comparison with 0), and forbidden values under one mask (the branches of a
    binary trie that lead to none of them).
    """
    conditions = [rule.args[0] for rule in refusals if len(rule.args) == 1 and rule.args[0].op == "masked_eq"]
    if len(conditions) != len(refusals) or len({item.index for item in conditions}) != 1:
        return []
    index = conditions[0].index
    if all(item.value == item.mask and item.mask.bit_count() == 1 for item in conditions):
        mask = 0
        for item in conditions:
            mask |= item.mask
        return [ArgCondition(index=index, op="masked_eq", value=0, mask=mask)]
    if len({item.mask for item in conditions}) != 1:
        return []
    bits = [bit for bit in range(63, -1, -1) if conditions[0].mask >> bit & 1]
    found: list[ArgCondition] = []
    branches = [(0, 0, [item.value for item in conditions])]
    for bit in bits:
        deeper = []
        for mask, value, forbidden in branches:
            for side in (0, 1 << bit):
                rest = [item for item in forbidden if item & 1 << bit == side]
                if rest:
                    deeper.append((mask | 1 << bit, value | side, rest))
                else:
                    found.append(ArgCondition(index=index, op="masked_eq", value=value | side, mask=mask | 1 << bit))
        branches = deeper
    return found
