"""Attacks on a service: the real server, on a real socket, in this process. Each says whether it got what it wanted."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from sandbox.service import callbacks, page, server, tokens
from sandbox.service.app import make_app
from sandbox.service.config import Config
from tests.support.clock import seconds

TRUE = {"argv": ["true"]}
EVIL = "https://evil.example"
SECRET = "what-nobody-else-is-to-read"


@dataclass
class Place:
    """A server that listens, two of its tokens, and its files."""

    url: str
    alice: dict[str, str]
    mallory: dict[str, str]
    server: server.Server
    directory: Path
    http: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=30))

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def run(self, headers: dict[str, str], body: dict[str, Any] | None = None, **more: str) -> httpx.Response:
        """One request for a run."""
        return await self.http.post(f"{self.url}/v1/run", json=body or TRUE, headers={**headers, **more})


@asynccontextmanager
async def placed(directory: Path, settings: dict[str, Any]) -> AsyncIterator[Place]:
    file = directory / "tokens.json"
    given = {"tokens_file": file, "port": 0, "languages": ("python3",), "audit_file": directory / "audit", **settings}
    allowed: dict[str, Any] = {"scopes": ("run", "grade"), "limits": {"memory": "64MiB"}}
    alice, mallory = ({"authorization": f"Bearer {tokens.add(file, name, **allowed)}"} for name in ("alice", "mallory"))
    config = Config.model_validate(given)
    app = make_app(config)
    made = server.make_server(app)
    opened = server.listen(config.host, config.port, patience_s=5)
    serving = asyncio.ensure_future(made.serve(sockets=[opened]))
    await until(lambda: made.started or serving.done())
    place = Place(f"http://127.0.0.1:{opened.getsockname()[1]}", alice, mallory, made, directory)
    try:
        yield place
    finally:
        await place.http.aclose()
        made.should_exit = True
        await serving
        opened.close()


async def until(so: Callable[[], object]) -> None:
    while not so():  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.01)


async def no_token(place: Place) -> bool:
    return (await place.run({})).status_code == 200


async def no_scope(place: Place) -> bool:
    return (await place.http.get(f"{place.url}/metrics", headers=place.alice)).status_code == 200


async def guesses(place: Place) -> bool:
    """To have every guess looked at."""
    answers = [await place.run({"authorization": f"Bearer guess{number}"}) for number in range(14)]
    return answers[-1].status_code == 401


async def stolen_file(place: Place) -> bool:
    """To come in with what the file of tokens says."""
    kept = json.loads((place.directory / "tokens.json").read_text())["tokens"][0]["sha256"]
    return (await place.run({"authorization": f"Bearer {kept}"})).status_code == 200


async def page_of_others(place: Place) -> bool:
    return (await place.run(place.alice, origin=EVIL)).status_code == 200


async def name_that_leads_here(place: Place) -> bool:
    """A page whose own name was made to lead to this address: for the browser that is one origin."""
    return (await place.run({}, host="evil.example", origin="http://evil.example")).status_code == 200


async def more_than_the_token_has(place: Place) -> bool:
    return (await place.run(place.alice, {**TRUE, "limits": {"memory": "128MiB"}})).status_code == 200


async def bodies_of_nobody(place: Place) -> bool:
    """To have all the room for bodies, without a token, where none is needed: then nobody else is served."""
    return await _is_crowded_out(place, "GET /v1/health HTTP/1.1\r\n")


async def bodies_of_one(place: Place) -> bool:
    """The same with a token."""
    return await _is_crowded_out(place, f"POST /v1/run HTTP/1.1\r\nAuthorization: {place.mallory['authorization']}\r\n")


async def _is_crowded_out(place: Place, head: str) -> bool:
    """Whether Alice's body finds no room beside three that never end."""
    lines = []
    for _ in range(3):
        _, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(f"{head}Host: 127.0.0.1\r\nContent-Length: 90000\r\n\r\n".encode() + b"x" * 89_000)
        lines.append(writer)
    await asyncio.sleep(0.3)
    served = await place.run(place.alice, {"argv": ["cat"], "stdin": "x" * 50_000})
    for writer in lines:
        writer.transport.abort()
    return served.status_code == 503


