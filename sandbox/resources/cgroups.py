"""Control groups: find where this process may make them. The parts that do the work are in the modules beside this one."""

from __future__ import annotations

import os

from sandbox.host import cgroups as host
from sandbox.model.errors import CgroupError, SandboxError
from sandbox.resources import janitor, version2
from sandbox.resources.groups import Base, CgroupLimits, Counters, LauncherGroup, Lease
from sandbox.resources.janitor import sweep
from sandbox.resources.version1 import Base1
from sandbox.resources.version2 import Base2

__all__ = ["Base", "CgroupLimits", "Counters", "LauncherGroup", "Lease", "find_base", "look_for_base", "none_found", "sweep"]

_CALLER_LEAF = "caller"


def find_base(*, spawn_scope: bool = True) -> Base:
    """Where this process may make control groups.

    Raises UnsupportedHostError with the remedy when memory and pids cannot be limited, CgroupError when a group that
    SANDBOX_CGROUP names cannot be used.
    """
    base = look_for_base(spawn_scope=spawn_scope)
    if base is None:
        raise none_found()
    return base


def none_found() -> SandboxError:
    """The error in words, for which the host is looked at as a whole."""
    from sandbox.host.doctor import unsupported

    return unsupported("cgroup.memory")


def look_for_base(*, spawn_scope: bool = True) -> Base | None:
    """Where this process may make control groups, or None; what dead processes of this user left there is removed.

    Version 2, in this order: the directory in SANDBOX_CGROUP; a group of ours without processes above our own; our own
    group (its processes are moved into `caller` below it, as none may stay beside groups with controllers); a transient
    scope from systemd for each launcher (unless `spawn_scope` is False). Version 1: our own group in each hierarchy.

    Raises CgroupError when a group that SANDBOX_CGROUP names cannot be used.
    """
    layout = host.layout()
    if os.environ.get(host.ENVIRONMENT):
        base: Base | None = _given(layout)
    else:
        base = _version1(layout) if layout.version == 1 else _version2(layout, spawn_scope=spawn_scope)
    if base is not None:
        sweep(base.directories())
    return base


def _given(layout: host.Layout) -> Base:
    """What SANDBOX_CGROUP names must be usable: the caller has said so, and nothing else is tried."""
    place = next(host.places(layout), None)
    value = os.environ[host.ENVIRONMENT]
    if place is None:
        raise CgroupError(f"{host.ENVIRONMENT}={value!r} is not an absolute path")
    if not place.is_enough:
        raise CgroupError(
            f"{host.ENVIRONMENT}={value!r} is no group of version 2 with the memory and pids controllers",
            hint="name a delegated directory below /sys/fs/cgroup whose cgroup.controllers lists memory and pids",
        )
    try:
        return _base2(place)
    except OSError as error:
        raise CgroupError(
            f"{host.ENVIRONMENT}={value!r} cannot be used: {error.strerror}",
            hint="the directory with cgroup.procs and cgroup.subtree_control must belong to this user, without processes in it",
        ) from error


def _version2(layout: host.Layout, *, spawn_scope: bool) -> Base | None:
    for place in host.places(layout, spawn_scope=spawn_scope):
        if not place.is_enough:
            continue
        try:
            return _base2(place)
        except (OSError, CgroupError):
            continue  # the next way; when none is left, doctor's text tells what is missing
    return None


def _base2(place: host.Place) -> Base:
    if place.kind == "scope":
        usable = place.controllers & {*host.REQUIRED, *host.OPTIONAL}
        return Base2("", frozenset(usable), "version 2, a transient systemd scope for each launcher", place.prefix)
    leaf = _CALLER_LEAF if place.kind in ("own", "foreign") else ""
    controllers = version2.enable(place.directory, leaf)
    if not controllers >= set(host.REQUIRED):
        raise CgroupError(f"{place.directory!r} has only the controllers {sorted(controllers)}")
    return Base2(place.directory, controllers, f"version 2, below {place.directory}")


def _version1(layout: host.Layout) -> Base | None:
    places = host.legacy_places(layout)
    if not places.keys() >= set(host.REQUIRED_V1):
        return None
    known = {*host.REQUIRED_V1, *host.OPTIONAL_V1}
    return Base1({name: path for name, path in places.items() if name in known}, has_swap=version2.swap_is_on())


def leftovers(base: Base) -> tuple[str, ...]:
    """Groups below `base` that were named by this package, whoever made them; for tests and diagnosis."""
    found = []
    for directory in base.directories():
        found += [f"{directory}/{name}" for name in os.listdir(directory) if janitor.parse(name)]
    return tuple(found)
