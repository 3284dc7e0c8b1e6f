"""Messages with descriptors over SOCK_SEQPACKET, used by both ends of every socket of the launcher.

A message is one packet: a byte that says where the body is (0: it follows; 1: in the last descriptor, a memfd) and
the body, a tuple in the encoding of `sandbox.model.codec` whose first item is the kind (see `sandbox.model.launch`).
"""

from __future__ import annotations

import _socket
import os
import struct

from sandbox.model import codec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket
    from collections.abc import Callable, Sequence
    from typing import Any

INLINE_BYTES = 32 * 1024
MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_FDS = 64
_INT = struct.calcsize("i")
_SPACE = _socket.CMSG_SPACE(MAX_FDS * _INT)
_LENGTH = struct.Struct("<Q")


class WireError(Exception):
    """The peer sent something that is no message."""


class LostDescriptors(WireError):
    """This process is out of descriptors: those of the message are lost, and with them the message. The socket is fine."""


def pair() -> tuple[Socket, Socket]:
    """Two connected sockets."""
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC, 0)


def send(sock: Socket, message: tuple[Any, ...], fds: Sequence[int] = (), *, wait: bool = True) -> None:
    """Send one message. Raises OSError (EPIPE when the peer is gone; EAGAIN with `wait` off and a full socket)."""
    body = codec.encode(message)
    flags = _socket.MSG_NOSIGNAL | (0 if wait else _socket.MSG_DONTWAIT)
    if len(body) <= INLINE_BYTES:
        sock.sendmsg([b"\0", body], _rights(fds), flags)
        return
    memfd = memory_file(b"message", (body,))
    try:
        sock.sendmsg([b"\1"], _rights((*fds, memfd)), flags)
    finally:
        os.close(memfd)


def receive(sock: Socket, *, wait: bool = True) -> tuple[tuple[Any, ...], list[int]] | None:
    """The next message and its descriptors (close-on-exec); None at end of file.

    Raises BlockingIOError with `wait` off and nothing there, WireError for a malformed packet (its fds are closed),
    LostDescriptors where they cannot be taken.
    """
    flags = _socket.MSG_CMSG_CLOEXEC | (0 if wait else _socket.MSG_DONTWAIT)
    try:
        data, ancillary, status, _ = sock.recvmsg(INLINE_BYTES + 64, _SPACE, flags)
    except ConnectionResetError:  # said once, when the peer has closed with something of ours unread: its last word comes after
        try:
            data, ancillary, status, _ = sock.recvmsg(INLINE_BYTES + 64, _SPACE, flags)
        except ConnectionResetError:
            return None
    fds: list[int] = []
    for level, kind, payload in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            count = len(payload) // _INT
            fds.extend(struct.unpack(f"{count}i", payload[: count * _INT]))
    if not data and not fds:
        return None
    try:
        if status & _socket.MSG_CTRUNC:
            raise LostDescriptors("no descriptors left")
        if status & _socket.MSG_TRUNC:
            raise WireError("a packet was cut short")
        return _body(data, fds), fds
    except LostDescriptors:
        close_all(fds)
        raise
    except (WireError, codec.CodecError, OSError) as error:
        close_all(fds)
        raise WireError(str(error)) from None


def _body(data: bytes, fds: list[int]) -> tuple[Any, ...]:
    if data[:1] == b"\1":
        if not fds:
            raise WireError("the body's descriptor is missing")
        memfd = fds.pop()
        try:
            body = read_memory_file(memfd)
        finally:
            os.close(memfd)
    elif data[:1] == b"\0":
        body = data[1:]
    else:
        raise WireError("unknown packet")
    message = codec.decode(body)
    if not isinstance(message, tuple) or not message or type(message[0]) is not int:
        raise WireError("not a message")
    return message


def _rights(fds: Sequence[int]) -> list[tuple[int, int, bytes]]:
    if not fds:
        return []
    return [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))]


def memory_file(name: bytes, parts: Sequence[bytes]) -> int:
    """A sealed memfd with these bytes: nobody who holds it can change it (memfd_create(2), F_ADD_SEALS)."""
    return _sealed(name, lambda memfd: _write(memfd, parts))


def file_set(
    entries: Sequence[tuple[bytes, int, int]], extra: tuple[Any, ...], fill: Callable[[int], object], name: bytes = b"files"
) -> int:
    """A sealed memfd with a file set: length of the index, index ((name, mode, size)…, extra), then what `fill` writes."""
    index = codec.encode((tuple(entries), extra))

    def write(memfd: int) -> None:
        _write(memfd, (_LENGTH.pack(len(index)), index))
        fill(memfd)

    return _sealed(name, write)


def pack_files(entries: Sequence[tuple[bytes, int, bytes]]) -> int:
    """A file set of contents that are in memory."""
    sizes = [(name, mode, len(data)) for name, mode, data in entries]
    return file_set(sizes, (), lambda memfd: _write(memfd, [data for _, _, data in entries]))


def _write(memfd: int, parts: Sequence[bytes]) -> None:
    for part in parts:
        view = memoryview(part)
        while view:
            view = view[os.write(memfd, view) :]


def _sealed(name: bytes, fill: Callable[[int], object]) -> int:
    import fcntl

    memfd = os.memfd_create(os.fsdecode(name), os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        fill(memfd)
        os.lseek(memfd, 0, os.SEEK_SET)
        fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    except BaseException:
        os.close(memfd)
        raise
    return memfd


def read_memory_file(memfd: int, limit: int = MAX_BODY_BYTES) -> bytes:
    """All bytes of a memfd. Raises WireError when it is larger than `limit`."""
    size = os.fstat(memfd).st_size
    if size > limit:
        raise WireError(f"a body of {size} bytes is larger than {limit}")
    parts = []
    at = 0
    while at < size:
        part = os.pread(memfd, size - at, at)
        if not part:
            raise WireError("a body is shorter than it says")
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def read_index(memfd: int) -> tuple[tuple[tuple[bytes, int, int], ...], tuple[Any, ...], int]:
    """(entries (name, mode, size), extra, offset of the first content) of a file set. Raises WireError."""
    size = os.fstat(memfd).st_size
    head = os.pread(memfd, _LENGTH.size, 0)
    if len(head) != _LENGTH.size:
        raise WireError("a file set is cut short")
    (length,) = _LENGTH.unpack(head)
    if length > MAX_BODY_BYTES or length > size:
        raise WireError("an index is too large")
    try:
        entries, extra = codec.decode(os.pread(memfd, length, _LENGTH.size))
        sizes = [entry[2] for entry in entries if type(entry[0]) is bytes and type(entry[1]) is int and type(entry[2]) is int]
    except (codec.CodecError, TypeError, ValueError, IndexError):
        raise WireError("an index is no index") from None
    offset = _LENGTH.size + length
    if len(sizes) != len(entries) or min(sizes, default=0) < 0:
        raise WireError("an index has entries that are none")
    if offset + sum(sizes) > size:
        raise WireError("a file set is shorter than its index says")
    return entries, extra, offset


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors; one that is closed already is no error."""
    for fd in fds:
        try:
            os.close(fd)
        except OSError:
            continue
