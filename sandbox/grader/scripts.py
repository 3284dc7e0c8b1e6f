"""Programs of a problem that say themselves how they are built and run: a script `build`, a script or program `run`, or both.

Only for programs of problems. The scripts run in the same sandboxes as compilers and validators do.
Source: problem package format 2025-09, "Other programs".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sandbox.grader.languages import Compile, Execute, Language, load

ID = "scripts"
NAMES = frozenset({"build", "run"})
# Packages come in archives, which may know no modes: what has to be executable is made so.
_BUILD = """\
if [ -f build ]; then chmod +x build && ./build || exit; fi
if [ ! -f run ]; then echo 'there is no program with the name run' >&2; exit 1; fi
chmod +x run"""
_LANGUAGE = Language(
    id=ID,
    name="scripts build and run",
    extensions=(),
    entry_point="run",
    keep_sources=True,
    compile=Compile(command=("sh", "-c", _BUILD), artefacts=("*",)),
    run=Execute(command=("{program}/run",), profile="default"),
)


def are_in(names: Collection[str]) -> bool:
    """Whether a program with these files builds itself."""
    return not NAMES.isdisjoint(names)


def languages() -> Mapping[str, Language]:
    """The languages in which a program of a problem may be: all, and the scripts."""
    return {**load(), ID: _LANGUAGE}
