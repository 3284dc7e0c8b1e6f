"""Who may come in: bearer tokens, of which only SHA-256 digests are kept, and peers that guess are made to wait.

A token has 256 random bits, so its digest needs no salt and no slow hash: nobody finds it by trying.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from sandbox.model.errors import RequestError
from sandbox.service import logs
from sandbox.service.config import Config
from sandbox.service.failures import Rejected
from sandbox.service.tenant import ANYBODY, Tenant
from sandbox.service.tokens import Tokens

_FREE_FAILURES = 10
_FORGET_S = 600.0
_LONGEST_LOCK_S = 60.0
_MOST_PEERS = 4096
_MAX_TOKEN = 512
PROTOCOL = "sandbox.v1"
_BEARER = "bearer."


class Access:
    """The door of one service. It belongs to one loop.

    Raises RequestError where the file of tokens is not as it must be.
    """

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._open = config.no_auth
        self._tokens = None if config.no_auth else Tokens(config.tokens)
        self._clock = clock
        self._peers: OrderedDict[str, tuple[int, float]] = OrderedDict()  # failures, when the last one was
        if self._tokens is not None:
            self._tokens.current()

    def authenticate(self, headers: Mapping[str, str], peer: str) -> Tenant:
        """The tenant of a request. Raises Rejected: 401, or 429 for a peer that guesses.

        Args:
            headers: names in lower case.
            peer: address of the client.
        """
        if self._tokens is None:
            return ANYBODY
        who = _network(peer)
        self._check_lock(who)
        token = token_of(headers)
        if not token:
            raise _unauthorized("this needs a token", "send it as `Authorization: Bearer …`")
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
        found: Tenant | None = None
        for known, tenant in self._known():
            if hmac.compare_digest(known, digest):  # every one is looked at, whether one was found or not
                found = tenant
        if found is None or len(token) > _MAX_TOKEN:
            self._failed(who)
            raise _unauthorized("the token is not known", "ask the operator for one")
        return found

    def _known(self) -> list[tuple[str, Tenant]]:
        """The tokens. Raises Rejected while their file is not as it must be: then nobody comes in."""
        try:
            return [] if self._tokens is None else self._tokens.current()
        except RequestError as error:
            logs.event("the tokens cannot be used", level="error", error=str(error))
            raise Rejected(503, "tokens", "the tokens cannot be read now", headers={"Retry-After": "5"}) from None

    def _check_lock(self, who: str) -> None:
        failures, last = self._peers.get(who, (0, 0.0))
        if failures <= _FREE_FAILURES:
            return
        left = last + min(_LONGEST_LOCK_S, 2.0 ** (failures - _FREE_FAILURES)) - self._clock()
        if left > 0:
            seconds = int(left) + 1
            raise Rejected(
                429,
                "locked_out",
                "too many tokens that are not known came from this address",
                hint=f"try again in {seconds} s",
                headers={"Retry-After": str(seconds)},
            )

    def _failed(self, who: str) -> None:
        now = self._clock()
        failures, last = self._peers.pop(who, (0, now))
        self._peers[who] = (1 if now - last > _FORGET_S else failures + 1, now)
        while len(self._peers) > _MOST_PEERS:
            self._peers.popitem(last=False)


def token_of(headers: Mapping[str, str]) -> str:
    """The token of a request; "" where there is none. Browsers can send one with a WebSocket only as a subprotocol."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() in ("bearer", "token") and value.strip():
        return value.strip()
    if headers.get("x-auth-token"):  # Judge0
        return headers["x-auth-token"].strip()
    for word in headers.get("sec-websocket-protocol", "").split(","):
        if word.strip().startswith(_BEARER):
            return word.strip().removeprefix(_BEARER)
    return ""


def _unauthorized(message: str, hint: str) -> Rejected:
    return Rejected(401, "unauthorized", message, hint=hint, headers={"WWW-Authenticate": "Bearer"})


def _network(peer: str) -> str:
    """What one peer can choose freely counts as one: an IPv6 client has a whole /64."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else peer
