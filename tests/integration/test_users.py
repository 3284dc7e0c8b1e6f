"""Two tenants at once, of two users of the host or of one: neither sees, signals, traces or talks to the other, by any name that
both know, and neither finds afterwards what the other left. Without sandboxes the same attempts succeed."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.escape.callers import end as kill_all
from tests.escape.callers import marked
from tests.support.neighbours import Bare, Caller, Tenant

PLACES = ["/tmp", "/work", "/dev/shm"]
LOCKS = ("/usr/bin/env", "/usr/lib/os-release")  # of the two; the same inodes inside and outside
MADE = {"default": {"unix", "tcp", "files", "lock", "process"}}
# without a loopback of its own a sandbox has no TCP at all, and there would be nothing to reach
PROFILES = {"default": {"extends": "default", "network": {"mode": "loopback"}}}
ATTEMPTS = {"unix", "tcp", "memory", "queue", "posix queue", "lock", "files", "see", "signal", "trace"}
# `default` lets programs lock files, and locks of what all can read are seen by all; `strict` has no locks for that reason
GRANTED = {"default": {"lock"}}
NOBODY = 64321  # an id without an account, so without ranges in /etc/subuid


def names(lock: str) -> tuple[list[str], dict[str, Any]]:
    """The names of one tenant: as words for it, and as told to the other."""
    token, key = f"neighbour-{secrets.token_hex(8)}", secrets.randbelow(1 << 30) + 1
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    return [token, str(key), str(port), lock], {"token": token, "key": key, "port": port, "lock": lock}


@contextlib.contextmanager
def two(make: Callable[[int, list[str]], Any], places: list[str]) -> Iterator[tuple[list[Any], list[dict[str, Any]]]]:
    """Two tenants who have what they could make, and what each is told about the other."""
    words, told = zip(*map(names, LOCKS), strict=True)
    try:
        tenants = [make(number, [*each, *places]) for number, each in enumerate(words)]
        for tenant, about in zip(tenants, told, strict=True):
            about.update(made=tenant.has(), places=places)
            assert isinstance(about["made"], dict), about["made"]
            about["pid"] = max(marked(about["token"]))
        yield tenants, list(told)
    finally:
        for about in told:
            kill_all(marked(about["token"]))


def both_ways(tenants: list[Any], told: list[dict[str, Any]]) -> list[set[str]]:
    """What each reaches of the other, while both are there."""
    answers = [tenants[0].reach(told[1]), tenants[1].reach(told[0])]
    assert [set(answer) for answer in answers] == [ATTEMPTS, ATTEMPTS]
    return [{name for name, got in answer.items() if got is True} for answer in answers]


def apart(make: Callable[[int, list[str]], Any], profile: str) -> None:
    """The whole encounter: during and afterwards."""
    with two(make, PLACES) as (tenants, told):
        for about in told:
            assert {name for name, done in about["made"].items() if done is True} >= MADE[profile], about["made"]
        assert both_ways(tenants, told) == [GRANTED[profile], GRANTED[profile]]
        for tenant in tenants:
            tenant.end()
        left = [path for tenant in tenants for path in tenant.find(PLACES)]
        assert left == ["/work/neighbour.py"] * 2


def test_without_sandboxes_everything_is_reached(tmp_path: Path) -> None:
    """The control: ordinary processes of one user, with a directory of ours in place of /work."""
    places = ["/tmp", str(tmp_path), "/dev/shm"]
    with contextlib.ExitStack() as stack:
        tenants, told = stack.enter_context(two(lambda _, words: Bare(words), places))
        for about in told:
            stack.callback(clear, about)
        assert [about["made"] for about in told] == [dict.fromkeys(told[0]["made"], True)] * 2
        assert both_ways(tenants, told) == [ATTEMPTS, ATTEMPTS]
        for tenant in tenants:
            tenant.end()
        for tenant, other in zip(tenants, reversed(told), strict=True):
            assert {f"{place}/{other['token']}" for place in places} <= set(tenant.find(places))


def clear(about: dict[str, Any]) -> None:
    """Take away what a tenant without a sandbox leaves on the host."""
    import ctypes

    libc = ctypes.CDLL(None)
    for place in about["places"]:
        Path(place, about["token"]).unlink(missing_ok=True)
    libc.shmctl(libc.shmget(about["key"], 0, 0), 0, None)
    libc.msgctl(libc.msgget(about["key"], 0), 0, None)
    libc.mq_unlink(f"/{about['token']}".encode())


@pytest.mark.vm
@pytest.mark.parametrize("profile", MADE)
@pytest.mark.claim("SEC-PR-01", "SEC-NW-01", "SEC-FS-06")
def test_two_sandboxes_of_one_user(profile: str, degraded: bool) -> None:
    apart(lambda _, words: Tenant(words, profile=PROFILES[profile], degraded=degraded), profile)


@pytest.fixture(scope="module")
def tree() -> Iterator[Path]:
    """A copy of the package and of what it imports, that every user can read."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="sandbox-users-") as directory:
        copy = Path(directory)
        for name in ("sandbox", "profiles", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "vm"))
        for name in ("pydantic*", "annotated_types", "typing_*", "pyseccomp*", "pyroute2", "*prctl*"):
            for source in Path(sysconfig.get_path("purelib")).glob(name):
                if source.is_dir():
                    shutil.copytree(source, copy / source.name, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy2(source, copy)
        for folder, _, files in os.walk(copy):
            os.chmod(folder, 0o755)
            for file in files:
                os.chmod(Path(folder, file), 0o644)
        yield copy


def ordinary() -> int:
    """A user of the tests, with ranges of ids; another id without an account where there is none."""
    try:
        return pwd.getpwnam("sandbox-test").pw_uid
    except KeyError:
        return NOBODY + 1


@pytest.mark.root
@pytest.mark.parametrize("profile", MADE)
@pytest.mark.claim("SEC-PR-01", "SEC-NW-01", "SEC-FS-06")
def test_two_users(profile: str, tree: Path) -> None:
    def make(number: int, words: list[str]) -> Caller:
        uid = (ordinary(), NOBODY)[number]
        python = f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
        return Caller(
            words,
            ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--inh-caps=-all",
             "env", "-i", "-C", str(tree), f"PYTHONPATH={tree}", "PYTHONDONTWRITEBYTECODE=1", "PATH=/usr/bin:/bin",
             python, "-m", "tests.support.neighbours"],
            profile=PROFILES[profile],
            degraded=True,
        )  # fmt: skip

    apart(make, profile)
