"""docs/performance.md is what the figures in benchmarks/results say, and says what was not reached."""

from __future__ import annotations

import copy
import re

import pytest

from benchmarks import goals, page, plots
from benchmarks.goals import GOALS, Goal, Unmeasured


@pytest.fixture(scope="module")
def figures():
    return page.read()


def test_the_page_is_what_the_figures_say(figures):
    assert page.PAGE.read_text() == page.render(*figures), "run: .venv/bin/python -m benchmarks.page"


def test_the_page_notices_another_figure(figures):
    reports, where = copy.deepcopy(figures)
    reports["root"]["loads"]["true"]["latency"]["parked"]["p50_ms"] *= 2
    assert page.render(reports, where) != page.PAGE.read_text()


def test_every_plot_is_there():
    named = re.findall(r"\]\(img/(\w+)\.svg\)", page.PAGE.read_text())
    assert sorted(named) == sorted(plots.NAMES)
    for name in named:
        assert "<svg" in (page.IMAGES / f"{name}.svg").read_text()[:1000]


def test_both_uids_were_measured(figures):
    reports, _ = figures
    assert [report["conditions"]["uid"] == 0 for report in reports.values()] == [True, False]


def test_every_goal_is_judged(figures):
    reports, where = figures
    text = page.goals(reports, where)
    for goal in GOALS:
        (row,) = [line for line in text.splitlines() if line.startswith(f"| {goal.title} |")]
        verdicts = [cell.strip() for cell in row.split("|")[3:5]]
        for verdict in verdicts:
            assert re.fullmatch(r"-?[\d.]+ (met|\*\*not met\*\*)|not measured", verdict), row
        if any("not" in verdict for verdict in verdicts):
            assert f"*{goal.title}*" in text.split("Where the rest goes:")[1]


@pytest.mark.parametrize(
    ("value", "most", "met"), [(0.4, True, True), (0.41, True, False), (1.6, False, True), (1.59, False, False)]
)
def test_a_goal_is_met_up_to_its_bound(value, most, met):
    goal = Goal("x", 0.4 if most else 1.6, lambda _: value, "cpu", most=most)
    assert goal.met(value) is met
    assert goal.wanted() == ("≤ 0.4" if most else "≥ 1.6")


def test_figures_are_ratios_to_the_other_tool(figures):
    report = copy.deepcopy(figures[0]["root"])
    report["loads"]["true"]["latency"] |= {"parked": {"p50_ms": 2.0}, "bubblewrap": {"p50_ms": 8.0}}
    assert GOALS[0].figure(report) == 0.25
    report["throughput"] = {"parked": {"2": 300.0}, "bubblewrap": {"2": 100.0}}
    assert goals.throughput(2)(report) == 3.0


def test_what_cannot_be_judged_is_no_figure(figures):
    report = copy.deepcopy(figures[0]["root"])
    report["cpu"]["background_ms_a_second"] = goals.QUIET_MS + 1
    with pytest.raises(Unmeasured, match="not quiet"):
        goals.cpu("machine_ms")(report)
    report["cpu"]["background_ms_a_second"] = 0.0
    assert goals.cpu("machine_ms")(report) == pytest.approx(
        report["cpu"]["machine_ms"]["parked"] / report["cpu"]["machine_ms"]["bubblewrap"]
    )
    report["warm"] = {"pass": {"missing": "no such profile"}}
    with pytest.raises(Unmeasured, match="no such profile"):
        goals.warm("pass")(report)
    del report["loads"]["true"]["latency"]["bubblewrap"]
    with pytest.raises(Unmeasured, match="bubblewrap"):
        GOALS[0].figure(report)


def test_missing_tools_are_named(figures):
    reports, where = copy.deepcopy(figures)
    reports["root"]["missing"]["true"]["crun"] = "not installed"
    assert "- as root, crun: not installed\n" in page.render(reports, where)
