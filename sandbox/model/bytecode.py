"""Modules as bytecode, for interpreters in a sandbox: those of our own version start sooner, every other one has the sources."""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import marshal
import types

_UNCHECKED_HASH = (1).to_bytes(4, "little") + bytes(8)  # not held against a source; PEP 552


@functools.cache
def of(path: str, name: str) -> bytes:
    """The content of a .pyc file. It names no place of this host.

    Args:
        path: of the source.
        name: what it is called instead, "package/module.py".

    Raises OSError, SyntaxError.
    """
    module = name.removesuffix(".py").replace("/", ".")
    code = importlib.machinery.SourceFileLoader(module, path).get_code(module)
    if code is None:
        raise ImportError(f"{path} is no module")
    return importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH + marshal.dumps(_renamed(code, name))


def _renamed(code: types.CodeType, name: str) -> types.CodeType:
    inner = tuple(_renamed(item, name) if isinstance(item, types.CodeType) else item for item in code.co_consts)
    return code.replace(co_filename=name, co_consts=inner)
