"""The WebSocket of a run in flight, for threads; and standard input in pieces."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sandbox.client import calls, messages
from sandbox.client.errors import RemoteError
from sandbox.model.errors import RequestError

if TYPE_CHECKING:
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import ClientConnection

__all__ = ["arguments", "closed", "connect", "failed", "pieces", "receive", "send"]

PIECE = 64 << 10  # one message of standard input
_MISSING = "runs with callbacks, a terminal or a stream as standard input need websockets"


def arguments(base: str, head: Mapping[str, str], timeout: float, verify: bool | ssl.SSLContext) -> dict[str, Any]:
    """What `connect` of websockets is given, in either form. Raises RequestError where that package is missing."""
    try:
        import websockets  # noqa: F401
    except ImportError:
        raise RequestError(_MISSING, hint="install sandbox[client]") from None
    given: dict[str, Any] = {
        "uri": calls.socket_address(base),
        "additional_headers": dict(head),
        "open_timeout": min(timeout, 30.0),
        "close_timeout": 5.0,
        "max_size": messages.MAX_BYTES,
        "compression": None,
    }
    if base.startswith("https"):
        context = verify if isinstance(verify, ssl.SSLContext) else ssl.create_default_context()
        if verify is False:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        given["ssl"] = context
    return given


def connect(base: str, head: Mapping[str, str], timeout: float, verify: bool | ssl.SSLContext) -> ClientConnection:
    """An open connection. Raises RemoteError."""
    given = arguments(base, head, timeout, verify)
    from websockets.exceptions import WebSocketException
    from websockets.sync import client

    try:
        # The connection outlives this function; its handle closes it. From version 17.1 it is had by entering alone.
        socket: ClientConnection = contextlib.ExitStack().enter_context(client.connect(**given))
        return socket
    except (OSError, WebSocketException) as error:
        raise failed(error, base) from None


def failed(error: Exception, base: str) -> RemoteError:
    """The exception for a connection that was not made: the service's own words, where it has refused."""
    from websockets.exceptions import InvalidStatus

    if isinstance(error, InvalidStatus):
        return calls.refused(error.response.status_code, error.response.headers, bytes(error.response.body or b""))
    return calls.broken(error, base)


def receive(socket: ClientConnection, timeout: float | None) -> str | bytes:
    """The next message. Raises TimeoutError, RemoteError."""
    from websockets.exceptions import ConnectionClosed

    try:
        return socket.recv(timeout)
    except ConnectionClosed as error:
        raise closed(error) from None


def closed(error: ConnectionClosed) -> RemoteError:
    """The exception for an end without an answer."""
    end = error.rcvd
    return messages.ended(end.code, end.reason) if end is not None else messages.ended(1006, "the connection broke")


def send(socket: ClientConnection, message: str) -> None:
    """Send it; one that comes too late is nobody's mistake: `receive` tells how it ended."""
    from websockets.exceptions import ConnectionClosed

    try:
        socket.send(message)
    except ConnectionClosed:
        return


def pieces(source: Any) -> Iterator[bytes]:
    """Bytes of a descriptor, a file or an iterable, none longer than one message takes."""
    if isinstance(source, int):
        while data := os.read(source, PIECE):
            yield data
    elif hasattr(source, "read"):
        read = getattr(source, "read1", source.read)
        while data := read(PIECE):
            yield _bytes(data)
    else:
        for data in source:
            raw = _bytes(data)
            yield from (raw[start : start + PIECE] for start in range(0, len(raw), PIECE))


def _bytes(data: Any) -> bytes:
    if not isinstance(data, bytes | bytearray | memoryview):
        raise RequestError(f"stdin gives {type(data).__name__}, not bytes", hint="open files in binary mode")
    return bytes(data)
