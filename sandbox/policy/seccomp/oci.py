"""Docker and OCI seccomp profiles: in and out.

Source: OCI runtime specification, config-linux.md, "Seccomp"; moby profiles/seccomp (includes, excludes, minKernel); runc
libcontainer/seccomp (several conditions on one argument); libseccomp (a rule without conditions swallows those with).

What our rules cannot say gets stricter, never looser:

    KILL, KILL_THREAD, KILL_PROCESS, TRAP    kill: the whole sandbox ends (a handler for SIGSYS gets no second chance)
    TRACE                                    errno ENOSYS, the kernel's own answer when nobody traces
    a refusal beside an "allow" without conditions   holds, where libseccomp would drop it
    a default action that is no errno        a rule for every call that is known; unknown ones are answered with ENOSYS
    other architectures, x32                 stay closed
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from sandbox.model.errors import ProfileError
from sandbox.model.policy import ArgCondition, SeccompPolicy, SeccompRule
from sandbox.policy.seccomp import cubes, rules, tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandbox.model.policy import Action

_ACTIONS: Mapping[str, Action] = {
    "SCMP_ACT_ALLOW": "allow",
    "SCMP_ACT_LOG": "log",
    "SCMP_ACT_ERRNO": "errno",
    "SCMP_ACT_TRACE": "errno",
    "SCMP_ACT_NOTIFY": "notify",
    "SCMP_ACT_TRAP": "kill",
    "SCMP_ACT_KILL": "kill",
    "SCMP_ACT_KILL_THREAD": "kill",
    "SCMP_ACT_KILL_PROCESS": "kill",
}
_OPERATORS = {f"SCMP_CMP_{name.upper()}": name for name in ("eq", "ne", "lt", "le", "gt", "ge", "masked_eq")}
_ARCH_WORDS = {"x86_64": {"amd64", "x86_64", "SCMP_ARCH_X86_64"}, "aarch64": {"arm64", "aarch64", "SCMP_ARCH_AARCH64"}}
# Every key of the OCI runtime specification, of moby's profiles and of podman's (`errno` names), by the kind of object.
_KEYS = {
    "profile": "defaultAction defaultErrnoRet defaultErrno architectures archMap flags listenerPath listenerMetadata syscalls",
    "archMap": "architecture subArchitectures",
    "entry": "names name action errnoRet errno args comment includes excludes",
    "condition": "index value valueTwo op",
    "filter": "caps arches minKernel",
}
_OLDEST_KERNEL = (6, 1)  # that is supported; a filter must not depend on where it was made
_GROUP = "oci"


def import_oci(
    data: Mapping[str, Any], arch: str | None = None, capabilities: Iterable[str] = (), *, source: str = ""
) -> SeccompPolicy:
    """The rules of an OCI or Docker profile, or of a config.json that contains one.

    Args:
        data: the parsed JSON.
        arch: "x86_64" or "aarch64", for `includes` and `excludes`; this machine's by default.
        capabilities: those that the payload keeps, such as "CAP_SYS_PTRACE", also for `includes` and `excludes`.
        source: file name for messages.

    Returns:
        A policy of one layer, group "oci". All socket families are in its list: its own rules decide.

    Raises ProfileError for what is no such profile, or contradicts itself.
    """
    reader = _Reader(source)
    profile = reader.profile(data)
    reader.keys(profile)
    kept = frozenset(f"CAP_{name.upper().removeprefix('CAP_')}" for name in capabilities)
    facts = _Facts(frozenset(_ARCH_WORDS.get(arch or os.uname().machine, {arch or ""})), kept)
    action, number = reader.action(profile, "defaultAction", "defaultErrnoRet", "")
    found: list[SeccompRule] = []
    for index, entry in enumerate(reader.items(profile, "syscalls", "")):
        path = f"syscalls[{index}]"
        if reader.applies(entry, path, facts):
            found.extend(reader.rules(entry, path))
    default_errno = number if action == "errno" else errno.ENOSYS
    found = _as_libseccomp_reads(found, default_errno)
    if action != "errno":
        found += _for_all_others(action, found)
    policy = SeccompPolicy(default_errno=default_errno, rules=tuple(found), socket_families=tuple(tables.FAMILIES))
    try:
        rules.decisions(policy)
    except ProfileError as error:
        raise reader.wrong("syscalls", error.message, error.hint) from None
    return policy


def unknown_names(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Names in the profile that are no system calls of any supported architecture: rules about them have no effect."""
    reader = _Reader("")
    entries = enumerate(reader.items(reader.profile(data), "syscalls", ""))
    found = {name for index, entry in entries for name in reader.names(entry, f"syscalls[{index}]")}
    return tuple(sorted(found - tables.every_name()))


