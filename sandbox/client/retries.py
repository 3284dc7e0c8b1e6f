"""When a request is sent once more: only where the service asks for it, or has not seen it, and never for long.

A service that is busy answers 429 or 503 with `Retry-After`. Every POST carries an idempotency key that stays the same, so one
whose connection broke is sent again without running twice.
"""

from __future__ import annotations

import email.utils
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.client.errors import RemoteCapacityError, RemoteError

__all__ = ["KEY_HEADER", "Attempts", "Retries", "key", "retry_after"]

KEY_HEADER = "Idempotency-Key"
_FIRST_WAIT_S = 0.1


@dataclass(frozen=True, slots=True)
class Retries:
    """How patient a client is.

    Attributes:
        most: how often one request is sent again; 0: never.
        seconds: the longest wait before each. A service that asks for more is not asked again.
    """

    most: int = 4
    seconds: float = 30.0


class Attempts:
    """The attempts at one request.

    Args:
        retries: how many.
        timeout: seconds until the last may begin, as `queue_timeout` of the local API; None for as many as there may be.
        clock: seconds of a clock that never goes back.
    """

    def __init__(self, retries: Retries, timeout: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._retries = retries
        self._clock = clock
        self._last = None if timeout is None else clock() + timeout
        self._count = 0

    def wait(self, failure: RemoteError, *, unseen: bool = False) -> float:
        """Seconds to wait before the next one. Raises `failure` where there is none.

        Args:
            failure: what has happened.
            unseen: the service cannot have seen the request, or knows its key: the connection could not be made, or broke.
        """
        self._count += 1
        if isinstance(failure, RemoteCapacityError) and failure.retry_after is not None:
            wait = failure.retry_after + _jitter(min(1.0, failure.retry_after))
            allowed = failure.retry_after <= self._retries.seconds
        else:
            most = min(self._retries.seconds, _FIRST_WAIT_S * 2 ** (self._count - 1))
            wait, allowed = most / 2 + _jitter(most / 2), unseen
        if not allowed or self._count > self._retries.most or (self._last is not None and self._clock() + wait > self._last):
            raise failure
        return wait


def key() -> str:
    """A new idempotency key."""
    return secrets.token_hex(16)


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds of a Retry-After, which is a number of them or a date (RFC 9110, 10.2.3); None for anything else."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return max(0.0, date.timestamp() - (time.time() if now is None else now))


def _jitter(most: float) -> float:
    """Those who were refused together do not come back together."""
    return most * secrets.randbelow(1_000) / 1_000
