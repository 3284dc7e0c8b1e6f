"""What `plancache` keeps of a policy and plan, and what it must watch for them. Loaded when an entry is made or opened."""

from __future__ import annotations

import os

from sandbox.model import codec, policy
from sandbox.model.limits import Limits
from sandbox.model.plan import BIND, Plan
from sandbox.policy import plancache
from sandbox.policy.paths import within

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_CLASSES: dict[str, Any] = {
    item.__name__: item
    for item in (
        policy.CgroupPolicy,
        policy.Environment,
        policy.Identity,
        policy.Mount,
        policy.Namespaces,
        policy.Policy,
        policy.RootFS,
        policy.Scratch,
        policy.SeccompPolicy,
        policy.Warm,
        policy.Work,
        Limits,
    )
}


def of_policy(given: policy.Policy) -> Any:
    """As `plain`, without what only a planner needs."""
    import dataclasses

    return plain(dataclasses.replace(given, seccomp=dataclasses.replace(given.seccomp, rules=()), origins={}, exceptions=()))


def plain(value: Any) -> Any:
    """The value in what `codec` can encode; `restore` is the inverse."""
    kind = type(value).__name__
    if kind in _CLASSES:
        return (kind, *(plain(getattr(value, name)) for name in type(value).__slots__))
    if isinstance(value, dict):
        return ("dict", *(plain(item) for item in value.items()))
    if isinstance(value, tuple):
        return ("", *(plain(item) for item in value))
    return value


def restore(value: Any) -> Any:
    """The inverse of `plain`. Raises ValueError, TypeError, KeyError for what is none."""
    if not isinstance(value, tuple):
        return value
    items = [restore(item) for item in value[1:]]
    if value[0] in ("", "dict"):
        return dict(items) if value[0] else tuple(items)
    made = _CLASSES[value[0]]
    return made(**dict(zip(made.__slots__, items, strict=True)))


def watched(profile: str, given: policy.Policy, files: Sequence[str]) -> tuple[tuple[int, bytes], ...]:
    """(kind, path) of all that the plan depends on and that is not part of the key."""
    found = list(plancache.always())
    found += [(plancache._CONTENT, os.fsencode(file)) for file in files]
    names = dict.fromkeys(
        [f"{os.path.basename(profile)}.toml", *(os.path.basename(file) for file in files if file.endswith(".toml"))]
    )
    found += [(plancache._FILE, os.fsencode(f"{place}/{name}")) for place in plancache.search_directories() for name in names]
    sources = [mount.source for mount in given.mounts]
    sources += [
        outer.source + inner.target[len(outer.target) :]
        for inner in given.mounts
        for outer in given.mounts
        if inner is not outer and within(inner.target, outer.target)
    ]
    found += [(plancache._MOUNT, os.fsencode(path)) for path in dict.fromkeys(sources)]
    found += [(plancache._SAME, os.fsencode(path)) for path in _libraries()]
    return tuple(found)


def _libraries() -> list[str]:
    """The files of what has compiled the filter."""
    import pyseccomp

    found = {pyseccomp.__file__}
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        found.update(line.split(maxsplit=5)[5].strip() for line in file if "libseccomp" in line)
    return sorted(found)


def agrees(plan: Plan, witnesses: Sequence[tuple[int, bytes, tuple[Any, ...]]]) -> bool:
    """Whether every source in the plan is what the witnesses saw, a moment later."""
    seen = {state[-1] for kind, _, state in witnesses if kind == plancache._MOUNT}
    return all(operation.source in seen for operation in plan.template if operation.kind == BIND)


def block_of(plan: Plan) -> tuple[bytes, int, int] | None:
    """(encoded ids, first, count) of a block of host ids that was taken at random; None for other ids."""
    from sandbox.policy import idmaps  # for its own process only: loading a plan needs none of it

    lines = plan.ids.launcher_uids
    if len(lines) == 2 and lines[0] == (0, 0, 1) and lines[1][1] == idmaps.own_block():
        return codec.encode(plan.ids.as_tuple()), lines[1][1], lines[1][2]
    return None
