"""Runs by their ids: those under way, and for a while the answers of those that ended. Ids are private to a tenant."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from sandbox.service.config import Config
from sandbox.service.kept import Kept
from sandbox.service.live import Handle

Key = tuple[str, str]


class Runs:
    """The register of one service. It belongs to one loop."""

    def __init__(self, config: Config) -> None:
        self._live: dict[Key, Handle] = {}
        self._ended: Kept[bytes] = Kept(config.kept_results, config.kept_bytes, config.kept_seconds)

    @contextmanager
    def run(self, tenant: str, wanted: str, handle: Handle) -> Iterator[str]:
        """Within the block a run is under way. Gives its id: the wanted one, unless another run has it."""
        taken = (tenant, wanted) in self._live or self._ended.get(tenant, wanted) is not None
        identifier = secrets.token_hex(8) if taken or not wanted else wanted
        key = (tenant, identifier)
        self._live[key] = handle
        try:
            yield identifier
        finally:
            del self._live[key]

    def ended(self, tenant: str, identifier: str, answer: bytes) -> None:
        """Keep the answer, as it was sent."""
        self._ended.put(tenant, identifier, answer, len(answer))

    def live(self, tenant: str, identifier: str) -> Handle | None:
        """Control of a run that is under way."""
        return self._live.get((tenant, identifier))

    def answer(self, tenant: str, identifier: str) -> bytes | None:
        """The answer of a run that ended."""
        return self._ended.get(tenant, identifier)

    def forget(self, tenant: str, identifier: str) -> None:
        """Keep the answer no longer."""
        self._ended.drop(tenant, identifier)