async def sockets_of_one(place: Place) -> bool:
    """One tenant has all WebSockets, and another one none."""
    url = place.url.replace("http", "ws") + "/v1/runs/ws"
    lines, kept_out = [], False
    for who in (*[place.mallory] * 4, place.alice):
        try:
            lines.append(await connect(url, additional_headers=who))
            kept_out = False
        except (WebSocketException, OSError):
            kept_out = True
    await asyncio.gather(*(line.close() for line in lines))
    return kept_out


async def key_that_is_forgotten(place: Place) -> bool:
    """Answers of one tenant push out those of another, whose request is then carried out twice."""
    body = {"argv": ["cat", "/proc/sys/kernel/random/uuid"]}
    first = await place.run(place.alice, body, **{"idempotency-key": "once"})
    for number in range(4):
        await place.run(place.mallory, {"argv": ["seq", "10000"]}, **{"idempotency-key": str(number)})
    again = await place.run(place.alice, body, **{"idempotency-key": "once"})
    return bool(first.json()["run"]["stdout"] != again.json()["run"]["stdout"])


async def graded_and_not_told(place: Place) -> bool:
    """To run code that no line of the audit tells of: ask for a grading, and go away."""
    body = {"language": "python3", "code": "import time; time.sleep(9)", "cases": [{"answer": "x"}], "limits": {"cpu": "10s"}}
    with pytest.raises(httpx.ReadTimeout):
        await place.http.post(f"{place.url}/v1/grade", json=body, headers=place.alice, timeout=1.0)
    audited = place.directory / "audit"
    try:
        async with asyncio.timeout(seconds(15)):
            await until(lambda: '"grade"' in audited.read_text())
    except TimeoutError:
        return True
    return False


async def body_without_end(place: Place) -> bool:
    """To have more read than a body may be."""
    sent = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 65_536
            yield b" " * 65_536

    headers = {**place.alice, "content-type": "application/json"}
    try:
        answer = await place.http.post(f"{place.url}/v1/run", content=pieces(), headers=headers)
    except httpx.TransportError:
        return False
    return answer.status_code != 413


async def head_without_end(place: Place) -> bool:
    """To keep a connection with half a head, where it is given a second."""
    reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
    try:
        writer.write(b"GET / HTTP/1.1\r\nX: ")
        async with asyncio.timeout(seconds(8)):
            return bool(await reader.read(1))
    except TimeoutError:
        return True
    except ConnectionError:
        return False
    finally:
        writer.transport.abort()


