"""Contradictions between settings that are fine each for itself. To blame is what was said in the latest layer."""

from __future__ import annotations

from collections.abc import Iterator

from sandbox.model.errors import ProfileError
from sandbox.model.policy import Policy
from sandbox.policy.calls import blame_for
from sandbox.policy.merged import Merged, wrong_in
from sandbox.policy.paths import within
from sandbox.policy.places import hides, overlap
from sandbox.policy.seccomp import rules
from sandbox.policy.units import duration_text


def contradictions(policy: Policy, merged: Merged) -> Iterator[ProfileError]:
    """Everything in the policy that cannot hold together."""
    yield from _root(policy, merged)
    yield from _work(policy, merged)
    yield from _covered(policy, merged)
    yield from _start(policy, merged)
    yield from _warm(policy, merged)
    if policy.limits.idle_ns > policy.limits.wall_ns:
        idle, wall = duration_text(policy.limits.idle_ns), duration_text(policy.limits.wall_ns)
        message = f"limits.idle ({idle}) is longer than limits.wall ({wall}) and could never be hit"
        yield merged.wrong(merged.latest("limits.idle", "limits.wall"), message)


def _root(policy: Policy, merged: Merged) -> Iterator[ProfileError]:
    root = policy.rootfs
    if root.kind == "directory" and not root.source:
        yield merged.wrong("rootfs.kind", "a directory root needs rootfs.source")
    if root.kind == "selected" and root.source:
        yield merged.wrong("rootfs.source", 'goes only with rootfs.kind = "directory"')
    if root.kind == "selected" and root.writable:
        yield merged.wrong("rootfs.writable", 'goes only with rootfs.kind = "directory"', "the work directory is writable anyway")


def _work(policy: Policy, merged: Merged) -> Iterator[ProfileError]:
    work = policy.work.path
    if work == "/" or any(within(work, place) for place in ("/proc", "/dev", "/tmp")):
        yield merged.wrong("work.path", f"{work!r} is made anew by every run already", "such as /work")
        return
    for mount in policy.mounts:
        clash = overlap(policy, mount.target)
        if clash:
            key = merged.latest("work.path", f"mounts[{mount.target}]")
            yield merged.wrong(key, clash, "choose another place for one of the two, such as /work and /data")


def _covered(policy: Policy, merged: Merged) -> Iterator[ProfileError]:
    for key, paths in (("paths.masked", policy.masked_paths), ("paths.readonly", policy.readonly_paths)):
        for path in paths:
            hidden = hides(policy, path)
            if hidden:
                blamed = f"{key}[{path}]"
                if hidden == policy.work.path:
                    blamed = merged.latest(blamed, "work.path")
                yield merged.wrong(
                    blamed, f"{key} has {path!r}, which would take away {hidden!r}", "name what lies in it instead"
                )


def _start(policy: Policy, merged: Merged) -> Iterator[ProfileError]:
    for name in rules.refused_of_needed(rules.decisions(policy.seccomp)):
        depth, path = blame_for(name, merged)
        message = f"the filter does not allow {name!r}, without which nothing can be executed"
        hint = 'add the group "start"' if path in ("seccomp.groups", "seccomp.without") else f"allow {name}, without conditions"
        yield wrong_in(merged.layers[depth], path, message, hint)
        return
    places = [policy.work.path, *(mount.target for mount in policy.mounts), *(["/tmp"] if policy.scratch.tmp else [])]
    if policy.rootfs.kind == "selected" and policy.cwd != "/" and not any(within(policy.cwd, place) for place in places):
        key = merged.latest("process.cwd", "work.path")
        message = f"process.cwd {policy.cwd!r} lies in no mount and no writable place"
        yield merged.wrong(key, message, f'such as process.cwd = "{policy.work.path}"')


def _warm(policy: Policy, merged: Merged) -> Iterator[ProfileError]:
    interpreter = policy.warm.interpreter
    if not interpreter:
        if policy.warm.preload:
            message = "has no effect without warm.interpreter: it is what loads them"
            yield merged.wrong(merged.latest("warm.preload", "warm.interpreter"), message, 'such as "/usr/bin/python3"')
        return
    if policy.rootfs.writable:
        key = merged.latest("warm.interpreter", "rootfs.writable")
        message = "a warm interpreter does not go with rootfs.writable: it has its files open before a run has its overlay"
        yield merged.wrong(key, message, "leave out one of the two")
        return
    within_reach = [mount for mount in policy.mounts if within(interpreter, mount.target)]
    if policy.rootfs.kind == "selected" and not within_reach:
        message = f"{interpreter!r} lies in no mount"
        yield merged.wrong("warm.interpreter", message, "it is a path inside; mount it, or leave it out")
    elif within_reach and max(within_reach, key=lambda mount: len(mount.target)).writable:
        message = f"{interpreter!r} lies in a writable mount: a run could change what all later ones are"
        yield merged.wrong("warm.interpreter", message, "mount it read-only")
