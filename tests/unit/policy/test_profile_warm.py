"""The section [warm]: what it may say, who may change it, and where it is seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox import PolicyError, Profile, ProfileError
from sandbox.host.facts import gather
from sandbox.model.plan import COLD, Filters
from sandbox.policy.diff import diff
from sandbox.policy.explain import explain
from sandbox.policy.lint import lint
from sandbox.policy.plan import build_plan

NO_FILTERS = Filters(main=b"", notify=b"", kill=(), names=())
WARM = Profile.parse('extends = "python-warm"\n[warm]\npreload = ["numpy", "a.b"]\n')


def wrong(text: str) -> str:
    with pytest.raises(ProfileError) as caught:
        Profile.parse(text)
    return str(caught.value)


def test_only_the_profile_that_says_so_is_warm() -> None:
    assert Profile.load("python-warm").policy.warm.interpreter == "/usr/bin/python3"
    for name in ("base", "default", "python", "strict"):
        assert Profile.load(name).policy.warm.interpreter == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[warm]\npreload = ["json"]\n', "no effect without warm.interpreter"),
        ('extends = "python"\n[warm]\ninterpreter = "python3"\n', "absolute path"),
        ('extends = "python"\n[warm]\ninterpreter = "/opt/python"\n', "lies in no mount"),
        ('extends = "python-warm"\n[warm]\npreload = ["a b"]\n', "name of a module"),
        ('extends = "python-warm"\n[warm]\npreload = ["a..b"]\n', "name of a module"),
        ('extends = "python-warm"\n[warm]\nmodules = []\n', "modules"),
        (
            'extends = "python"\n[warm]\ninterpreter = "/opt/python"\n[[mounts]]\nsource = "/opt"\nwritable = true\nwhy = "x"\n',
            "writable mount",
        ),
        (
            'extends = "python-warm"\n[rootfs]\nkind = "directory"\nsource = "/srv"\nwritable = true\n',
            "does not go with rootfs.writable",
        ),
    ],
)
def test_contradictions(text: str, words: str) -> None:
    assert words in wrong(text)


def test_a_caller_can_take_it_away_and_nothing_else() -> None:
    assert WARM.tightened({"warm.interpreter": ""}).policy.warm.interpreter == ""
    assert WARM.tightened({"warm.interpreter": ""}).policy.warm.preload == ()
    assert WARM.tightened({"warm.interpreter": "/usr/bin/python3"}).policy == WARM.policy
    assert WARM.tightened({"warm.preload": ["numpy"]}).policy.warm.preload == ("numpy",)
    for key, value in (("warm.interpreter", "/usr/bin/python"), ("warm.preload", ["os"])):
        with pytest.raises(PolicyError, match="the profile's"):
            WARM.tightened({key: value})
    with pytest.raises(PolicyError):
        Profile.load("python").tightened({"warm.interpreter": "/usr/bin/python3"})


def test_it_is_weaker_and_says_so() -> None:
    found = {item.key: item.direction for item in diff(Profile.load("python").policy, WARM.policy)}
    assert found["warm.interpreter"] == "looser"
    assert found["warm.preload"] == "looser"
    back = {item.key: item.direction for item in diff(WARM.policy, Profile.load("python").policy)}
    assert back["warm.interpreter"] == "tighter"


def test_lint_asks_for_a_reason_and_warns_of_writable_mounts(tmp_path: Path) -> None:
    assert lint("python-warm") == ()
    file = tmp_path / "mine.toml"
    file.write_text('extends = "python"\n[warm]\ninterpreter = "/usr/bin/python3"\n')
    assert [(item.severity, item.path) for item in lint(str(file))] == [("error", "warm.interpreter")]
    file.write_text('extends = "python-warm"\n[[mounts]]\nsource = "/srv"\ntarget = "/data"\nwritable = true\nwhy = "x"\n')
    assert "warm.interpreter" in [item.path for item in lint(str(file)) if item.severity == "warning"]


def test_explain_tells_what_is_shared() -> None:
    (row,) = [row for row in explain(WARM) if row.key == "warm.interpreter"]
    assert "numpy, a.b" in row.text
    assert "hash seed" in row.text
    assert not [row for row in explain(Profile.load("python")) if row.key == "warm.interpreter"]


def test_the_plan_has_what_the_interpreter_starts_with() -> None:
    plan = build_plan(WARM.policy, gather(), NO_FILTERS)
    assert (plan.warm.interpreter, plan.warm.preload) == (b"/usr/bin/python3", ("numpy", "a.b"))
    assert b"LANG=C.UTF-8" in plan.warm.environment
    assert build_plan(Profile.load("python").policy, gather(), NO_FILTERS).warm == COLD
