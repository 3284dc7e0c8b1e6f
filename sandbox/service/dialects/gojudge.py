"""go-judge over HTTP: /run, the files that it keeps, /version, /config. Source: criyle/go-judge, `cmd/go-judge/*_executor`."""

from __future__ import annotations

import asyncio
import mimetypes
import platform
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

import sandbox
from sandbox.model.errors import CapacityError, RequestError, SandboxError
from sandbox.service import failures, gone
from sandbox.service.admission import Refused
from sandbox.service.ask import Event
from sandbox.service.dialects import gojudge_maps, http, text
from sandbox.service.dialects.gojudge_maps import Command, Pipe
from sandbox.service.dialects.stages import Recorder
from sandbox.service.service import Service, peer_of
from sandbox.service.store import Store
from sandbox.service.tenant import Tenant

_MOST_PIPED = 8
_FEATURES = {
    "copyOutOptional": True,
    "copyOutTruncate": True,
    "procPeak": True,
    "pipeProxy": True,
    "pipeProxyZeroCopy": False,
    "symlink": False,
    "addressSpaceLimit": False,
    "stream": False,
}
_File = tuple[str, bytes]


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter(include_in_schema=False)
    handlers = _Handlers(service)
    for path, method, handler in (
        ("/run", "POST", handlers.run),
        ("/file", "GET", handlers.files),
        ("/file", "POST", handlers.put),
        ("/file/{identifier}", "GET", handlers.get),
        ("/file/{identifier}", "DELETE", handlers.delete),
        ("/version", "GET", handlers.version),
        ("/config", "GET", handlers.config),
    ):
        routes.add_api_route(path, _guarded(handler), methods=[method])
    return routes


def _guarded(handler: Callable[[Request], Any]) -> Callable[[Request], Any]:
    """`handler`, and what goes wrong as go-judge says it: a string."""

    async def handle(request: Request) -> Response:
        try:
            answer: Response = await handler(request)
            return answer
        except SandboxError as error:
            failure = failures.of(error)
            return http.answer(failure.message, failure.status, failure.headers)

    return handle


class _Handlers:
    def __init__(self, service: Service) -> None:
        self._service = service
        config = service.config
        self._kept: Store[_File] = Store(config.kept_results, config.kept_bytes, config.kept_seconds)

    async def run(self, request: Request) -> Response:
        tenant = self._service.tenant(request)
        limits = http.command_limits(self._service.config, tenant)
        body = await http.body(request)
        found, pipes = gojudge_maps.commands(body, lambda name: self._content(tenant, name), limits, peer=peer_of(request))
        work = _Group(self._service, tenant, found, pipes).perform()
        results = await gone.unless_gone(request, work)
        room = self._service.config.body_bytes
        told = []
        for out, files, kept in results:
            room -= sum(map(len, files.values()))
            told.append(self._told(tenant, out, files, kept) if room >= 0 else gojudge_maps.too_large(out, files))
        return http.answer(told)

    async def files(self, request: Request) -> Response:
        tenant = self._service.tenant(request, "files")
        return http.answer({identifier: name for identifier, (name, _) in self._kept.items(tenant.name)})

    async def put(self, request: Request) -> Response:
        tenant = self._service.tenant(request, "files")
        try:
            async with request.form(max_files=1, max_fields=4) as form:
                file = form.get("file")
                if not isinstance(file, UploadFile):
                    raise RequestError("http: no such file")
                return http.answer(self._keep(tenant, file.filename or "", await file.read()))
        except HTTPException as error:
            raise RequestError(str(error.detail)) from None

    async def get(self, request: Request) -> Response:
        found = self._kept.get(self._service.tenant(request, "files").name, request.path_params["identifier"])
        if found is None:
            return Response(status_code=404)
        name, data = found
        plain = "".join(sign if sign.isascii() and sign.isprintable() and sign not in '"\\' else "_" for sign in name)
        kind = mimetypes.guess_type(plain)[0] or "application/octet-stream"
        return Response(data, headers={"Content-Type": kind, "Content-Disposition": f'attachment; filename="{plain}"'})

    async def delete(self, request: Request) -> Response:
        found = self._kept.drop(self._service.tenant(request, "files").name, request.path_params["identifier"])
        return Response(status_code=404 if found is None else 200)

    async def version(self, request: Request) -> Response:
        self._service.tenant(request)
        host = {"platform": platform.machine(), "os": "linux", "goVersion": ""}
        return http.answer({"buildVersion": f"sandbox {sandbox.__version__}", **host, **_FEATURES})

    async def config(self, request: Request) -> Response:
        self._service.tenant(request)
        return http.answer({**_FEATURES, "fileStorePath": "", "runnerConfig": {}})

    def _content(self, tenant: Tenant, identifier: str) -> bytes | None:
        found = self._kept.get(tenant.name, identifier)
        return None if found is None else found[1]

    def _keep(self, tenant: Tenant, name: str, data: bytes) -> str:
        identifier = secrets.token_hex(8).upper()
        self._kept.put(tenant.name, identifier, (name, data), len(data) + len(name), evict=False)
        return identifier

    def _told(self, tenant: Tenant, out: dict[str, Any], files: dict[str, bytes], kept: dict[str, bytes]) -> dict[str, Any]:
        """A result, with the files that are kept by their ids."""
        told = {**out, "files": {name: text.decode(data) for name, data in files.items()}}
        try:
            told["fileIds"] = {name: self._keep(tenant, name, data) for name, data in kept.items()}
        except CapacityError as error:
            told.update(status=gojudge_maps.FILE_ERROR, error=error.message)
        return told