class _Facts(NamedTuple):
    """What `includes` and `excludes` ask for."""

    arches: frozenset[str]
    capabilities: frozenset[str]


class _Reader:
    """Typed access to foreign JSON; every mistake is a ProfileError with file and place."""

    def __init__(self, source: str) -> None:
        self._source = source

    def wrong(self, path: str, message: str, hint: str = "") -> ProfileError:
        """The error to raise."""
        return ProfileError(message, file=self._source, path=path, hint=hint)

    def profile(self, data: object) -> Mapping[str, Any]:
        """The seccomp object itself, also out of a whole config.json."""
        if not isinstance(data, Mapping):
            raise self.wrong("", "expected a JSON object")
        linux = data.get("linux")
        inner = linux.get("seccomp") if isinstance(linux, Mapping) else None
        found: Mapping[str, Any] = inner if isinstance(inner, Mapping) else data
        if "defaultAction" not in found:
            raise self.wrong("defaultAction", "is missing: this is no seccomp profile")
        return found

    def keys(self, profile: Mapping[str, Any]) -> None:
        """Refuse keys that mean nothing, also in entries that do not apply here: most are a known one with a slip."""
        self._known(profile, "profile", "")
        for index, item in enumerate(self.items(profile, "archMap", "")):
            self._known(item, "archMap", f"archMap[{index}]")
        for index, entry in enumerate(self.items(profile, "syscalls", "")):
            path = f"syscalls[{index}]"
            self._known(entry, "entry", path)
            for number, condition in enumerate(self.items(entry, "args", path)):
                self._known(condition, "condition", f"{path}.args[{number}]")
            for key in ("includes", "excludes"):
                self._known(self.block(entry, key, path), "filter", f"{path}.{key}")

    def block(self, entry: Mapping[str, Any], key: str, path: str) -> Mapping[str, Any]:
        """An object; missing or null is an empty one."""
        found = entry.get(key) or {}
        if not isinstance(found, Mapping):
            raise self.wrong(f"{path}.{key}", "expected an object")
        return found

    def _known(self, data: Mapping[str, Any], kind: str, path: str) -> None:
        known = _KEYS[kind].split()
        for key in data:
            if key not in known:
                hint = tables.nearest(str(key), known) or f"known keys: {', '.join(known)}"
                raise self.wrong(f"{path}.{key}".lstrip("."), f"unknown key {key!r}", hint)

    def items(self, data: Mapping[str, Any], key: str, path: str) -> list[Mapping[str, Any]]:
        """A list of objects; missing or null is an empty one."""
        found = [] if data.get(key) is None else data[key]
        if not isinstance(found, list) or not all(isinstance(item, Mapping) for item in found):
            raise self.wrong(f"{path}.{key}".lstrip("."), "expected a list of objects")
        return found

    def words(self, value: object, path: str) -> list[str]:
        """A list of strings; missing or null is an empty one."""
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(path, "expected a list of strings")
        return [str(item) for item in value]

    def number(self, value: object, path: str, last: int = cubes.FULL) -> int:
        """An unsigned number up to `last`."""
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= last:
            raise self.wrong(path, f"expected a number from 0 to {last}, not {value!r}")
        return value

    def action(self, data: Mapping[str, Any], key: str, errno_key: str, path: str) -> tuple[Action, int]:
        """(action, errno); errno is 0 for every other action."""
        word = data.get(key)
        if not isinstance(word, str) or word not in _ACTIONS:
            raise self.wrong(f"{path}.{key}".lstrip("."), f"unknown action {word!r}", tables.nearest(str(word), _ACTIONS))
        given = data.get(errno_key)
        number = errno.EPERM if given is None else self.number(given, f"{path}.{errno_key}".lstrip("."), tables.MAX_ERRNO)
        name_key = errno_key.removesuffix("Ret")
        if data.get(name_key) not in (None, ""):
            try:
                number = tables.errno_number(str(data[name_key]))
            except KeyError:
                raise self.wrong(f"{path}.{name_key}".lstrip("."), f"unknown errno {data[name_key]!r}", "such as EPERM") from None
        action = _ACTIONS[word]
        return action, (errno.ENOSYS if word == "SCMP_ACT_TRACE" else number) if action == "errno" else 0

    def applies(self, entry: Mapping[str, Any], path: str, facts: _Facts) -> bool:
        """Whether `includes` and `excludes` let the entry count."""
        verdicts = []
        for key in ("includes", "excludes"):
            block = self.block(entry, key, path)
            caps = set(self.words(block.get("caps"), f"{path}.{key}.caps"))
            arches = set(self.words(block.get("arches"), f"{path}.{key}.arches"))
            oldest = self._kernel(block.get("minKernel"), f"{path}.{key}.minKernel")
            if key == "includes":
                verdicts += [caps <= facts.capabilities, not arches or bool(arches & facts.arches), oldest <= _OLDEST_KERNEL]
            else:
                verdicts += [not caps & facts.capabilities, not arches & facts.arches, not oldest[0] or oldest > _OLDEST_KERNEL]
        return all(verdicts)

    def _kernel(self, value: object, path: str) -> tuple[int, int]:
        if value is None:
            return 0, 0
        major, dot, minor = str(value).partition(".")
        if not (dot and major.isdecimal() and minor.isdecimal()):
            raise self.wrong(path, f'expected a version such as "4.8", not {value!r}')
        return int(major), int(minor)

    def names(self, entry: Mapping[str, Any], path: str) -> list[str]:
        """The system calls of an entry; `name` is the form before 2017."""
        found = self.words(entry.get("names"), f"{path}.names") or self.words([entry.get("name")], f"{path}.names")
        if not found:
            raise self.wrong(f"{path}.names", "expected a list of names")
        return found

    def rules(self, entry: Mapping[str, Any], path: str) -> Iterator[SeccompRule]:
        """One entry as rules. Several conditions on the same argument are alternatives, as runc reads them."""
        action, number = self.action(entry, "action", "errnoRet", path)
        names = tuple(name for name in self.names(entry, path) if name in tables.every_name())
        args = self.items(entry, "args", path)
        conditions = [self._condition(item, f"{path}.args[{index}]") for index, item in enumerate(args)]
        if action == "errno" and number == 0:
            raise self.wrong(f"{path}.errnoRet", "0 would let the call seem to have succeeded")
        why = str(entry.get("comment") or "as in the OCI profile")
        repeated = len({item.index for item in conditions}) != len(conditions)
        for choice in [(item,) for item in conditions] if repeated else [tuple(conditions)]:
            if names:
                yield SeccompRule(syscalls=names, action=action, errno=number, args=choice, group=_GROUP, why=why)

    def _condition(self, item: Mapping[str, Any], path: str) -> ArgCondition:
        word = item.get("op")
        if not isinstance(word, str) or word not in _OPERATORS:
            raise self.wrong(f"{path}.op", f"unknown comparison {word!r}", tables.nearest(str(word), _OPERATORS))
        index = self.number(item.get("index"), f"{path}.index", 5)
        value = self.number(item.get("value", 0), f"{path}.value")
        if word == "SCMP_CMP_MASKED_EQ":
            second = self.number(item.get("valueTwo", 0), f"{path}.valueTwo")
            return ArgCondition(index=index, op="masked_eq", value=second & value, mask=value)
        return ArgCondition(index=index, op=_OPERATORS[word], value=value, mask=0)  # type: ignore[arg-type]


