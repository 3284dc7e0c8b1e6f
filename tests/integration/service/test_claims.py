"""What SECURITY.md claims of the service: each attack is held, and succeeds once the defence in its way is taken away.

The server is the real one, on a real socket, in the process of the test, so that a single part of it can be replaced. Each attack
says whether it got what it wanted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from sandbox.service import (
    access,
    admission,
    audit,
    callbacks,
    ceilings,
    guard,
    kept,
    logs,
    replays,
    runs,
    server,
    tenant,
)
from tests.support import attacks_on_service as attacks

pytestmark = pytest.mark.requires("userns")


def _sync(value: Any) -> Callable[..., Any]:
    return lambda *_, **__: value


def _eager(value: Any) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def give(*_: object, **__: object) -> Any:
        return value

    return give


async def _whole_body(_: guard.Guard, __: object, ___: object, receive: Callable[[], Awaitable[dict[str, Any]]]) -> bytes:
    pieces, more = [], True
    while more:
        message = await receive()
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(pieces)


async def _any_body(self: guard.Guard, scope: Any, headers: Any, receive: Any) -> bytes | None:
    """As if whoever asks had a token."""
    scope["state"].setdefault("tenant", tenant.ANYBODY)
    return await _BODY(self, scope, headers, receive)


_BODY = guard.Guard._body


class _AnyShare(guard.Shares):
    def take(self, name: str, amount: int, *, alone: bool = False) -> bool:
        return super().take(name, amount, alone=True)


def _oldest_first(self: kept.Kept[Any]) -> None:
    """One queue for all."""
    while self._size > self._most_bytes:
        entries = [(item[0], owner, key) for owner, own in self._owners.items() for key, item in own.things.items()]
        _, owner, key = min(entries)
        self.drop(owner, key)


def _only_answers(self: audit.Audit, record: Any, *, withhold: bool = True) -> None:
    """As if only that were audited which has an answer."""
    if withhold:
        _WRITE(self, record)


_WRITE = audit.Audit.write


async def _any_socket(self: guard.Guard, scope: Any, headers: Any, receive: Any, send: Any) -> None:
    self._enter(scope, headers)
    await self._app(scope, receive, send)


def _uncounted(self: server._Socket, transport: Any) -> None:
    WebSocketsSansIOProtocol.connection_made(self, transport)


def _any_answer(self: runs.Runs, _: str, identifier: str) -> bytes | None:
    return next((own.things[identifier][2] for own in self._ended._owners.values() if identifier in own.things), None)


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
    act: Callable[[attacks.Place], Coroutine[Any, Any, bool]]
    without: tuple[tuple[object, str, object], ...]
    settings: dict[str, Any] = field(default_factory=dict)


_ANY_ORIGIN = (guard.Guard, "_check_origin", _sync(None))
_TIGHT = {"body_bytes": 100_000, "bodies_bytes": 200_000}
_FEW_TURNS = {"max_concurrency": 1, "max_queue": 3}
_FEW_LINES = {"connections": 8, "connections_of_peer": 4}
_KEPT = {"kept_bytes": 150_000}
ATTACKS = (
    Attack("SEC-SV-01", attacks.no_token, ((access.Access, "authenticate", _sync(tenant.ANYBODY)),)),
    Attack("SEC-SV-01", attacks.no_scope, ((tenant.Tenant, "need", _sync(None)),)),
    Attack("SEC-SV-01", attacks.guesses, ((access.Access, "_check_lock", _sync(None)),)),
    Attack("SEC-SV-01", attacks.stolen_file, ((access, "hashlib", SimpleNamespace(sha256=_plain)),)),
    Attack("SEC-SV-02", attacks.page_of_others, (_ANY_ORIGIN,)),
    Attack("SEC-SV-02", attacks.name_that_leads_here, (_ANY_ORIGIN,), {"no_auth": True}),
    Attack("SEC-SV-03", attacks.more_than_the_token_has, ((ceilings, "within", lambda _, asked: ceilings.parse(asked)),)),
    Attack("SEC-SV-04", attacks.body_without_end, ((guard.Guard, "_body", _whole_body),), {"body_bytes": 100_000}),
    Attack("SEC-SV-04", attacks.bodies_of_nobody, ((guard.Guard, "_body", _any_body),), _TIGHT),
    Attack("SEC-SV-07", attacks.bodies_of_one, ((guard, "Shares", _AnyShare),), _TIGHT),
    Attack("SEC-SV-07", attacks.sockets_of_one, ((guard, "Shares", _AnyShare),), {"websockets": 4}),
    Attack("SEC-SV-05", attacks.key_that_is_forgotten, ((kept.Kept, "_trim", _oldest_first),), _KEPT),
    Attack("SEC-SV-09", attacks.graded_and_not_told, ((audit.Audit, "write", _only_answers),)),
    Attack("SEC-SV-04", attacks.connections_of_all, ((server._Socket, "connection_made", _uncounted),), _FEW_LINES),
    Attack("SEC-SV-04", attacks.pings_without_end, ((server._Socket, "handle_ping", WebSocketsSansIOProtocol.handle_ping),)),
    Attack("SEC-SV-04", attacks.head_without_end, ((server._Protocol, "_wait", _sync(None)),), {"request_seconds": 1}),
    Attack("SEC-SV-04", attacks.many_sockets, ((guard.Guard, "_socket", _any_socket),), {"websockets": 3}),
    Attack("SEC-SV-05", attacks.answer_of_another, ((runs.Runs, "answer", _any_answer),)),
    Attack("SEC-SV-05", attacks.key_of_another, ((replays.Replays, "once", _once_for_all),)),
    Attack("SEC-SV-06", attacks.callback_to_inside, ((callbacks, "is_public", _sync(True)),)),
    Attack("SEC-SV-06", attacks.callback_sent_on, ((httpx, "AsyncClient", _Follows),)),
    Attack(
        "SEC-SV-07", attacks.whole_queue, ((admission.Admission, "_make_room", _no_room),), {"max_concurrency": 1, "max_queue": 3}
    ),
    Attack("SEC-SV-08", attacks.lost_in_a_stop, ((admission.Admission, "drained", _eager(None)),)),
    Attack("SEC-SV-09", attacks.told_to_the_operator, ((audit, "digest", lambda data: {"all": data.decode()}),)),
)
EACH = pytest.mark.parametrize("attack", ATTACKS, ids=[f"{item.claim}-{item.act.__name__.strip('_')}" for item in ATTACKS])


def attempt(attack: Attack, directory: Path, run_options: dict[str, Any]) -> bool:
    """Whether it got what it wanted."""
    with (directory / "log").open("w") as log:
        logs.setup(stream=log)

        async def whole() -> bool:
            async with attacks.placed(directory, {**run_options, **attack.settings}) as place:
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
    on_the_page = {"SEC-SV-10"}  # test_page_hostile.py
    assert {item.claim for item in ATTACKS} | on_the_page == said
