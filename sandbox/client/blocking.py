"""`Sandbox` over HTTP for threads, and `Run`: one run in flight."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, cast

import httpx

from sandbox.client import body, calls, messages, retries, sockets
from sandbox.client.errors import RemoteCapacityError, RemoteError
from sandbox.client.results import Answer, Language, answer_from, language_from, rows_of, run_of
from sandbox.model.errors import RequestError

if TYPE_CHECKING:
    import ssl
    from typing import Unpack

    from websockets.sync.client import ClientConnection

    from sandbox.api import AnyLimits, RunOptions
    from sandbox.model.result import RunResult
    from sandbox.runtime.handles import Run as LocalRun
    from sandbox.runtime.mapping import AnyRequest, MapItem
    from sandbox.runtime.slots import Turn

__all__ = ["Run", "Sandbox"]


class Sandbox:
    """The sandbox of a service, with the calls of the local one. Safe from any number of threads.

    Args:
        url: such as "http://127.0.0.1:8000".
        token: as `sandbox serve token add` printed it.
        profile: one that the service offers; its first, or that of the language, by default.
        limits: for every run; those that a run names itself take their places. None is ever above the service's own.
        max_concurrency: of `map`, at most.
        timeout: seconds to wait for the service to answer, the time of the run included.
        retry: how often and how long a busy service is asked again.
        verify: how the certificate of an https address is checked; as httpx takes it.
        transport: of httpx, instead of the network.

    Raises RequestError for an address or a token that cannot be one; nothing is sent yet.
    """

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
        transport: httpx.BaseTransport | None = None,
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
        self._sleep: Callable[[float], object] = time.sleep
        self._http = httpx.Client(
            headers=self._head, timeout=httpx.Timeout(timeout, connect=10.0), verify=verify, transport=transport
        )

    def run(self, argv: Sequence[body.Word], **options: Unpack[RunOptions]) -> RunResult:
        """Run a command of the service's host in one of its profiles, and wait. See `RunOptions`.

        `queue_timeout` is how long a busy service is asked again. Raises SandboxError, as the local call does, and RemoteError.
        """
        return self._run(argv, options, "")

    def execute(
        self,
        language: str,
        sources: body.Sources,
        *,
        args: Sequence[body.Word] = (),
        version: str = "",
        **options: Unpack[RunOptions],
    ) -> Answer:
        """Compile and run sources in one of the service's languages.

        Args:
            language: id, name or alias; see `languages`.
            sources: the text of one file, or name → content; the first is the main file.
            args: arguments of the program.
            version: such as "3.11" or ">=12"; any by default.
            **options: see `RunOptions`.
        """
        travels, live, timeout = calls.split(options)
        said = body.program(language, sources, args, version, {**travels, **self._fixed}, self._limits)
        return self._answer(said, travels, live, timeout, "")

    def start(self, argv: Sequence[body.Word], **options: Unpack[RunOptions]) -> Run:
        """Launch, and return as soon as it runs. Standard input may be a stream, and the terminal can be resized."""
        travels, live, timeout = calls.split(options)
        return self._start(body.run(argv, {**travels, **self._fixed}, self._limits), travels, live, timeout, "")

    def map(self, requests: Iterable[AnyRequest], *, concurrency: int | None = None) -> Iterator[MapItem]:
        """Run many, and yield what became of each as it ends; as `Sandbox.map` of the local API. Closing it cancels what runs."""
        from sandbox.runtime import mapping

        def start(request: AnyRequest, _turn: Turn) -> LocalRun:
            argv, options = mapping.parts(request)
            # It has what the threads of a map ask of a run: `wait`, `close`, and an end of its block.
            return cast("LocalRun", _Pending(self, argv, options))

        return mapping.serve(start, lambda _turn: None, requests, mapping.width(concurrency, self._most))

    def languages(self) -> list[Language]:
        """Those that the service has."""
        said = self._call("GET", "/v1/languages")
        return calls.made(lambda value: [language_from(row) for row in rows_of(value, "languages")], said)

    def profiles(self) -> list[dict[str, Any]]:
        """Those that the service offers, as it describes them."""
        return calls.made(lambda value: [dict(row) for row in rows_of(value, "profiles")], self._call("GET", "/v1/profiles"))

    def grade(self, language: str, sources: body.Sources, **terms: Any) -> dict[str, Any]:
        """Judge a submission; the report, as docs/report.schema.json has it.

        Args:
            language: id, name or alias.
            sources: as of `execute`.
            **terms: further members of the body of `/v1/grade`: `cases`, or `package` (bytes of a zip archive), `checker`,
                `limits`, `mode`.
        """
        report: dict[str, Any] = calls.made(dict, self._call("POST", "/v1/grade", body.submission(language, sources, terms)))
        return report

    def close(self) -> None:
        """Close the connections. Runs in flight are their handles' business."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, argv: Sequence[body.Word], options: Mapping[str, Any], identifier: str) -> RunResult:
        travels, live, timeout = calls.split(options)
        said = body.run(argv, {**travels, **self._fixed}, self._limits)
        return run_of(self._answer(said, travels, live, timeout, identifier))

    def _cancel(self, identifier: str) -> None:
        """End the run with this id; nothing happens where there is none (any more)."""
        with contextlib.suppress(RemoteError, RuntimeError):  # RuntimeError: of httpx, once the client was closed
            self._call("DELETE", f"/v1/runs/{identifier}")

    def _answer(
        self, said: dict[str, Any], travels: Mapping[str, Any], live: Mapping[str, Any], timeout: float | None, identifier: str
    ) -> Answer:
        if not body.is_live(travels, live):
            return calls.made(answer_from, self._call("POST", "/v1/run", said, timeout, identifier))
        with self._start(said, travels, live, timeout, identifier) as run:
            return run.answer()

    def _start(
        self, said: dict[str, Any], travels: Mapping[str, Any], live: Mapping[str, Any], timeout: float | None, identifier: str
    ) -> Run:
        attempts = retries.Attempts(self._retry, timeout)
        head = {**self._head, **calls.named(identifier)}
        stdin = travels.get("stdin")
        while True:
            try:
                socket = sockets.connect(self.url, head, self._timeout, self._verify)
            except RemoteError as error:
                self._sleep(attempts.wait(error, unseen=error.status == 0))
                continue
            try:
                return Run(socket, said, stdin if body.is_stream(stdin) else None, live)
            except RemoteCapacityError as error:
                self._sleep(attempts.wait(error))

    def _call(
        self,
        method: str,
        path: str,
        said: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        identifier: str = "",
    ) -> Any:
        """The JSON of the answer; asked again where that is safe. Raises RemoteError."""
        content = None if said is None else calls.pack(said)
        more = {**calls.more_head(method, content), **calls.named(identifier)}
        attempts = retries.Attempts(self._retry, timeout)
        while True:
            try:
                response = self._http.request(method, f"{self.url}{path}", content=content, headers=more)
            except (httpx.TransportError, httpx.DecodingError) as error:
                self._sleep(attempts.wait(calls.broken(error, self.url), unseen=calls.is_unseen(error)))
                continue
            if response.is_success:
                return calls.parsed(response.status_code, response.content)
            self._sleep(attempts.wait(calls.refused(response.status_code, response.headers, response.content)))


