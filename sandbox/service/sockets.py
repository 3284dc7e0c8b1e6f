"""WS /v1/runs/ws: a program at the other end of a line. Its input comes as it is typed, its output goes as it is written.

    client  {"type": "start", …as the body of /v1/run}   first
            {"type": "stdin", "data": "text"} or {"type": "stdin", "base64": "…"}
            {"type": "eof"} · {"type": "signal", "signal": "SIGINT"} · {"type": "resize", "rows": 24, "columns": 80}
    server  {"type": "stage" | "stdout" | "stderr", "stage": …, "text" or "base64": …}
            {"type": "result", …as the answer of /v1/run} or {"type": "error", "error": {…}}   last

What a program does not read of its input is not taken from the line either.
"""

from __future__ import annotations

import asyncio
import json
import signal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from sandbox.model.errors import RequestError
from sandbox.service import failures
from sandbox.service.access import PROTOCOL
from sandbox.service.failures import Rejected
from sandbox.service.live import Handle, Stdin
from sandbox.service.service import Service, peer_of
from sandbox.service.streams import Message, Outbox, Streamed
from sandbox.service.v1_models import RunBody, answer_of, decoded, dump

_DONE, _FAILED = 1000, 1008


class _Word(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Stdin(_Word):
    type: Literal["stdin"]
    data: str | None = None
    base64: str | None = None

    def bytes(self) -> bytes:
        if self.base64 is not None:
            return decoded(self.base64, "base64", "stdin")
        return decoded(self.data or "", "utf8", "stdin")


class _Eof(_Word):
    type: Literal["eof"]


class _Signal(_Word):
    type: Literal["signal"]
    signal: Annotated[str, Field(max_length=16)] | int

    def number(self) -> int:
        try:
            if isinstance(self.signal, int):
                return signal.Signals(self.signal).value
            return signal.Signals[self.signal if self.signal.startswith("SIG") else f"SIG{self.signal}"].value
        except (ValueError, KeyError):
            raise RequestError(f"there is no signal {self.signal!r}", hint="such as SIGINT or SIGKILL") from None


class _Resize(_Word):
    type: Literal["resize"]
    rows: Annotated[int, Field(ge=1, le=1000)]
    columns: Annotated[int, Field(ge=1, le=1000)]


_Words = Annotated[_Stdin | _Eof | _Signal | _Resize, Field(discriminator="type")]
_WORDS: TypeAdapter[_Stdin | _Eof | _Signal | _Resize] = TypeAdapter(_Words)


async def serve(service: Service, socket: WebSocket) -> None:
    """One line, from its handshake to its end."""
    await socket.accept(subprotocol=PROTOCOL if PROTOCOL in socket.scope.get("subprotocols", ()) else None)
    identifier = socket.scope["state"]["request_id"]
    try:
        tenant = service.tenant(socket)
        body = await _start(socket, service.config.request_seconds)
        stdin = Stdin()
        handle = Handle(keys=stdin.key)
        ask = body.to_ask(service.work, label="v1/ws", peer=peer_of(socket), stdin=stdin)
        await stdin.put(body.input())
        outbox = Outbox(service.config.stream_bytes)
        with service.runs.run(tenant.name, identifier, handle) as identifier:

            async def work() -> bytes:
                answer = await service.work.perform(tenant, ask, on_event=outbox.tell, handle=handle)
                sent = dump(answer_of(identifier, answer))
                service.runs.ended(tenant.name, identifier, sent)
                return sent

            await _both_ways(socket, Streamed(outbox, work(), identifier), stdin, handle, service.config.stream_seconds)
    except WebSocketDisconnect:
        return
    except Exception as error:  # noqa: BLE001 - the client is told
        await _end(socket, ("error", failures.of(error).to_dict(identifier)))


async def _start(socket: WebSocket, seconds: float) -> RunBody:
    """The first message. Raises Rejected."""
    try:
        async with asyncio.timeout(seconds):
            given = await _object(socket)
    except TimeoutError:
        raise Rejected(408, "too_slow", "no start came in time") from None
    if given.pop("type", None) != "start":
        raise Rejected(400, "bad_request", "the first message is a start", hint='{"type": "start", "argv": [...]}')
    try:
        return RunBody.model_validate_json(json.dumps(given))  # in JSON mode lists become tuples and so on
    except ValidationError as error:
        raise _invalid(error) from None


async def _object(socket: WebSocket) -> dict[str, Any]:
    try:
        value = json.loads(await socket.receive_text())
    except (ValueError, RecursionError, KeyError):  # KeyError: Starlette's, for a binary message
        raise Rejected(400, "bad_request", "a message is a JSON object, sent as text") from None
    if not isinstance(value, dict):
        raise Rejected(400, "bad_request", "a message is a JSON object")
    return value


def _invalid(error: ValidationError) -> Rejected:
    said = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:5])
    return Rejected(400, "bad_request", said.replace("Value error, ", "")[:1000])


async def _both_ways(socket: WebSocket, streamed: Streamed, stdin: Stdin, handle: Handle, patience: float) -> None:
    """Carry messages until the run has ended or the client has gone, which ends the run."""
    reading = asyncio.ensure_future(_read(socket, stdin, handle))
    writing = asyncio.ensure_future(_write(socket, streamed, patience))
    try:
        done, _ = await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
        (writing if writing in done else reading).result()
    finally:
        for task in (reading, writing):
            task.cancel()
        await asyncio.wait((reading, writing))
        await streamed.stop()


async def _write(socket: WebSocket, streamed: Streamed, patience: float) -> None:
    async for message in streamed.messages():
        if message is None:
            continue  # the protocol has pings of its own
        try:
            async with asyncio.timeout(patience):
                if message[0] in ("result", "error"):
                    await _end(socket, message)
                else:
                    await socket.send_text(_text(message))
        except TimeoutError:
            raise WebSocketDisconnect(_FAILED, "too_slow") from None


async def _read(socket: WebSocket, stdin: Stdin, handle: Handle) -> None:
    """Take what the client says until it goes. Raises Rejected for what is no message, WebSocketDisconnect."""
    while True:
        try:
            word = _WORDS.validate_python(await _object(socket))
        except ValidationError as error:
            raise _invalid(error) from None
        if isinstance(word, _Stdin):
            await stdin.put(word.bytes())
        elif isinstance(word, _Eof):
            await stdin.end()
        elif isinstance(word, _Signal):
            handle.send_signal(word.number())
        else:
            handle.resize(word.rows, word.columns)


async def _end(socket: WebSocket, message: Message) -> None:
    """The last message, and the end of the line. A client that is gone misses it."""
    try:
        await socket.send_text(_text(message))
        await socket.close(_DONE if message[0] == "result" else _FAILED)
    except (WebSocketDisconnect, RuntimeError):
        return


def _text(message: Message) -> str:
    kind, content = message
    whole = json.loads(content) if isinstance(content, bytes) else content
    return dump({"type": kind, **whole}).decode()
