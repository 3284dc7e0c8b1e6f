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
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from sandbox.api import Sandbox
from sandbox.grader.places import Place
from sandbox.grader.store import Entry
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
        reserved: by how many it is kept, who do not use it yet.
    """

    key: tuple[object, ...]
    sandbox: Sandbox
    holds: tuple[object, ...]
    place: Place | None = None
    program: Entry | None = None
    users: int = 0
    reserved: int = 0

    def has(self, program: Entry | None) -> bool:
        """Whether this program is there."""
        return self.place is None or (program is not None and self.program == program and self.place.is_whole())

    def put(self, program: Entry | None) -> None:
        """Exchange the program, while nobody uses it. Raises ResourceError."""
        if self.place is not None and program is not None and not self.has(program):
            self.program = None
            self.place.fill(program.files)
            self.program = program

    def close(self) -> None:
        """End its launcher, then its place."""
        try:
            self.sandbox.close()
        finally:
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
        program: what is at `at` for all runs, as long as somebody holds the Sandbox. None: it is reserved for one who comes with
            a program, and has none yet.
        at: where the program is inside; empty when there is none.
        cpus: the cores that runs are bound to; empty for any.
        allow_degraded: accept weaker stand-ins where the host has no control groups.
        holds: kept as long as the Sandbox is (the entries of the store that it mounts).

    Raises SandboxError where the host cannot do it.
    """
    key = (profile.policy, tuple(sorted(limits.items())), at, tuple(cpus), allow_degraded, _identities(profile))

    def make(place: Place | None) -> _Shared:
        chosen = profile.with_mounts([Mount(str(place.path), at, why="the built program")]) if place is not None else profile
        chosen = chosen.tightened({"cgroup.cpus": tuple(cpus)}) if cpus else chosen
        return _Shared(key, Sandbox(chosen, limits=limits, allow_degraded=allow_degraded), tuple(holds), place)

    reserving = bool(at) and program is None
    surplus: list[_Shared] = []
    try:
        with _lock:
            found = _fitting(key, program, surplus)
            if found is None:
                found = make(Place() if at else None)
                _all[id(found)] = found
            found.put(program)
            found.users += not reserving
            found.reserved += reserving
            _all.move_to_end(id(found))
            surplus += _surplus(MOST_IDLE)
    finally:
        _close_all(surplus)
    try:
        yield found.sandbox
    finally:
        with _lock:
            found.users -= not reserving
            found.reserved -= reserving


def _fitting(key: tuple[object, ...], program: Entry | None, surplus: list[_Shared]) -> _Shared | None:
    """One that has this program already, else one that nobody uses. Those whose place was removed go. The lock is held."""
    fitting = [item for item in _all.values() if item.key == key]
    found = next((item for item in fitting if item.has(program)), None)
    idle = [item for item in fitting if item.users == 0]
    surplus += [_all.pop(id(item)) for item in idle if item.place is not None and not item.place.is_there()]
    # What is reserved waits for somebody with a program, and is not reserved twice where there is another.
    usable = [item for item in idle if id(item) in _all]
    return found or min(usable, key=lambda item: item.reserved if program is None else -item.reserved, default=None)


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
    _close_all(surplus)


def _close_all(surplus: list[_Shared]) -> None:
    with ExitStack() as stack:
        for other in surplus:
            stack.callback(other.close)


def _surplus(kept: int) -> list[_Shared]:
    """Take out what is idle beyond `kept`. The lock is held."""
    idle = [key for key, item in _all.items() if not item.users and not item.reserved]
    return [_all.pop(key) for key in idle[: max(0, len(idle) - kept)]]


def _after_fork() -> None:
    """In a forked child the launchers are the parent's."""
    global _lock
    _lock = threading.Lock()
    _all.clear()


atexit.register(close)
os.register_at_fork(after_in_child=_after_fork)
