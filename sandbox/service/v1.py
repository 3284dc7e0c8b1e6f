"""The service's own API, /v1. Thin: a body becomes an Ask, an Answer becomes JSON."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response

from sandbox.service import gone, logs
from sandbox.service.live import Handle
from sandbox.service.service import Service, peer_of
from sandbox.service.v1_models import Answered, ErrorAnswer, RunBody, answer_of, dump

JSON = "application/json"


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of the answers that are no success."""
    return {status: {"model": ErrorAnswer} for status in statuses}


ALWAYS = (400, 401, 403, 408, 413, 429, 500, 503)


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1")

    @routes.post("/run", response_model=None, responses={200: {"model": Answered}, **errors(*ALWAYS, 409, 422)}, tags=["runs"])
    async def run(
        request: Request,
        body: RunBody,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
    ) -> Response:
        """Run a program or a command, and answer when it has ended. With `Accept: text/event-stream` the output streams."""
        tenant = service.tenant(request)
        ask = body.to_ask(service.work, label="v1/run", peer=peer_of(request))
        handle = Handle()
        with service.runs.run(tenant.name, logs.current(), handle) as identifier:
            answer = await gone.unless_gone(request, service.work.perform(tenant, ask, handle=handle))
            sent = dump(answer_of(identifier, answer))
            service.runs.ended(tenant.name, identifier, sent)
        return Response(sent, media_type=JSON)

    return routes
