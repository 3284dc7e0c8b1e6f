"""Collected files as they come from the launcher: a sealed memfd with a file set."""

from __future__ import annotations

import os

from sandbox.launcher import wire
from sandbox.model.errors import ProtocolError


def unpack_collected(memfd: int) -> tuple[list[tuple[str, int, bytes]], list[tuple[str, str]]]:
    """((name, mode, content)…, (name, reason it was refused)…) of a collection. Raises ProtocolError."""
    try:
        entries, refused, offset = wire.read_index(memfd)
        files = []
        for name, mode, size in entries:
            files.append((os.fsdecode(name), int(mode), _pread(memfd, size, offset)))
            offset += size
        return files, [(os.fsdecode(name), str(reason)) for name, reason in refused]
    except (wire.WireError, ValueError, TypeError) as error:
        raise ProtocolError(f"the collected files cannot be read: {error}") from error


def _pread(fd: int, size: int, offset: int) -> bytes:
    parts: list[bytes] = []
    while size > 0:
        part = os.pread(fd, size, offset)
        if not part:
            break
        parts.append(part)
        size -= len(part)
        offset += len(part)
    return b"".join(parts)
