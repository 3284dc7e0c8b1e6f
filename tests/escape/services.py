"""Services of the host that attacks try to reach: each answers whoever asks with a token."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

TOKEN = b"token-of-the-host"
_TICK = 0.05


@contextlib.contextmanager
def serving(listener: socket.socket, answer: Callable[[socket.socket], None] | None = None) -> Iterator[None]:
    """Answer on this socket, in a thread, until the end; `answer` gets each connection of a stream."""
    listener.settimeout(_TICK)
    stop = threading.Event()
    loop = _datagrams if listener.type == socket.SOCK_DGRAM else _connections
    thread = threading.Thread(target=loop, args=(listener, answer or _token, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        listener.close()


def _token(connection: socket.socket) -> None:
    connection.recv(1)
    connection.sendall(TOKEN)


def _connections(listener: socket.socket, answer: Callable[[socket.socket], None], stop: threading.Event) -> None:
    while not stop.is_set():
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(1)
                answer(connection)


def _datagrams(listener: socket.socket, answer: Callable[[socket.socket], None], stop: threading.Event) -> None:
    while not stop.is_set():
        with contextlib.suppress(OSError):
            _, sender = listener.recvfrom(64)
            listener.sendto(TOKEN, sender)


def inet(kind: socket.SocketKind, host: str = "127.0.0.1", port: int = 0, *, protocol: int = 0) -> socket.socket:
    """A bound (and listening) socket of the host."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    if kind == socket.SOCK_STREAM:
        listener.listen(8)
    return listener


def unix(kind: socket.SocketKind, name: str) -> socket.socket:
    """The same for a path, or an abstract name that begins with "@"."""
    listener = socket.socket(socket.AF_UNIX, kind)
    listener.bind("\0" + name[1:] if name.startswith("@") else name)
    if kind == socket.SOCK_STREAM:
        listener.listen(8)
    return listener


def peer_of(connection: socket.socket) -> tuple[int, int, int]:
    """(pid, uid, gid) of who connected, as the kernel says."""
    return struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))  # type: ignore[return-value]
