"""Layers of profile files → one `Policy`.

A later layer wins. Single values replace; `mounts` add, a mount with a target that is there replaces it; `seccomp.groups`
add and `without` takes away; `paths.masked` and `paths.readonly` add and `unmasked` takes away; `environment.set` adds;
every other list replaces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sandbox.model.limits import Limits
from sandbox.model.policy import CgroupPolicy, Environment, Identity, Mount, Namespaces, Policy, RootFS, Scratch, Warm, Work
from sandbox.policy import capabilities, check, mistakes
from sandbox.policy.calls import merged_calls
from sandbox.policy.load import Layer
from sandbox.policy.merged import Merged, wrong_in
from sandbox.policy.schema import every_key
from sandbox.policy.seccomp.tables import nearest

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


def resolve(layers: Sequence[Layer]) -> Policy:
    """The policy of a chain of layers. Raises ProfileError for what is missing, unknown or contradictory."""
    merged = Merged(layers)
    policy = _policy(merged)
    problems = list(check.contradictions(policy, merged))
    if problems:
        raise mistakes.combined(problems, layers[-1].file)
    return policy


def merge(layers: Sequence[Layer]) -> Policy:
    """As `resolve`, for the lower part of a chain: what contradicts itself there may be cured further up."""
    return _policy(Merged(layers))


def _policy(merged: Merged) -> Policy:
    value, layers = merged.value, merged.layers
    return Policy(
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
        masked_paths=_covered(layers)["masked"],
        readonly_paths=_covered(layers)["readonly"],
        capabilities=_capabilities(merged),
        seccomp=merged_calls(merged),
        landlock=value("landlock.requirement"),
        limits=_limits(merged),
        cgroup=CgroupPolicy(
            requirement=value("cgroup.requirement"),
            cpus=tuple(sorted(set(value("cgroup.cpus")))),
            io_bytes_per_second=value("cgroup.io_per_second"),
        ),
        network=value("network.mode"),
        environment=_environment(merged),
        cwd=value("process.cwd"),
        umask=value("process.umask"),
        warm=Warm(interpreter=value("warm.interpreter"), preload=tuple(dict.fromkeys(value("warm.preload")))),
        exceptions=_reasons(layers),
        origins=merged.origins,
    )


def _limits(merged: Merged) -> Limits:
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
            mount = Mount(
                item.source,
                item.target or item.source,
                writable=item.writable,
                executable=item.executable,
                requirement=item.requirement,
                why=item.why,
            )
            path = f"mounts[{number}]"
            if mount.target in here:
                raise wrong_in(layer, path, f"a second mount at {mount.target!r}")
            if mount.target == "/":
                hint = 'use rootfs.kind = "directory" with rootfs.source'
                raise wrong_in(layer, path, "nothing can be mounted over the root", hint)
            if mount.writable and not mount.why:
                raise wrong_in(layer, path, "a writable mount gives up a barrier and must say why", 'add why = "…"')
            here.add(mount.target)
            found[mount.target] = mount
    return tuple(found.values())


def _covered(layers: Sequence[Layer]) -> Mapping[str, tuple[str, ...]]:
    """The paths that are masked, and those that are read-only."""
    found: dict[str, dict[str, None]] = {"masked": {}, "readonly": {}}
    for layer in layers:
        section = layer.content.paths
        known = [*found["masked"], *found["readonly"]]
        for path in section.unmasked or ():
            if path not in known:
                hint = nearest(path, known) or "leave it out"
                raise wrong_in(layer, "paths.unmasked", f"{path!r} is not covered by what this file extends", hint)
        for kind, paths in found.items():
            for path in section.unmasked or ():
                paths.pop(path, None)
            paths.update(dict.fromkeys(getattr(section, kind) or ()))
    return {kind: tuple(paths) for kind, paths in found.items()}


def _capabilities(merged: Merged) -> tuple[str, ...]:
    kept: list[str] = merged.value("capabilities.keep")
    for name in kept:
        if name not in capabilities.NAMES:
            hint = nearest(name.upper(), capabilities.NAMES) or "such as CAP_NET_BIND_SERVICE; capabilities(7) has the list"
            raise merged.wrong("capabilities.keep", f"unknown capability {name!r}", hint)
    return tuple(kept)


def _environment(merged: Merged) -> Environment:
    values: dict[str, str] = {}
    for layer in merged.layers:
        for name, text in (layer.content.environment.set or {}).items():
            if "\0" in text:
                raise wrong_in(layer, f"environment.set.{name}", f"the value of {name} contains a NUL character")
            values[name] = text
    return Environment(values=tuple(values.items()), inherit=tuple(merged.value("environment.inherit")))


def _reasons(layers: Sequence[Layer]) -> tuple[tuple[str, str], ...]:
    """Key → reason; of several for one key the latest. Mounts and rules have their own."""
    reasons: dict[str, str] = {}
    known = every_key()
    for layer in layers:
        for key, why in layer.content.why.items():
            if key not in known:
                whole = [name for name in known if name.endswith(f".{key}")]
                hint = (
                    f"did you mean {whole[0]!r}?"
                    if whole
                    else nearest(key, known) or 'a key of this file, such as "limits.memory"'
                )
                raise wrong_in(layer, f"why.{key}", f"unknown key {key!r}", hint)
            reasons[key] = why
    return tuple(reasons.items())
