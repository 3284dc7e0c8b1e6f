"""The vocabulary of requirements itself: a missing feature is a skip, or a failure where it is demanded."""

from __future__ import annotations

import os

import pytest

from tests.support import leaks, require
from tests.support.clock import wait_until


def test_a_missing_feature_skips(monkeypatch):
    monkeypatch.setitem(require._CHECKS, "gcc", lambda: "gone")
    require.missing.cache_clear()
    try:
        with pytest.raises(pytest.skip.Exception, match="host lacks gcc: gone"):
            require.require("gcc")
        monkeypatch.setenv("SANDBOX_REQUIRE", "gcc")
        with pytest.raises(pytest.fail.Exception, match="demands gcc"):
            require.require("gcc")
    finally:
        require.missing.cache_clear()


def test_an_unknown_demand_is_an_error(monkeypatch):
    monkeypatch.setenv("SANDBOX_REQUIRE", "userns,cgruop2")
    with pytest.raises(ValueError, match="cgruop2"):
        require.required()


def test_root_and_user_exclude_each_other():
    assert (require.missing("root") is None) != (require.missing("user") is None)


def test_leaks_are_seen():
    before = leaks.Traces.take()
    reader, writer = os.pipe()
    pid = os.posix_spawn("/bin/sleep", ["sleep", "30"], os.environ)
    found = leaks.Traces.take().differences(before)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    os.close(reader)
    os.close(writer)
    assert any(line.startswith(f"process {pid}") for line in found), found
    assert f"descriptor {reader}: pipe" in found
    leaks.assert_clean(before)


def test_wait_until_gives_up():
    with pytest.raises(AssertionError, match="not true within"):
        wait_until(lambda: False, 0.02)
