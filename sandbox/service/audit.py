"""The audit file: one JSON line per run. It says who ran what, by digests, and how it ended; never what the bytes were.

    audit = Audit(path, required=False, on_failure=metrics.audit_failed)   # path None: nothing is written
    audit.ready()                       # before a run: raises AuditError where lines are required and cannot be written
    audit.write(line(...))              # after it, once
    audit.reopen()                      # on SIGHUP, after the file was moved away
    audit.close()

A line is written with one write(2) to a file opened with O_APPEND and O_NOFOLLOW, mode 0600, at once: it survives the end of this
process, however sudden (not a power cut: it is not synced). When it cannot be written (the disk is full):

- `required=False`: the run is answered. The loss is logged and counted, and the next line that can be written comes after one
  that says how many are missing.
- `required=True`: the answer is withheld (AuditError, which the service answers with 503), and no further run is started until
  that line of the loss could be written.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import threading
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sandbox.model.errors import RequestError, ResourceError
from sandbox.service import logs

if TYPE_CHECKING:
    from sandbox.service.ask import Answer, Ask

__all__ = ["Audit", "AuditError", "Hashing", "digest", "line"]

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_LISTED = 64  # files that have a digest of their own in a line; the rest share one
_WORD = 256


class AuditError(ResourceError):
    """The audit line of a run could not be written, and lines are required."""

    retryable = True


class Audit:
    """Where audit lines go. Safe from any number of threads.

    Args:
        path: of the file; None for none.
        required: a run whose line cannot be written is not answered.
        on_failure: called for each line that could not be written.

    Raises RequestError where the file cannot be opened, or is not a regular file of this user alone.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None, *, required: bool = False, on_failure: Callable[[], object] | None = None
    ) -> None:
        if required and path is None:
            raise RequestError("audit lines are required and there is no audit file", hint="set audit_file")
        self._path = path
        self._required = required
        self._on_failure = on_failure or (lambda: None)
        self._lock = threading.Lock()
        self._lost = 0
        self._torn = False
        self._fd = -1 if path is None else _open(path)

    def ready(self) -> None:
        """Whether a run may start. Raises AuditError where lines are required and the last one was lost and still cannot be."""
        with self._lock:
            if self._required and self._lost and not self._tell_of_loss():
                raise self._error()

    def write(self, record: Mapping[str, object], *, withhold: bool = True) -> None:
        """Append one line.

        Args:
            record: of the line.
            withhold: there is an answer that can be withheld. Without one, the error that is on its way is the better one.

        Raises AuditError where lines are required, this one cannot be written, and there is an answer to withhold.
        """
        if self._path is None:
            return
        with self._lock:
            written = (not self._lost or self._tell_of_loss()) and self._append(record)
            if written:
                return
            self._lost += 1
        self._on_failure()
        if self._required and withhold:
            raise self._error()

    def reopen(self) -> None:
        """Go on in a new file of the same name. Where it cannot be opened, the old one stays and the log says why."""
        if self._path is None:
            return
        try:
            fd = _open(self._path)
        except RequestError as error:
            logs.event("the audit file was not opened again; lines go on into the old one", level="error", error=str(error))
            return
        with self._lock:
            old, self._fd, self._torn = self._fd, fd, False
        if old >= 0:
            os.close(old)

    def close(self) -> None:
        """No further line is written; one that comes is lost, as if the disk were full."""
        with self._lock:
            fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _tell_of_loss(self) -> bool:
        if not self._append({"time": _now(), "event": "lines_lost", "lost": self._lost}):
            return False
        self._lost = 0
        return True

    def _append(self, record: Mapping[str, object]) -> bool:
        """Whether the whole line is in the file. What was written of one that is not, is left for the next to end."""
        data = (("\n" if self._torn else "") + logs.ascii_json(record) + "\n").encode("ascii")
        try:
            count = os.write(self._fd, data)
        except OSError as error:
            logs.event("an audit line is lost", level="error", error=error.strerror, path=str(self._path))
            return False
        self._torn = count < len(data)
        if self._torn:
            logs.event("an audit line is torn", level="error", written=count, of=len(data), path=str(self._path))
        return not self._torn

    def _error(self) -> AuditError:
        return AuditError(
            f"{self._path}: the audit line of a run could not be written",
            hint="make room on that disk, or run without audit_required",
        )


class Hashing:
    """An asynchronous standard input that is digested on its way.

    Attributes:
        count: bytes so far.
    """

    def __init__(self, source: AsyncIterable[bytes]) -> None:
        self._source = source
        self._hash = hashlib.sha256()
        self.count = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._source:
            self._hash.update(piece)
            self.count += len(piece)
            yield piece

    def digest(self) -> dict[str, object]:
        """Of what has passed."""
        return {"bytes": self.count, "sha256": self._hash.hexdigest()}


