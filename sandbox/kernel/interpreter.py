"""What only the C API of CPython can do for a program that runs in a forked interpreter.

Source: the C API's "The Very High Level Layer"; fopen(3), fflush(3).
"""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FILE_INPUT = 257
_libc = ctypes.PyDLL(None, use_errno=True)
_libc.fopen.restype = ctypes.c_void_p
_run_file = ctypes.pythonapi.PyRun_FileExFlags
_run_file.restype = ctypes.py_object
_run_file.argtypes = (
    ctypes.c_void_p,
    ctypes.c_char_p,
    ctypes.c_int,
    ctypes.py_object,
    ctypes.py_object,
    ctypes.c_int,
    ctypes.c_void_p,
)


def open_script(path: bytes) -> int:
    """A FILE of the C library for `run_script`. Raises OSError."""
    file: int | None = _libc.fopen(path, b"rbe")
    if not file:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return file


def run_script(file: int, name: bytes, namespace: dict[str, Any]) -> None:
    """Run a script as `python3 SCRIPT` reads it, which is not quite as `exec` does. Closes it. Raises what it raises."""
    _run_file(file, name, _FILE_INPUT, namespace, namespace, 1, None)


def flush_c_streams() -> None:
    """Write out what C code of the program has left in the buffers of the C library."""
    _libc.fflush(None)