def deaf(port: int, source: str = "127.0.0.1") -> socket.socket:
    """A connection of a client that takes nothing of what it is sent."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.bind((source, 0))
    line.connect(("127.0.0.1", port))
    return line


UPGRADE = (
    "GET /v1/runs/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
)
UPGRADE += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


async def connections_of_all(place: Place) -> bool:
    """One address takes every connection: with handshakes that are refused, behind an answer that nobody takes."""
    large = max(page.assets().items(), key=lambda item: len(item[1].data))[0]
    first = f"GET /page/{large} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    lines = []
    try:
        for _ in range(12):
            lines.append(deaf(place.port))
            with suppress(OSError):
                lines[-1].sendall((first + UPGRADE + "\r\n").encode())
            await asyncio.sleep(0.05)
        other = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
        async with httpx.AsyncClient(transport=other, timeout=seconds(15)) as http:
            return (await http.get(f"{place.url}/v1/health")).status_code != 200
    except httpx.TransportError:
        return True
    finally:
        for line in lines:
            line.close()


async def pings_without_end(place: Place) -> bool:
    """To have answers kept that nobody takes."""
    with deaf(place.port) as line:
        line.sendall((UPGRADE + f"Authorization: {place.mallory['authorization']}\r\n\r\n").encode())
        line.setblocking(False)
        loop = asyncio.get_running_loop()
        assert b"101" in await loop.sock_recv(line, 4096)
        ping = b"\x89\xfd" + bytes(4) + bytes(125)
        try:
            for _ in range(100):
                await asyncio.wait_for(loop.sock_sendall(line, ping * 200), 10)
        except (OSError, TimeoutError):
            return False
        held = [item.transport.get_write_buffer_size() for item in place.server.server_state.connections if item.transport]
        return max(held, default=0) > 1 << 20


async def many_sockets(place: Place) -> bool:
    url = place.url.replace("http", "ws") + "/v1/runs/ws"
    lines = []
    try:
        lines += [await connect(url, additional_headers=place.mallory) for _ in range(4)]
    except (WebSocketException, OSError):
        return False
    finally:
        await asyncio.gather(*(line.close() for line in lines))
    return True


async def answer_of_another(place: Place) -> bool:
    hers = await place.run(place.alice, {"argv": ["echo", SECRET]}, **{"x-request-id": "hers"})
    assert SECRET in hers.text
    return SECRET in (await place.http.get(f"{place.url}/v1/runs/hers", headers=place.mallory)).text


async def key_of_another(place: Place) -> bool:
    """The same request with the same key: whose answer is it?"""
    body = {"argv": ["cat", "/proc/sys/kernel/random/uuid"]}
    hers, other = [await place.run(who, body, **{"idempotency-key": "k"}) for who in (place.alice, place.mallory)]
    return bool(hers.json()["run"]["stdout"] == other.json()["run"]["stdout"])


class Inside:
    """A server inside, which nobody outside is to reach; it sends who comes to /first on to /second."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self._port: int = self._server.sockets[0].getsockname()[1]
        return self._port

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head.split()[1])
        status = f"307 No\r\nLocation: http://127.0.0.1:{self._port}/second" if "/first" in head else "200 OK"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()


async def leads_inside(_: str, __: int) -> list[str]:
    return ["127.0.0.1"]


async def callback_to_inside(_: Place) -> bool:
    """The name is allowed; the address is not."""
    inside = Inside()
    async with inside as port:
        await callbacks.put(f"http://hook.example:{port}/", b"{}", (f"hook.example:{port}",), resolve=leads_inside)
    return bool(inside.asked)


async def callback_sent_on(_: Place) -> bool:
    inside = Inside()
    async with inside as port:
        await callbacks.put(f"http://127.0.0.1:{port}/first", b"{}", (f"127.0.0.1:{port}",))
    return "/second" in inside.asked


async def whole_queue(place: Place) -> bool:
    """One tenant fills the queue: does another one still get in?"""
    flood = [asyncio.ensure_future(place.run(place.mallory, {"argv": ["sleep", "1.5"]})) for _ in range(4)]
    await until(lambda: place.server._service.admission.depth == 3)
    refused = (await place.run(place.alice)).status_code != 200
    await asyncio.gather(*flood)
    return refused


async def lost_in_a_stop(place: Place) -> bool:
    """To be accepted and not carried out."""
    accepted = asyncio.ensure_future(place.run(place.alice, {"argv": ["sleep", "2"]}))
    await until(lambda: place.server._service.admission.running == 1)
    place.server.handle_exit(signal.SIGTERM, None)
    answer = await accepted
    return answer.status_code != 200 or answer.json()["run"]["outcome"] != "exited"


async def told_to_the_operator(place: Place) -> bool:
    """Words of a payload or a token in the log or the audit."""
    body = {"language": "python3", "code": f"print('{SECRET}')", "stdin": SECRET, "args": [SECRET], "env": {"X": SECRET}}
    assert (await place.run(place.alice, body)).json()["run"]["stdout"] == f"{SECRET}\n"
    written = (place.directory / "audit").read_text() + (place.directory / "log").read_text()
    assert '"v1/run"' in written
    assert '"answered"' in written
    return SECRET in written or place.alice["authorization"].split()[1] in written
