"""Warm sandboxes that are shared: one for each profile and set of limits, kept for the next run, the oldest idle one first out.

A launcher takes some tens of milliseconds to start, a run in it one or two. Cases of one program, and programs of one
problem, therefore take turns in the same few launchers; every run still has a fresh sandbox of its own.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from sandbox.api import Sandbox
from sandbox.model.policy import Mount
from sandbox.policy.profile import Profile

MOST_IDLE = 8
_WHY = "the limits of the problem are given with each run"
# As wide as problems ask for; each Sandbox and each run is given the limits of its problem.
_WIDE = {
    "cpu": "2h",
    "wall": "4h",
    "memory": "64GiB",
    "pids": 4096,
    "cpu_quota": 0,
    "output": "1GiB",
    "scratch": "8GiB",
    "scratch_inodes": 200_000,
    "file_size": "8GiB",
    "open_files": 1024,
    "stack": "1GiB",
    "collect": "512MiB",
    "collect_files": 20_000,
}


def wide(profile: str, environment: Mapping[str, str] | None = None, mounts: Sequence[Mount] = ()) -> Profile:
    """A profile by name with limits that leave room for every problem. It is for `share`, which narrows them."""
    found = _wide(profile, json.dumps(dict(environment or {}), sort_keys=True), stamp())
    return found.with_mounts(list(mounts)) if mounts else found


def stamp() -> str:
    """Where profiles of the caller are looked up."""
    return f"{os.environ.get('XDG_CONFIG_HOME')}:{os.environ.get('HOME')}"


@functools.lru_cache(maxsize=64)
def _wide(profile: str, environment: str, _: str) -> Profile:
    data = {
        "extends": profile,
        "description": "A program of a problem",
        "limits": _WIDE,
        "environment": {"set": json.loads(environment)},
        "why": {**{f"limits.{name}": _WHY for name in _WIDE}, "environment.set": "what the language's tools need"},
    }
    return Profile.from_dict(data, name=f"grade-{profile}")


@dataclass(slots=True)
class _Shared:
    """A sandbox, what has to stay there as long as it lives, and how many use it."""

    sandbox: Sandbox
    holds: tuple[object, ...]
    users: int = 0


_lock = threading.Lock()
_all: OrderedDict[tuple[object, ...], _Shared] = OrderedDict()


@contextmanager
def share(
    profile: Profile,
    limits: Mapping[str, str | int],
    *,
    cpus: Sequence[int] = (),
    holds: Sequence[object] = (),
    allow_degraded: bool = False,
) -> Iterator[Sandbox]:
    """A warm Sandbox of this profile with these limits at most; any number of threads may hold it at once.

    Args:
        profile: of `wide`, with its mounts.
        limits: as for `Sandbox`.
        cpus: the cores that runs are bound to; empty for any.
        allow_degraded: accept weaker stand-ins where the host has no control groups.
        holds: kept as long as the Sandbox is (the entries of the store that it mounts).

    Raises SandboxError where the host cannot do it.
    """
    key = (profile.policy, tuple(sorted(limits.items())), tuple(cpus), allow_degraded, _identities(profile))
    with _lock:
        found = _all.get(key)
        if found is None:
            chosen = profile.tightened({"cgroup.cpus": tuple(cpus)}) if cpus else profile
            found = _all[key] = _Shared(Sandbox(chosen, limits=limits, allow_degraded=allow_degraded), tuple(holds))
        found.users += 1
        _all.move_to_end(key)
        surplus = _surplus(MOST_IDLE)
    for other in surplus:
        other.sandbox.close()
    try:
        yield found.sandbox
    finally:
        with _lock:
            found.users -= 1


def _identities(profile: Profile) -> tuple[tuple[int, int], ...]:
    """What is at the sources of mounts now: a launcher keeps what was there when it started."""
    out = []
    for mount in profile.policy.mounts:
        if mount.target in profile.granted:
            with suppress(OSError):
                found = os.stat(mount.source)
                out.append((found.st_dev, found.st_ino))
    return tuple(out)


def close() -> None:
    """End every launcher that nobody uses."""
    with _lock:
        surplus = _surplus(0)
    for other in surplus:
        other.sandbox.close()


def _surplus(kept: int) -> list[_Shared]:
    """Take out what is idle beyond `kept`. The lock is held."""
    idle = [key for key, item in _all.items() if item.users == 0]
    return [_all.pop(key) for key in idle[: max(0, len(idle) - kept)]]


def _after_fork() -> None:
    """In a forked child the launchers are the parent's."""
    global _lock
    _lock = threading.Lock()
    _all.clear()


atexit.register(close)
os.register_at_fork(after_in_child=_after_fork)
