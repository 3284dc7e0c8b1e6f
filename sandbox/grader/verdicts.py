"""Verdicts of runs: pure functions of outcome, evidence and the limits of the problem."""

from __future__ import annotations

from sandbox.grader.languages import Language
from sandbox.grader.model import Limits, Verdict
from sandbox.model.result import RunResult


def of_run(run: RunResult, limits: Limits, *, language: Language | None = None) -> tuple[Verdict | None, str]:
    """(verdict, one sentence with the figures); (None, "") when it ended well and its output can be checked.

    Args:
        language: what its runtime says when it is out of memory is evidence beside the memory that was used.
    """
    raise NotImplementedError