def _as_libseccomp_reads(found: list[SeccompRule], default_errno: int) -> list[SeccompRule]:
    """Without rules that say what is the default anyway, and without an "allow if" of a call that is refused altogether."""
    kept = [rule for rule in found if rule.args or rule.action != "errno" or rule.errno != default_errno]
    refused = {name for rule in kept if not rule.args and rule.action not in rules.ADMISSIONS for name in rule.syscalls}
    result = []
    for rule in kept:
        names = rule.syscalls
        if rule.args and rule.action in rules.ADMISSIONS:
            names = tuple(name for name in names if name not in refused)
        if names:
            result.append(
                SeccompRule(syscalls=names, action=rule.action, errno=rule.errno, args=rule.args, group=_GROUP, why=rule.why)
            )
    return result


def _for_all_others(action: Action, found: list[SeccompRule]) -> list[SeccompRule]:
    named = {name for rule in found if not rule.args for name in rule.syscalls}
    names = tuple(sorted(tables.every_name() - named))
    return [SeccompRule(syscalls=names, action=action, errno=0, args=(), group=_GROUP, why="the profile's default action")]


def export_oci(policy: SeccompPolicy, arch: str = "") -> dict[str, Any]:
    """The policy as an OCI profile (`linux.seccomp`), for the architecture of the machine that it is loaded on.

    With `arch` ("x86_64" or "aarch64") it names that one, and the calls that it has.

    OCI has no order among rules, and libseccomp drops those that overlap. So each call is cut into regions that do not,
    in masked comparisons. A report becomes the EPERM that it is answered with, as there is no listener.

    Raises ProfileError for conditions that would need too many regions.
    """
    default = ("SCMP_ACT_ERRNO", policy.default_errno)
    merged: dict[tuple[str, int, tuple[tuple[int, cubes.Cube], ...]], list[str]] = {}
    names = tables.numbers(arch) if arch else tables.every_name()
    for name, decision in rules.decisions(policy).items():
        if name not in names:
            continue
        try:
            regions = list(_regions(policy, decision, default))
        except OverflowError as error:
            raise ProfileError(
                f"the conditions on {name!r} have no OCI form of reasonable size: {error}",
                path="seccomp.rules",
                hint="use eq and masked_eq instead of ranges",
            ) from None
        for region, (action, number) in regions:
            if (action, number) != default:
                merged.setdefault((action, number, tuple(sorted(region.items()))), []).append(name)
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": policy.default_errno,
        **({"architectures": [f"SCMP_ARCH_{arch.upper()}"]} if arch else {}),
        "syscalls": [_entry(names, *key) for key, names in merged.items()],
    }


