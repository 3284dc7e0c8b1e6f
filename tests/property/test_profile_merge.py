"""An override that is accepted never allows more: not in limits, and for no call of a compiled filter."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox import PolicyError, Profile
from sandbox.model.limits import Limits
from sandbox.model.policy import ArgCondition
from sandbox.policy.diff import diff
from sandbox.policy.resolve import LIMITS
from sandbox.policy.seccomp import tables
from sandbox.policy.seccomp.rules import Decision, decisions

POLICIES = {name: Profile.load(name) for name in ("default", "strict", "compile")}
GROUPS = sorted({rule.group for rule in POLICIES["default"].policy.seccomp.rules})

WORDS = ["1s", "5min", "64MiB", "3GiB", "none", "loopback", "true", "false", "0", "", "1"]
OTHER_KEYS = ["network.mode", "paths.proc", "work.executable", "scratch.tmp", "cgroup.requirement", "process.umask"]
values = st.one_of(st.integers(-5, 1 << 44), st.booleans(), st.sampled_from(WORDS))
overrides = st.dictionaries(
    st.one_of(
        st.sampled_from([*LIMITS, *OTHER_KEYS]),
        st.sampled_from([f"limits.{name}" for name in LIMITS]),
    ),
    values,
    max_size=4,
)


@pytest.mark.claim("SEC-PO-01")
@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(POLICIES)), overrides)
def test_an_accepted_override_is_nowhere_looser(name: str, changes: dict[str, Any]) -> None:
    before = POLICIES[name].policy
    try:
        after = POLICIES[name].tightened(changes).policy
    except PolicyError:
        return
    assert [item for item in diff(before, after) if item.direction == "looser"] == []
    for field in (item.name for item in dataclasses.fields(Limits)):
        if field not in ("idle_ns", "cpu_quota_millicpus"):
            assert getattr(after.limits, field) <= getattr(before.limits, field)


def refusals(decision: Decision) -> set[tuple[ArgCondition, ...]]:
    """The conditions under which a call is refused. Their group may change: a denial of fork takes clone's rules over."""
    return {rule.args for rule in decision.refined if rule.action not in ("allow", "log")}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(GROUPS), unique=True), st.lists(st.sampled_from(sorted(tables.every_name())), max_size=5))
def test_groups_taken_away_and_calls_denied_open_nothing(groups: list[str], denied: list[str]) -> None:
    before = decisions(POLICIES["default"].policy.seccomp)
    try:
        profile = POLICIES["default"].tightened({"seccomp.groups": groups, "seccomp.deny": denied})
    except PolicyError:
        return
    for name, decision in decisions(profile.policy.seccomp).items():
        if decision.base is not None and decision.base.action in ("allow", "log"):
            old = before[name].base
            assert old is not None
            assert old.action in ("allow", "log")
            assert name not in denied
            assert refusals(decision) >= refusals(before[name])
