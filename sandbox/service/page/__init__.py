"""The page at `/`: a playground in the browser, made of files that are built from `web/` and read once.

What a client names is looked up in a table, and never becomes a path. The page needs no token; what it asks of /v1 does.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from fastapi import APIRouter, Request
from fastapi.responses import Response

from sandbox.service.failures import Rejected
from sandbox.service.service import Service

INDEX = "index.html"
# Scripts and styles are files of this server, whatever a program prints or a link says. Chromium refuses `innerHTML` as well.
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self' data:",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Vary": "Accept-Encoding",
}
_ASK_AGAIN = "no-cache"  # and take what you have where its ETag is the same
_FOR_EVER = "public, max-age=31536000, immutable"  # the name changes with the content
_TYPES = {".js": "text/javascript; charset=utf-8", ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8"}
_SMALL = 512


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the page. `packed` is the same with gzip; empty where that does not pay."""

    data: bytes
    packed: bytes
    media_type: str
    etag: str
    cache: str


@functools.cache
def assets() -> Mapping[str, Asset]:
    """Every file of the page by its name."""
    found = {}
    for item in sorted(resources.files(__name__).joinpath("static").iterdir(), key=lambda item: item.name):
        if item.is_file():
            found[item.name] = _asset(item.name, item.read_bytes())
    return found


def _asset(name: str, data: bytes) -> Asset:
    suffix = name[name.rfind(".") :]
    packed = gzip.compress(data, 9, mtime=0) if len(data) > _SMALL else b""
    return Asset(
        data=data,
        packed=packed if len(packed) < len(data) else b"",
        media_type=_TYPES.get(suffix) or mimetypes.types_map.get(suffix, "text/plain; charset=utf-8"),
        etag=hashlib.sha256(data).hexdigest()[:32],
        cache=_FOR_EVER if "-" in name else _ASK_AGAIN,
    )


def router(service: Service) -> APIRouter:  # noqa: ARG001 - every part of the application is made of the service
    """The routes. They are no part of the API."""
    assets()  # read and packed now, and not while the first visitor and everybody else waits
    routes = APIRouter(include_in_schema=False)
    both = ["GET", "HEAD"]

    @routes.api_route("/", methods=both)
    async def index(request: Request) -> Response:
        return _answer(request, INDEX)

    @routes.api_route("/page/{name}", methods=both)
    async def file(request: Request, name: str) -> Response:
        return _answer(request, name)

    @routes.api_route("/favicon.ico", methods=both)
    async def icon(request: Request) -> Response:
        return _answer(request, next(name for name in assets() if name.startswith("icon-")))

    return routes


def _answer(request: Request, name: str) -> Response:
    """One file. Raises Rejected."""
    asset = assets().get(name)
    if asset is None:
        raise Rejected(404, "not_found", "the page has no such file")
    packed = bool(asset.packed) and _takes_gzip(request.headers.get("accept-encoding", ""))
    etag = f'"{asset.etag}{"-gz" if packed else ""}"'
    headers = {**HEADERS, "ETag": etag, "Cache-Control": asset.cache}
    if etag in (item.strip().removeprefix("W/") for item in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers=headers)
    if packed:
        headers["Content-Encoding"] = "gzip"
    # Starlette's server sends no body with HEAD, and the length that there would be.
    return Response(asset.packed if packed else asset.data, headers=headers, media_type=asset.media_type)


def _takes_gzip(accepted: str) -> bool:
    for item in accepted.lower().split(","):
        coding, _, quality = item.partition(";")
        if coding.strip() == "gzip":
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
