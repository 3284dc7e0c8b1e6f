"""Layers of profile files → one `Policy`.

A later layer wins. Single values replace; `mounts` add, a mount with a target that is there replaces it; `seccomp.groups`
add and `without` takes away; `paths.masked` and `paths.readonly` add and `unmasked` takes away; `environment.set` adds;
every other list replaces.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sandbox.model.errors import ProfileError
from sandbox.model.limits import Limits
from sandbox.model.policy import (
    CgroupPolicy,
    Environment,
    Identity,
    Mount,
    Namespaces,
    Origin,
    Policy,
    RootFS,
    Scratch,
    SeccompPolicy,
    Work,
)
from sandbox.policy.load import Layer, line_of
from sandbox.policy.seccomp import groups as seccomp_groups
from sandbox.policy.seccomp import tables
from sandbox.policy.seccomp.rules import decisions

# name in the file → field of Limits
LIMITS: Mapping[str, str] = {
    "cpu": "cpu_ns",
    "wall": "wall_ns",
    "idle": "idle_ns",
    "memory": "memory_bytes",
    "pids": "pids",
    "cpu_quota": "cpu_quota_millicpus",
    "output": "output_bytes",
    "scratch": "scratch_bytes",
    "scratch_inodes": "scratch_inodes",
    "file_size": "file_bytes",
    "open_files": "open_files",
    "stack": "stack_bytes",
    "collect": "collect_bytes",
    "collect_files": "collect_files",
}
_MAY_BE_ZERO = {"idle", "cpu_quota", "collect", "collect_files"}
_SECTIONS = (
    "identity namespaces rootfs scratch work dev paths capabilities seccomp landlock limits cgroup network environment process"
).split()


def resolve(layers: Sequence[Layer]) -> Policy:
    """The policy of a chain of layers. Raises ProfileError for what is missing, unknown or contradictory."""
    merged = _Merged(layers)
    value = merged.value
    seccomp = _seccomp(merged)
    limits = _limits(merged)
    policy = Policy(
        name=layers[-1].name,
        description=layers[-1].content.description,
        identity=Identity(
            uid=value("identity.uid"),
            gid=value("identity.gid"),
            hostname=value("identity.hostname"),
            id_map=value("identity.id_map"),
        ),
        namespaces=Namespaces(time=value("namespaces.time")),
        rootfs=RootFS(kind=value("rootfs.kind"), source=merged.get("rootfs.source") or "", writable=value("rootfs.writable")),
        mounts=_mounts(layers),
        scratch=Scratch(tmp=value("scratch.tmp"), shm=value("scratch.shm"), executable=value("scratch.executable")),
        work=Work(path=value("work.path"), executable=value("work.executable"), follow_symlinks=value("work.follow_symlinks")),
        devices=tuple(value("dev.devices")),
        proc=value("paths.proc"),
        masked_paths=_paths(layers, "masked"),
        readonly_paths=_paths(layers, "readonly"),
        capabilities=tuple(value("capabilities.keep")),
        seccomp=seccomp,
        landlock=value("landlock.requirement"),
        limits=limits,
        cgroup=CgroupPolicy(
            requirement=value("cgroup.requirement"),
            cpus=tuple(sorted(set(value("cgroup.cpus")))),
            io_bytes_per_second=value("cgroup.io_per_second"),
        ),
        network=value("network.mode"),
        environment=_environment(layers, merged),
        cwd=value("process.cwd"),
        umask=value("process.umask"),
        exceptions=tuple((key, why) for layer in layers for key, why in layer.content.why.items()),
        origins=merged.origins,
    )
    _check(policy, merged)
    return policy


class _Merged:
    """Single values of a chain: the last layer that says something wins."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = layers
        self.origins: dict[str, Origin] = {}
        self._values: dict[str, Any] = {}
        for layer in layers:
            for path, value in _leaves(layer):
                self._values[path] = value
                self.origins[path] = Origin(file=layer.file, line=line_of(path, layer.lines))

    def get(self, path: str) -> Any:
        return self._values.get(path)

    def value(self, path: str) -> Any:
        if path not in self._values:
            raise ProfileError("is said nowhere in the chain of extends", file=self.layers[-1].file, path=path)
        return self._values[path]

    def wrong(self, path: str, message: str, hint: str = "") -> ProfileError:
        origin = self.origins.get(path, Origin(file=self.layers[-1].file, line=0))
        return ProfileError(message, file=origin.file, line=origin.line, path=path, hint=hint)


def _leaves(layer: Layer) -> Iterator[tuple[str, Any]]:
    for section in _SECTIONS:
        for name, value in getattr(layer.content, section):
            if value is not None:
                yield f"{section}.{name}", value
    for number, mount in enumerate(layer.content.mounts):
        yield f"mounts[{number}]", mount


def _limits(merged: _Merged) -> Limits:
    values = {field: merged.value(f"limits.{name}") for name, field in LIMITS.items()}
    for name, field in LIMITS.items():
        if values[field] == 0 and name not in _MAY_BE_ZERO:
            raise merged.wrong(f"limits.{name}", "must be more than 0: every limit is finite")
    return Limits(**values)


