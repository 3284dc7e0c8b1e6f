"""What a run says while it goes on, on its way to a client: a bounded outbox, and server-sent events from it.

Who reads slower than the program writes is helped out by the outbox up to its size; then the run is ended. Nothing else is held.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from sandbox.service import failures
from sandbox.service.ask import Event
from sandbox.service.failures import Rejected
from sandbox.service.v1_models import dump, piece

KEEP_ALIVE_S = 15.0
_OVERHEAD = 200  # what one message costs beside its bytes
Message = tuple[str, dict[str, Any] | bytes]


class Outbox:
    """Messages that a client has not taken yet: (kind, content). A content of bytes is JSON already.

    Args:
        most: bytes that may be held.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._all: deque[tuple[Message, int]] = deque()
        self._there = asyncio.Event()

    def tell(self, event: Event) -> None:
        """Put in what happens in a run. Raises Rejected, which ends the run, when the client has left too much unread."""
        if event.kind == "stage":
            self.put("stage", {"stage": event.stage})
        elif event.kind in ("stdout", "stderr"):
            self.put(event.kind, {"stage": event.stage, **piece(event.data)}, len(event.data))

    def put(self, kind: str, content: dict[str, Any] | bytes, size: int = 0, *, last: bool = False) -> None:
        """One more message; the last one always has room. Raises Rejected."""
        size += _OVERHEAD
        if not last and self._held + size > self._most:
            raise Rejected(400, "too_slow", f"more than {self._most} bytes of output were not read by the client")
        self._all.append(((kind, content), size))
        self._held += size
        self._there.set()

    async def get(self, seconds: float | None = None) -> Message | None:
        """The next message; None when none comes in time."""
        try:
            async with asyncio.timeout(seconds):
                while not self._all:
                    self._there.clear()
                    await self._there.wait()
        except TimeoutError:
            return None
        message, size = self._all.popleft()
        self._held -= size
        return message


class Streamed:
    """Work whose messages are sent as they come. The last message is "result" or "error".

    Args:
        outbox: where the work puts its messages.
        work: gives the result as JSON.
        request_id: for errors.
    """

    def __init__(self, outbox: Outbox, work: Awaitable[bytes], request_id: str) -> None:
        self._outbox = outbox
        self._request_id = request_id
        self.error: BaseException | None = None
        self.task: asyncio.Task[None] = asyncio.ensure_future(self._work(work))

    async def _work(self, work: Awaitable[bytes]) -> None:
        try:
            self._outbox.put("result", await work, last=True)
        except Exception as error:  # noqa: BLE001 - the client is told
            self.error = error
            self._outbox.put("error", failures.of(error).to_dict(self._request_id), last=True)

    async def first(self) -> Message:
        """The first message. Raises what the work raised, when it did before it said anything."""
        message = await self._outbox.get()
        if message is None or (message[0] == "error" and self.error is not None):
            raise self.error or RuntimeError("no message came")
        return message

    async def messages(self) -> AsyncIterator[Message | None]:
        """Every further message; None when there was none for a while."""
        while True:
            message = await self._outbox.get(KEEP_ALIVE_S)
            yield message
            if message is not None and message[0] in ("result", "error"):
                return

    async def stop(self) -> None:
        """End the work, if it goes on."""
        self.task.cancel()
        await asyncio.wait((self.task,))


class EventStream(StreamingResponse):
    """Server-sent events. When nobody takes them any more, the work is ended, whether or not the first one was sent."""

    def __init__(self, streamed: Streamed, first: Message) -> None:
        super().__init__(_events(streamed, first), media_type="text/event-stream")
        self._streamed = streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As of every response."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._streamed.stop()


async def _events(streamed: Streamed, first: Message) -> AsyncIterator[bytes]:
    yield _event(first)
    if first[0] not in ("result", "error"):
        async for message in streamed.messages():
            yield _event(message)


def _event(message: Message | None) -> bytes:
    if message is None:
        return b": nothing new\n\n"
    kind, content = message
    data = content if isinstance(content, bytes) else dump(content)
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"