class _Input:
    """The standard input of a command that another one writes. What is not read yet is held, so much of it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue()

    def feed(self, data: bytes) -> None:
        """One more piece. Raises RequestError, which ends the one who writes, when too much is held."""
        self._held += len(data)
        if self._held > self._most:
            raise RequestError(f"a pipe holds more than {self._most} bytes that are not read")
        self._pieces.put_nowait(data)

    def end(self) -> None:
        """Nothing more will come."""
        self._pieces.put_nowait(b"")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self._pieces.get():
            self._held -= len(data)
            yield data


_Result = tuple[dict[str, Any], dict[str, bytes], dict[str, bytes]]


class _Group:
    """The commands of one request: side by side, with pipes between them."""

    def __init__(self, service: Service, tenant: Tenant, commands: Sequence[Command], pipes: Sequence[Pipe]) -> None:
        self._service = service
        self._tenant = tenant
        self._commands = commands
        self._pipes = pipes
        self._inputs = {pipe.target: _Input(service.config.stream_bytes) for pipe in pipes}
        self._copies = {index: bytearray() for index in range(len(pipes))}

    async def perform(self) -> list[_Result]:
        """The results in order. Raises RequestError, Refused."""
        if not self._pipes:
            return await self._all(None)
        count, admission = len(self._commands), self._service.admission
        if count > min(_MOST_PIPED, admission.most_at_once(self._tenant)):
            raise RequestError(f"{count} commands with pipes between them cannot run at once here")
        try:
            async with admission.admit(self._tenant, count) as waited:
                found = await self._all(waited)
        except Refused as error:
            self._service.metrics.refused(error.reason)
            raise
        for index, pipe in enumerate(self._pipes):
            if pipe.copy is not None:
                found[pipe.source][1][pipe.copy.name] = bytes(self._copies[index])
        return found

    async def _all(self, waited: float | None) -> list[_Result]:
        """All commands at once; each waits for a turn of its own unless the group has `waited` for them."""
        tasks = [asyncio.ensure_future(self._safely(index, waited)) for index in range(len(self._commands))]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)  # a turn is given back when nothing runs in it any more

    async def _safely(self, index: int, waited: float | None) -> _Result:
        try:
            return await self._one(index, waited)
        except Refused:
            raise
        except SandboxError as error:
            return gojudge_maps.failure(failures.of(error).message), {}, {}
        finally:
            for pipe in self._pipes:
                if pipe.source == index:
                    self._inputs[pipe.target].end()

    async def _one(self, index: int, waited: float | None) -> _Result:
        command = self._commands[index]
        ask = replace(command.ask, stdin=self._inputs[index]) if index in self._inputs else command.ask
        record = Recorder(max((collector.most for collector in command.outputs.values()), default=0) + 1)

        def hear(event: Event) -> None:
            record(event)
            self._pass_on(index, event)

        answer = await self._service.work.perform(self._tenant, ask, on_event=hear, waited=waited)
        if answer.run is None:
            raise SandboxError("nothing was run")
        return gojudge_maps.result(command, answer.run, record.of("run", b"", b""))

    def _pass_on(self, index: int, event: Event) -> None:
        if event.kind not in ("stdout", "stderr"):
            return
        for number, pipe in enumerate(self._pipes):
            if (pipe.source, pipe.descriptor) != (index, 1 if event.kind == "stdout" else 2):
                continue
            self._inputs[pipe.target].feed(event.data)
            if pipe.copy is not None:
                copy = self._copies[number]
                copy += event.data[: max(0, pipe.copy.most - len(copy))]
