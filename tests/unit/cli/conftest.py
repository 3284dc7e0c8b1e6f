"""The command with a fake in place of the API."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.cli.fakes import FakeApi


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    fake = FakeApi()
    monkeypatch.setattr("sandbox.api.Sandbox", fake.make)
    monkeypatch.setenv("SANDBOX_NO_PLAN_CACHE", "1")  # what is faked has no plan
    return fake


@pytest.fixture
def invoke(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Call the command as the console script does: (exit code, stdout, stderr)."""
    from sandbox.cli.main import call

    def run(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = call(list(words))
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture
def answer(invoke: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, Any]]:
    """Call it and parse what it says on stdout as JSON."""

    def run(*words: str) -> tuple[int, Any]:
        code, out, _ = invoke(*words)
        return code, json.loads(out)

    return run