class Run:
    """One run in flight. `wait` reads what the service says; `cancel`, `resize` and `close` may come from any thread.

    A run that is closed, or whose connection breaks, is killed by the service.
    """

    def __init__(
        self, socket: ClientConnection, said: dict[str, Any], stdin: object | None, live: Mapping[str, Callable[[bytes], object]]
    ) -> None:
        self._socket = socket
        self._live = live
        self._answer: Answer | None = None
        self._failure: BaseException | None = None
        self._closed = False
        self._reading = threading.Lock()
        self._begun = False
        try:
            self._send(messages.start(said))
            if stdin is None:
                self._send(messages.EOF)
            while not self._begun and self._answer is None:
                self._step(None)
        except BaseException:
            self.close()
            raise
        if stdin is not None:
            # A daemon: a source that never ends (a terminal) does not keep the process.
            threading.Thread(target=self._feed, args=(stdin,), name="sandbox-client-stdin", daemon=True).start()

    def wait(self, timeout: float | None = None) -> RunResult:
        """Wait for the end. Callbacks are called from here. A further call returns the same result.

        Raises TimeoutError after `timeout` seconds; the run then goes on. Raises SandboxError for what is no result.
        """
        return run_of(self.answer(timeout))

    def answer(self, timeout: float | None = None) -> Answer:
        """As `wait`, with what the compiler said."""
        until = None if timeout is None else time.monotonic() + timeout
        if not self._reading.acquire(timeout=-1 if timeout is None else timeout):
            raise TimeoutError(f"the run goes on after {timeout:g} s")
        try:
            while self._answer is None:
                if self._failure is not None:
                    raise self._failure
                self._step(until)
            return self._answer
        finally:
            self._reading.release()

    def _step(self, until: float | None) -> None:
        """One message of the service. Whatever is wrong with it is kept: a further call says the same."""
        if self._closed:
            raise RequestError("this run was closed, it has no result")
        left = None if until is None else max(0.0, until - time.monotonic())
        try:
            raw = sockets.receive(self._socket, left)
        except TimeoutError:
            raise TimeoutError("the run goes on") from None
        except RemoteError as error:
            raise self._fail(error) from None
        try:
            self._take(messages.parse(raw))
        except BaseException as error:  # of the service, or of a callback
            self._fail(error)
            raise
        if self._answer is not None:
            self._socket.close()

    def _take(self, said: messages.Message) -> None:
        if isinstance(said, messages.Output):
            callback = self._live.get(f"on_{said.stream}")
            if callback is not None:
                callback(said.data)
        elif isinstance(said, messages.Begun):
            self._begun = said.stage == "run"
        elif isinstance(said, Answer):
            self._answer = said
        elif said is not None:
            raise said

    def _fail(self, error: BaseException) -> BaseException:
        """What `wait` raises, now and later: the first that went wrong."""
        self._failure = self._failure or error
        self.close()
        return self._failure

    def cancel(self) -> None:
        """End the run; `wait` then returns outcome canceled. Nothing happens when it has ended already.

        One that is canceled before the service has launched it has no result: `wait` then raises RequestError.
        """
        self._send(messages.KILL)

    def resize(self, rows: int, columns: int) -> None:
        """Tell the payload's terminal its new size (runs with `tty`)."""
        self._send(messages.resize(rows, columns))

    def close(self) -> None:
        """Kill the run if it has not ended. A `wait` in another thread raises RequestError."""
        self._closed = True
        self._socket.close()

    def _send(self, message: str) -> None:
        if not self._closed and self._answer is None:
            sockets.send(self._socket, message)

    def _feed(self, source: object) -> None:
        """Process: the caller's; a thread of its own, until the source ends or the run does."""
        try:
            for piece in sockets.pieces(source):
                if self._closed or self._answer is not None:
                    return
                self._send(messages.stdin(piece))
            self._send(messages.EOF)
        except BaseException as error:  # noqa: BLE001 - it is the caller's: `wait` raises it
            self._failure = self._failure or error
            self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Pending:
    """One request of a `map`: it has an id of its own, by which it can be canceled from another thread."""

    def __init__(self, sandbox: Sandbox, argv: Sequence[body.Word], options: Mapping[str, Any]) -> None:
        self._sandbox = sandbox
        self._argv = argv
        self._options = options
        self._id = retries.key()
        self._over = False

    def wait(self) -> RunResult:
        try:
            return self._sandbox._run(self._argv, self._options, self._id)
        finally:
            self._over = True

    def close(self) -> None:
        if not self._over:
            self._sandbox._cancel(self._id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
