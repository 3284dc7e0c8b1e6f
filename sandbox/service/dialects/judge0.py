"""Judge0 CE over HTTP. Source: judge0/judge0, `app/controllers/*` and its API documentation."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response

from sandbox.grader.exports import JUDGE0_DESCRIPTIONS
from sandbox.model.errors import SandboxError
from sandbox.service import failures, gone
from sandbox.service.dialects import http, judge0_fields, judge0_languages, judge0_maps
from sandbox.service.dialects.judge0_desk import Desk
from sandbox.service.dialects.judge0_fields import BATCH, Errors
from sandbox.service.dialects.judge0_maps import UNCONVERTIBLE, UNCONVERTIBLE_MANY, Submission
from sandbox.service.service import Service, peer_of
from sandbox.service.tenant import Forbidden, Tenant

VERSION = "1.13.1"  # of the interface: clients choose numbers of languages by it
_NOT_FOUND = {"status": 404, "error": "Not Found"}
_EMPTY = "there should be at least one submission in a batch"
_TOO_MANY = f"number of submissions in a batch should be less than or equal to {BATCH}"
_PAGE = 20


def router(service: Service) -> APIRouter:
    """The routes."""
    desk = Desk(service)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await desk.close()

    routes = APIRouter(include_in_schema=False, lifespan=lifespan)
    handlers = _Handlers(service, desk)
    for path, method, handler in (
        ("/submissions", "POST", handlers.create),
        ("/submissions", "GET", handlers.index),
        ("/submissions/batch", "POST", handlers.create_batch),
        ("/submissions/batch", "GET", handlers.show_batch),
        ("/submissions/{token}", "GET", handlers.show),
        ("/submissions/{token}", "DELETE", handlers.destroy),
        ("/languages", "GET", handlers.languages),
        ("/languages/all", "GET", handlers.all_languages),
        ("/languages/{number}", "GET", handlers.language),
        ("/statuses", "GET", handlers.statuses),
        ("/about", "GET", handlers.about),
        ("/config_info", "GET", handlers.config_info),
        ("/system_info", "GET", handlers.system_info),
        ("/workers", "GET", handlers.workers),
        ("/authenticate", "POST", handlers.authenticate),
        ("/authorize", "POST", handlers.authorize),
    ):
        for end in ("", "/"):
            routes.add_api_route(path + end, _guarded(handler), methods=[method])
    return routes


def _guarded(handler: Callable[[Request], Any]) -> Callable[[Request], Any]:
    """`handler` with Judge0's form of what goes wrong."""

    async def handle(request: Request) -> Response:
        try:
            answer: Response = await handler(request)
            return answer
        except Forbidden as error:
            return http.answer({"error": error.message}, 403)
        except SandboxError as error:
            failure = failures.of(error)
            words = "queue is full" if failure.status in (429, 503) else failure.message
            return http.answer({"error": words}, failure.status, failure.headers)

    return handle


