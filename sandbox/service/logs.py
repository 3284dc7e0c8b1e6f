r"""Logs as JSON lines on stderr: one object per line, with the id of the request in every one.

    logs.setup("info")                             # once, before the server starts; uvicorn gets log_config=None
    with logs.request(logs.request_id(header)):    # everything within, tasks and threads of asyncio included, carries the id
        logs.event("answered", status=200, route="/v1/run")
        logging.getLogger("sandbox.service").warning("any other logger works too")
    logs.current()                                 # the id, for answers and the audit; "" outside

A line is printable ASCII: whatever a client sent is escaped (`\u001b`, `\u202e`), so it can neither forge a line nor act on a
terminal, and a value is cut off at 2,000 characters.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO

__all__ = ["LEVELS", "ascii_json", "current", "event", "request", "request_id", "setup"]

LEVELS = ("debug", "info", "warning", "error", "critical")
MAX_VALUE = 2_000
MAX_TRACE = 8_000
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NAME = "sandbox.service"
_id: ContextVar[str] = ContextVar("request_id", default="")


def request_id(offered: str | None = None) -> str:
    """The id of a new request: what the client (or a proxy before us) offers, where it is a plain word of ≤ 64 characters."""
    return offered if offered is not None and _ID.fullmatch(offered) else secrets.token_hex(8)


@contextmanager
def request(identifier: str) -> Iterator[str]:
    """Every line from within carries this id."""
    token = _id.set(identifier)
    try:
        yield identifier
    finally:
        _id.reset(token)


def current() -> str:
    """The id of the request that is served here; "" outside of one."""
    return _id.get()


def event(name: str, *, level: str = "info", **fields: object) -> None:
    """One line about what happened, with fields of its own. The name is ours; what clients sent belongs into the fields."""
    logging.getLogger(_NAME).log(getattr(logging, level.upper()), name, extra={"fields": fields})


def ascii_json(value: Mapping[str, object]) -> str:
    """One line of printable ASCII. `json.dumps` leaves DEL as it is, which some terminals act on."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), default=str).replace("\x7f", "\\u007f")


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{seconds}.{int(record.created % 1 * 1000):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "request_id": current(),
            "message": _short(_said(record)),
        }
        for name, value in getattr(record, "fields", {}).items():
            line.setdefault(name, _short(value))
        if record.exc_info:
            # The end says what went wrong, and where nearest.
            line["exception"] = self.formatException(record.exc_info)[-MAX_TRACE:]
        return ascii_json(line)


class _Handler(logging.StreamHandler[TextIO]):
    """Writes each line at once. A stderr that is closed loses lines and fails nobody's request."""

    def emit(self, record: logging.LogRecord) -> None:
        # ValueError: the stream is closed. There is no place left to tell of it.
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(self.format(record) + "\n")
            self.stream.flush()


def setup(level: str = "info", stream: TextIO | None = None) -> None:
    """Send the lines of the service and of uvicorn to stderr, and no others'. A second call replaces the first.

    Args:
        level: one of LEVELS.
        stream: where to instead.

    Raises ValueError for another level.
    """
    if level not in LEVELS:
        raise ValueError(f"level {level!r} is none of {', '.join(LEVELS)}")
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(_Lines())
    for name in (_NAME, "uvicorn", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
        logger.setLevel(level.upper())
    for name in ("uvicorn.error", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # The service writes a line of its own for each request, with its id.
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.propagate = False
    access.disabled = True


def _said(record: logging.LogRecord) -> str:
    """The message; one whose arguments do not fit its form is a mistake of ours, and is told as it is."""
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        return str(record.msg)


def _short(value: object) -> object:
    if isinstance(value, bool | float) or value is None:
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= 64 else "a number of more than 64 bits"
    if isinstance(value, list | tuple):
        return [_short(item) for item in value[:100]]
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}… ({len(text)} characters)"
