"""The messages of a run in flight, over its WebSocket. Pure."""

from __future__ import annotations

import base64
import json
from typing import Any, Literal, NamedTuple, TypeAlias

from sandbox.client import calls
from sandbox.client.errors import BadAnswer, RemoteCapacityError, RemoteError, RemoteRequestError, Unreachable, error_from
from sandbox.client.results import Answer, answer_from, text_bytes

__all__ = ["EOF", "KILL", "MAX_BYTES", "Begun", "Message", "Output", "ended", "parse", "resize", "start", "stdin"]

_TOO_BIG = 1009
_LOST = (1001, 1006, 1012, 1013)  # going away, broken, restart, try again later
MAX_BYTES = 256 << 20  # of one message: the last has the collected files
EOF = json.dumps({"type": "eof"})
KILL = json.dumps({"type": "signal", "signal": "SIGKILL"})


class Output(NamedTuple):
    """A piece of what the program (or its compiler) writes."""

    stream: Literal["stdout", "stderr"]
    data: bytes
    stage: str


class Begun(NamedTuple):
    """A stage begins: "compile" or "run"."""

    stage: str


Message: TypeAlias = Output | Begun | Answer | RemoteError | None
_BUSY_WAIT_S = 1.0  # an error over a WebSocket has no Retry-After


def start(body: dict[str, Any]) -> str:
    """The first message: a body of `/v1/run`."""
    return calls.pack({"type": "start", **body}).decode("ascii")


def stdin(data: bytes) -> str:
    """A piece of standard input."""
    return json.dumps({"type": "stdin", "base64": base64.b64encode(data).decode("ascii")})


def resize(rows: int, columns: int) -> str:
    """The new size of the terminal."""
    return json.dumps({"type": "resize", "rows": rows, "columns": columns})


def parse(raw: str | bytes) -> Message:
    """What the service says: output, the answer, an error; None for what concerns nobody here. Raises BadAnswer."""
    said = calls.parsed(0, raw.encode() if isinstance(raw, str) else raw)
    return calls.made(_message, said)


def _message(said: Any) -> Message:
    kind = said["type"]
    if kind == "stdout":
        return Output("stdout", _data(said), said.get("stage", "run"))
    if kind == "stderr":
        return Output("stderr", _data(said), said.get("stage", "run"))
    if kind == "stage":
        return Begun(said["stage"])
    if kind == "result":
        return answer_from(said)
    if kind == "error":
        error = error_from(0, said)
        error.retry_after = _BUSY_WAIT_S if isinstance(error, RemoteCapacityError) else None
        return error
    return None


def _data(said: Any) -> bytes:
    if "base64" in said:
        return base64.b64decode(said["base64"], validate=True)
    if "text" in said:
        return text_bytes(said, "text")
    return text_bytes(said, "data")


def ended(code: int, reason: str) -> RemoteError:
    """The exception for a connection that was closed before the answer came. Close codes: RFC 6455, 7.4."""
    said = f"{code} {reason}".strip()
    if code == _TOO_BIG:
        return RemoteRequestError("a message is longer than the service takes", hint="send less in files, or as standard input")
    if code in _LOST:
        return Unreachable(f"the connection ended before the answer came ({said})")
    return BadAnswer(f"the service ended the connection before the answer came ({said})")
