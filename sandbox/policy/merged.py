"""What a chain of layers says, key by key: the last layer that says a key wins, and every key knows where it was said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sandbox.model.errors import ProfileError
from sandbox.model.policy import Origin
from sandbox.policy.lines import line_of
from sandbox.policy.load import Layer

_SECTIONS = (
    "identity namespaces rootfs scratch work dev paths capabilities seccomp landlock limits cgroup network environment process"
    " warm"
).split()


class Merged:
    """The values of a chain.

    Attributes:
        layers: the most basic first; the depth of a layer is its place here.
        origins: key → where it was said. A mount is "mounts[/target]", a covered path "paths.masked[/path]".
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = layers
        self.origins: dict[str, Origin] = {}
        self._values: dict[str, Any] = {}
        self._depths: dict[str, int] = {}
        for depth, layer in enumerate(layers):
            for key, value, path in _leaves(layer):
                self._values[key] = value
                self._depths[key] = depth
                self.origins[key] = Origin(file=layer.file, line=line_of(path, layer.lines))

    def get(self, key: str) -> Any:
        """The value, None where nobody says one."""
        return self._values.get(key)

    def value(self, key: str) -> Any:
        """The value. Raises ProfileError where nobody says one."""
        if key not in self._values:
            raise ProfileError("is said nowhere in the chain of extends", file=self.layers[-1].file, path=key)
        return self._values[key]

    def depth(self, key: str) -> int:
        """The depth of the layer whose word holds; -1 where nobody says one."""
        return self._depths.get(key, -1)

    def latest(self, *keys: str) -> str:
        """The key that was said in the latest layer: that one is to blame for a contradiction. Of equals the first."""
        return max(keys, key=self.depth)

    def wrong(self, key: str, message: str, hint: str = "") -> ProfileError:
        """The error at the place where the key was said."""
        origin = self.origins.get(key, Origin(file=self.layers[-1].file, line=0))
        path = key.partition("[")[0] if key.startswith("paths.") else key
        return ProfileError(message, file=origin.file, line=origin.line, path=path, hint=hint)


def wrong_in(layer: Layer, path: str, message: str, hint: str = "") -> ProfileError:
    """The error at a place of one layer, such as "mounts[0].source"."""
    return ProfileError(message, file=layer.file, line=line_of(path, layer.lines), path=path, hint=hint)


def _leaves(layer: Layer) -> Iterator[tuple[str, Any, str]]:
    """(key, value, path of its line)."""
    for section in _SECTIONS:
        for name, value in getattr(layer.content, section):
            if value is not None:
                yield f"{section}.{name}", value, f"{section}.{name}"
    for key in ("masked", "readonly"):
        for path in getattr(layer.content.paths, key) or ():
            yield f"paths.{key}[{path}]", path, f"paths.{key}"
    for number, mount in enumerate(layer.content.mounts):
        yield f"mounts[{mount.target or mount.source}]", mount, f"mounts[{number}]"
