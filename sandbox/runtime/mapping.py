"""Many runs of one engine with bounded memory: `Sandbox.map` with threads, `AsyncSandbox.map` with tasks.

At most `concurrency` runs are in flight, and at most twice as many requests were read whose results are not yet in the
caller's hands; so a slow caller, an endless iterable and thousands of runs all cost the same memory.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from sandbox.model.errors import RequestError, ResourceError
from sandbox.model.result import RunResult
from sandbox.runtime.handles import Run
from sandbox.runtime.request import Word
from sandbox.runtime.slots import Turn

if TYPE_CHECKING:
    import asyncio
    from typing import Unpack

    from sandbox.api import RunOptions

READ_AHEAD = 2  # requests that were read and not answered, as a multiple of the concurrency


class Request:
    """One run as `map` takes it: a command and the options of `Sandbox.run`.

    Attributes:
        argv: program and arguments.
        options: see `RunOptions`.
    """

    __slots__ = ("argv", "options")

    def __init__(self, argv: Sequence[Word], **options: Unpack[RunOptions]) -> None:
        self.argv = argv
        self.options: RunOptions = options

    def __repr__(self) -> str:
        more = "".join(f", {name}=…" for name in self.options)
        return f"Request({self.argv!r}{more})"


AnyRequest: TypeAlias = Sequence[Word] | Mapping[str, Any] | Request


@dataclass(frozen=True, slots=True, kw_only=True)
class MapItem:
    """What became of one request: a result, or the error that `run` would have raised.

    Attributes:
        index: its place in the iterable, from 0.
        request: the very object that was in the iterable.
        result: None when there is an error.
        error: a SandboxError, or what a callback, the standard input or a wrong argument of the caller's raised.
    """

    index: int
    request: Any
    result: RunResult | None = None
    error: Exception | None = None

    def unwrap(self) -> RunResult:
        """The result. Raises the error."""
        if self.result is None:
            raise self.error or RequestError("this item has neither a result nor an error")
        return self.result


def width(concurrency: int | None, capacity: int) -> int:
    """Runs at once: what was asked for, at most the slots that there are. Raises RequestError."""
    if concurrency is not None and concurrency < 1:
        raise RequestError(
            f"concurrency must be at least 1, not {concurrency}", hint="leave it out for as many as there are slots"
        )
    return min(concurrency or capacity, capacity)


def parts(request: AnyRequest) -> tuple[Sequence[Word], RunOptions]:
    """Command and options of a request. Raises RequestError."""
    if isinstance(request, Request):
        return request.argv, request.options
    if isinstance(request, Mapping):
        options: Any = dict(request)
        if "argv" not in options:
            raise RequestError(
                f"a request has no argv, only {', '.join(map(repr, options)) or 'nothing'}", hint="add 'argv': [...]"
            )
        return options.pop("argv"), options
    if isinstance(request, Sequence) and not isinstance(request, str | bytes | bytearray | memoryview):
        return request, {}
    raise RequestError(f"a request must be a list of words, a dict with argv, or a Request, not {type(request).__name__}")


class _Crew:
    """Threads that serve requests, and a way to stop them in the middle."""

    def __init__(self, start: Callable[[AnyRequest, Turn], Run], dismiss: Callable[[Turn], None], most: int) -> None:
        self.done: queue.SimpleQueue[MapItem] = queue.SimpleQueue()
        self._start = start
        self._dismiss = dismiss
        self._most = most
        self._tasks: queue.SimpleQueue[tuple[int, AnyRequest] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._stopped = False
        self._turns: set[Turn] = set()
        self._runs: set[Run] = set()

    def submit(self, index: int, request: AnyRequest) -> None:
        """Let a thread serve it; its item comes in `done`."""
        if len(self._threads) < self._most:
            # A daemon: a caller that ends with an open `map` is not kept waiting. The kernel ends its sandboxes.
            thread = threading.Thread(target=self._work, name="sandbox-map", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the host has no more threads: those that are there do it
                if not self._threads:
                    hint = "raise RLIMIT_NPROC or pids.max of this process"
                    raise ResourceError("no thread can be started", hint=hint) from error
            else:
                self._threads.append(thread)
        self._tasks.put((index, request))

    def _work(self) -> None:
        """Process: the caller's; one thread of the crew."""
        while (task := self._tasks.get()) is not None:
            self.done.put(self._serve(*task))
            del task  # nothing of an answered request is kept while this thread waits

    def _serve(self, index: int, request: AnyRequest) -> MapItem:
        turn, run = Turn(), None
        try:
            with self._lock:
                self._turns.add(turn)
                stopped = self._stopped
            if stopped:
                raise RequestError("this map was closed")
            with self._start(request, turn) as run:
                with self._lock:
                    self._runs.add(run)
                    stopped = self._stopped
                if stopped:
                    raise RequestError("this map was closed")
                return MapItem(index=index, request=request, result=run.wait())
        except Exception as error:  # noqa: BLE001 - it is the caller's, as part of the item
            return MapItem(index=index, request=request, error=error)
        finally:
            with self._lock:
                self._turns.discard(turn)
                if run is not None:
                    self._runs.discard(run)

    def stop(self) -> None:
        """Kill what runs, dismiss what waits, and wait for the threads."""
        with self._lock:
            self._stopped = True
            turns, runs = list(self._turns), list(self._runs)
        for turn in turns:
            self._dismiss(turn)
        for run in runs:
            run.close()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()


