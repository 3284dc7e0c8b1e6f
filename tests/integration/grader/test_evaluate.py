"""`sandbox evaluate` and the page of a real grading, as a user calls them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.clock import seconds

pytestmark = pytest.mark.requires("system python", "cgroup")

ROOT = Path(__file__).resolve().parents[3]
TASKS = ROOT / "tests" / "cases" / "functions" / "tasks.jsonl"


def sandbox(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sandbox.cli", *arguments]
    return subprocess.run(command, cwd=cwd, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(cwd)},
                          capture_output=True, text=True, timeout=seconds(100), check=False)  # fmt: skip


def test_pass_at_k_and_going_on_where_it_was_left(tmp_path):
    wrong = {"task_id": "own/count", "completion": "    return 2\n"}
    right = {"task_id": "own/count", "completion": "    return len([n for n in numbers if n % 2 == 0])\n"}
    rows = [right, wrong, wrong, right]
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ("evaluate", "s.jsonl", "--tasks", str(TASKS), "-k", "1", "-k", "2", "-k", "5")
    first = sandbox(*arguments, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    said = json.loads(first.stdout)
    assert (said["passed"], said["samples"], said["pass@1"], said["pass@2"]) == (2, 4, 0.5, pytest.approx(1 - 1 / 6))
    assert "pass@5" not in said
    results = tmp_path / "s.jsonl_results.jsonl"
    kept = results.read_text().splitlines()
    assert sorted(json.loads(line)["index"] for line in kept) == [0, 1, 2, 3]
    results.write_text("\n".join(kept[:2]) + "\n" + kept[2][:30])
    again = sandbox(*arguments, cwd=tmp_path)
    assert json.loads(again.stdout) == said
    assert results.read_text().splitlines()[:2] == kept[:2]
    assert len(results.read_text().splitlines()) == 4


def test_a_real_grading_as_json_and_page(tmp_path):
    (tmp_path / "p").mkdir()
    for name, text in (("1.in", "1 2\n"), ("1.out", "3\n"), ("2.in", "4 5\n"), ("2.out", "9\n")):
        (tmp_path / "p" / name).write_text(text)
    (tmp_path / "a.py").write_text("a, b = map(int, input().split())\nprint(a + b if a < 4 else '<script>')\n")
    done = sandbox("grade", "--all", "p", "a.py", "--html", "r.html", "--time-limit", "10s", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    (report,) = json.loads(done.stdout)["reports"]
    assert [case["verdict"] for case in report["cases"]] == ["AC", "WA"]
    page = (tmp_path / "r.html").read_text()
    assert "&lt;script&gt;" in page
    assert "<script" not in page
