"""How the caller starts launchers, changed: layers of the caller's own side."""

from __future__ import annotations

import contextlib
import subprocess
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandbox.runtime import launcher as launcher_module


def spawning(change: Callable[[dict[str, Any]], None]) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """The caller starts launchers with other options of `subprocess.Popen`."""

    @contextlib.contextmanager
    def context() -> Iterator[None]:
        before = launcher_module.subprocess

        def popen(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
            change(options)
            return before.Popen(command, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(launcher_module, "subprocess", types.SimpleNamespace(**{**vars(before), "Popen": popen}))
            yield

    return context
