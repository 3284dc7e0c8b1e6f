"""Every way in which a request fails, as a status, a code and words. Dialects put them into their own shape. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sandbox.model.errors import CapacityError, LaunchError, RequestError, SandboxError
from sandbox.service.admission import Refused
from sandbox.service.ask import Canceled, UnknownLanguage
from sandbox.service.tenant import Forbidden

_WORD = re.compile(r"(?<!^)(?=[A-Z])")


class Rejected(SandboxError):
    """A request that the service does not take, with the status that says why.

    Attributes:
        status: of HTTP.
        code: one word for programs.
        headers: of the answer.
    """

    def __init__(self, status: int, code: str, message: str, *, hint: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Failure:
    """What the client is told."""

    status: int
    code: str
    message: str
    hint: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = ""  # the class of the library's error

    def to_dict(self, request_id: str) -> dict[str, dict[str, str]]:
        """The JSON form of /v1."""
        words = {"code": self.code, "message": self.message, "hint": self.hint, "request_id": request_id}
        return {"error": {**words, "class": self.kind} if self.kind else words}


def of(error: BaseException) -> Failure:
    """What an exception means to the client. Of what is no SandboxError nothing is told: its words may be anything."""
    if isinstance(error, Rejected):
        return Failure(error.status, error.code, error.message, error.hint, error.headers)
    if isinstance(error, Refused):
        headers = {"Retry-After": str(error.retry_after), "X-Queue-Depth": str(error.depth)}
        return Failure(error.status, error.reason, error.message, error.hint, headers, "CapacityError")
    if isinstance(error, Forbidden):
        return Failure(403, "forbidden", error.message, error.hint)
    if isinstance(error, Canceled):
        return Failure(409, "canceled", error.message, error.hint, kind="RequestError")
    if isinstance(error, UnknownLanguage):
        return Failure(400, "unknown_language", error.message, error.hint, kind="RequestError")
    if isinstance(error, SandboxError):
        return _of_sandbox(error)
    return Failure(500, "internal", "something went wrong in the server", "the request id leads to its log")


def _of_sandbox(error: SandboxError) -> Failure:
    kind = type(error).__name__
    code = _WORD.sub("_", kind).lower().removesuffix("_error")
    words = str(error).removesuffix(f"; {error.hint}") if error.hint else str(error)
    if isinstance(error, RequestError) or (isinstance(error, LaunchError) and error.blame == "caller") or code == "policy":
        return Failure(400, code, words, error.hint, kind=kind)
    if isinstance(error, CapacityError) or error.retryable:
        return Failure(503, code, words, error.hint, {"Retry-After": "1"}, kind)
    return Failure(500, code, words, error.hint, kind=kind)
