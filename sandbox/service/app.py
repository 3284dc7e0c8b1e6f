"""The application: the parts of a service put together, its routes, and what an exception becomes."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import importlib
import importlib.util
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp

import sandbox
from sandbox.model.errors import SandboxError
from sandbox.service import failures, guard, logs, v1
from sandbox.service.access import Access
from sandbox.service.admission import Admission
from sandbox.service.audit import Audit
from sandbox.service.config import Config
from sandbox.service.failures import Failure
from sandbox.service.gone import ClientGone
from sandbox.service.metrics import Metrics
from sandbox.service.replays import Replays
from sandbox.service.runs import Runs
from sandbox.service.service import Service
from sandbox.service.work import Work

_MORE = ("page", "dialects.piston", "dialects.judge0", "dialects.gojudge")
_CODES = {404: "not_found", 405: "method_not_allowed", 415: "unsupported_media_type"}


def make_service(config: Config, work: Work | None = None) -> Service:
    """The parts. Raises RequestError for a file of tokens or an audit file that is not as it must be."""
    metrics = Metrics(pools=lambda: service.work.stats())  # noqa: PLW0108 - it is made below
    audit = Audit(config.audit_file, required=config.audit_required, on_failure=metrics.audit_failed)
    admission = Admission(config, on_depth=metrics.queued)
    service = Service(
        config=config,
        access=Access(config),
        admission=admission,
        metrics=metrics,
        audit=audit,
        work=work or Work(config, admission, metrics=metrics, audit=audit),
        runs=Runs(config),
        replays=Replays(config),
    )
    return service


def make_app(config: Config, work: Work | None = None) -> FastAPI:
    """The whole service as an ASGI application; `app.state.service` has its parts.

    Args:
        config: its settings.
        work: what carries out runs; a `Work` of its own by default.

    Raises RequestError.
    """
    service = make_service(config, work)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        threads = concurrent.futures.ThreadPoolExecutor(2 * config.max_concurrency + 4, "sandbox service")
        asyncio.get_running_loop().set_default_executor(threads)
        try:
            await service.work.start()
        except SandboxError as error:
            service.failure = error
            raise
        gc.collect()
        gc.freeze()  # what is there now stays: the collector need not look at it during a request
        try:
            yield
            service.admission.draining = True
        finally:
            await service.work.close()
            service.audit.close()

    app = FastAPI(
        title="sandbox",
        summary="Run untrusted programs",
        version=sandbox.__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.include_router(v1.router(service))
    app.include_router(v1.metrics_router(service))
    for name in _MORE:
        if importlib.util.find_spec(f"sandbox.service.{name}") is not None:
            more: APIRouter = importlib.import_module(f"sandbox.service.{name}").router(service)
            app.include_router(more)
    _answer_failures(app)
    _describe(app)
    if config.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(config.cors_origins),
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "X-Auth-Token", "X-Request-Id"],
            expose_headers=["X-Request-Id", "Retry-After", "X-Queue-Depth"],
        )
    app.add_middleware(_guarded, service=service)
    return app


def _describe(app: FastAPI) -> None:
    """OpenAPI without the answer that FastAPI gives to what is not valid by default: ours is 400, in our own form."""
    made = app.openapi

    def described() -> dict[str, Any]:
        whole = made()
        for operations in whole["paths"].values():
            for operation in operations.values():
                if "HTTPValidationError" in str(operation["responses"].get("422", "")):
                    del operation["responses"]["422"]
        return whole

    app.openapi = described  # type: ignore[method-assign]  # as FastAPI's documentation says


def _guarded(app: ASGIApp, service: Service) -> ASGIApp:
    return guard.Guard(app, service)


def _answer_failures(app: FastAPI) -> None:
    """What becomes of exceptions. Those of no kind that is known are logged with their trace, and told as "internal"."""

    async def known(_: Request, error: Exception) -> Response:
        return _response(failures.of(error))

    async def of_http(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        said = str(error.detail) if isinstance(error, HTTPException) else ""
        headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
        return _response(Failure(status, _CODES.get(status, "bad_request"), said, "see /openapi.json", headers))

    async def invalid(_: Request, error: Exception) -> Response:
        wrong = error.errors() if isinstance(error, RequestValidationError) else []
        said = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in wrong[:5])
        return _response(Failure(400, "bad_request", said.replace("Value error, ", "")[:1000], "see /openapi.json"))

    async def unknown(_: Request, error: Exception) -> Response:
        logging.getLogger("sandbox.service").error("a request failed", exc_info=error)
        return _response(failures.of(error))

    async def gone(_: Request, error: Exception) -> Response:  # noqa: ARG001 - the signature of handlers
        return Response(status_code=499)

    app.add_exception_handler(SandboxError, known)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(ClientGone, gone)
    app.add_exception_handler(Exception, unknown)


def _response(failure: Failure) -> Response:
    body = guard.body_of(failure, logs.current())
    return Response(body, status_code=failure.status, headers=dict(failure.headers), media_type="application/json")
