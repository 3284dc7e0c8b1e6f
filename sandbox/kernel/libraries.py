"""Finding shared libraries without starting programs. Process: the caller, never the launcher.

`import pyseccomp` looks for its library with ctypes.util.find_library, which starts ldconfig or a compiler: 35 ms, and
processes and descriptors that a busy service may not have.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import threading
from collections.abc import Iterator

_USUAL = {"c": "libc.so.6", "seccomp": "libseccomp.so.2"}
_lock = threading.Lock()


@contextlib.contextmanager
def by_usual_names() -> Iterator[None]:
    """In here ctypes.util.find_library tries the usual name of a library first."""
    with _lock:
        search = ctypes.util.find_library
        ctypes.util.find_library = lambda name: _usual(name) or search(name)
        try:
            yield
        finally:
            ctypes.util.find_library = search


def _usual(name: str) -> str | None:
    """The usual name, if the loader finds it."""
    try:
        return ctypes.CDLL(_USUAL[name])._name
    except (KeyError, OSError):
        return None
