"""Fixtures of all tests. The library itself is imported late: the unit tests of one room need no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import forms, leaks, programs, resting
from tests.support.clock import SLOWNESS
from tests.support.require import missing, require, required

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "requires(*features): skip, or fail where SANDBOX_REQUIRE says so, without these")
    required()  # an unknown word in SANDBOX_REQUIRE must not pass
    _examples_take_their_time()


def _examples_take_their_time() -> None:
    """Hypothesis fails a test whose example takes 0.2 s: on a busy host that is any."""
    try:
        from hypothesis import HealthCheck, settings
    except ImportError:  # the machine of `make test-vm` has none
        return
    usual = settings.default
    settings.register_profile("busy", usual, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("busy")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("requires"):
        require(*mark.args)
    if item.get_closest_marker("root"):
        require("root")


def pytest_report_header() -> list[str]:
    import os

    kind = next((name for name in ("cgroup2", "cgroup1") if missing(name) is None), "none usable (allow_degraded=True)")
    demanded = ", ".join(sorted(required())) or "nothing"
    grader = "all" if forms.ALL else "the short form (all: make grade-all)"
    return [
        f"sandbox: uid {os.getuid()}, control groups: {kind}, slowness {SLOWNESS:g}, SANDBOX_REQUIRE: {demanded}",
        f"tests of the grader: {grader}",
    ]


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def degraded() -> bool:
    """Whether this host gives us no control groups, so that runs need allow_degraded=True."""
    return missing("cgroup") is not None


@pytest.fixture(scope="session")
def run_options(degraded: bool) -> dict[str, Any]:
    """Keyword arguments that every `sandbox.run` needs on this host."""
    return {"allow_degraded": True} if degraded else {}


@pytest.fixture(scope="session")
def probe_program() -> Path:
    """The probe on the host."""
    require("gcc")
    return programs.build()


@pytest.fixture(scope="session")
def probe_mounts(probe_program: Path) -> tuple[Any, ...]:
    """The mount that makes the probe `/opt/probe` inside."""
    from sandbox import Mount

    return (
        Mount(
            source=str(probe_program),
            target=programs.INSIDE,
            writable=False,
            executable=True,
            requirement="required",
            why="the payload of the tests",
        ),
    )


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """The test leaves nothing behind: descriptors, processes, control groups, mounts, files."""
    resting.close_shared()
    resting.settle()
    before = leaks.Traces.take()
    yield
    resting.close_shared()
    resting.settle()
    leaks.assert_clean(before)


@pytest.fixture(scope="module")
def box(probe_mounts: tuple[Any, ...], degraded: bool) -> Iterator[Any]:
    """A warm Sandbox of the `native` profile with the probe at /opt/probe; kept for the tests of one module."""
    import sandbox

    with sandbox.Sandbox("native", mounts=probe_mounts, allow_degraded=degraded) as made:
        yield made
