"""Callers in a process of their own, for tests that kill them or put them into odd circumstances."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

PRELUDE = """
import json, os, sys
arguments = json.loads(os.environ["TEST_ARGUMENTS"])
INSIDE = "/opt/probe"

def options(profile="native"):
    from sandbox import Mount
    mount = Mount(source=arguments["probe"], target=INSIDE, writable=False, executable=True, requirement="required", why="test")
    return dict(profile=profile, mounts=(mount,), allow_degraded=arguments["degraded"])

def tell(error):
    print(json.dumps({"error": type(error).__name__, "bases": [c.__name__ for c in type(error).__mro__], "text": str(error),
                      "feature": getattr(error, "feature", ""), "step": getattr(error, "step", "")}), flush=True)
"""


def environment(**arguments: Any) -> dict[str, str]:
    """The environment of a caller: ours, and `arguments` for the prelude."""
    import json

    return {**os.environ, "TEST_ARGUMENTS": json.dumps(arguments), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}


def start(code: str, *, prefix: tuple[str, ...] = (), pass_fds: tuple[int, ...] = (), **arguments: Any) -> subprocess.Popen[str]:
    """Start `code` after the prelude; stdout and stderr are pipes."""
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", PRELUDE + code],
        cwd="/",
        env=environment(**arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=pass_fds,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], timeout: float) -> str:
    """Its stdout; fails when it does not end with 0 in time."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"the caller hangs; it said: {out}{err}") from None
    assert process.returncode == 0, out + err
    return out