class _Handlers:
    def __init__(self, service: Service, desk: Desk) -> None:
        self._service = service
        self._desk = desk

    async def create(self, request: Request) -> Response:
        tenant = self._service.tenant(request)
        wait, encoded = request.query_params.get("wait") == "true", _encoded(request)
        fields, unknown = judge0_fields.wanted(request.query_params.get("fields"))
        if unknown:
            return _invalid_fields(unknown)
        given = await _body(request)
        if isinstance(given, Response):
            return given
        submission, wrong = self._submission(tenant, given, encoded=encoded)
        if submission is None:
            return http.answer(wrong, 422)
        if self._desk.is_full(tenant):
            return http.answer({"error": "queue is full"}, 503, {"Retry-After": "1"})
        if not wait:
            self._desk.later(tenant, submission, peer_of(request))
            return http.answer({"token": submission.token}, 201)
        await gone.unless_gone(request, self._desk.now(tenant, submission, peer_of(request)))
        try:
            return http.answer(judge0_maps.to_dict(submission, fields, encoded=encoded), 201)
        except UnicodeDecodeError:
            return http.answer({"token": submission.token, "error": UNCONVERTIBLE}, 400)

    async def create_batch(self, request: Request) -> Response:
        tenant = self._service.tenant(request)
        given = await _body(request)
        if isinstance(given, Response):
            return given
        several = given.get("submissions")
        several = several if isinstance(several, list) else []
        if not several or len(several) > BATCH:
            return http.answer({"error": _TOO_MANY if several else _EMPTY}, 400)
        if self._desk.is_full(tenant, len(several)):
            return http.answer({"error": "queue is full"}, 503, {"Retry-After": "1"})
        answers: list[Any] = []
        for one in several:
            submission, wrong = self._submission(tenant, one if isinstance(one, dict) else {}, encoded=_encoded(request))
            if submission is not None:
                self._desk.later(tenant, submission, peer_of(request))
            answers.append(wrong if submission is None else {"token": submission.token})
        return http.answer(answers, 201 if any("token" in item for item in answers) else 422)

    async def show(self, request: Request) -> Response:
        tenant = self._service.tenant(request)
        fields, unknown = judge0_fields.wanted(request.query_params.get("fields"))
        if unknown:
            return _invalid_fields(unknown)
        submission = self._desk.find(tenant, request.path_params["token"])
        if submission is None:
            return http.answer(_NOT_FOUND, 404)
        try:
            return http.answer(judge0_maps.to_dict(submission, fields, encoded=_encoded(request)))
        except UnicodeDecodeError:
            return http.answer({"error": UNCONVERTIBLE}, 400)

    async def show_batch(self, request: Request) -> Response:
        tenant = self._service.tenant(request)
        given = request.headers.get("tokens") or request.query_params.get("tokens") or ""
        tokens = [token for token in given.strip().split(",") if token]
        if not tokens or len(tokens) > BATCH:
            return http.answer({"error": _TOO_MANY if tokens else _EMPTY}, 400)
        return self._several(request, [self._desk.find(tenant, token.strip()) for token in tokens])

    async def index(self, request: Request) -> Response:
        tenant = self._service.tenant(request)
        page, per_page = (_number(request.query_params.get(name), usual) for name, usual in (("page", 1), ("per_page", _PAGE)))
        if page <= 0:
            return http.answer({"error": f"invalid page: {page}"}, 400)
        if per_page < 0:
            return http.answer({"error": f"invalid per_page: {per_page}"}, 400)
        found = self._desk.all(tenant)
        pages = math.ceil(len(found) / per_page) if per_page else 0
        meta = {
            "current_page": page,
            "next_page": page + 1 if page < pages else None,
            "prev_page": page - 1 if page > 1 else None,
            "total_pages": pages,
            "total_count": len(found),
        }
        return self._several(request, [*found[(page - 1) * per_page : page * per_page]], meta=meta)

    async def destroy(self, request: Request) -> Response:
        tenant = self._service.tenant(request)
        fields, unknown = judge0_fields.wanted(request.query_params.get("fields"))
        if unknown:
            return _invalid_fields(unknown)
        submission = self._desk.find(tenant, request.path_params["token"])
        if submission is None:
            return http.answer(_NOT_FOUND, 404)
        if not submission.is_done:
            status = f"{submission.status} ({JUDGE0_DESCRIPTIONS[submission.status]})"
            return http.answer({"error": f"submission cannot be deleted because its status is {status}"}, 400)
        self._desk.drop(tenant, submission.token)
        return http.answer(judge0_maps.to_dict(submission, fields, encoded=True))

    async def languages(self, request: Request) -> Response:
        return http.answer([item.brief() for item in self._languages(request).values()])

    async def all_languages(self, request: Request) -> Response:
        return http.answer([{**item.brief(), "is_archived": False} for item in self._languages(request).values()])

    async def language(self, request: Request) -> Response:
        found = self._languages(request).get(_number(request.path_params["number"], 0))
        return http.answer(_NOT_FOUND, 404) if found is None else http.answer(found.to_dict())

    async def statuses(self, request: Request) -> Response:
        self._service.tenant(request)
        return http.answer([{"id": number, "description": words} for number, words in JUDGE0_DESCRIPTIONS.items()])

    async def about(self, request: Request) -> Response:
        self._service.tenant(request)
        return http.answer({"version": VERSION, "homepage": "", "source_code": "", "maintainer": ""})

    async def config_info(self, request: Request) -> Response:
        return http.answer(judge0_fields.config_info(self._desk.rules(self._service.tenant(request))))

    async def system_info(self, request: Request) -> Response:
        self._service.tenant(request)
        return http.answer({"Architecture": platform.machine(), "CPU(s)": str(len(os.sched_getaffinity(0)))})

    async def workers(self, request: Request) -> Response:
        self._service.tenant(request)
        waiting, runs = self._desk.waiting
        total = self._service.config.max_concurrency
        row = {"queue": VERSION, "size": waiting, "available": total, "idle": max(0, total - runs), "working": runs}
        return http.answer([{**row, "paused": 0, "failed": 0}])

    async def authenticate(self, request: Request) -> Response:
        self._service.tenant(request)
        return Response()

    async def authorize(self, request: Request) -> Response:
        self._service.tenant(request, "admin")
        return Response()

    def _languages(self, request: Request) -> dict[int, judge0_languages.Numbered]:
        self._service.tenant(request)
        return judge0_languages.numbered(self._service.work.languages())

    def _submission(self, tenant: Tenant, given: dict[str, Any], *, encoded: bool) -> tuple[Submission | None, Errors]:
        rules = self._desk.rules(tenant)
        values, wrong = judge0_fields.checked(given, rules, encoded=encoded)
        return (None, wrong) if wrong else (Submission(values, rules.languages[values["language_id"]]), {})

    def _several(self, request: Request, found: list[Submission | None], **more: Any) -> Response:
        fields, unknown = judge0_fields.wanted(request.query_params.get("fields"))
        if unknown:
            return _invalid_fields(unknown)
        encoded = _encoded(request)
        try:
            rows = [None if item is None else judge0_maps.to_dict(item, fields, encoded=encoded) for item in found]
        except UnicodeDecodeError:
            return http.answer({"error": UNCONVERTIBLE_MANY}, 400)
        return http.answer({"submissions": rows, **more})


async def _body(request: Request) -> dict[str, Any] | Response:
    """The object in a body, or what is answered where there is none."""
    if not http.is_json(request):
        return http.answer({"error": "requests must be of type application/json"}, 415)
    found = await http.body(request)
    return found if isinstance(found, dict) else {}


def _encoded(request: Request) -> bool:
    return request.query_params.get("base64_encoded") == "true"


def _invalid_fields(names: list[str]) -> Response:
    return http.answer({"error": f"invalid fields: [{', '.join(name[:100] for name in names)}]"}, 400)


def _number(words: str | None, usual: int) -> int:
    """As Ruby's `to_i`."""
    if words is None:
        return usual
    try:
        return int(words[:9])
    except ValueError:
        return 0
