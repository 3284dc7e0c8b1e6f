"""What stands before every request, whatever it asks for: its id, its door, the size and the patience of its body, its log line.

A request comes through in this order; each step may answer in its place.

    id → Host and Origin → token → body (cut off while it comes) → the application → headers, log, figures

The body is read here, as a whole: nothing behind this parses a byte of a request that is too large, too slow or nobody's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.service import failures, logs, telemetry
from sandbox.service.config import is_loopback
from sandbox.service.failures import Failure, Rejected
from sandbox.service.service import Service
from sandbox.service.tenant import ANYBODY
from sandbox.service.v1_models import dump

OPEN = frozenset({"/", "/favicon.ico", "/v1/health", "/v1/ready", "/openapi.json"})
OPEN_BELOW = ("/page/",)
SECURITY_HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_LINGER_S = 2.0
_TOO_LARGE = "the body has more than {} bytes"


class Guard:
    """The outermost part of the application."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service
        self._bodies = Shares(service.config.bodies_bytes, least=service.config.body_bytes)
        self._sockets = Shares(service.config.websockets)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        with logs.request(logs.request_id(headers.get("x-request-id"))) as identifier:
            scope.setdefault("state", {})["request_id"] = identifier
            if scope["type"] == "websocket":
                await self._socket(scope, headers, receive, send)
            else:
                await self._request(scope, headers, receive, send)

    async def _request(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        status = 0
        whole = False
        request_id = scope["state"]["request_id"]

        async def sending(message: Message) -> None:
            nonlocal status, whole
            whole = message["type"] == "http.response.body" and not message.get("more_body", False)
            if message["type"] == "http.response.start":
                status = message["status"]
                own = MutableHeaders(scope=message)
                own["X-Request-Id"] = request_id
                for name, value in SECURITY_HEADERS.items():
                    own.setdefault(name, value)
            await send(message)

        held = 0
        try:
            try:
                self._check_origin(headers)
                self._enter(scope, headers)
                body = await self._body(scope, headers, receive)
                held = len(body or b"")
            except Rejected as error:
                self._service.metrics.refused(error.code)
                await refuse(receive, sending, failures.of(error), request_id)
                return
            if body is None:
                return
            with telemetry.request(scope["method"], headers) as mark:
                await self._app(scope, _replay(body, receive), sending)
                mark(route=getattr(scope.get("route"), "path", ""), status=status)
        except Exception as error:
            if status and not whole:
                raise  # the connection is all that can still tell it
            if not status:
                logging.getLogger("sandbox.service").exception("a request failed at the door")
                await refuse(receive, sending, failures.of(error), request_id)
        finally:
            self._bodies.give_back(_name(scope), held)
            seconds = time.monotonic() - began
            route = getattr(scope.get("route"), "path", "")
            self._service.metrics.requested(route, status, seconds, method=scope["method"])
            logs.event(
                "answered",
                method=scope["method"],
                path=scope["path"],
                route=route,
                status=status,
                ms=round(seconds * 1000, 3),
                tenant=_name(scope),
                peer=_peer(scope),
            )

    def _check_origin(self, headers: Headers) -> None:
        """Pages of others must not use the browser of somebody who reaches this service. Raises Rejected."""
        config = self._service.config
        host = headers.get("host", "")
        origin = headers.get("origin")
        try:
            name = urlsplit(f"//{host}").hostname or ""
            page = None if origin is None else urlsplit(origin).netloc
        except ValueError:
            raise Rejected(400, "bad_request", "Host or Origin is no name of a server") from None
        if (config.hosts and name not in config.hosts) or (config.no_auth and not config.hosts and not is_loopback(name)):
            raise Rejected(403, "forbidden", f"this service is not called {name[:64]!r}", hint="`hosts` lists its names")
        if origin is not None and page != host and origin not in config.cors_origins:
            raise Rejected(403, "forbidden", "pages of this origin may not call here", hint="`cors_origins` lists those that may")

    def _enter(self, scope: Scope, headers: Headers) -> None:
        """Find out who it is. Raises Rejected."""
        path = scope["path"]
        reads = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if (reads and (path in OPEN or path.startswith(OPEN_BELOW))) or _is_preflight(scope, headers):
            return
        scope["state"]["tenant"] = self._service.access.authenticate(headers, _peer(scope))

    async def _body(self, scope: Scope, headers: Headers, receive: Receive) -> bytes | None:
        """The whole body, counted as held; None when the client went away. Raises Rejected.

        Who has shown no token, where one is not needed, has nothing to say: of him not a byte is kept.
        """
        tenant, name = scope["state"].get("tenant"), _name(scope)
        most = self._service.config.body_bytes if tenant is not None else 0
        length = headers.get("content-length", "")
        if length.isascii() and length.isdecimal() and (len(length) > 18 or int(length) > most):
            raise Rejected(413, "too_large", _TOO_LARGE.format(most))
        pieces: list[bytes] = []
        held = 0
        whole = False
        try:
            async with asyncio.timeout(self._service.config.request_seconds):
                while not whole:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        break
                    data = message.get("body", b"")
                    if held + len(data) > most:
                        raise Rejected(413, "too_large", _TOO_LARGE.format(most))
                    if not self._bodies.take(name, len(data), alone=tenant is ANYBODY):
                        raise Rejected(503, "bodies", "too many large requests at once", headers={"Retry-After": "1"})
                    held += len(data)
                    pieces.append(data)
                    whole = not message.get("more_body", False)
        except TimeoutError:
            raise Rejected(408, "too_slow", "the request did not arrive in time") from None
        finally:
            if not whole:
                self._bodies.give_back(name, held)
        return b"".join(pieces) if whole else None

    async def _socket(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        service = self._service
        try:
            self._check_origin(headers)
            self._enter(scope, headers)
            name = _name(scope)
            if not self._sockets.take(name, 1, alone=scope["state"]["tenant"] is ANYBODY):
                raise Rejected(503, "sockets", "too many WebSockets are open", headers={"Retry-After": "5"})
        except Rejected as error:
            service.metrics.refused(error.code)
            await deny(scope, send, failures.of(error))
            return
        began = time.monotonic()
        try:
            with service.metrics.socket():
                await self._app(scope, receive, send)
        finally:
            self._sockets.give_back(name, 1)
            logs.event("socket closed", path=scope["path"], ms=round((time.monotonic() - began) * 1000), peer=_peer(scope))


class Shares:
    """Something of which there is so much. One tenant has at most half of it: no single one takes it from all others.

    Args:
        most: all that there is.
        least: one tenant may have so much in any case.
    """

    def __init__(self, most: int, least: int = 1) -> None:
        self._most = most
        self._share = max(least, most // 2)
        self._held: Counter[str] = Counter()

    def take(self, name: str, amount: int, *, alone: bool = False) -> bool:
        """Whether it can be had. `alone`: there are no other tenants."""
        share = self._most if alone else self._share
        if self._held.total() + amount > self._most or self._held[name] + amount > share:
            return False
        self._held[name] += amount
        return True

    def give_back(self, name: str, amount: int) -> None:
        """What was taken."""
        self._held[name] -= amount
        if not self._held[name]:
            del self._held[name]


def _name(scope: Scope) -> str:
    tenant = scope["state"].get("tenant")
    return "" if tenant is None else str(tenant.name)


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once, then whatever else comes from the client."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return first.pop() if first else await receive()

    return again


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _is_preflight(scope: Scope, headers: Headers) -> bool:
    return scope["type"] == "http" and scope["method"] == "OPTIONS" and "access-control-request-method" in headers


def body_of(failure: Failure, request_id: str) -> bytes:
    """The form of /v1, and `message`, which clients of Piston look for."""
    return dump({**failure.to_dict(request_id), "message": failure.message})


async def refuse(receive: Receive, send: Send, failure: Failure, request_id: str) -> None:
    """Send a failure in place of an answer, and end the connection.

    What is still on its way is thrown away for a moment before: the kernel would answer it with a reset, which may reach the
    client before the failure does.
    """
    body = body_of(failure, request_id)
    headers = {**failure.headers, "content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    await send({"type": "http.response.start", "status": failure.status, "headers": _encoded(headers)})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    break
    await send({"type": "http.response.body", "body": b""})


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


async def deny(scope: Scope, send: Send, failure: Failure) -> None:
    """Answer a WebSocket's handshake with a failure."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": failure.code})
        return
    headers = {"content-type": "application/json", **failure.headers}
    await send({"type": "websocket.http.response.start", "status": failure.status, "headers": _encoded(headers)})
    await send({"type": "websocket.http.response.body", "body": body_of(failure, scope["state"]["request_id"])})
