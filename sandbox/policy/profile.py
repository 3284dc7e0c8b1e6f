"""`Profile`: a profile as callers hold it. Immutable; every change gives a new one."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from sandbox.model.errors import PolicyError, RequestError
from sandbox.model.limits import Limits
from sandbox.model.policy import Mount, Policy
from sandbox.policy.origins import OVERRIDE

if TYPE_CHECKING:
    from sandbox.policy.load import Layer


@dataclasses.dataclass(frozen=True, slots=True)
class Profile:
    """A resolved profile, perhaps tightened and with further mounts.

    Attributes:
        policy: what is enforced.
        granted: targets of mounts that the caller added.
    """

    policy: Policy
    granted: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the profile file."""
        return self.policy.name

    @classmethod
    def load(cls, name: str) -> Self:
        """A profile by name (the caller's own, the machine's, then the shipped ones) or by path. Raises ProfileError."""
        from sandbox.policy import load  # pydantic costs 130 ms

        if not isinstance(name, str):
            raise RequestError(f"a profile is named by a str, not {type(name).__name__}")
        key = _key(name)
        stamped = _loaded.get(key)
        if stamped is not None and _stamps(tuple(stamped[0])) == stamped[0]:
            return cls(stamped[1])
        layers = load.load_chain(name)
        profile = cls._of(layers)
        places = tuple(map(str, load.search_path()))  # a new file there may take a name over
        _loaded[key] = (_stamps((*load.sources(layers), *places)), profile.policy)
        return profile

    @classmethod
    def parse(cls, text: str, name: str = "text") -> Self:
        """A profile from TOML text. Raises ProfileError."""
        from sandbox.policy import load

        return cls._of(load.parse_chain(text, name))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], name: str = "dict") -> Self:
        """A profile from data in the form of the file. Raises ProfileError."""
        from sandbox.policy import load

        return cls._of(load.dict_chain(data, name))

    @classmethod
    def _of(cls, layers: Sequence[Layer]) -> Self:
        from sandbox.policy.resolve import resolve

        return cls(resolve(layers))

    def tightened(self, overrides: Mapping[str, object] | None = None, /, **named: object) -> Self:
        """A tighter profile: `tightened(memory="64MiB", network="none")` or `tightened({"limits.memory": "64MiB"})`.

        Raises PolicyError when something would be looser.
        """
        from sandbox.policy.tighten import full_key, tighten

        changes = {**(overrides or {}), **named}
        origins = {**self.policy.origins, **{full_key(key): OVERRIDE for key in changes}}
        return dataclasses.replace(self, policy=dataclasses.replace(tighten(self.policy, changes), origins=origins))

    def tightened_limits(self, limits: Mapping[str, Any] | Limits, base: Limits | None = None) -> Limits:
        """The limits of one run, nowhere above those of the profile (or `base`). Raises PolicyError."""
        from sandbox.policy.tighten import check_limits, tighten_limits

        outer = base or self.policy.limits
        whose = "the profile's" if base is None else "the Sandbox's"
        if isinstance(limits, Limits):
            return check_limits(outer, limits, whose)
        if not isinstance(limits, Mapping):
            raise PolicyError(
                f"limits must be a mapping such as {{'memory': '64MiB'}}, not {type(limits).__name__}", path="limits"
            )
        return tighten_limits(outer, limits, whose)

    def with_mounts(self, mounts: Sequence[Mount | str]) -> Self:
        """The profile with further mounts, which the caller grants on his own word, also as "SRC[:DST][:ro|rw][,noexec]".

        A mount with a target that is there replaces it. Raises RequestError.
        """
        from sandbox.policy.mounts import FORM, checked

        if isinstance(mounts, str | Mount):
            raise RequestError(f"mounts must be a list, not one {type(mounts).__name__}", hint=f'such as ["{FORM}"]')
        granted = {mount.target: mount for mount in map(checked, mounts)}
        kept = tuple(item for item in self.policy.mounts if item.target not in granted)
        origins = {**self.policy.origins, **{f"mounts[{target}]": OVERRIDE for target in granted}}
        return dataclasses.replace(
            self,
            policy=dataclasses.replace(self.policy, mounts=(*kept, *granted.values()), origins=origins),
            granted=tuple(sorted({*self.granted, *granted})),
        )


def files_of(name: str) -> tuple[str, ...]:
    """The files that the profile of this name was read from, when `Profile.load` has read it."""
    from sandbox.policy import load

    stamps = _loaded[_key(name)][0]
    return tuple(file for file in stamps if file not in map(str, load.search_path()))


def _key(name: str) -> object:
    """What decides, with the files themselves, which files a name means."""
    return (name, os.environ.get("XDG_CONFIG_HOME"), os.environ.get("HOME"), os.getcwd() if "/" in name else "")


_loaded: dict[object, tuple[dict[str, tuple[int, ...]], Policy]] = {}


def _stamps(files: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """What would change if one of these files was written or replaced."""
    stamps: dict[str, tuple[int, ...]] = {}
    for file in files:
        try:
            found = os.stat(file)
        except OSError:
            stamps[file] = ()
        else:
            stamps[file] = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
    return stamps


def available() -> dict[str, str]:
    """Every profile that can be named: name → path of its file."""
    from sandbox.policy import load

    return {name: str(path) for name, path in load.available().items()}
