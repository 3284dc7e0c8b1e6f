"""Engines by policy: compiling a profile once, keeping launchers warm, ending them with the process."""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Callable

from sandbox.model.errors import CgroupError, SandboxError, UnsupportedHostError
from sandbox.model.limits import Limits
from sandbox.model.policy import Policy, SeccompRule
from sandbox.resources.cgroups import look_for_base, none_found
from sandbox.resources.groups import Base
from sandbox.runtime.engine import Engine
from sandbox.runtime.report import degraded
from sandbox.runtime.slots import default_capacity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


MAX_WARM = 8

_lock = threading.Lock()
_base: Base | None = None
_base_error: Exception | None = None
_base_known = False


def make_engine(
    policy: Policy,
    *,
    allow_degraded: bool,
    capacity: int | None,
    parked: int | None = None,
    limits: Limits | None = None,
    launchers: int | None = None,
) -> Engine:
    """Plan the policy for this host. Raises UnsupportedHostError where a control is missing and not given up."""
    from sandbox.host.facts import gather
    from sandbox.policy.plan import build_plan
    from sandbox.policy.seccomp.compile import compile_policy

    facts = gather()
    base = base_for(policy, allow_degraded=allow_degraded)
    if base is None:
        policy = without_uncounted_memory(policy)
    plan = build_plan(policy, facts, compile_policy(policy.seccomp, facts.arch))
    return Engine(policy, plan, base, capacity or default_capacity(), parked, limits, launchers=launchers)


def without_uncounted_memory(policy: Policy) -> Policy:
    """Without control groups nobody counts memory that no process maps: it cannot be made then."""
    import dataclasses

    rule = SeccompRule(
        syscalls=("memfd_create", "shmget", "msgget", "semget"),
        action="errno",
        errno=errno.ENOSYS,
        args=(),
        group="degraded",
        why="memory that no process maps is counted by control groups only",
    )
    seccomp = dataclasses.replace(policy.seccomp, rules=(*policy.seccomp.rules, rule))
    return dataclasses.replace(policy, seccomp=seccomp)


def base_for(policy: Policy, *, allow_degraded: bool) -> Base | None:
    """Where the groups of this policy go; None in degraded mode. Raises UnsupportedHostError, CgroupError."""
    global _base, _base_error, _base_known
    with _lock:
        if not _base_known:
            try:
                _base = look_for_base()
            except CgroupError as error:
                _base_error = error
            _base_known = True
    may_degrade = allow_degraded or policy.cgroup.requirement == "best_effort"
    if _base is None:
        if may_degrade:
            return None
        raise none_found() if _base_error is None else _base_error
    missing = degraded(policy, _base)
    if missing and not may_degrade:
        raise UnsupportedHostError(
            f"cgroup.{missing[0].control}",
            f"the profile limits {missing[0].control}, but {missing[0].consequence}",
            "delegate the controller (see `sandbox doctor`), or allow weaker controls with allow_degraded",
        )
    return _base


class Registry:
    """At most MAX_WARM engines that nobody owns, least recently used first out."""

    def __init__(self) -> None:
        self.forget()

    def take(self, key: Any, make: Callable[[], Engine]) -> Engine:
        """The engine of `key`, made when there is none. It is not closed before `give_back`."""
        engine = self._find(key)
        if engine is None:
            with self._making:  # compiling takes a while, and the ends of other runs must not wait for it
                engine = self._find(key) or self._add(key, make())
        return engine

    def _find(self, key: Any) -> Engine | None:
        with self._lock:
            engine = self._engines.get(key)
            if engine is not None:
                engine.users += 1
                self._engines.move_to_end(key)
            return engine

    def _add(self, key: Any, engine: Engine) -> Engine:
        with self._lock:
            self._engines[key] = engine
            engine.users += 1
            idle = [name for name, other in self._engines.items() if other.users == 0]
            surplus = [self._engines.pop(name) for name in idle[: max(0, len(self._engines) - MAX_WARM)]]
        for other in surplus:
            with contextlib.suppress(SandboxError):  # what is left of its groups is found by the next caller
                other.close()
        return engine

    def give_back(self, engine: Engine) -> None:
        """The end of a use that began with `take`."""
        with self._lock:
            engine.users -= 1

    def close(self) -> None:
        """End every launcher."""
        with self._lock:
            engines = list(self._engines.values())
            self._engines.clear()
        for engine in engines:
            engine.close()

    def forget(self) -> None:
        """In a forked child: start anew; the launchers belong to the parent."""
        self._engines: OrderedDict[Any, Engine] = OrderedDict()
        self._lock = threading.RLock()
        self._making = threading.RLock()


shared = Registry()
atexit.register(shared.close)


def _after_fork() -> None:
    global _lock, _base, _base_error, _base_known
    _lock = threading.Lock()
    _base, _base_error, _base_known = None, None, False
    shared.forget()


os.register_at_fork(after_in_child=_after_fork)
