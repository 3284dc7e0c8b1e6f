"""What the host has for an attacker to find: files, directories, listeners, a bystander, a shared memory segment."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from sandbox.model.errors import RequestError

# The launcher stages its root over /tmp, so whoever sees the whole host from inside does not see the host's /tmp.
_PLACES = ("/var/tmp", "/tmp")
_BYSTANDER = "import sys; sys.stdin.read()"


@dataclass(frozen=True, slots=True)
class Baits:
    """Names of everything that was planted.

    Attributes:
        files: they hold the token; one in each of the places for temporary files.
        directories: everybody may write there.
        bystander: a process that only waits.
        shm_key: 0 where this host makes no System V shared memory.
    """

    token: str
    files: tuple[str, ...]
    directories: tuple[str, ...]
    port: int
    abstract: str
    bystander: int
    shm_key: int

    def to_json(self) -> bytes:
        """For the payload's stdin."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}).encode()

    def planted(self) -> str:
        """The directory in which a payload left something, "" for none."""
        return next((directory for directory in self.directories if os.listdir(directory)), "")


@contextlib.contextmanager
def planted() -> Iterator[Baits]:
    """Plant the baits; everything is taken away at the end."""
    token = f"selftest-{secrets.token_hex(16)}"
    with contextlib.ExitStack() as stack:
        places = [stack.enter_context(_place(parent, token)) for parent in _PLACES if os.access(parent, os.W_OK)]
        if not places:
            raise RequestError(f"no bait can be laid: nothing may be written to {' and '.join(_PLACES)}")
        files, directories = zip(*places, strict=True)
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind("\0" + token)
        abstract.listen(8)
        os.environ["SANDBOX_SELFTEST"] = token
        stack.callback(os.environ.pop, "SANDBOX_SELFTEST", None)
        bystander = stack.enter_context(
            subprocess.Popen([sys.executable or "/bin/cat", "-c", _BYSTANDER, token], stdin=subprocess.PIPE)
        )
        stack.callback(bystander.kill)
        inherited = os.open(files[0], os.O_RDONLY)
        os.set_inheritable(inherited, True)
        stack.callback(os.close, inherited)
        key = secrets.randbelow(1 << 30) + 1
        made = _make_shared(key)
        stack.callback(_remove_shared, made)
        yield Baits(token, files, directories, listener.getsockname()[1], token, bystander.pid, key if made >= 0 else 0)


@contextlib.contextmanager
def _place(parent: str, token: str) -> Iterator[tuple[str, str]]:
    """A file with the token and a directory for everybody, below `parent`."""
    with tempfile.TemporaryDirectory(prefix="sandbox-selftest-", dir=parent, ignore_cleanup_errors=True) as place:
        os.chmod(place, 0o755)  # only we can write there, but for `open`
        file, directory = os.path.join(place, "token"), os.path.join(place, "open")
        with open(file, "w", encoding="ascii") as out:
            out.write(token)
        os.chmod(file, 0o644)
        os.mkdir(directory)
        os.chmod(directory, 0o777)
        yield file, directory


def _make_shared(key: int) -> int:
    from sandbox.kernel.libc import call

    try:
        return call("shmget", key, 4096, 0o1666)  # IPC_CREAT
    except OSError:
        return -1


def _remove_shared(identifier: int) -> None:
    from sandbox.kernel.libc import call

    if identifier >= 0:
        with contextlib.suppress(OSError):
            call("shmctl", identifier, 0, None)  # IPC_RMID
