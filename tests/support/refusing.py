"""An interpreter for which the kernel refuses one system call, by an outer filter."""

from __future__ import annotations

import sys
from pathlib import Path

NUMBER = 73  # EDOTDOT: no call gives it by itself

REFUSE = """
import os, sys
import pyseccomp
def refuse(call, number):
    filter = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    filter.set_attr(pyseccomp.Attr.CTL_NNP, 0)
    filter.add_rule(pyseccomp.ERRNO(number), call)
    filter.load()
"""
# Stands in for the interpreter that the launcher is started with: the caller itself is not under the filter.
WRAPPER = """#!{python}
{refuse}
refuse({call!r}, {number})
os.execv({python!r}, [{python!r}, *sys.argv[1:]])
"""


def refusing_python(directory: Path, call: str, number: int = NUMBER) -> Path:
    """A program in `directory` that is this interpreter, without `call` (not execve, which it needs itself)."""
    path = directory / call
    path.write_text(WRAPPER.format(python=sys.executable, refuse=REFUSE, call=call, number=number))
    path.chmod(0o755)
    return path
