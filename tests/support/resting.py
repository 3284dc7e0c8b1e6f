"""Sandboxes of this process that other tests keep: at rest, so that nothing of theirs comes or goes during a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.clock import seconds, wait_until
from tests.support.leaks import descendants

if TYPE_CHECKING:
    from sandbox.runtime.launcher import LauncherProcess


def close_shared() -> None:
    """End the launchers of `sandbox.run`."""
    from sandbox.runtime.registry import shared

    shared.close()


def settle() -> None:
    """Nothing is parked with any launcher, and nothing is being parked or cleared away, until its next run.

    A launcher that the host leaves no CPU makes what it was asked to park when it gets some: then, by its command line, another
    launcher has been left behind.
    """
    from sandbox.runtime.engine import _EVERY

    launchers = [launcher for engine in list(_EVERY) for launcher in engine.launchers.living()]
    wait_until(lambda: all(map(_has_parked, launchers)), seconds(20), "what other tests have parked is there")
    for launcher in launchers:
        launcher.parking.relinquish()
    wait_until(lambda: all(map(_has_none, launchers)), seconds(20), "what other tests had parked is gone")


def _has_parked(launcher: LauncherProcess) -> bool:
    parking = launcher.parking
    return launcher.gone() or (parking.at_rest and len(_inits(launcher)) >= sum(one.alive() for one in parking._ready))


def _has_none(launcher: LauncherProcess) -> bool:
    return launcher.gone() or (launcher.parking.at_rest and (launcher.runs > 0 or len(descendants(launcher.pid)) <= 1))


def _inits(launcher: LauncherProcess) -> list[str]:
    try:
        with open(f"/proc/{launcher._launcher_pid}/task/{launcher._launcher_pid}/children") as file:
            return file.read().split()
    except OSError:
        return []
