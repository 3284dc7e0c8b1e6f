"""Idempotency keys: the same request with the same key is carried out once, and answered as often as it is asked.

Source: the IETF draft "The Idempotency-Key HTTP Header Field".
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

from sandbox.service.config import Config
from sandbox.service.failures import Rejected
from sandbox.service.kept import Kept

Key = tuple[str, str]
_ANOTHER = "this idempotency key was used for another request"


class Replays:
    """The keys of one service. It belongs to one loop."""

    def __init__(self, config: Config) -> None:
        self._ended: Kept[tuple[bytes, bytes]] = Kept(config.kept_results, config.kept_bytes, config.kept_seconds)
        self._live: dict[Key, tuple[bytes, asyncio.Future[bytes]]] = {}

    async def once(self, tenant: str, key: str | None, request: bytes, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """The answer of `make`, or the one that the same request had. Raises Rejected, and what `make` raises.

        Args:
            tenant: keys are its own.
            key: None: there is none, it is made in any case.
            request: all that makes this request the same as another.
            make: carries it out.
        """
        if key is None:
            return await make()
        where, digest = (tenant, key), hashlib.sha256(request).digest()
        known = self._ended.get(*where)
        if known is not None:
            return self._same(known[0], digest, known[1])
        live = self._live.get(where)
        if live is not None:
            self._same(live[0], digest, b"")
            return await self._join(live[1])
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._live[where] = (digest, answer)
        try:
            made = await make()
            self._ended.put(*where, (digest, made), len(made))
            answer.set_result(made)
            return made
        finally:
            del self._live[where]
            answer.cancel()  # unless it is there: whoever waits for it may try again

    @staticmethod
    def _same(known: bytes, digest: bytes, answer: bytes) -> bytes:
        if known != digest:
            raise Rejected(422, "idempotency_key_reused", _ANOTHER, hint="take a new key for each request")
        return answer

    @staticmethod
    async def _join(answer: asyncio.Future[bytes]) -> bytes:
        await asyncio.wait((answer,))
        if answer.cancelled():
            raise Rejected(503, "not_carried_out", "the request with this key was not carried out", headers={"Retry-After": "1"})
        return answer.result()
