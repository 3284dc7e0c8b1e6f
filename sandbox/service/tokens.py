"""The file of tokens: JSON that only its owner can read, with a digest, a name and what it allows for each. No token is in it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sandbox.model.errors import RequestError
from sandbox.service.config import LimitMap
from sandbox.service.tenant import SCOPES, Tenant

_MAX_BYTES = 4 << 20
_MOST = 10_000
PREFIX = "sbx_"


class _Token(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    scopes: tuple[str, ...] = ("run",)
    concurrency: Annotated[int, Field(ge=0, le=1024)] = 0
    limits: LimitMap = Field(default_factory=dict)
    profiles: tuple[str, ...] = ()

    @field_validator("scopes")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for scope in value:
            if scope not in SCOPES:
                raise ValueError(f"there is no scope {scope!r}; there are {', '.join(SCOPES)}")
        return value

    def tenant(self) -> Tenant:
        return Tenant(
            name=self.name,
            scopes=frozenset(self.scopes),
            concurrency=self.concurrency,
            limits=self.limits,
            profiles=self.profiles,
        )


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tokens: Annotated[list[_Token], Field(max_length=_MOST)] = Field(default_factory=list)


class Tokens:
    """The tokens of a file, read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, ...] | None = None
        self._all: list[tuple[str, Tenant]] = []

    def current(self) -> list[tuple[str, Tenant]]:
        """(digest, tenant) of each. A file that became unreadable leaves nobody in. Raises RequestError."""
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._all, self._stamp = [], None
            self._all = [(token.sha256, token.tenant()) for token in read(self._path).tokens]
            self._stamp = stamp
        return self._all


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


def read(path: Path) -> _File:
    """What is in the file; nothing when it is not there. Raises RequestError, also when others could read or write it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return _File()
    except OSError as error:
        raise RequestError(f"{path}: the tokens cannot be read: {error.strerror}") from None
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid not in (os.geteuid(), 0) or found.st_mode & 0o077:
            raise RequestError(f"{path}: the tokens must be in a file that only its owner can read", hint=f"chmod 600 {path}")
        raw = file.read(_MAX_BYTES + 1)
    try:
        return _File.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        raise RequestError(f"{path}: {'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}") from None


def add(path: Path, name: str, **allowed: Any) -> str:
    """A new token of this name, which is told once. Raises RequestError for a name that is there."""
    token = PREFIX + secrets.token_urlsafe(32)
    digest = hashlib.sha256(token.encode()).hexdigest()
    try:
        made = _Token.model_validate({"name": name, "sha256": digest, **allowed})
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise RequestError(said.replace("Value error, ", "")) from None
    with _changing(path) as file:
        if any(item.name == name for item in file.tokens):
            raise RequestError(f"there is a token {name!r} already", hint=f"sandbox serve token remove {name}")
        file.tokens.append(made)
    return token


def remove(path: Path, name: str) -> None:
    """Take a token away. Raises RequestError when it is not there."""
    with _changing(path) as file:
        kept = [item for item in file.tokens if item.name != name]
        if len(kept) == len(file.tokens):
            raise RequestError(f"there is no token {name!r}", hint="see `sandbox serve token list`")
        file.tokens = kept


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[_File]:
    """The file, replaced as a whole by what it is after the block. One change at a time."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file = read(path)
        yield file
        draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "w") as out:
                json.dump(file.model_dump(mode="json"), out, indent=2)
                out.flush()
                os.fsync(out.fileno())
            os.replace(draft, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise
    finally:
        os.close(lock)
