"""Whose turn it is: so many runs at once, a bounded queue, and tenants served in turn however much one of them asks for.

When the queue is full, whoever has most in it gives way: its newest request is refused, and the newcomer waits in its place.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Literal

from sandbox.model.errors import SandboxError
from sandbox.service.config import Config
from sandbox.service.tenant import Tenant

# Of this task: what it does was promised to a client before, so that it has its turn though the server is stopping.
_promised: ContextVar[bool] = ContextVar("promised", default=False)
Reason = Literal["queue_full", "queue_timeout", "tenant_busy", "draining"]
_FIRST_GUESS_S = 1.0
_LONGEST_RETRY_S = 120
_HOLD_S = 1.0


class Refused(SandboxError):
    """Not now. Nothing was started.

    Attributes:
        status: 429 when this tenant has too much under way, 503 when everybody has.
        retry_after: whole seconds after which it is worth trying again.
        depth: requests that wait.
        reason: for figures.
    """

    blame = "host"
    retryable = True

    def __init__(self, message: str, *, status: int, retry_after: int, depth: int, reason: Reason) -> None:
        super().__init__(message, hint=f"try again in {retry_after} s")
        self.status = status
        self.retry_after = retry_after
        self.depth = depth
        self.reason: Reason = reason


class _Waiter:
    __slots__ = ("holds_until", "most", "name", "turn", "turns")

    def __init__(self, name: str, turns: int, most: int, turn: asyncio.Future[None]) -> None:
        self.name = name
        self.turns = turns
        self.most = most
        self.turn = turn
        self.holds_until = 0.0  # one that needs several keeps others from passing, for a moment


class Admission:
    """Turns for runs. All of it belongs to one loop.

    Attributes:
        draining: nothing new is accepted.
        closed: nothing is started any more, whatever was promised.
        promises: those that are still to be kept.
    """

    def __init__(self, config: Config, *, on_depth: Callable[[int], object] = lambda _: None) -> None:
        self._config = config
        self._on_depth = on_depth
        self._running: dict[str, int] = {}
        self._queues: OrderedDict[str, deque[_Waiter]] = OrderedDict()  # in the order in which tenants have their turn
        self._busy = 0
        self._depth = 0
        self._mean_s = _FIRST_GUESS_S
        self._idle = asyncio.Event()
        self._idle.set()
        self.draining = False
        self.closed = False
        self.promises = 0

    @property
    def depth(self) -> int:
        """Requests that wait."""
        return self._depth

    @property
    def running(self) -> int:
        """Runs under way."""
        return self._busy

    @asynccontextmanager
    async def admit(self, tenant: Tenant, turns: int = 1) -> AsyncIterator[float]:
        """Wait for a turn, and have it within the block. Gives the seconds that it took. Raises Refused.

        Several turns come together: who had some and waited for the others would keep those from everybody.
        """
        asked = time.monotonic()
        await self._turn(tenant, turns)
        began = time.monotonic()
        try:
            yield began - asked
        finally:
            self._mean_s += 0.1 * (time.monotonic() - began - self._mean_s)
            self._give_back(tenant.name, turns)

    @contextmanager
    def promise(self) -> Iterator[None]:
        """What this task does within the block was accepted before: it has its turn, and a stop waits for it."""
        self.promises += 1
        self._idle.clear()
        token = _promised.set(True)
        try:
            yield
        finally:
            _promised.reset(token)
            self.promises -= 1
            self._tell_idle()

    async def drained(self) -> None:
        """Accept nothing more, and wait until what was accepted has ended."""
        self.draining = True
        while self._busy or self._depth or self.promises:  # what has ended may have been one step of what was promised
            self._idle.clear()
            await self._idle.wait()

    def close(self) -> None:
        """Nothing more is started: who waits is refused."""
        self.draining = self.closed = True
        for queue in list(self._queues.values()):
            for waiter in list(queue):
                self._leave(waiter)
                if not waiter.turn.done():
                    waiter.turn.set_exception(self._refused("the server is stopping", 503, "draining"))

    def most_at_once(self, tenant: Tenant) -> int:
        """Turns that one tenant can have at one time."""
        return min(self._config.max_concurrency, tenant.concurrency or self._config.tenant_concurrency)

    async def _turn(self, tenant: Tenant, turns: int) -> None:
        name, most = tenant.name, self.most_at_once(tenant)
        if self.closed or (self.draining and not _promised.get()):
            raise self._refused("the server is stopping", 503, "draining")
        if not self._depth and self._fits(turns) and self._running.get(name, 0) + turns <= most:
            self._take(name, turns)
            return
        if self._depth >= self._config.max_queue:
            self._make_room(name)
        waiter = _Waiter(name, turns, most, asyncio.get_running_loop().create_future())
        self._join(waiter)
        self._serve()
        try:
            async with asyncio.timeout(self._config.queue_seconds):
                await waiter.turn
        except BaseException as error:
            if waiter.turn.done() and not waiter.turn.cancelled() and waiter.turn.exception() is None:
                self._give_back(name, turns)  # it came, but too late
            else:
                self._leave(waiter)
                self._serve()  # it may have stood in the way of others
                self._tell_idle()
            if isinstance(error, TimeoutError):
                raise self._refused(
                    f"no turn came within {self._config.queue_seconds:g} s", self._whose(waiter), "queue_timeout"
                ) from None
            raise

    def _fits(self, turns: int) -> bool:
        return self._busy + turns <= self._config.max_concurrency

    def _may(self, waiter: _Waiter) -> bool:
        """Whether nothing but others stands in its way."""
        return self._running.get(waiter.name, 0) + waiter.turns <= waiter.most

    def _whose(self, waiter: _Waiter) -> int:
        """429 where the tenant waits for itself, 503 where it waits for others."""
        return 503 if self._may(waiter) else 429

    def _make_room(self, name: str) -> None:
        """Let the tenant with most in the queue give way, if that is another one. Raises Refused."""
        longest = max(self._queues, key=lambda other: len(self._queues[other]), default=name)
        mine = len(self._queues.get(name, ()))
        if longest == name or len(self._queues[longest]) <= mine + 1:
            status, reason = (429, "tenant_busy") if mine and len(self._queues) > 1 else (503, "queue_full")
            raise self._refused(f"{self._depth} requests wait already", status, reason)  # type: ignore[arg-type]
        victim = self._queues[longest][-1]
        self._leave(victim)
        if not victim.turn.done():  # it may have gone in this very moment
            victim.turn.set_exception(self._refused("other callers need the place in the queue", 429, "tenant_busy"))

    def _join(self, waiter: _Waiter) -> None:
        self._queues.setdefault(waiter.name, deque()).append(waiter)
        self._count(+1)

    def _leave(self, waiter: _Waiter) -> None:
        queue = self._queues.get(waiter.name)
        if queue is None or waiter not in queue:
            return
        queue.remove(waiter)
        if not queue:
            del self._queues[waiter.name]
        self._count(-1)

    def _count(self, change: int) -> None:
        self._depth += change
        self._on_depth(self._depth)

    def _serve(self) -> None:
        """Give turns: to each tenant one, then to each the next."""
        while not self.closed and (chosen := self._next()) is not None:
            self._leave(chosen)
            if chosen.name in self._queues:
                self._queues.move_to_end(chosen.name)
            if not chosen.turn.done():
                self._take(chosen.name, chosen.turns)
                chosen.turn.set_result(None)

    def _next(self) -> _Waiter | None:
        """Whose turn it is; None when nobody's is now.

        Who needs several turns is passed by nobody for a moment, so that they can come together, and then by all who need fewer.
        """
        for queue in self._queues.values():
            waiter = queue[0]
            if not self._may(waiter):
                continue
            if self._fits(waiter.turns):
                return waiter
            loop = asyncio.get_running_loop()
            if not waiter.holds_until:
                waiter.holds_until = loop.time() + _HOLD_S
                loop.call_at(waiter.holds_until, self._serve)
            if loop.time() < waiter.holds_until:
                return None
        return None

    def _take(self, name: str, turns: int) -> None:
        self._busy += turns
        self._running[name] = self._running.get(name, 0) + turns
        self._idle.clear()

    def _give_back(self, name: str, turns: int) -> None:
        self._busy -= turns
        self._running[name] -= turns
        if not self._running[name]:
            del self._running[name]
        self._serve()
        self._tell_idle()

    def _tell_idle(self) -> None:
        if not (self._busy or self._depth or self.promises):
            self._idle.set()

    def _refused(self, message: str, status: int, reason: Reason) -> Refused:
        seconds = self._mean_s * (self._depth + 1) / self._config.max_concurrency
        return Refused(
            message,
            status=status,
            retry_after=min(_LONGEST_RETRY_S, max(1, math.ceil(seconds))),
            depth=self._depth,
            reason=reason,
        )
