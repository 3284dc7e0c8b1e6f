"""Warm sandboxes that are shared: one for each profile and set of limits, kept for the next run, the oldest idle one first out.

A launcher takes some tens of milliseconds to start, a run in it one or two. Cases of one program, and programs of one
problem, therefore take turns in the same few launchers; every run still has a fresh sandbox of its own. The program is what
changes: it lies in a place (`places`) that the launcher mounts, and is exchanged when nobody uses that launcher.
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
from sandbox.grader.places import Place
from sandbox.grader.store import Entry
from sandbox.model.errors import ResourceError
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
    """A sandbox, and how many use it.

    Attributes:
        key: what all that could serve instead of each other have in common.
        holds: what has to stay there as long as it lives.
        place: where its program is, when that can be exchanged.
        program: what is there now.
    """

    key: tuple[object, ...]
    sandbox: Sandbox
    holds: tuple[object, ...]
    place: Place | None = None
    program: Entry | None = None
    users: int = 0

    def put(self, program: Entry | None) -> None:
        """Exchange the program, while nobody uses it. Raises ResourceError."""
        if self.place is not None and program is not None and program != self.program:
            self.program = None
            self.place.fill(program.files)
            self.program = program

    def close(self) -> None:
        """End its launcher, then its place."""
        self.sandbox.close()
        if self.place is not None:
            self.place.close()


_lock = threading.Lock()
_all: OrderedDict[int, _Shared] = OrderedDict()  # the one used last at the end


@contextmanager
def share(
    profile: Profile,
    limits: Mapping[str, str | int],
    *,
    program: Entry | None = None,
    at: str = "",
    cpus: Sequence[int] = (),
    holds: Sequence[object] = (),
    allow_degraded: bool = False,
) -> Iterator[Sandbox]:
    """A warm Sandbox of this profile with these limits at most; any number of threads may hold it at once.

    Args:
        profile: of `wide`, with its mounts.
        limits: as for `Sandbox`.
        program: what is at `at` for all runs, as long as somebody holds the Sandbox; nothing is while there is no program yet.
        at: where the program is inside; empty when there is none.
        cpus: the cores that runs are bound to; empty for any.
        allow_degraded: accept weaker stand-ins where the host has no control groups.
        holds: kept as long as the Sandbox is (the entries of the store that it mounts).

    Raises SandboxError where the host cannot do it.
    """
    key = (profile.policy, tuple(sorted(limits.items())), at, tuple(cpus), allow_degraded, _identities(profile))
    with _lock:
        found = _fitting(key, program)
        surplus = []
        try:
            if found is not None:
                found.put(program)
        except ResourceError:  # somebody has removed its place: a new one is made
            surplus.append(_all.pop(id(found)))
            found = None
        if found is None:
            place = Place() if at else None
            mounts = [Mount(str(place.path), at, why="the built program")] if place is not None else []
            chosen = profile.with_mounts(mounts) if mounts else profile
            chosen = chosen.tightened({"cgroup.cpus": tuple(cpus)}) if cpus else chosen
            found = _Shared(key, Sandbox(chosen, limits=limits, allow_degraded=allow_degraded), tuple(holds), place)
            found.put(program)
            _all[id(found)] = found
        found.users += 1
        _all.move_to_end(id(found))
        surplus += _surplus(MOST_IDLE)
    for other in surplus:
        other.close()
    try:
        yield found.sandbox
    finally:
        with _lock:
            found.users -= 1


def _fitting(key: tuple[object, ...], program: Entry | None) -> _Shared | None:
    """One that has this program already, else one that nobody uses. The lock is held."""
    fitting = [item for item in _all.values() if item.key == key]
    mine = (item for item in fitting if item.place is None or (item.program is not None and item.program == program))
    return next(mine, None) or next((item for item in fitting if item.users == 0), None)


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
        other.close()


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
