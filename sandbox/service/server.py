"""The server around the application: uvicorn, with bounds of its own for connections that send nothing, and an end in good order.

SIGTERM or SIGINT: new runs are refused with 503, what was accepted is answered, then the server ends. A second signal ends it at
once. After SIGKILL the kernel ends every launcher with this process, and every sandbox with its launcher.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket
from collections import Counter
from types import FrameType
from typing import Any, ClassVar

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from sandbox.model.errors import RequestError, UnsupportedHostError
from sandbox.service import logs
from sandbox.service.service import Service

_MAX_HEAD = 32 << 10
_SEND_BUFFER = 128 << 10
_KEEP_ALIVE_S = 15
_DESCRIPTORS = 65_536
_LAST_ANSWERS_S = 10  # for answers that are still being sent when all runs have ended
_SETTLE_S = 0.2
_MOST_PONGS = 64 << 10


class _Protocol(H11Protocol):
    """A connection that must bring the head of a request in time, and is one of so many.

    uvicorn itself bounds only the time between requests, and answers those that are too many without closing them.
    """

    _patience_s = 30.0
    _most = 1024
    _most_of_peer = 256
    _peers: ClassVar[Counter[str]] = Counter()
    _timer: asyncio.TimerHandle | None = None
    _peer = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._peer = self.client[0] if self.client else ""
        self._peers[self._peer] += 1
        if len(self.connections) > self._most or self._peers[self._peer] > self._most_of_peer:
            transport.abort()
        else:
            self._wait()

    def data_received(self, data: bytes) -> None:
        if self._timer is None and not self._serving():
            self._wait()
        super().data_received(data)
        if self._serving():
            self._stop()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        self._forget_peer()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._stop()
        super().handle_websocket_upgrade(event)
        self._forget_peer()  # the line counts itself now

    def _forget_peer(self) -> None:
        peer, self._peer = self._peer, ""
        forget(self._peers, peer)

    def _serving(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self._patience_s, self._give_up)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if not self._serving():
            self.transport.abort()


class _Socket(WebSocketsSansIOProtocol):
    """A WebSocket. It is one of the connections of its peer until it is accepted; then there is a bound of its own.

    A handshake that is refused has been answered: uvicorn would log each as an error of the application. Pings are answered only
    as long as the answers are taken: uvicorn would keep them all.
    """

    _peers: ClassVar[Counter[str]] = Counter()
    _peer = ""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._peer = self.client[0] if self.client else ""
        self._peers[self._peer] += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_peer()
        super().connection_lost(exc)

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.accept":
            self._forget_peer()
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True

    def handle_ping(self) -> None:
        super().handle_ping()
        if self.transport.get_write_buffer_size() > _MOST_PONGS:
            self.transport.abort()

    def _forget_peer(self) -> None:
        peer, self._peer = self._peer, ""
        forget(self._peers, peer)


def forget(peers: Counter[str], peer: str) -> None:
    """One connection of a peer less; "" is none."""
    if peer:
        peers[peer] -= 1
        if not peers[peer]:
            del peers[peer]


class Server(uvicorn.Server):
    """A server that drains before it ends."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._draining: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say where it listens, once it does."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGHUP, self._service.audit.reopen)
        await super().startup(sockets)
        for item in sockets or ():
            logs.event("listening", address="{}:{}".format(*item.getsockname()[:2]))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: the first one drains, a further one ends at once."""
        if self._loop is None or self._service.admission.draining:
            super().handle_exit(sig, frame)
            self.force_exit = True
            return
        self._service.admission.draining = True
        self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._draining = asyncio.ensure_future(self._until_idle())

    async def _until_idle(self) -> None:
        seconds = self._service.config.drain_seconds
        logs.event("draining", running=self._service.admission.running, waiting=self._service.admission.depth)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.sleep(_SETTLE_S)  # requests whose body is here already get as far as their turn
                await self._service.admission.drained()
        admission = self._service.admission
        left = max(admission.running + admission.depth, admission.promises)
        if left:
            logs.event("ended before everything was done", level="error", left=left)
            admission.close()
            self._service.work.cancel_all()
        self.should_exit = True


def listen(host: str, port: int, *, patience_s: float) -> socket.socket:
    """A listening socket. The kernel ends connections whose client takes nothing of what is sent for so long (tcp(7)).

    Raises RequestError.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, round(patience_s * 1000)))
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)  # the kernel would give megabytes to each
        opened.bind((host.strip("[]"), port))
        opened.listen(1024)
    except OSError as error:
        opened.close()
        raise RequestError(f"cannot listen on {host}:{port}: {error.strerror}", hint="choose another --host or --port") from None
    return opened


def _raise_descriptors(connections: int) -> None:
    """Let this process have as many descriptors as it may. Logs when its connections alone could use them up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(hard, _DESCRIPTORS) if hard != resource.RLIM_INFINITY else _DESCRIPTORS
    if most > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if max(soft, most) < 2 * connections:
        logs.event("few descriptors", level="warning", descriptors=max(soft, most), connections=connections)


def make_server(app: FastAPI) -> Server:
    """The server of an application of `app.make_app`, with its bounds. It listens on nothing yet."""
    service: Service = app.state.service
    config = service.config
    bounds = {
        "_patience_s": config.request_seconds,
        "_most": config.connections,
        "_most_of_peer": config.connections_of_peer or config.connections,
        "_peers": Counter(),
    }
    patient = type("Protocol", (_Protocol,), bounds)
    line = type("Socket", (_Socket,), {"_peers": bounds["_peers"]})
    settings = uvicorn.Config(
        app,
        http=patient,
        ws=line,
        loop="auto",  # uvloop where it is installed
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(config.proxies),
        forwarded_allow_ips=list(config.proxies),
        limit_concurrency=None,  # it would answer 503 and let the connection be: ours are closed
        backlog=1024,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_LAST_ANSWERS_S,
        h11_max_incomplete_event_size=_MAX_HEAD,
        ws_max_size=config.message_bytes,
        ws_max_queue=4,
        ws_per_message_deflate=False,  # a small message may unfold into a large one
    )
    return Server(settings, service)


def serve(app: FastAPI) -> None:
    """Serve until a signal ends it. Raises SandboxError where the service cannot start."""
    service: Service = app.state.service
    config = service.config
    _raise_descriptors(config.connections)
    server = make_server(app)
    opened = listen(config.host, config.port, patience_s=config.stream_seconds)
    with contextlib.closing(opened), contextlib.suppress(KeyboardInterrupt, SystemExit):  # uvicorn's when it cannot start
        server.run(sockets=[opened])
    if not server.started:
        raise service.failure or UnsupportedHostError("service", "it did not start", "see its log")
