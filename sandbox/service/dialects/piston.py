"""Piston v2 over HTTP and WebSocket: below /api/v2, and below /api/v2/piston as the public server had it.

Source: engineer-man/piston, `api/src/api/v2.js`.
"""

from __future__ import annotations

import asyncio
import codecs
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request, WebSocket
from fastapi.responses import Response
from starlette.websockets import WebSocketDisconnect

from sandbox.model.errors import RequestError, SandboxError
from sandbox.model.result import RunResult
from sandbox.service import ceilings, failures, gone
from sandbox.service.ask import Answer, Event
from sandbox.service.dialects import http, piston_maps, piston_names, stages
from sandbox.service.dialects.piston_maps import Job
from sandbox.service.dialects.stages import Recorder
from sandbox.service.live import Handle, Stdin
from sandbox.service.service import Service, peer_of
from sandbox.service.tenant import Tenant

PREFIXES = ("/api/v2", "/api/v2/piston")
_INIT_SECONDS = 1.0
_ALREADY, _NO_INIT_IN_TIME, _NOTIFIED, _NOT_YET, _ONLY_STDIN, _NO_SIGNAL, _DONE = 4000, 4001, 4002, 4003, 4004, 4005, 4999
_SIGNALS = {item.name: item.value for item in signal.Signals}
# npm's piston-client posts its JSON as the text that fetch takes it for.
_MISLABELED = ("text/plain;charset=utf-8", "node-fetch/")


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter(include_in_schema=False)

    async def execute(request: Request) -> Response:
        return await _answered(request, lambda: _execute(service, request))

    async def runtimes(request: Request) -> Response:
        service.tenant(request)
        return http.answer([piston_names.runtime_of(info).to_dict() for info in service.work.languages()])

    async def packages(request: Request) -> Response:
        return await _answered(request, lambda: _packages(service, request))

    async def unknown(request: Request) -> Response:
        return await _answered(request, _nothing)

    async def connect(socket: WebSocket) -> None:
        await _Connection(service, socket).serve()

    for prefix in PREFIXES:
        for end in ("", "/"):
            routes.add_api_route(f"{prefix}/execute{end}", execute, methods=["POST"])
            routes.add_api_route(f"{prefix}/runtimes{end}", runtimes, methods=["GET"])
            routes.add_api_route(f"{prefix}/packages{end}", packages, methods=["GET", "POST", "DELETE"])
            routes.add_api_websocket_route(f"{prefix}/connect{end}", connect)
    routes.add_api_route("/api/v2/{rest:path}", unknown, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    return routes


async def _answered(request: Request, work: Callable[[], Any]) -> Response:
    """What `work` gives, or Piston's form of what went wrong."""
    if request.method not in ("GET", "HEAD", "OPTIONS") and not _may_be_json(request):
        return http.answer({"message": "requests must be of type application/json"}, 415)
    try:
        found: Response = await work()
        return found
    except SandboxError as error:
        failure = failures.of(error)
        return http.answer({"message": failure.message}, failure.status, failure.headers)


def _may_be_json(request: Request) -> bool:
    kind, agent = _MISLABELED
    plain = request.headers.get("content-type", "").replace(" ", "").lower()
    return http.is_json(request) or (plain == kind and request.headers.get("user-agent", "").startswith(agent))


async def _nothing() -> Response:
    return http.answer({"message": "Not Found"}, 404)


async def _execute(service: Service, request: Request) -> Response:
    tenant = service.tenant(request)
    job = _job(service, tenant, await http.body(request), "piston/execute", peer_of(request))
    record = Recorder(http.run_limits(service.config, tenant).get("output_bytes", 1 << 20))
    answer: Answer = await gone.unless_gone(request, service.work.perform(tenant, job.ask, on_event=record))
    return http.answer(piston_maps.from_answer(answer, job.runtime, record))


async def _packages(service: Service, request: Request) -> Response:
    """The languages of the host stand for packages: they are all installed, and nobody installs others from here."""
    service.tenant(request)
    runtimes = [piston_names.runtime_of(info) for info in service.work.languages()]
    if request.method == "GET":
        rows = [{"language": item.name, "language_version": item.info.version, "installed": True} for item in runtimes]
        return http.answer(rows)
    given = await http.body(request)
    given = given if isinstance(given, dict) else {}
    language, version = str(given.get("language"))[:100], str(given.get("version"))[:100]
    found = piston_names.find(language, version, service.work.languages())
    if found is None:
        return http.answer({"message": f"Requested package {language}-{version} does not exist"}, 404)
    if request.method == "POST":
        return http.answer({"message": "Already installed"}, 400)
    return http.answer({"message": "The languages of this server are those of its host, which only its operator changes"}, 403)


def _job(service: Service, tenant: Tenant, body: Any, label: str, peer: str) -> Job:
    return piston_maps.to_job(
        body,
        limits=http.run_limits(service.config, tenant),
        compile_limits=ceilings.parse(service.config.compile_limits),
        infos=service.work.languages(),
        label=label,
        peer=peer,
    )


class _Connection:
    """One WebSocket: `init`, then what the program says and is told, then its end."""

    def __init__(self, service: Service, socket: WebSocket) -> None:
        self._service = service
        self._socket = socket
        self._stdin = Stdin()
        self._handle = Handle()
        self._job: asyncio.Task[None] | None = None
        self._sending: asyncio.Queue[dict[str, Any] | int] = asyncio.Queue()
        self._held = 0
        self._unsaid = False
        self._decoders: dict[tuple[str, str], codecs.IncrementalDecoder] = {}

    async def serve(self) -> None:
        """Until either side closes."""
        await self._socket.accept()
        hears, tells = asyncio.ensure_future(self._hear()), asyncio.ensure_future(self._tell())
        try:
            await asyncio.wait((hears, tells), return_when=asyncio.FIRST_COMPLETED)
            if hears.done() and hears.result():
                self._sending.put_nowait(hears.result())
                await asyncio.wait((tells,))
        finally:
            for task in (hears, tells, self._job):
                if task is not None:
                    task.cancel()
                    with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError, TimeoutError):
                        await task

    async def _tell(self) -> None:
        """Send what is to be sent; a number closes."""
        while True:
            item = await self._sending.get()
            if isinstance(item, int):
                await self._socket.close(item, _REASONS[item])
                return
            async with asyncio.timeout(self._service.config.stream_seconds):
                await self._socket.send_text(http.dumps(item))
            self._held -= len(item.get("data", ""))

    async def _hear(self) -> int:
        """Take messages; gives the code to close with, 0 when the client has gone."""
        try:
            async with asyncio.timeout(_INIT_SECONDS) as patience:
                while (code := await self._take(await self._socket.receive())) is None:
                    if self._job is not None:
                        patience.reschedule(None)
        except TimeoutError:
            return _NO_INIT_IN_TIME
        return code

    async def _take(self, message: Any) -> int | None:
        """None: go on; 0: the client has gone; else the code to close with."""
        if message["type"] != "websocket.receive":
            return 0
        try:
            raw = message.get("text")
            given = http.parse(raw if raw is not None else message.get("bytes") or b"")
            kind = given.get("type") if isinstance(given, dict) else None
            if kind == "init":
                return self._init(given)
            if kind in ("data", "signal") and self._job is None:
                return _NOT_YET
            if kind == "data":
                return await self._data(given)
            if kind == "signal":
                return self._signal(given.get("signal"))
        except RequestError as error:
            self._sending.put_nowait({"type": "error", "message": error.message})
            return _NOTIFIED
        return None

    def _init(self, given: dict[str, Any]) -> int | None:
        if self._job is not None:
            return _ALREADY
        tenant = self._service.tenant(self._socket)
        job = _job(self._service, tenant, given, "piston/connect", peer_of(self._socket))
        self._job = asyncio.ensure_future(self._run(tenant, job))
        return None

    async def _data(self, given: dict[str, Any]) -> int | None:
        if given.get("stream") != "stdin":
            return _ONLY_STDIN
        if not isinstance(given.get("data"), str):
            raise RequestError("data must be a string")
        await self._stdin.put(given["data"].encode("utf-8", "replace"))
        return None

    def _signal(self, name: Any) -> int | None:
        if not isinstance(name, str) or name not in _SIGNALS:
            return _NO_SIGNAL
        self._handle.send_signal(_SIGNALS[name])
        return None

    async def _run(self, tenant: Tenant, job: Job) -> None:
        ask = piston_maps.streamed(job.ask, self._stdin)
        self._sending.put_nowait({"type": "runtime", "language": job.runtime.name, "version": job.runtime.info.version})
        try:
            answer = await self._service.work.perform(tenant, ask, on_event=self._event, handle=self._handle)
        except SandboxError as error:
            self._sending.put_nowait({"type": "error", "message": failures.of(error).message})
            self._sending.put_nowait(_NOTIFIED)
            return
        if self._unsaid and answer.compile is not None:
            self._exit("compile", stages.ending_of_compiler(answer.compile).code, None)
        self._sending.put_nowait(_DONE)

    def _event(self, event: Event) -> None:
        if event.kind == "stage":
            if self._unsaid:  # a program from the store: its compiler had nothing to do
                self._exit("compile", 0, None)
            self._sending.put_nowait({"type": "stage", "stage": event.stage})
        elif event.kind == "exit":
            self._ended(event.stage, event.result)
        else:
            decoder = self._decoders.setdefault((event.stage, event.kind), codecs.getincrementaldecoder("utf-8")("replace"))
            self._say(event.kind, decoder.decode(event.data))

    def _say(self, stream: str, data: str) -> None:
        if not data:
            return
        self._held += len(data)
        if self._held > self._service.config.stream_bytes:
            raise RequestError("the output is not read")
        self._sending.put_nowait({"type": "data", "stream": stream, "data": data})

    def _ended(self, stage: str, run: RunResult | None) -> None:
        for (of, stream), decoder in self._decoders.items():
            if of == stage:
                self._say(stream, decoder.decode(b"", final=True))
        if run is None:
            self._unsaid = stage == "compile"
            return
        found = piston_maps.program(run, Recorder(0))
        self._exit(stage, found["code"], found["signal"])

    def _exit(self, stage: str, code: int | None, name: str | None) -> None:
        self._unsaid = False
        self._sending.put_nowait({"type": "exit", "stage": stage, "code": code, "signal": name})


_REASONS = {
    _ALREADY: "Already Initialized",
    _NO_INIT_IN_TIME: "Initialization Timeout",
    _NOTIFIED: "Notified Error",
    _NOT_YET: "Not yet initialized",
    _ONLY_STDIN: "Can only write to stdin",
    _NO_SIGNAL: "Invalid signal",
    _DONE: "Job Completed",
}
