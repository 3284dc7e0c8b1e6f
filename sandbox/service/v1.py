"""The service's own API, /v1. Thin: a body becomes an Ask, an Answer becomes JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request
from fastapi.responses import Response
from starlette.websockets import WebSocket

import sandbox
from sandbox.grader.grade import Event
from sandbox.policy import profile
from sandbox.service import gone, grading, logs, sockets
from sandbox.service.failures import Rejected
from sandbox.service.live import Handle
from sandbox.service.service import Service, peer_of
from sandbox.service.streams import EventStream, Outbox, Streamed
from sandbox.service.v1_models import (
    Answered,
    ErrorAnswer,
    Health,
    LanguageAnswer,
    ProfileAnswer,
    ReportAnswer,
    RunBody,
    RunState,
    answer_of,
    dump,
)
from sandbox.service.work import OnEvent

_JSON = "application/json"
_EVENTS = "text/event-stream"
_STREAM = {"content": {_EVENTS: {"schema": {"type": "string"}}}}
# What can come instead of any answer: a body that is none, a token that is none, too much, too slow, not now.
_ALWAYS = (400, 401, 403, 408, 413, 429, 500, 503)
_Key = Annotated[str | None, Header(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")]
_Id = Annotated[str, Path(min_length=1, max_length=64)]


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorAnswer} for status in statuses}


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1")
    _of_runs(routes, service)
    _of_grading(routes, service)
    _of_server(routes, service)
    return routes


def _of_runs(routes: APIRouter, service: Service) -> None:
    answers: dict[int | str, dict[str, Any]] = {200: {"model": Answered, **_STREAM}, **_errors(*_ALWAYS, 409, 422)}

    @routes.post("/run", response_model=None, responses=answers, tags=["runs"])
    async def run(request: Request, body: RunBody, idempotency_key: _Key = None) -> Response:
        """Run a program or a command, and answer when it has ended.

        With `Accept: text/event-stream` its output comes as it is written: events `stage`, `stdout`, `stderr`, and `result` with
        the answer, or `error`. The request id (`X-Request-Id`, the client's own where it gives one) is the id of the run.
        """
        tenant = service.tenant(request)
        ask = body.to_ask(service.work, label="v1/run", peer=peer_of(request))
        handle = Handle()

        async def perform(on_event: OnEvent | None) -> bytes:
            with service.runs.run(tenant.name, logs.current(), handle) as identifier:
                answer = await service.work.perform(tenant, ask, on_event=on_event, handle=handle)
                sent = dump(answer_of(identifier, answer))
                service.runs.ended(tenant.name, identifier, sent)
                return sent

        outbox = Outbox(service.config.stream_bytes)
        on_event = outbox.tell if _wants_events(request) else None
        made = service.replays.once(tenant.name, _key("run", idempotency_key), await request.body(), lambda: perform(on_event))
        return await _answered(request, outbox, made)

    @routes.get("/runs/{id}", response_model=None, tags=["runs"], responses={200: {"model": Answered}, **_states()})
    async def state(request: Request, id: _Id) -> Response:  # noqa: A002 - the name in the path
        """The answer of a run that ended a while ago; 202 while it goes on."""
        tenant = service.tenant(request)
        answer = service.runs.answer(tenant.name, id)
        if answer is not None:
            return Response(answer, media_type=_JSON)
        if service.runs.live(tenant.name, id) is None:
            raise _no_run(id)
        return Response(dump({"id": id, "state": "running"}), status_code=202, media_type=_JSON)

    @routes.delete("/runs/{id}", response_model=None, tags=["runs"], status_code=202, responses={204: {}, **_states()})
    async def cancel(request: Request, id: _Id) -> Response:  # noqa: A002 - the name in the path
        """End a run that goes on (202), or forget the answer of one that has ended (204)."""
        tenant = service.tenant(request)
        handle = service.runs.live(tenant.name, id)
        if handle is not None:
            handle.cancel()
            return Response(dump({"id": id, "state": "canceling"}), status_code=202, media_type=_JSON)
        if service.runs.answer(tenant.name, id) is None:
            raise _no_run(id)
        service.runs.forget(tenant.name, id)
        return Response(status_code=204)

    @routes.websocket("/runs/ws")
    async def interactive(socket: WebSocket) -> None:
        await sockets.serve(service, socket)


def _of_grading(routes: APIRouter, service: Service) -> None:
    answers: dict[int | str, dict[str, Any]] = {200: {"model": ReportAnswer, **_STREAM}, **_errors(*_ALWAYS, 422)}

    @routes.post("/grade", response_model=None, responses=answers, tags=["grading"])
    async def grade(request: Request, body: grading.GradeBody, idempotency_key: _Key = None) -> Response:
        """Judge a submission against cases, or against a problem package.

        With `Accept: text/event-stream`: events `progress`, and `result` with the report, or `error`.
        """
        tenant = service.tenant(request, "grade")
        peer = peer_of(request)

        outbox = Outbox(service.config.stream_bytes)

        def tell(event: Event) -> None:
            outbox.put("progress", grading.message(event))

        async def perform() -> bytes:
            on_event = tell if _wants_events(request) else None
            return dump(await grading.grade(service, tenant, body, peer, on_event))

        made = service.replays.once(tenant.name, _key("grade", idempotency_key), await request.body(), perform)
        return await _answered(request, outbox, made)


def _of_server(routes: APIRouter, service: Service) -> None:
    @routes.get("/languages", tags=["server"], responses=_errors(*_ALWAYS))
    async def languages(request: Request) -> list[LanguageAnswer]:
        """The languages that this host has."""
        service.tenant(request)
        return [LanguageAnswer.of(info) for info in service.work.languages()]

    @routes.get("/profiles", tags=["server"], responses=_errors(*_ALWAYS))
    async def profiles(request: Request) -> list[ProfileAnswer]:
        """The profiles that this caller may ask for, the first by default, with the limits of their runs."""
        tenant = service.tenant(request)
        offered = [name for name in service.config.profiles if not tenant.profiles or name in tenant.profiles]
        return [
            ProfileAnswer(
                name=name,
                description=profile.Profile.load(name).policy.description,
                limits=service.work.limits_of(name, tenant),
            )
            for name in offered
        ]

    @routes.get("/health", tags=["server"], responses=_errors(400, 403, 408, 413, 503))
    async def health() -> Health:
        """Whether the server is alive."""
        return Health(status="ok", version=sandbox.__version__)

    @routes.get("/ready", tags=["server"], responses=_errors(400, 403, 408, 413, 503))
    async def ready() -> Health:
        """Whether the server takes new runs."""
        if service.admission.draining:
            raise Rejected(503, "draining", "the server is stopping", headers={"Retry-After": "5"})
        return Health(status="ok", version=sandbox.__version__)


def metrics_router(service: Service) -> APIRouter:
    """GET /metrics, where Prometheus looks for it."""
    routes = APIRouter()

    @routes.get(
        "/metrics",
        response_model=None,
        tags=["server"],
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **_errors(*_ALWAYS)},
    )
    async def metrics(request: Request) -> Response:
        """Figures for Prometheus; scope `metrics`."""
        service.tenant(request, "metrics")
        body, media_type = service.metrics.render()
        return Response(body, headers={"content-type": media_type})

    return routes


def _states() -> dict[int | str, dict[str, Any]]:
    return {202: {"model": RunState}, **_errors(*_ALWAYS, 404)}


def _no_run(identifier: str) -> Rejected:
    return Rejected(404, "not_found", f"there is no run {identifier[:64]!r}", hint="answers are kept for a while only")


def _wants_events(request: Request) -> bool:
    return _EVENTS in request.headers.get("accept", "")


def _key(what: str, key: str | None) -> str | None:
    return None if key is None else f"{what} {key}"


async def _answered(request: Request, outbox: Outbox, work: Coroutine[Any, Any, bytes]) -> Response:
    """What was made, at once or as a stream; a stream of something that was made before has its result alone."""
    if _wants_events(request):
        return await _stream(request, outbox, work)
    return Response(await gone.unless_gone(request, work), media_type=_JSON)


async def _stream(request: Request, outbox: Outbox, work: Awaitable[bytes]) -> Response:
    """An event stream; what fails before anything was said is an answer with a status of its own."""
    streamed = Streamed(outbox, work, logs.current())
    try:
        first = await gone.unless_gone(request, streamed.first())
    except BaseException:
        await streamed.stop()
        raise
    return EventStream(streamed, first)
