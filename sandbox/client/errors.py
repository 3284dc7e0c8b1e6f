"""What a service refuses or fails at, as the local API would say it.

Where an error means what one of the local API means, it is of both classes: `except CapacityError` catches the busy service and
the busy machine, `except RemoteError` everything that came over the wire.

    RemoteError                the service, or the way to it                status, code, request_id, retry_after
      Unreachable              nothing is there, or the connection broke    retryable
      BadAnswer                what answered is no such service
      AccessDenied             the token is missing, wrong, or may not      (401, 403)
      RemoteRequestError       also a RequestError
      RemoteProfileError       also a ProfileError
      RemotePolicyError        also a PolicyError
      RemoteProblemError       also a ProblemError
      RemoteHostError          also an UnsupportedHostError
      RemoteCapacityError      also a CapacityError                         (429, 503)
      RemoteLaunchError        also a LaunchError; CommandNotFound and NotExecutable likewise
      RemoteResourceError      also a ResourceError
      RemoteLauncherDied       also a LauncherDied
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sandbox.model import errors as local

__all__ = [
    "AccessDenied",
    "BadAnswer",
    "RemoteCapacityError",
    "RemoteCommandNotFound",
    "RemoteError",
    "RemoteHostError",
    "RemoteLaunchError",
    "RemoteLauncherDied",
    "RemoteNotExecutable",
    "RemotePolicyError",
    "RemoteProblemError",
    "RemoteProfileError",
    "RemoteRequestError",
    "RemoteResourceError",
    "Unreachable",
    "error_from",
]

_MAX_MESSAGE = 2_000


class RemoteError(local.SandboxError):
    """Anything that a service refuses or fails at.

    Attributes:
        status: of HTTP; 0 where there was no answer, or it came over a WebSocket.
        code: the service's own word for it.
        request_id: what to look for in the service's logs.
        retry_after: seconds after which the service asks to try again; None where it does not.
    """

    blame = "host"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        status: int = 0,
        code: str = "",
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        # Not super(): the classes of the local API that stand beside this one take other arguments.
        local.SandboxError.__init__(self, message, hint=hint)
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after


class Unreachable(RemoteError):
    """Nothing answers, or the connection broke. The run may have taken place all the same."""

    retryable = True


class BadAnswer(RemoteError):
    """What answered does not speak this API, or a proxy on the way answered for it."""


class AccessDenied(RemoteError):
    """The token is missing, wrong, or does not allow this."""

    blame = "caller"


class RemoteRequestError(RemoteError, local.RequestError):
    """An argument is wrong, in the eyes of the service."""

    blame = "caller"


class RemoteProblemError(RemoteError, local.ProblemError):
    """A problem package is wrong."""

    blame = "caller"
    file = ""
    line = 0


class RemoteProfileError(RemoteError, local.ProfileError):
    """The service has no such profile, or it is wrong."""

    blame = "profile"
    file = ""
    line = 0
    path = ""


class RemotePolicyError(RemoteError, local.PolicyError):
    """A limit is above what the service, the token or the profile allows."""

    blame = "caller"
    path = ""


class RemoteHostError(RemoteError, local.UnsupportedHostError):
    """The service's host cannot do it."""

    feature = ""
    consequence = ""
    remedy = ""


class RemoteCapacityError(RemoteError, local.CapacityError):
    """The service is busy, or about to stop, and stayed so as long as was waited."""

    retryable = True


class RemoteLaunchError(RemoteError, local.LaunchError):
    """A step of the launch failed; nothing was executed."""

    blame = "launcher"
    step = ""
    index = 0
    errno = 0
    path = ""


class RemoteCommandNotFound(RemoteLaunchError, local.CommandNotFound):
    """The program does not exist inside the sandbox."""

    blame = "caller"


class RemoteNotExecutable(RemoteLaunchError, local.NotExecutable):
    """The program exists but cannot be executed."""

    blame = "caller"


class RemoteResourceError(RemoteError, local.ResourceError):
    """The service's host has run out of something."""


class RemoteLauncherDied(RemoteError, local.LauncherDied):
    """The launcher ended while the run was in flight."""

    blame = "launcher"
    retryable = True


# The service's codes for errors of the local API: their names, in lower case and without "error".
_BY_CLASS: dict[str, type[RemoteError]] = {
    "request": RemoteRequestError,
    "problem": RemoteProblemError,
    "profile": RemoteProfileError,
    "policy": RemotePolicyError,
    "unsupported_host": RemoteHostError,
    "capacity": RemoteCapacityError,
    "launch": RemoteLaunchError,
    "command_not_found": RemoteCommandNotFound,
    "not_executable": RemoteNotExecutable,
    "resource": RemoteResourceError,
    "cgroup": RemoteResourceError,
    "scratch": RemoteResourceError,
    "audit": RemoteResourceError,
    "launcher_died": RemoteLauncherDied,
}
_BY_CODE: dict[str, type[RemoteError]] = {
    **dict.fromkeys(("queue_full", "queue_timeout", "tenant_busy", "draining", "sockets"), RemoteCapacityError),
    **dict.fromkeys(("unauthorized", "forbidden", "locked_out"), AccessDenied),
    **dict.fromkeys(("unknown_language", "bad_request", "canceled", "too_large"), RemoteRequestError),
}
_BY_STATUS: dict[int, type[RemoteError]] = {
    401: AccessDenied,
    403: AccessDenied,
    429: RemoteCapacityError,
    503: RemoteCapacityError,
}


def error_from(status: int, body: object, *, retry_after: float | None = None) -> RemoteError:
    """The exception for an answer that is none. Pure.

    Args:
        status: of HTTP; 0 for one that came over a WebSocket.
        body: parsed JSON, or None where it is none.
        retry_after: of the answer's head.
    """
    said: Any = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(said, Mapping):
        kind = _BY_STATUS.get(status, BadAnswer)
        return kind(f"the service answered {status} without saying why", status=status, retry_after=retry_after)
    kind = _kind(status, said)
    code, identifier = _text(said.get("code")), _text(said.get("request_id"))
    message = _text(said.get("message")) or code or f"the service answered {status}"
    return kind(
        message, hint=_text(said.get("hint")), status=status, code=code, request_id=identifier, retry_after=retry_after
    )  # fmt: skip


def _kind(status: int, said: Mapping[str, Any]) -> type[RemoteError]:
    """The code says it where there is one of ours: words of the service, or a class of the local API. Else the status does."""
    if status in (401, 403):
        return AccessDenied
    code = _text(said.get("code"))
    kind = _BY_CODE.get(code) or _BY_CLASS.get(code) or _BY_CLASS.get(_code_of(_text(said.get("class"))))
    if kind is not None:
        return kind
    return _BY_STATUS.get(status) or (RemoteRequestError if 400 <= status < 500 else RemoteError)


def _code_of(name: str) -> str:
    """The code for the name of a class: "CommandNotFound" is "command_not_found"."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower().removesuffix("_error")


def _text(value: object) -> str:
    return value[:_MAX_MESSAGE] if isinstance(value, str) else ""