def _regions(
    policy: SeccompPolicy, decision: rules.Decision, default: tuple[str, int]
) -> Iterator[tuple[cubes.Region, tuple[str, int]]]:
    ordered = [(cubes.regions(rule.args), _exported(rule)) for rule in decision.refined]
    if decision.name in rules.SOCKET_CALLS and decision.admitted:
        ordered.insert(0, (_other_families(policy), ("SCMP_ACT_ERRNO", errno.EAFNOSUPPORT)))
    return cubes.partition(ordered, _exported(decision.base) if decision.base else default)


def _exported(rule: SeccompRule) -> tuple[str, int]:
    words = {"allow": "SCMP_ACT_ALLOW", "log": "SCMP_ACT_LOG", "kill": "SCMP_ACT_KILL_PROCESS"}
    return (words[rule.action], 0) if rule.action in words else ("SCMP_ACT_ERRNO", rule.errno or errno.EPERM)


def _other_families(policy: SeccompPolicy) -> list[cubes.Region]:
    """The first arguments of socket, an int, that are none of the policy's families."""
    left: list[cubes.Cube] = [cubes.ANY]
    for name in policy.socket_families:
        left = [rest for cube in left for rest in cubes.minus(cube, (0xFFFFFFFF, tables.FAMILIES[name]))]
    return [{0: cube} for cube in left]


def _entry(names: list[str], action: str, number: int, region: tuple[tuple[int, cubes.Cube], ...]) -> dict[str, Any]:
    entry: dict[str, Any] = {"names": names, "action": action}
    if action == "SCMP_ACT_ERRNO":
        entry["errnoRet"] = number
    args = []
    for index, (mask, value) in region:
        if mask == cubes.FULL:
            args.append({"index": index, "value": value, "op": "SCMP_CMP_EQ"})
        else:
            args.append({"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"})
    return {**entry, "args": args} if args else entry
