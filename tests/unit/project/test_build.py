"""What goes to users: the wheel with its profiles, the order of the rooms, the public names."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from tests.support.require import requires

ROOT = Path(__file__).resolve().parents[3]


@requires("hatchling")
def test_the_wheel_carries_the_profiles_the_page_and_what_the_grader_reads(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        members = set(archive.namelist())
    for path in (ROOT / "profiles").rglob("*.toml"):
        assert f"sandbox/_profiles/{path.relative_to(ROOT / 'profiles')}" in members
    for path in (file for file in (ROOT / "sandbox" / "grader").rglob("*") if file.suffix in (".toml", ".j2")):
        assert str(path.relative_to(ROOT)) in members
    assert "sandbox/grader/inside/function_judge.py" in members
    for path in (ROOT / "sandbox" / "service" / "page" / "static").iterdir():
        assert str(path.relative_to(ROOT)) in members
    assert "sandbox/launcher/__main__.py" in members
    assert not [name for name in members if name.startswith(("tests/", "benchmarks/", "web/")) or name.endswith(".pyc")]


@requires("importlinter")
def test_the_order_of_the_rooms_holds():
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_public_names_can_be_had():
    import sandbox

    missing = [name for name in sandbox.__all__ if getattr(sandbox, name, None) is None]
    assert not missing
    assert len(sandbox.__all__) == len(set(sandbox.__all__))
    assert set(sandbox.__all__) <= set(dir(sandbox))
