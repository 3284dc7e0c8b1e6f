"""`AsyncSandbox` over HTTP for asyncio, and `AsyncRun`: one run in flight."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import httpx

from sandbox.client import body, calls, messages, retries, sockets
from sandbox.client.errors import RemoteCapacityError
from sandbox.client.results import Answer, Language, answer_from, language_from, rows_of, run_of
from sandbox.model.errors import RequestError

if TYPE_CHECKING:
    import ssl
    from typing import Unpack

    from websockets.asyncio.client import ClientConnection

    from sandbox.api import AnyLimits, RunOptions
    from sandbox.model.result import RunResult
    from sandbox.runtime.handles import Chunk
    from sandbox.runtime.mapping import AnyRequest, MapItem

__all__ = ["AsyncRun", "AsyncSandbox"]


class AsyncSandbox:
    """The asyncio twin of `Sandbox`, with the same arguments; `transport` is an asynchronous one of httpx."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        profile: str = "",
        limits: AnyLimits = None,
        max_concurrency: int = 8,
        timeout: float = 300.0,
        retry: retries.Retries | None = None,
        verify: bool | ssl.SSLContext = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if max_concurrency < 1:
            raise RequestError(f"max_concurrency must be at least 1, not {max_concurrency}")
        self.url = calls.address(url)
        self._head = calls.head(token)
        self._fixed = {"profile": profile} if profile else {}
        self._limits = limits
        self._most = max_concurrency
        self._timeout = timeout
        self._retry = retry or retries.Retries()
        self._verify = verify
        self._sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
        self._http = httpx.AsyncClient(
            headers=self._head, timeout=httpx.Timeout(timeout, connect=10.0), verify=verify, transport=transport
        )

    async def run(self, argv: Sequence[body.Word], **options: Unpack[RunOptions]) -> RunResult:
        """As `Sandbox.run`. A canceled task cancels the run."""
        travels, live, timeout = calls.split(options)
        said = body.run(argv, {**travels, **self._fixed}, self._limits)
        return run_of(await self._answer(said, travels, live, timeout))

    async def execute(
        self,
        language: str,
        sources: body.Sources,
        *,
        args: Sequence[body.Word] = (),
        version: str = "",
        **options: Unpack[RunOptions],
    ) -> Answer:
        """As `Sandbox.execute`."""
        travels, live, timeout = calls.split(options)
        said = body.program(language, sources, args, version, {**travels, **self._fixed}, self._limits)
        return await self._answer(said, travels, live, timeout)

    async def start(self, argv: Sequence[body.Word], **options: Unpack[RunOptions]) -> AsyncRun:
        """Launch, and return as soon as it runs. Iterate over the handle for the output as it comes."""
        travels, live, timeout = calls.split(options)
        return await self._start(body.run(argv, {**travels, **self._fixed}, self._limits), travels, live, timeout)

    def map(
        self, requests: Iterable[AnyRequest] | AsyncIterable[AnyRequest], *, concurrency: int | None = None
    ) -> AsyncIterator[MapItem]:
        """As `AsyncSandbox.map` of the local API."""
        from sandbox.runtime import mapping

        async def one(request: AnyRequest) -> RunResult:
            argv, options = mapping.parts(request)
            return await self.run(argv, **options)

        return mapping.serve_async(one, requests, mapping.width(concurrency, self._most))

    async def languages(self) -> list[Language]:
        """As `Sandbox.languages`."""
        said = await self._call("GET", "/v1/languages")
        return calls.made(lambda value: [language_from(row) for row in rows_of(value, "languages")], said)

    async def profiles(self) -> list[dict[str, Any]]:
        """As `Sandbox.profiles`."""
        said = await self._call("GET", "/v1/profiles")
        return calls.made(lambda value: [dict(row) for row in rows_of(value, "profiles")], said)

    async def grade(self, language: str, sources: body.Sources, **terms: Any) -> dict[str, Any]:
        """As `Sandbox.grade`."""
        said = body.submission(language, sources, terms)
        report: dict[str, Any] = calls.made(dict, await self._call("POST", "/v1/grade", said))
        return report

    async def close(self) -> None:
        """Close the connections. Runs in flight are their handles' business."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _answer(
        self, said: dict[str, Any], travels: Mapping[str, Any], live: Mapping[str, Any], timeout: float | None
    ) -> Answer:
        if body.is_live(travels, live):
            async with await self._start(said, travels, live, timeout) as run:
                return await run.answer()
        # The service ends a run whose client goes away, and a canceled task closes its connection.
        return calls.made(answer_from, await self._call("POST", "/v1/run", said, timeout))

    async def _start(
        self, said: dict[str, Any], travels: Mapping[str, Any], live: Mapping[str, Any], timeout: float | None
    ) -> AsyncRun:
        given = sockets.arguments(self.url, self._head, self._timeout, self._verify)
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException

        attempts = retries.Attempts(self._retry, timeout)
        stdin = travels.get("stdin")
        while True:
            try:
                socket = await connect(**given)
            except (OSError, WebSocketException) as error:
                failure = sockets.failed(error, self.url)
                await self._sleep(attempts.wait(failure, unseen=failure.status == 0))
                continue
            run = AsyncRun(socket, live)
            try:
                await run.begin(said, stdin if body.is_stream(stdin) else None)
                return run
            except RemoteCapacityError as error:
                await self._sleep(attempts.wait(error))

    async def _call(self, method: str, path: str, said: Mapping[str, Any] | None = None, timeout: float | None = None) -> Any:
        content = None if said is None else calls.pack(said)
        more = calls.more_head(method, content)
        attempts = retries.Attempts(self._retry, timeout)
        while True:
            try:
                response = await self._http.request(method, f"{self.url}{path}", content=content, headers=more)
            except (httpx.TransportError, httpx.DecodingError) as error:
                await self._sleep(attempts.wait(calls.broken(error, self.url), unseen=calls.is_unseen(error)))
                continue
            if response.is_success:
                return calls.parsed(response.status_code, response.content)
            await self._sleep(attempts.wait(calls.refused(response.status_code, response.headers, response.content)))


class AsyncRun:
    """One run in flight in an asyncio task. Iterate it for the output as it comes; `wait` gives the result."""

    def __init__(self, socket: ClientConnection, live: Mapping[str, Callable[[bytes], object]]) -> None:
        self._socket = socket
        self._chunks: deque[messages.Output] = deque()
        self._live = live
        self._answer: Answer | None = None
        self._failure: BaseException | None = None
        self._open = True
        self._begun = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self, said: dict[str, Any], stdin: Any) -> None:
        """Send what is to be run, wait until it runs, and let its standard input follow."""
        try:
            await self._send(messages.start(said))
            if stdin is None:
                await self._send(messages.EOF)
            while not self._begun and self._answer is None:
                await self._step()
        except BaseException:
            await self.close()
            raise
        if stdin is not None:
            self._soon(self._feed(stdin))

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        from sandbox.runtime.handles import Chunk

        try:
            while self._chunks or self._answer is None:
                if not self._chunks:
                    await self._step()
                while self._chunks:
                    said = self._chunks.popleft()
                    yield Chunk(said.stream, said.data)
        except BaseException:
            await self.close()
            raise

    async def wait(self) -> RunResult:
        """Wait for the end. A canceled task kills the run before it goes on."""
        return run_of(await self.answer())

    async def answer(self) -> Answer:
        """As `wait`, with what the compiler said."""
        try:
            while self._answer is None:
                await self._step()
                self._chunks.clear()
        finally:
            await self.close()
        return self._answer

    async def _step(self) -> None:
        from websockets.exceptions import ConnectionClosed

        if self._failure is not None:
            raise self._failure
        if not self._open:
            raise RequestError("this run was closed, it has no result")
        try:
            said = messages.parse(await self._socket.recv())
        except ConnectionClosed as error:
            self._failure = self._failure or sockets.closed(error)
            raise self._failure from None
        if isinstance(said, messages.Output):
            callback = self._live.get(f"on_{said.stream}")
            if callback is not None:
                callback(said.data)
            else:
                self._chunks.append(said)
        elif isinstance(said, messages.Begun):
            self._begun = said.stage == "run"
        elif isinstance(said, Answer):
            self._answer = said
        elif said is not None:
            self._failure = said
            raise said

    def cancel(self) -> None:
        """End the run; `wait` then returns outcome canceled. Call it from the loop's thread."""
        self._soon(self._send(messages.KILL))

    def resize(self, rows: int, columns: int) -> None:
        """Tell the payload's terminal its new size (runs with `tty`)."""
        self._soon(self._send(messages.resize(rows, columns)))

    async def close(self) -> None:
        """Kill the run if it has not ended."""
        if not self._open:
            return
        self._open = False
        for task in self._tasks:
            task.cancel()
        await asyncio.shield(self._socket.close())

    async def _send(self, message: str) -> None:
        from websockets.exceptions import ConnectionClosed

        if self._open and self._answer is None:
            with contextlib.suppress(ConnectionClosed):  # too late is nobody's mistake: `wait` tells how it ended
                await self._socket.send(message)

    async def _feed(self, source: Any) -> None:
        """Read by a task of its own; what blocks, by a thread."""
        try:
            async for piece in _pieces(source):
                await self._send(messages.stdin(piece))
            await self._send(messages.EOF)
        except Exception as error:  # noqa: BLE001 - it is the caller's: `wait` raises it
            self._failure = self._failure or error
            await self._socket.close()

    def _soon(self, sending: Any) -> None:
        task = asyncio.ensure_future(sending)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def _pieces(source: Any) -> AsyncIterator[bytes]:
    if hasattr(source, "__aiter__"):
        async for item in source:
            for piece in sockets.pieces([item]):
                yield piece
        return
    plain = sockets.pieces(source)
    while piece := await asyncio.to_thread(lambda: next(plain, b"")):
        yield piece
