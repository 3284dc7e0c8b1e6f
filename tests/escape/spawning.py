"""How the caller starts launchers, changed: layers of the caller's own side."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandbox.runtime import keeper as keeper_module


def spawning(change: Callable[[dict[str, Any]], None]) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """The caller starts launchers with other options of `subprocess.Popen`."""

    @contextlib.contextmanager
    def context() -> Iterator[None]:
        before = keeper_module._popen

        def popen(command: list[str], **options: Any) -> int:
            change(options)
            return before(command, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(keeper_module, "_popen", popen)
            yield

    return context
