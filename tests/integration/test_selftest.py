"""`sandbox selftest` passes where everything holds, and says what does not where something was taken away."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from sandbox import Profile, RequestError, Sandbox
from sandbox.selftest import checks
from sandbox.selftest.checks import Verdict
from tests.escape import arena, layers
from tests.support.command import Cli

pytestmark = pytest.mark.vm


def failures(box: Sandbox) -> dict[str, str]:
    return {item.name: item.detail for item in checks.run_all(box) if item.verdict is Verdict.FAIL}


@pytest.mark.parametrize("profile", ["default", "strict", "compile"])
def test_everything_holds(profile: str, degraded: bool) -> None:
    told: list[str] = []
    with Sandbox(profile, allow_degraded=degraded, parked=0) as box:
        findings = checks.run_all(box, told.append)
    assert [item for item in findings if item.verdict is not Verdict.PASS] == []
    assert len(findings) >= 28
    assert {"inside", "limit_memory", "daemon"} <= set(told)


# layers that are taken away → the attacks that must notice
WITHOUT: dict[tuple[str, ...], set[str]] = {
    ("filter",): {"make calls that attacks begin with", "make sockets outside of its network"},
    ("mounts", "landlock"): {"read a file of the host"},
    ("net namespace", "landlock"): {"reach services of the host"},
    ("ipc namespace", "filter"): {"find shared memory and files of others"},
    ("read-only proc", "landlock", "read-only paths"): {"write to files that steer the kernel"},
}


@pytest.mark.parametrize("removed", WITHOUT, ids=" and ".join)
def test_what_is_missing_is_found(removed: tuple[str, ...], degraded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/var/tmp")  # the launcher stages its root over /tmp
    with arena.Arena(degraded=degraded) as ground, Sandbox("default", allow_degraded=degraded, parked=0) as box:
        ground._knock_out(box, layers.closure(removed))
        assert set(failures(box)) >= WITHOUT[removed]


def test_a_profile_without_python(degraded: bool) -> None:
    profile = Profile.from_dict({"extends": "base", "mounts": [{"source": "/usr/share", "why": "no program at all"}]})
    with Sandbox(profile, allow_degraded=degraded) as box, pytest.raises(RequestError, match="python3"):
        checks.run_all(box)


def test_the_command(tmp_path: Path, degraded: bool) -> None:
    cli, words = Cli(tmp_path, degraded=degraded), ["--allow-degraded"] if degraded else []
    code, out, err = cli("selftest", "--json", *words)
    answer = json.loads(out)
    assert (code, answer["passed"]) == (0, True), err
    assert {item["verdict"] for item in answer["findings"]} == {"PASS"}
    assert answer["enforced"]["no_new_privs"] is True
    code, out, _ = cli("selftest", *words)
    assert code == 0
    assert b"held, 0 did not" in out
