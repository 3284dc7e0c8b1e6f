"""Somebody gets at the plan cache of `sandbox run` ("caller plans KIND"): the command must not run what it holds then.

planted     the cache is open to others, and holds an entry that one of them has written
stale       the profile has changed since, and looks as old as before
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox.model import codec
from sandbox.model.digest import sha256
from sandbox.model.plan import Plan
from tests.escape import layers
from tests.escape.layers import Layer
from tests.support.clock import seconds, wait_until

if TYPE_CHECKING:
    from tests.escape.arena import Arena

DIRECTORY, ENTRY, COMPARISON = "plan cache: its directory", "plan cache: the entry", "plan cache: what it was made of"
_DIGEST_BYTES = 32
_COARSE_NS = 150_000_000  # what has just been written may not be kept: time stamps are coarse
_PROFILE = 'extends = "{}"\ndescription = "mine"\n[identity]\nhostname = "{}"\n'

layers.register(
    Layer(
        name=DIRECTORY,
        patches=(
            (
                "policy/plancache.py",
                "    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:\n",
                "    if found.st_uid < 0:\n",
            ),
        ),
    ),
    Layer(
        name=ENTRY,
        patches=(
            (
                "policy/plancache.py",
                "mine = found.st_uid == os.geteuid() and found.st_nlink == 1 and not found.st_mode & 0o077",
                "mine = True",
            ),
        ),
    ),
    Layer(
        name=COMPARISON,
        patches=(
            ("policy/plancache.py", "            return self._state == _state() and all(", "            return True or all("),
        ),
    ),
)


class _Command:
    """`sandbox run … uname -n` with a cache and a profile of its own, and perhaps without layers."""

    def __init__(self, home: Path, profile: str, tree: Path, *, degraded: bool) -> None:
        self.home = home
        self.base = profile
        self.profile = home / "mine.toml"
        self.plans = home / "cache" / "sandbox" / "plans"
        self._words = ["run", "-q", *(["--allow-degraded"] if degraded else []), "-p", str(self.profile), "--", "uname", "-n"]
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(tree),
            "XDG_CACHE_HOME": str(home / "cache"),
            "XDG_CONFIG_HOME": str(home / "config"),
        }
        self._environment.pop("SANDBOX_NO_PLAN_CACHE", None)

    def write(self, hostname: str) -> None:
        self.profile.write_text(_PROFILE.format(self.base, hostname))

    def __call__(self) -> str:
        """What the payload says its host is called."""
        command = [sys.executable, "-B", "-m", "sandbox.cli", *self._words]
        done = subprocess.run(
            command, env=self._environment, cwd=self.home, capture_output=True, text=True, timeout=seconds(60), check=False
        )
        if done.returncode:
            raise AssertionError(f"the command failed: {done.stderr}")
        return done.stdout.strip()

    def entry(self) -> Path:
        (found,) = self.plans.iterdir()
        return found


def attempt(ground: Arena, profile: str, kind: str, names: tuple[str, ...]) -> tuple[Any, str]:
    """One trial."""
    entry_point = layers.launcher_without(names, ground.directory)
    tree = entry_point.parents[2] if entry_point is not None else layers.ROOT
    if not (tree / "profiles").exists():
        (tree / "profiles").symlink_to(layers.ROOT / "profiles")
    with tempfile.TemporaryDirectory(prefix="plans-", dir=ground.directory) as home:
        command = _Command(Path(home), profile, tree, degraded=ground.degraded)
        command.write("first")
        old = time.time_ns() + _COARSE_NS
        wait_until(lambda: time.time_ns() > old, 5)
        if command() != "first":
            raise AssertionError("the profile has no effect")
        if kind == "planted":
            _plant(command.entry(), b"other")
        else:
            times = command.profile.stat()
            command.write("other")
            os.utime(command.profile, ns=(times.st_atime_ns, times.st_mtime_ns))
        wanted = "first" if kind == "planted" else "other"
        said = command()
    return ("contained", said) if said == wanted else ("escaped", f"a plan that nobody would make now: {said!r}")


def _plant(entry: Path, hostname: bytes) -> None:
    """As somebody does for whom cache and entry are open, and who knows the format."""
    *body, plan = codec.decode(entry.read_bytes()[_DIGEST_BYTES:])
    forged = codec.encode((*body, Plan.decode(plan).replace(hostname=hostname).encode()))
    entry.parent.chmod(0o777)
    entry.write_bytes(sha256(forged).digest() + forged)
    entry.chmod(0o666)