def _mounts(layers: Sequence[Layer]) -> tuple[Mount, ...]:
    found: dict[str, Mount] = {}
    for layer in layers:
        here: set[str] = set()
        for number, item in enumerate(layer.content.mounts):
            target = item.target or item.source
            path = f"mounts[{number}]"
            where = {"file": layer.file, "line": layer.lines.get(path, 0), "path": path}
            if target in here:
                raise ProfileError(f"a second mount at {target!r}", **where)  # type: ignore[arg-type]
            if target == "/":
                raise ProfileError(
                    "nothing can be mounted over the root",
                    hint='use rootfs.kind = "directory" with rootfs.source',
                    **where,  # type: ignore[arg-type]
                )
            if item.writable and not item.why:
                raise ProfileError(
                    "a writable mount gives up a barrier and must say why",
                    hint='add why = "…"',
                    **where,  # type: ignore[arg-type]
                )
            here.add(target)
            found[target] = Mount(
                source=item.source,
                target=target,
                writable=item.writable,
                executable=item.executable,
                requirement=item.requirement,
                why=item.why,
            )
    return tuple(found.values())


def _paths(layers: Sequence[Layer], kind: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for layer in layers:
        section = layer.content.paths
        found.update(dict.fromkeys(getattr(section, kind) or ()))
        for path in section.unmasked or ():
            found.pop(path, None)
    return tuple(found)


def _environment(layers: Sequence[Layer], merged: _Merged) -> Environment:
    values: dict[str, str] = {}
    for layer in layers:
        for name, text in (layer.content.environment.set or {}).items():
            if "\0" in text:
                raise merged.wrong("environment.set", f"the value of {name} contains a NUL character")
            values[name] = text
    return Environment(values=tuple(values.items()), inherit=tuple(merged.value("environment.inherit")))


def _seccomp(merged: _Merged) -> SeccompPolicy:
    """The rules of all groups in the order they are named, then the rules written in the profiles, later files last."""
    known = seccomp_groups.load_groups()
    chosen: dict[str, None] = {}
    for layer in merged.layers:
        section = layer.content.seccomp
        for key, names in (("groups", section.groups or ()), ("without", section.without or ())):
            for name in names:
                if name not in known:
                    path = f"seccomp.{key}"
                    raise ProfileError(
                        f"there is no group {name!r}",
                        file=layer.file,
                        line=line_of(path, layer.lines),
                        path=path,
                        hint=tables.nearest(name, list(known)) or f"known groups: {', '.join(known)}",
                    )
        chosen.update(dict.fromkeys(section.groups or ()))
        for name in section.without or ():
            chosen.pop(name, None)
    families = merged.value("seccomp.socket_families")
    for name in families:
        if name not in tables.FAMILIES:
            raise merged.wrong("seccomp.socket_families", f"unknown family {name!r}", tables.nearest(name, list(tables.FAMILIES)))
    try:
        default = tables.errno_number(merged.value("seccomp.default_errno"))
    except KeyError:
        raise merged.wrong("seccomp.default_errno", "unknown errno", "such as ENOSYS") from None
    rules = [rule for name in chosen for rule in known[name].rules]
    imported = _imported(merged)
    if imported is not None:
        rules, default = list(imported.rules), imported.default_errno
    for depth, layer in enumerate(merged.layers):
        for number, item in enumerate(layer.content.seccomp.rules or ()):
            rule = seccomp_groups.parse_rule(item, f"profile:{depth}", layer.file, f"seccomp.rules[{number}]")
            rules.append(rule)
    policy = SeccompPolicy(default_errno=default, rules=tuple(rules), socket_families=tuple(families))
    try:
        decisions(policy)
    except ProfileError as error:
        raise merged.wrong("seccomp.rules", error.message, error.hint) from None
    return policy


def _imported(merged: _Merged) -> SeccompPolicy | None:
    """The filter of `seccomp.oci`, a Docker or OCI file beside the profile."""
    name = merged.get("seccomp.oci")
    if name is None:
        return None
    from sandbox.policy.seccomp.oci import import_oci  # only a few profiles need it

    file = Path(merged.origins["seccomp.oci"].file).parent / name
    try:
        if file.stat().st_size > 4 << 20:
            raise merged.wrong("seccomp.oci", f"{file} is larger than 4 MiB")
        data = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise merged.wrong("seccomp.oci", f"{file} cannot be read: {error}") from None
    return import_oci(data, source=str(file))


def _check(policy: Policy, merged: _Merged) -> None:
    """Contradictions between settings that are fine each for itself."""
    if policy.rootfs.kind == "directory" and not policy.rootfs.source:
        raise merged.wrong("rootfs.kind", "a directory root needs rootfs.source")
    if policy.rootfs.kind == "selected" and policy.rootfs.source:
        raise merged.wrong("rootfs.source", 'goes only with rootfs.kind = "directory"')
    if policy.rootfs.kind == "selected" and policy.rootfs.writable:
        raise merged.wrong("rootfs.writable", 'goes only with rootfs.kind = "directory"', "the work directory is writable anyway")
    if policy.work.path in ("/", "/proc", "/dev", "/tmp") or policy.work.path.startswith(("/proc/", "/dev/", "/tmp/")):
        raise merged.wrong("work.path", f"{policy.work.path!r} is made anew by every run already", "such as /work")
    if policy.limits.idle_ns > policy.limits.wall_ns:
        raise merged.wrong("limits.idle", "is longer than limits.wall and could never be hit")
    for rule in policy.seccomp.rules:
        if rule.syscalls == ("execve",) and rule.action != "allow":
            raise merged.wrong("seccomp.rules", "execve must be allowed: the payload is started with it")
    places = [policy.work.path, "/", *(mount.target for mount in policy.mounts)]
    places += ["/tmp"] if policy.scratch.tmp else []
    if policy.rootfs.kind == "selected" and not any(
        policy.cwd == place or (place != "/" and policy.cwd.startswith(place + "/")) for place in places
    ):
        raise merged.wrong("process.cwd", f"{policy.cwd!r} lies in no mount and no writable place", f"such as {policy.work.path}")
