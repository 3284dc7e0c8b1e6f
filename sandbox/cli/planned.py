"""Where the plan of a `sandbox run` comes from: made now, or taken from the cache."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import closing

from sandbox.model.plan import Plan
from sandbox.policy.plancache import Lookup
from sandbox.runtime import drivers, registry
from sandbox.runtime.active import Job
from sandbox.runtime.engine import Engine
from sandbox.runtime.handles import Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack
    from typing import Any

    from sandbox.api import Sandbox
    from sandbox.cli.running import Cached, Options
    from sandbox.model.policy import Policy
    from sandbox.runtime.keeper import Keeper


class Planning(ABC):
    """A policy, and the engine that is made of it when everything else of the command is known to be right.

    Attributes:
        policy: what holds; from the cache without rules and origins.
    """

    policy: Policy

    @abstractmethod
    def start(self, stack: ExitStack, argv: Sequence[str], **options: Any) -> Run:
        """Start a run, with the options of `Sandbox.start`; the launcher ends with the stack. Raises SandboxError."""

    @abstractmethod
    def keep(self) -> None:
        """The plan has served a run: the next command like this one may find it in the cache."""


class _Fresh(Planning):
    def __init__(self, options: Options) -> None:
        from sandbox.cli import values
        from sandbox.policy.profile import Profile

        self._options = options
        self._lookup = lookup(options)
        self._limits = values.pairs(options.limits, "--limit", "NAME=VALUE")
        overrides = values.pairs(options.overrides, "--set", "KEY=VALUE")
        mounts = [values.mount(item) for item in options.mounts]
        profile = Profile.load(options.profile)
        profile = profile.tightened(overrides) if overrides else profile
        self._profile = profile.with_mounts(mounts) if mounts else profile
        self.policy = self._profile.policy
        self._box: Sandbox | None = None

    def start(self, stack: ExitStack, argv: Sequence[str], **options: Any) -> Run:
        from sandbox.api import Sandbox

        allow = self._options.allow_degraded
        box = Sandbox(self._profile, limits=self._limits or None, allow_degraded=allow, max_concurrency=1, parked=0)
        self._box = stack.enter_context(box)
        return self._box.start(argv, **options)

    def keep(self) -> None:
        if self._box is None or not self._options.plan_cache or not self._lookup.enabled:
            return
        from sandbox.policy.profile import files_of

        box, files = self._box, files_of(self._options.profile)
        degraded = box._engine.base is None
        self._lookup.store(self.policy, box._limits, box._engine.plan, degraded=degraded, files=files)


class _Cached(Planning):
    def __init__(self, options: Options, cached: Cached) -> None:
        self._options = options
        self._cached = cached
        self.policy = cached.entry.policy
        self._limits = cached.entry.limits
        self._instead: _Fresh | None = None

    def start(self, stack: ExitStack, argv: Sequence[str], **options: Any) -> Run:
        entry = self._cached.entry
        keeper: Keeper | None = self._cached.keeper
        base = registry.base_for(self.policy, allow_degraded=self._options.allow_degraded)
        if (base is None) != entry.degraded:
            self._instead = _Fresh(self._options)
            return self._instead.start(stack, argv, **options)
        if base is not None and keeper is not None and base.command_prefix != keeper.prefix:  # a scope for each launcher
            keeper.discard()
            keeper = None
        engine = stack.enter_context(closing(Engine(self.policy, Plan.decode(entry.plan), base, 1, 0, started=keeper)))
        return Run(drivers.start(engine, Job(argv=argv, limits=self._limits, **options), None))

    def keep(self) -> None:
        if self._instead is not None:
            self._instead.keep()


def planning(options: Options, cached: Cached | None) -> Planning:
    """What the cache has, if it holds; else what the profile says now. Raises SandboxError."""
    if cached is not None and cached.entry.confirmed():
        try:
            return _Cached(options, cached)
        except (ValueError, TypeError, LookupError):
            pass  # an entry of another form
    return _Fresh(options)


def lookup(options: Options) -> Lookup:
    """What names the plan of these options."""
    return Lookup(options.profile, options.overrides, options.limits, options.mounts, allow_degraded=options.allow_degraded)
