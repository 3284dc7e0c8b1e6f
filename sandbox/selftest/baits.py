"""What the host has for an attacker to find: a file, a directory, listeners, a bystander, a shared memory segment."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

_BYSTANDER = "import sys; sys.stdin.read()"


@dataclass(frozen=True, slots=True)
class Baits:
    """Names of everything that was planted.

    Attributes:
        directory: everybody may write there.
        bystander: a process that only waits.
    """

    token: str
    file: str
    directory: str
    port: int
    abstract: str
    bystander: int
    shm_key: int

    def to_json(self) -> bytes:
        """For the payload's stdin."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}).encode()

    def planted(self) -> bool:
        """Whether a payload left something in the directory."""
        return bool(os.listdir(self.directory))


@contextlib.contextmanager
def planted() -> Iterator[Baits]:
    """Plant the baits; everything is taken away at the end."""
    token = f"selftest-{secrets.token_hex(16)}"
    with contextlib.ExitStack() as stack:
        place = tempfile.mkdtemp(prefix="sandbox-selftest-")
        stack.callback(shutil.rmtree, place, ignore_errors=True)  # only we can write there, but for `open`
        os.chmod(place, 0o755)
        file, directory = os.path.join(place, "token"), os.path.join(place, "open")
        with open(file, "w", encoding="ascii") as out:
            out.write(token)
        os.chmod(file, 0o644)
        os.mkdir(directory)
        os.chmod(directory, 0o777)
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
        inherited = os.open(file, os.O_RDONLY)
        os.set_inheritable(inherited, True)
        stack.callback(os.close, inherited)
        key = secrets.randbelow(1 << 30) + 1
        stack.callback(_remove_shared, _make_shared(key))
        yield Baits(token, file, directory, listener.getsockname()[1], token, bystander.pid, key)


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
