"""Where the plan of a `sandbox run` comes from: made now, or taken from the cache."""

from __future__ import annotations

from sandbox.policy.plancache import Lookup
from sandbox.runtime import registry
from sandbox.runtime.engine import Engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandbox.cli.running import Cached, Options
    from sandbox.model.limits import Limits
    from sandbox.model.policy import Policy


class Planning:
    """A policy, and the engine that is made of it when everything else of the command is known to be right.

    Attributes:
        policy: what holds; from the cache without rules and origins.
        limits: those of this run, None for the policy's.
    """

    policy: Policy
    limits: Limits | None

    def engine(self) -> Engine:
        """An engine for one run at a time. Raises SandboxError."""
        raise NotImplementedError

    def keep(self) -> None:
        """The plan has served a run: the next command like this one may find it in the cache."""


class _Fresh(Planning):
    def __init__(self, options: Options, limits: Mapping[str, str], overrides: Mapping[str, str]) -> None:
        from sandbox.cli import values
        from sandbox.policy.profile import Profile

        self._options = options
        self._lookup = lookup(options) if options.plan_cache else None
        mounts = [values.mount(item) for item in options.mounts]
        profile = Profile.load(options.profile)
        profile = profile.tightened(overrides) if overrides else profile
        self._profile = profile.with_mounts(mounts) if mounts else profile
        self._wanted = limits
        self.policy = self._profile.policy
        self.limits = None
        self._engine: Engine | None = None

    def engine(self) -> Engine:
        if self._wanted:
            self.limits = self._profile.tightened_limits(self._wanted)
        allow = self._options.allow_degraded
        self._engine = registry.make_engine(self.policy, allow_degraded=allow, capacity=1, parked=0)
        return self._engine

    def keep(self) -> None:
        if self._lookup is None or self._engine is None:
            return
        from sandbox.policy import profile

        files = profile.files_of(self._options.profile)
        engine = self._engine
        self._lookup.store(self.policy, self.limits, engine.plan, degraded=engine.base is None, files=files)


class _Cached(Planning):
    def __init__(self, options: Options, cached: Cached) -> None:
        self._options = options
        self._cached = cached
        self.policy = cached.entry.policy
        self.limits = cached.entry.limits
        self._instead: _Fresh | None = None

    def engine(self) -> Engine:
        entry, keeper = self._cached.entry, self._cached.keeper
        base = registry.base_for(self.policy, allow_degraded=self._options.allow_degraded)
        if (base is None) != entry.degraded:
            self._instead = _fresh(self._options)
            engine = self._instead.engine()
            self.limits = self._instead.limits
            return engine
        from sandbox.model.plan import Plan

        if keeper is not None and base is not None and base.command_prefix != keeper.prefix:
            keeper = None
        return Engine(self.policy, Plan.decode(entry.plan), base, 1, 0, keeper)

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
    return _fresh(options)


def _fresh(options: Options) -> _Fresh:
    from sandbox.cli import values

    limits = values.pairs(options.limits, "--limit", "NAME=VALUE")
    return _Fresh(options, limits, values.pairs(options.overrides, "--set", "KEY=VALUE"))


def lookup(options: Options) -> Lookup:
    """What names the plan of these options."""
    return Lookup(options.profile, options.overrides, options.limits, options.mounts, allow_degraded=options.allow_degraded)