def digest(data: bytes) -> dict[str, object]:
    """What a line says of bytes."""
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def line(
    *,
    tenant: str,
    ask: Ask,
    answer: Answer | None,
    queue_s: float,
    profile: str,
    profile_digest: str = "",
    stdin: Hashing | None = None,
    error: BaseException | None = None,
    peer: str = "",
) -> dict[str, object]:
    """What is written of one run. Pure, but for the time and the id of the request.

    Args:
        tenant: its name.
        ask: what was asked for.
        answer: None where there is none; then `error` says why.
        queue_s: seconds it waited.
        profile: the name of the profile that was taken.
        profile_digest: of all that it enforces; the plan digest has the limits and mounts of the run too.
        stdin: what has passed, where the standard input is a stream.
        error: why there is no answer.
        peer: address of the client.
    """
    run = None if answer is None else answer.run
    out: dict[str, object] = {
        "time": _now(),
        "event": "run",
        "request_id": logs.current(),
        "tenant": _word(tenant),
        "peer": _word(peer),
        "endpoint": _word(ask.label),
        "language": _word(answer.language if answer is not None else ask.language),
        "profile": _word(profile),
        "profile_digest": profile_digest,
        "plan_digest": "" if run is None else run.plan_digest,
        "sources": _digests(data for _, data in ask.sources),
        "argv": digest(b"\0".join(word.encode("utf-8", "surrogateescape") for word in ask.argv)),
        "stdin": stdin.digest() if stdin is not None else digest(ask.stdin if isinstance(ask.stdin, bytes) else b""),
        "files": _digests(item if isinstance(item, bytes) else item[0] for item in ask.files.values()),
        "limits": {_word(name): _word(value) for name, value in ask.limits.items()},
        "queue_ms": round(queue_s * 1000, 3),
        "outcome": _outcome(answer, error),
    }
    if error is not None:
        out["error"] = type(error).__name__
    if answer is not None and answer.compile is not None:
        out["compiled"] = answer.compile.ok
        if answer.compile.result is not None:
            out["compile_usage"] = answer.compile.result.usage.to_dict()
    if run is not None:
        out["exit"] = run.exit.to_dict()
        out["usage"] = run.usage.to_dict()
        out["timings"] = run.timings.to_dict()
        out["degraded"] = [item.control for item in run.degraded]
    return out


def _outcome(answer: Answer | None, error: BaseException | None) -> str:
    if error is not None or answer is None:
        return "error"
    return "not_compiled" if answer.run is None else answer.run.outcome.value


def _digests(contents: Iterable[bytes]) -> dict[str, object]:
    """A digest for each of the first, in order, and one for the rest. Names are left out: they are the client's words too."""
    listed = list(contents)
    out: dict[str, object] = {"count": len(listed), "each": [digest(data) for data in listed[:_LISTED]]}
    if len(listed) > _LISTED:
        rest = hashlib.sha256()
        for data in listed[_LISTED:]:
            rest.update(hashlib.sha256(data).digest())
        out["rest_sha256"] = rest.hexdigest()
    return out


def _word(value: Any) -> str | int:
    if isinstance(value, int) and value.bit_length() <= 64:
        return value
    return str(value)[:_WORD] if isinstance(value, str) else type(value).__name__


def _now() -> str:
    seconds = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(seconds % 1 * 1000):03d}Z"


def _open(path: str | os.PathLike[str]) -> int:
    """Opened for appending. Raises RequestError for what is not a regular file of this user, with this one name."""
    try:
        fd = os.open(path, _FLAGS, 0o600)
    except OSError as error:
        hint = "name a file in a directory that only this user may write to; a link is not followed"
        raise RequestError(f"{os.fspath(path)}: the audit file cannot be opened: {error.strerror}", hint=hint) from None
    try:
        found = os.fstat(fd)
        wrong = ""
        if not stat.S_ISREG(found.st_mode):
            wrong = "is not a regular file"
        elif found.st_uid != os.geteuid():
            wrong = f"belongs to user {found.st_uid}"
        elif found.st_nlink != 1:
            wrong = f"has {found.st_nlink} names"
        if wrong:
            raise RequestError(f"{os.fspath(path)}: the audit file {wrong}", hint="move it away; a new one is made")
        os.fchmod(fd, 0o600)
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
    except BaseException:
        os.close(fd)
        raise
    return fd
