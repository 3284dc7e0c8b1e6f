"""`sandbox bench` around what is measured, which is made up here."""

from __future__ import annotations

import importlib.util
import json

import pytest

ROW = {"p50_ms": 1.5, "p90_ms": 2.5, "p99_ms": 3.5}
REPORT = {
    "conditions": {"kernel": "6.1", "cpus": 2, "load": 0.1},
    "program": "/bin/true",
    "runs": 10,
    "missing": {"bubblewrap": "not installed"},
    "first_launch_ms": 80.0,
    "latency": {"parked": ROW, "unparked": ROW, "subprocess": ROW},
    "stages": {"parked": {"queue": ROW, "setup": ROW}, "unparked": {"queue": ROW, "setup": ROW}},
    "found_parked": 0.9,
    "throughput": {"parked": {"1": 100.0, "2": 200.0}, "subprocess": {"1": 300.0, "2": 400.0}},
}


@pytest.fixture
def measured(monkeypatch):
    """Calls of what measures."""
    from sandbox.bench import measure

    calls = []

    def run_all(profile, runs, *, allow_degraded, tell):
        tell("latency", 0.5)
        calls.append((profile, runs, allow_degraded))
        return REPORT

    monkeypatch.setattr(measure, "run_all", run_all)
    return calls


def test_in_a_pipe_it_is_json(answer, measured):
    assert answer("bench", "-p", "strict", "--runs", "12") == (0, {"profile": "strict", **REPORT})
    assert measured == [("strict", 12, False)]


def test_files_are_written(answer, measured, tmp_path):
    json_file, plot = tmp_path / "a.json", tmp_path / "a.svg"
    code, said = answer("bench", "--json", str(json_file), "--plot", str(plot))
    assert code == 0
    assert json.loads(json_file.read_text()) == said
    assert b"<svg" in plot.read_bytes()


@pytest.mark.parametrize(
    ("words", "reason"),
    [(["--runs", "3"], "3 is not in the range"), (["--plot", "/nowhere/a.svg"], "/nowhere is no directory"),
     (["--plot", "a.txt"], "must end in .svg")],
)  # fmt: skip
def test_mistakes_are_told_before_anything_is_measured(invoke, measured, tmp_path, monkeypatch, words, reason):
    monkeypatch.chdir(tmp_path)
    code, _, err = invoke("bench", *words)
    assert code == 125
    assert reason in err
    assert not measured


def test_a_plot_needs_matplotlib(invoke, measured, monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    code, _, err = invoke("bench", "--plot", str(tmp_path / "a.svg"))
    assert code == 125
    assert "matplotlib is not installed" in err
    assert not measured


def test_tables_say_what_was_measured_and_what_not(capfd):
    from sandbox.cli import bench

    bench._print({"profile": "default", **REPORT})
    out = capfd.readouterr().out
    assert "LATENCY, MS\tP50\tP90\tP99" not in out  # in a pipe rows have no header
    assert "parked (set up before it is asked for)\t1.50\t2.50\t3.50" in out
    assert "subprocess\t300\t400" in out
    assert "not measured: bubblewrap: not installed" in out
    bench._plot(REPORT)
    assert "latency, ms" in capfd.readouterr().out
