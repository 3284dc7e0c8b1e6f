"""What init makes of a mount that is refused: nothing to cover, or something around us that answers in the kernel's place."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from sandbox.kernel import mounts
from sandbox.launcher import covers


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOTDIR])
def test_a_path_that_is_there_is_covered_or_the_launch_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(mounts, "mount", refuse)
    (tmp_path / "dangling").symlink_to("missing")
    there = os.fsencode(tmp_path)
    for missing in (there + b"/missing", there + b"/dangling"):
        covers._mask(missing)
        assert not covers._bind_if_there(missing, missing, 0)
    with pytest.raises(OSError, match=os.strerror(number)):
        covers._mask(there)
    with pytest.raises(OSError, match=os.strerror(number)):
        covers._bind_if_there(there, there, 0)
