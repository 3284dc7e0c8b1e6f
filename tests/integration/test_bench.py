"""`sandbox bench` on this very host; no figure is judged, only that there is one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.support.clock import seconds


@pytest.mark.timeout(600)
def test_bench_measures_every_way(degraded):
    command = [sys.executable, "-m", "sandbox.cli", "bench", "--runs", "10", *(["--allow-degraded"] if degraded else [])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds(300), check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    ways = {"parked", "unparked", "subprocess"}
    if shutil.which("bwrap") and "bubblewrap" not in report["missing"]:
        ways.add("bubblewrap")
    assert set(report["latency"]) == set(report["throughput"]) == ways
    assert all(row["p50_ms"] > 0 for row in report["latency"].values())
    assert all(set(row) == {"1", "2", "4", "8"} for row in report["throughput"].values())
    assert report["stages"]["parked"]["run"]["p50_ms"] > 0
    assert 0 < report["found_parked"] <= 1
