"""What SECURITY.md claims of the service: each attack is held, and succeeds once the defence in its way is taken away.

The server is the real one, on a real socket, in the process of the test, so that a single part of it can be replaced. Each attack
says whether it got what it wanted.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from sandbox.service import access, admission, audit, callbacks, ceilings, guard, logs, replays, runs, server, tenant, tokens
from sandbox.service.app import make_app
from sandbox.service.config import Config

pytestmark = pytest.mark.requires("userns")
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
    bearers = [{"authorization": f"Bearer {tokens.add(file, name, limits={'memory': '64MiB'})}"} for name in ("alice", "mallory")]
    config = Config.model_validate(given)
    app = make_app(config)
    made = server.make_server(app)
    opened = server.listen(config.host, config.port, patience_s=5)
    serving = asyncio.ensure_future(made.serve(sockets=[opened]))
    await _until(lambda: made.started or serving.done())
    place = Place(f"http://127.0.0.1:{opened.getsockname()[1]}", *bearers, made, directory)
    try:
        yield place
    finally:
        await place.http.aclose()
        made.should_exit = True
        await serving
        opened.close()


async def _until(so: Callable[[], object]) -> None:
    while not so():  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.01)


async def _no_token(place: Place) -> bool:
    return (await place.run({})).status_code == 200


async def _no_scope(place: Place) -> bool:
    return (await place.http.get(f"{place.url}/metrics", headers=place.alice)).status_code == 200


async def _guesses(place: Place) -> bool:
    """To have every guess looked at."""
    answers = [await place.run({"authorization": f"Bearer guess{number}"}) for number in range(14)]
    return answers[-1].status_code == 401


async def _stolen_file(place: Place) -> bool:
    """To come in with what the file of tokens says."""
    kept = json.loads((place.directory / "tokens.json").read_text())["tokens"][0]["sha256"]
    return (await place.run({"authorization": f"Bearer {kept}"})).status_code == 200


async def _page_of_others(place: Place) -> bool:
    return (await place.run(place.alice, origin=EVIL)).status_code == 200


async def _name_that_leads_here(place: Place) -> bool:
    """A page whose own name was made to lead to this address: for the browser that is one origin."""
    return (await place.run({}, host="evil.example", origin="http://evil.example")).status_code == 200


async def _more_than_the_token_has(place: Place) -> bool:
    return (await place.run(place.alice, {**TRUE, "limits": {"memory": "128MiB"}})).status_code == 200


async def _body_without_end(place: Place) -> bool:
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


async def _head_without_end(place: Place) -> bool:
    """To keep a connection with half a head."""
    reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
    try:
        writer.write(b"GET / HTTP/1.1\r\nX: ")
        async with asyncio.timeout(2.5):
            return bool(await reader.read(1))
    except TimeoutError:
        return True
    except ConnectionError:
        return False
    finally:
        writer.transport.abort()


async def _many_sockets(place: Place) -> bool:
    url = place.url.replace("http", "ws") + "/v1/runs/ws"
    lines = []
    try:
        lines += [await connect(url, additional_headers=place.mallory) for _ in range(4)]
    except (WebSocketException, OSError):
        return False
    finally:
        await asyncio.gather(*(line.close() for line in lines))
    return True


async def _answer_of_another(place: Place) -> bool:
    hers = await place.run(place.alice, {"argv": ["echo", SECRET]}, **{"x-request-id": "hers"})
    assert SECRET in hers.text
    return SECRET in (await place.http.get(f"{place.url}/v1/runs/hers", headers=place.mallory)).text


async def _key_of_another(place: Place) -> bool:
    """The same request with the same key: whose answer is it?"""
    body = {"argv": ["cat", "/proc/sys/kernel/random/uuid"]}
    hers, other = [await place.run(who, body, **{"idempotency-key": "k"}) for who in (place.alice, place.mallory)]
    return bool(hers.json()["run"]["stdout"] == other.json()["run"]["stdout"])


class _Inside:
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


async def _leads_inside(_: str, __: int) -> list[str]:
    return ["127.0.0.1"]


async def _callback_to_inside(_: Place) -> bool:
    """The name is allowed; the address is not."""
    inside = _Inside()
    async with inside as port:
        await callbacks.put(f"http://hook.example:{port}/", b"{}", (f"hook.example:{port}",), resolve=_leads_inside)
    return bool(inside.asked)


async def _callback_sent_on(_: Place) -> bool:
    inside = _Inside()
    async with inside as port:
        await callbacks.put(f"http://127.0.0.1:{port}/first", b"{}", (f"127.0.0.1:{port}",))
    return "/second" in inside.asked


async def _whole_queue(place: Place) -> bool:
    """One tenant fills the queue: does another one still get in?"""
    flood = [asyncio.ensure_future(place.run(place.mallory, {"argv": ["sleep", "0.4"]})) for _ in range(4)]
    await _until(lambda: place.server._service.admission.depth == 3)
    refused = (await place.run(place.alice)).status_code != 200
    await asyncio.gather(*flood)
    return refused


async def _lost_in_a_stop(place: Place) -> bool:
    """To be accepted and not carried out."""
    accepted = asyncio.ensure_future(place.run(place.alice, {"argv": ["sleep", "0.8"]}))
    await _until(lambda: place.server._service.admission.running == 1)
    place.server.handle_exit(signal.SIGTERM, None)
    answer = await accepted
    return answer.status_code != 200 or answer.json()["run"]["outcome"] != "exited"


async def _told_to_the_operator(place: Place) -> bool:
    """Words of a payload or a token in the log or the audit."""
    body = {"language": "python3", "code": f"print('{SECRET}')", "stdin": SECRET, "args": [SECRET], "env": {"X": SECRET}}
    assert (await place.run(place.alice, body)).json()["run"]["stdout"] == f"{SECRET}\n"
    written = (place.directory / "audit").read_text() + (place.directory / "log").read_text()
    assert '"v1/run"' in written
    assert '"answered"' in written
    return SECRET in written or place.alice["authorization"].split()[1] in written


def _sync(value: Any) -> Callable[..., Any]:
    return lambda *_, **__: value


def _eager(value: Any) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def give(*_: object, **__: object) -> Any:
        return value

    return give


async def _whole_body(_: guard.Guard, __: object, receive: Callable[[], Awaitable[dict[str, Any]]]) -> tuple[bytes, int]:
    pieces, more = [], True
    while more:
        message = await receive()
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(pieces), 0


async def _any_socket(self: guard.Guard, scope: Any, headers: Any, receive: Any, send: Any) -> None:
    self._enter(scope, headers)
    await self._app(scope, receive, send)


def _any_answer(self: runs.Runs, _: str, identifier: str) -> bytes | None:
    return self._ended.get(next((key for key in self._ended._all if key[1] == identifier), None))  # type: ignore[index]


async def _once_for_all(self: Any, _: str, key: str | None, request: bytes, make: Any) -> bytes:
    return await _ONCE(self, "", key, request, make)


_ONCE = replays.Replays.once


class _Follows(httpx.AsyncClient):
    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "follow_redirects": True})


def _no_room(self: admission.Admission, _: str) -> None:
    raise self._refused("full", 503, "queue_full")


def _plain(data: bytes) -> SimpleNamespace:
    return SimpleNamespace(hexdigest=data.decode)


@dataclass(frozen=True)
class Attack:
    """What is tried, with these settings of the server, and the parts without which it succeeds: (where, name, instead)."""

    claim: str
    act: Callable[[Place], Coroutine[Any, Any, bool]]
    without: tuple[tuple[object, str, object], ...]
    settings: dict[str, Any] = field(default_factory=dict)


_ANY_ORIGIN = (guard.Guard, "_check_origin", _sync(None))
ATTACKS = (
    Attack("SEC-SV-01", _no_token, ((access.Access, "authenticate", _sync(tenant.ANYBODY)),)),
    Attack("SEC-SV-01", _no_scope, ((tenant.Tenant, "need", _sync(None)),)),
    Attack("SEC-SV-01", _guesses, ((access.Access, "_check_lock", _sync(None)),)),
    Attack("SEC-SV-01", _stolen_file, ((access, "hashlib", SimpleNamespace(sha256=_plain)),)),
    Attack("SEC-SV-02", _page_of_others, (_ANY_ORIGIN,)),
    Attack("SEC-SV-02", _name_that_leads_here, (_ANY_ORIGIN,), {"no_auth": True}),
    Attack("SEC-SV-03", _more_than_the_token_has, ((ceilings, "within", lambda _, asked: ceilings.parse(asked)),)),
    Attack("SEC-SV-04", _body_without_end, ((guard.Guard, "_body", _whole_body),), {"body_bytes": 100_000}),
    Attack("SEC-SV-04", _head_without_end, ((server._Protocol, "_wait", _sync(None)),), {"request_seconds": 1}),
    Attack("SEC-SV-04", _many_sockets, ((guard.Guard, "_socket", _any_socket),), {"websockets": 3}),
    Attack("SEC-SV-05", _answer_of_another, ((runs.Runs, "answer", _any_answer),)),
    Attack("SEC-SV-05", _key_of_another, ((replays.Replays, "once", _once_for_all),)),
    Attack("SEC-SV-06", _callback_to_inside, ((callbacks, "is_public", _sync(True)),)),
    Attack("SEC-SV-06", _callback_sent_on, ((httpx, "AsyncClient", _Follows),)),
    Attack("SEC-SV-07", _whole_queue, ((admission.Admission, "_make_room", _no_room),), {"max_concurrency": 1, "max_queue": 3}),
    Attack("SEC-SV-08", _lost_in_a_stop, ((admission.Admission, "drained", _eager(None)),)),
    Attack("SEC-SV-09", _told_to_the_operator, ((audit, "digest", lambda data: {"all": data.decode()}),)),
)
EACH = pytest.mark.parametrize("attack", ATTACKS, ids=[f"{item.claim}-{item.act.__name__.strip('_')}" for item in ATTACKS])


def attempt(attack: Attack, directory: Path, run_options: dict[str, Any]) -> bool:
    """Whether it got what it wanted."""
    with (directory / "log").open("w") as log:
        logs.setup(stream=log)

        async def whole() -> bool:
            async with placed(directory, {**run_options, **attack.settings}) as place:
                return await attack.act(place)

        try:
            return asyncio.run(asyncio.wait_for(whole(), 60))
        finally:
            for name in ("sandbox", "uvicorn", "asyncio"):
                logging.getLogger(name).handlers.clear()


@pytest.mark.claim(
    "SEC-SV-01",
    "SEC-SV-02",
    "SEC-SV-03",
    "SEC-SV-04",
    "SEC-SV-05",
    "SEC-SV-06",
    "SEC-SV-07",
    "SEC-SV-08",
    "SEC-SV-09",
)
@EACH
def test_it_is_held(attack: Attack, tmp_path: Path, run_options: dict[str, Any]) -> None:
    assert not attempt(attack, tmp_path, run_options)


@pytest.mark.claim(
    "SEC-SV-01",
    "SEC-SV-02",
    "SEC-SV-03",
    "SEC-SV-04",
    "SEC-SV-05",
    "SEC-SV-06",
    "SEC-SV-07",
    "SEC-SV-08",
    "SEC-SV-09",
    knocked_out=True,
)
@EACH
def test_it_succeeds_without_its_defence(
    attack: Attack, tmp_path: Path, run_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for where, name, instead in attack.without:
        monkeypatch.setattr(where, name, instead)
    assert attempt(attack, tmp_path, run_options)


def test_every_claim_of_the_service_has_its_attacks(root: Path) -> None:
    said = {line.split()[1] for line in (root / "SECURITY.md").read_text().splitlines() if line.startswith("| SEC-SV-")}
    assert {item.claim for item in ATTACKS} == said
