"""What both clients share: the address, the head of a request, and what an answer means. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from sandbox.client import retries
from sandbox.client.errors import BadAnswer, RemoteError, Unreachable, error_from
from sandbox.model.errors import RequestError

__all__ = [
    "address",
    "broken",
    "head",
    "is_unseen",
    "made",
    "more_head",
    "named",
    "pack",
    "parsed",
    "refused",
    "socket_address",
    "split",
]

_T = TypeVar("_T")
_LIVE = ("on_stdout", "on_stderr", "on_stdout_end")
# Nothing was sent, or the connection broke: with the same idempotency key it runs once. Not a service that is slow to answer.
_UNSEEN = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


def address(url: str) -> str:
    """The base of all addresses, without a slash at its end. Raises RequestError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except (ValueError, AttributeError, TypeError) as error:
        raise RequestError(f"the address {url!r} is none: {error}", hint="write http://127.0.0.1:8000") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise RequestError(f"the address {url!r} is none", hint="write http://127.0.0.1:8000")
    if parts.username is not None or parts.query or parts.fragment:
        raise RequestError("the address has more than a host, a port and a path", hint="give the token as token=")
    return url.rstrip("/")


def socket_address(base: str) -> str:
    """Where runs in flight are talked to."""
    return f"ws{base.removeprefix('http')}/v1/runs/ws"


def head(token: str | None) -> dict[str, str]:
    """What every request carries. Raises RequestError, which does not quote the token."""
    if token is None:
        return {}
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise RequestError("the token is not one word of printable ASCII", hint="take it as `sandbox serve token add` printed it")
    return {"Authorization": f"Bearer {token}"}


def more_head(method: str, content: bytes | None) -> dict[str, str]:
    """What one request carries besides: the same in all its attempts."""
    more = {"Content-Type": "application/json"} if content is not None else {}
    return {**more, retries.KEY_HEADER: retries.key()} if method == "POST" else more


def named(identifier: str) -> dict[str, str]:
    """The head of a request that names its run, so that it can be canceled."""
    return {"X-Request-Id": identifier} if identifier else {}


def pack(body: Mapping[str, Any]) -> bytes:
    """JSON in ASCII: lone surrogates of a caller reach the service as such, and are refused there."""
    try:
        return json.dumps(body).encode("ascii")
    except (TypeError, ValueError) as error:
        raise RequestError(f"what was asked for is no JSON: {error}") from None


def split(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], float | None]:
    """What travels, the callbacks, and `queue_timeout`. Raises RequestError for what the service cannot do."""
    travels = {name: value for name, value in options.items() if name not in _LIVE}
    timeout = travels.pop("queue_timeout", None)
    live = {name: options[name] for name in _LIVE if options.get(name) is not None}
    if "on_stdout_end" in live:
        raise RequestError("the service does not tell when stdout is closed", hint="leave on_stdout_end out")
    return travels, live, timeout


def broken(error: Exception, base: str) -> Unreachable:
    """The exception for no answer."""
    said = str(error) or type(error).__name__
    return Unreachable(f"{base}: no answer: {said}", hint="see that the service runs there (`sandbox serve`)")


def is_unseen(error: Exception) -> bool:
    """Whether the request may be sent again, with its key."""
    return isinstance(error, _UNSEEN)


def refused(status: int, headers: Mapping[str, str], content: bytes) -> RemoteError:
    """The exception for an answer that is not 2xx."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    return error_from(status, body, retry_after=retries.retry_after(headers.get("retry-after")))


def parsed(status: int, content: bytes) -> Any:
    """The JSON of an answer. Raises BadAnswer."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"the service's answer is no JSON: {error}", status=status) from None


def made(make: Callable[[Any], _T], said: Any) -> _T:
    """An object from JSON. Raises BadAnswer where it is not of its form."""
    try:
        return make(said)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        hint = "see that client and service are of the same version"
        raise BadAnswer(f"the service's answer is not of the form of this version: {error!r}", hint=hint) from None