def serve(
    start: Callable[[AnyRequest, Turn], Run],
    dismiss: Callable[[Turn], None],
    requests: Iterable[AnyRequest],
    most: int,
) -> Iterator[MapItem]:
    """Yield items as their runs end. The iterable is read in the thread of the caller.

    What it raises is raised from here, after the items of everything that was read before.
    """
    crew = _Crew(start, dismiss, most)
    source = iter(requests)
    failure: Exception | None = None
    more, open_items, numbers = True, 0, itertools.count()
    try:
        while True:
            if more and open_items < READ_AHEAD * most:
                try:
                    crew.submit(next(numbers), next(source))
                    open_items += 1
                except StopIteration:
                    more = False
                except Exception as error:  # noqa: BLE001 - raised below
                    failure, more = error, False
            if not more and not open_items:
                break
            try:
                # Nothing is read while results wait, and nothing is waited for while there is something to read.
                item = crew.done.get(block=not more or open_items >= READ_AHEAD * most)
            except queue.Empty:
                continue
            open_items -= 1
            yield item
            del item
    finally:
        crew.stop()
    if failure is not None:
        raise failure


async def serve_async(
    run: Callable[[AnyRequest], Awaitable[RunResult]],
    requests: Iterable[AnyRequest] | AsyncIterable[AnyRequest],
    most: int,
) -> AsyncIterator[MapItem]:
    """The asyncio twin of `serve`. A slow asynchronous iterable holds up no result."""
    import asyncio

    source = _Source(requests)
    done: asyncio.Queue[MapItem] = asyncio.Queue()
    limit = asyncio.Semaphore(most)
    tasks: set[asyncio.Task[None]] = set()
    getting: asyncio.Task[MapItem] | None = None

    async def one(index: int, request: AnyRequest) -> None:
        async with limit:
            try:
                item = MapItem(index=index, request=request, result=await run(request))
            except Exception as error:  # noqa: BLE001 - it is the caller's, as part of the item
                item = MapItem(index=index, request=request, error=error)
        done.put_nowait(item)

    open_items, numbers = 0, itertools.count()
    try:
        while True:
            reading = source.next() if open_items < READ_AHEAD * most else None
            if reading is None and not open_items and source.over:
                break
            getting = getting or asyncio.ensure_future(done.get())
            await asyncio.wait({getting, reading} if reading else {getting}, return_when=asyncio.FIRST_COMPLETED)
            if reading is not None and reading.done():
                found, request = source.take()
                if found:
                    task = asyncio.ensure_future(one(next(numbers), request))
                    open_items += 1
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
            if getting.done():
                item, getting = getting.result(), None
                open_items -= 1
                yield item
                del item
    finally:
        rest: list[asyncio.Task[Any]] = [task for task in (*tasks, getting, source.reading) if task is not None]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
    if source.failure is not None:
        raise source.failure


class _Source:
    """An iterable of either kind, read one at a time by a task.

    Attributes:
        reading: the task that reads now.
        over: there is nothing more.
        failure: what the iterable raised.
    """

    def __init__(self, requests: Iterable[AnyRequest] | AsyncIterable[AnyRequest]) -> None:
        self._next = self._asynchronous(requests) if isinstance(requests, AsyncIterable) else self._plain(requests)
        self.reading: asyncio.Task[tuple[bool, Any]] | None = None
        self.over = False
        self.failure: Exception | None = None

    @staticmethod
    def _plain(requests: Iterable[AnyRequest]) -> Callable[[], Awaitable[AnyRequest]]:
        source = iter(requests)

        async def step() -> AnyRequest:
            try:
                return next(source)
            except StopIteration:  # which may not leave a coroutine
                raise StopAsyncIteration from None

        return step

    @staticmethod
    def _asynchronous(requests: AsyncIterable[AnyRequest]) -> Callable[[], Awaitable[AnyRequest]]:
        return aiter(requests).__anext__

    async def _step(self) -> tuple[bool, Any]:
        try:
            return True, await self._next()
        except StopAsyncIteration:
            return False, None
        except Exception as error:  # noqa: BLE001 - raised to the caller when what was read has its items
            self.failure = error
            return False, None

    def next(self) -> asyncio.Task[tuple[bool, Any]] | None:
        """The task that brings the next request; None when there is none."""
        import asyncio

        if self.reading is None and not self.over:
            self.reading = asyncio.ensure_future(self._step())
        return self.reading

    def take(self) -> tuple[bool, Any]:
        """What the task, which is done, has brought: (whether there was one, the request)."""
        task, self.reading = self.reading, None
        found, request = task.result() if task is not None else (False, None)
        self.over = not found
        return found, request
