"""Where samples of function grading are judged: the judge's program, and the profile of its sandbox."""

from __future__ import annotations

import functools
import math
import shutil
import sys
from pathlib import Path
from typing import Any

from sandbox.grader import boxes
from sandbox.model import bytecode
from sandbox.model.policy import Mount
from sandbox.policy import load  # noqa: F401 - Profile.load needs it: it comes with this module, and not in the middle of a call
from sandbox.policy.profile import Profile

_PLACE = "/opt/sandbox-grader"
_PRELOAD = ("inside.function_judge", "bisect", "collections", "copy", "datetime", "functools", "heapq", "itertools",
            "json", "math", "operator", "random", "re", "string", "typing")  # fmt: skip


def copied(place: Path) -> Mount:
    """The judge's program where every user of the host may read it, whoever owns the installation."""
    target = place / "inside"
    compiled = target / "__pycache__"
    compiled.mkdir(parents=True)
    for file in sorted((Path(__file__).parent / "inside").glob("*.py")):
        cached = compiled / f"{file.stem}.{sys.implementation.cache_tag}.pyc"  # taken by an interpreter of our own version alone
        shutil.copyfile(file, target / file.name)
        cached.write_bytes(bytecode.of(str(file), f"inside/{file.name}"))
        for made in (target / file.name, cached):
            made.chmod(0o644)
    for made in (place, target, compiled):
        made.chmod(0o755)
    return Mount(str(place), _PLACE)


def profile(name: str, mount: Mount, seconds: float, memory: str) -> Profile:
    """Its profile: the one by that name, with the judge's program, and limits for all samples that share a sandbox."""
    return _bare(name, seconds, memory, boxes.stamp()).with_mounts([mount])


@functools.lru_cache(maxsize=16)
def _bare(name: str, seconds: float, memory: str, _: str) -> Profile:
    data: dict[str, Any] = {
        "extends": name,
        "environment": {"set": {"PYTHONPATH": _PLACE}},
        "limits": {"cpu": f"{math.ceil(seconds)}s", "wall": f"{math.ceil(seconds * 2)}s", "memory": memory},
        "why": {"environment.set": "where the judge's program is"},
    }
    data["why"].update({f"limits.{name}": "what the caller gives to a batch of samples" for name in data["limits"]})
    if Profile.load(name).policy.warm.interpreter:
        data["warm"] = {"preload": list(_PRELOAD)}
        data["why"]["warm.preload"] = "what most completions and tests import"
    return Profile.from_dict(data, "function-grading")
