"""Objects of the host without a place in the file system: System V, POSIX queues, keys (threat model NI07, SF19)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.escape import layers
from tests.escape.layers import Layer
from tests.escape.model import Attack, Scene

IPC = ("ipc namespace",)
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.shmat.restype = ctypes.c_void_p
TOKEN = b"token-of-the-host"
_CREATE = 0o1666  # IPC_CREAT, everybody may
_REMOVE, _GETVAL = 0, 12
_ADD_KEY, _KEYCTL = (248, 250) if os.uname().machine == "x86_64" else (217, 219)
_SESSION = -3
_SETPERM, _UNLINK = 5, 9
_OWNER_MAY_ALL, _POSSESSOR_MAY_ALL = 0x003F0000, 0x3F000000

layers.register(Layer(name="session keyring", patches=(("launcher/template.py", "    process.new_session_keyring()\n", ""),)))


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def _key() -> int:
    return int.from_bytes(secrets.token_bytes(4), "big") & 0x7FFFFFFF | 1


@contextlib.contextmanager
def _memory(directory: Path) -> Iterator[Scene]:
    key = _key()
    made = _checked(LIBC.shmget(key, 4096, _CREATE), "shmget")
    try:
        address = LIBC.shmat(made, None, 0)
        ctypes.memmove(address, TOKEN, len(TOKEN))
        LIBC.shmdt(ctypes.c_void_p(address))
        yield Scene(arguments=[str(key)])
    finally:
        LIBC.shmctl(made, _REMOVE, None)


@contextlib.contextmanager
def _queue(directory: Path) -> Iterator[Scene]:
    key = _key()
    made = _checked(LIBC.msgget(key, _CREATE), "msgget")
    try:
        message = ctypes.create_string_buffer((1).to_bytes(8, "little") + TOKEN)
        _checked(LIBC.msgsnd(made, message, ctypes.c_size_t(len(TOKEN)), 0), "msgsnd")
        yield Scene(arguments=[str(key)])
    finally:
        LIBC.msgctl(made, _REMOVE, None)


@contextlib.contextmanager
def _semaphore(directory: Path) -> Iterator[Scene]:
    key = _key()
    made = _checked(LIBC.semget(key, 1, _CREATE), "semget")

    def check(result: Any) -> str:
        return "the host's semaphore has changed" if LIBC.semctl(made, 0, _GETVAL) else ""

    try:
        yield Scene(arguments=[str(key)], check=check)
    finally:
        LIBC.semctl(made, 0, _REMOVE)


@contextlib.contextmanager
def _posix_queue(directory: Path) -> Iterator[Scene]:
    name = f"sandbox-attack-{secrets.token_hex(8)}"
    attributes = (ctypes.c_long * 8)(0, 1, 64)
    flags = os.O_CREAT | os.O_RDWR
    before = os.umask(0)
    try:
        made = _checked(LIBC.mq_open(f"/{name}".encode(), flags, 0o666, attributes), "mq_open")
    finally:
        os.umask(before)
    try:
        _checked(LIBC.mq_send(made, TOKEN, ctypes.c_size_t(len(TOKEN)), 0), "mq_send")
        yield Scene(arguments=[name])
    finally:
        LIBC.mq_close(made)
        LIBC.mq_unlink(f"/{name}".encode())


def _add_key(name: str) -> int:
    return _checked(LIBC.syscall(_ADD_KEY, b"user", name.encode(), TOKEN, ctypes.c_size_t(len(TOKEN)), _SESSION), "add_key")


@contextlib.contextmanager
def _by_number(directory: Path) -> Iterator[Scene]:
    """A key that its owner may read from any session."""
    key = _add_key(f"sandbox-attack-{secrets.token_hex(8)}")
    _checked(LIBC.syscall(_KEYCTL, _SETPERM, key, _OWNER_MAY_ALL | _POSSESSOR_MAY_ALL), "setperm")
    try:
        yield Scene(arguments=[str(key)])
    finally:
        LIBC.syscall(_KEYCTL, _UNLINK, key, _SESSION)


@contextlib.contextmanager
def _by_session(directory: Path) -> Iterator[Scene]:
    """A key in the session of the caller, whose launcher starts now."""
    name = f"sandbox-attack-{secrets.token_hex(8)}"
    key = _add_key(name)
    try:
        yield Scene(arguments=[name], profile={"identity": {"hostname": "keyring"}})
    finally:
        LIBC.syscall(_KEYCTL, _UNLINK, key, _SESSION)


def attack(
    name: str,
    title: str,
    command: str,
    scene: Any,
    held_by: tuple[str, ...] = IPC,
    claims: tuple[str, ...] = ("SEC-PR-03",),
    needs: tuple[str, ...] = (),
) -> Attack:
    return Attack(id=name, title=title, claims=claims, command=f"probe {command}", layers=held_by, scene=scene, needs=needs)


ATTACKS = [
    attack("NI07-memory", "System V shared memory of the host", "shm", _memory),
    attack("NI07-queue", "a System V queue of the host", "queue", _queue),
    attack("NI07-semaphore", "a System V semaphore of the host", "semaphore", _semaphore),
    attack("NI07-posix-queue", "a POSIX queue of the host", "mq", _posix_queue, (*IPC, "landlock")),
    attack(
        "SF19-by-number",
        "a key of the caller by its number",
        "key",
        _by_number,
        ("filter", "own host id"),
        ("SEC-SY-03", "SEC-PR-04"),
        ("keyrings", "newuidmap"),
    ),
    attack(
        "SF19-session",
        "the caller's session keyring",
        "session-key",
        _by_session,
        ("filter", "session keyring"),
        ("SEC-SY-03", "SEC-PR-04"),
        ("keyrings",),
    ),
]
