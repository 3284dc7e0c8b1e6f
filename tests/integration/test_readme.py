"""The example of the README does what its comments say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.clock import seconds

pytestmark = pytest.mark.vm
ROOT = Path(__file__).resolve().parents[2]


def test_the_library_example(degraded: bool) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 25
    if degraded:
        code = code.replace('Sandbox("python"', 'Sandbox("python", allow_degraded=True')
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=seconds(60),
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "exited Exited(code=0) done"
    assert "b'HELLO'" in lines
    assert "'user'" in lines[-1]


def test_the_profile_example(tmp_path: Path) -> None:
    from sandbox import Profile
    from sandbox.policy.lint import lint

    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    file = tmp_path / "course.toml"
    file.write_text(text)
    assert Profile.load(str(file)).policy.limits.memory_bytes == 1 << 30
    assert lint(str(file)) == ()
