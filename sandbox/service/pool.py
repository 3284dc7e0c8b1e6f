"""Warm sandboxes, one for each profile that is asked for. The least recently used idle one goes when there are too many."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sandbox.api import AsyncSandbox

_COUNTED = ("capacity", "busy", "waiting", "served", "launchers", "parked", "hits", "misses")


@dataclass(slots=True)
class _Shared:
    making: asyncio.Future[AsyncSandbox]
    users: int = 0


class Pool:
    """All warm sandboxes of one service. It belongs to one loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._all: OrderedDict[Hashable, _Shared] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def share(self, key: Hashable, make: Callable[[], AsyncSandbox]) -> AsyncIterator[AsyncSandbox]:
        """The sandbox of `key`, made in a thread when there is none. Raises what `make` raises."""
        shared = self._all.get(key)
        if shared is None:
            making = asyncio.get_running_loop().run_in_executor(None, make)
            shared = self._all[key] = _Shared(making)
        self._all.move_to_end(key)
        shared.users += 1
        try:
            try:
                box = shared.making.result() if shared.making.done() else await asyncio.shield(shared.making)
            except Exception:
                if self._all.get(key) is shared:  # the next one tries again
                    del self._all[key]
                raise
            yield box
        finally:
            shared.users -= 1
            self._trim()

    def stats(self) -> dict[str, int]:
        """What the sandboxes say of themselves, summed."""
        out = dict.fromkeys(_COUNTED, 0)
        for shared in self._all.values():
            if shared.making.done() and not shared.making.cancelled() and shared.making.exception() is None:
                for name, number in shared.making.result().stats().items():
                    out[name] = out.get(name, 0) + number
        return out

    async def close(self) -> None:
        """End every sandbox, and what runs in them."""
        self._most = 0
        for shared in self._all.values():
            shared.users = 0
        self._trim()
        while self._closing:
            await asyncio.wait(self._closing)

    def _trim(self) -> None:
        idle = [key for key, shared in self._all.items() if shared.users == 0]
        for key in idle[: max(0, len(self._all) - self._most)]:
            task = asyncio.ensure_future(_close(self._all.pop(key).making))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


async def _close(making: asyncio.Future[AsyncSandbox]) -> None:
    await asyncio.wait([making])
    if not making.cancelled() and making.exception() is None:
        await making.result().close()
