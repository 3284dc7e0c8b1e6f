"""Reads problems: packages of ICPC and Kattis, DMOJ's init.yml, or a plain folder of test cases; from a folder or a zip archive.

Whatever is in a package is untrusted: it is read within bounds and without leaving it, and none of its programs is run here.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from sandbox.grader.model import Problem
from sandbox.grader.packages import archive, dmoj, plain, ppf
from sandbox.model.errors import ProblemError

_ARCHIVES = (".zip", ".kpp")
_MARKS = (ppf.YAML, ppf.INI, dmoj.YAML)


def load(path: str | Path) -> Problem:
    """Reads a problem.

    An archive is unpacked into a private directory; the Problem keeps it. It goes with the last reference to the Problem, or with
    `close`.

    Args:
        path: a folder, or an archive *.zip or *.kpp.

    Raises:
        ProblemError: the package is wrong or cannot be read; it names the file.
    """
    path = Path(path)
    if path.is_dir():
        return _read(path, shown=str(path))
    if not path.exists():
        raise ProblemError("there is no such folder or archive", file=str(path))
    if not path.name.lower().endswith(_ARCHIVES):
        raise ProblemError("is no folder and no archive", file=str(path), hint="a folder, *.zip or *.kpp can be read")
    unpacked = archive.unpack(path)
    try:
        problem = _read(_top(unpacked.root), shown=str(path))
    except BaseException:
        unpacked.close()
        raise
    name = path.stem if problem.name in {unpacked.root.name, ""} else problem.name
    owner = unpacked if problem.owner is None else (unpacked, problem.owner)
    return dataclasses.replace(problem, name=name, owner=owner)


def close(problem: Problem) -> None:
    """Removes now what an archive was unpacked to. Nothing happens for a problem that was read from a folder."""
    owners = problem.owner if isinstance(problem.owner, tuple) else (problem.owner,)
    for owner in owners:
        if isinstance(owner, archive.Unpacked):
            owner.close()


def _top(root: Path) -> Path:
    """The folder of the package: the archive itself, or the only folder in it."""
    names = sorted(os.listdir(root))
    if any(mark in names for mark in _MARKS) or len(names) != 1:
        return root
    inner = root / names[0]
    return inner if inner.is_dir() else root


def _read(root: Path, *, shown: str) -> Problem:
    """Reads a folder, which messages about all of it call by the name that the caller gave (`shown`)."""
    names = set(os.listdir(root))
    if ppf.YAML in names or ppf.INI in names:
        return ppf.read(root)
    if dmoj.YAML in names:
        return dmoj.read(root)
    if any(name.endswith(".in") for name in names):
        return plain.read(root, shown=shown)
    raise ProblemError(
        f"is no problem: it has neither {ppf.YAML} nor {dmoj.YAML} nor files *.in", file=shown, hint="see docs/grader.md"
    )
