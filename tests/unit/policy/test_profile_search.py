"""Which file a name means, asked from where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox import Profile, ProfileError
from sandbox.policy import load
from sandbox.policy.lint import lint
from sandbox.policy.locate import profiles_dir

Put = Callable[[str, str, str], Path]


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Write a profile into the caller's ("user") or the machine's ("etc") directory."""
    places = {"user": tmp_path / "sandbox" / "profiles", "etc": tmp_path / "etc"}
    for place in places.values():
        place.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(load, "search_path", lambda: [places["user"], places["etc"], profiles_dir()])

    def write(place: str, name: str, text: str) -> Path:
        file = places[place] / f"{name}.toml"
        file.write_text(text)
        return file

    return write


def files(name: str) -> list[str]:
    """The files of a chain from the top, each with the place that it came from."""
    user, etc, shipped = load.search_path()
    places = {user: "user", etc: "etc", shipped: "shipped"}
    found = [Path(layer.file) for layer in reversed(load.load_chain(name))]
    return [f"{places.get(file.parent, 'elsewhere')}/{file.name}" for file in found]


BELOW = ["shipped/default.toml", "shipped/system.toml", "shipped/base.toml"]


def test_a_file_may_extend_the_one_whose_name_it_took(put: Put) -> None:
    put("user", "python", 'extends = "python"\ndescription = "mine"\n')
    assert files("python") == ["user/python.toml", "shipped/python.toml", *BELOW]
    put("etc", "python", 'extends = "python"\ndescription = "the machine\'s"\n')
    assert files("python") == ["user/python.toml", "etc/python.toml", "shipped/python.toml", *BELOW]
    assert Profile.load("python").policy.description == "mine"


def test_a_file_that_takes_a_name_over_is_seen_at_once(put: Put) -> None:
    assert Profile.load("python").policy.description == "A Python program"
    file = put("user", "python", 'extends = "python"\ndescription = "mine"\n')
    assert Profile.load("python").policy.description == "mine"
    file.unlink()
    assert Profile.load("python").policy.description == "A Python program"


def test_shipped_profiles_extend_only_shipped_ones(put: Put) -> None:
    before = Profile.load("python").policy
    for place in ("user", "etc"):
        for name in ("base", "system", "default"):
            put(place, name, '[limits]\nmemory = "8GiB"\n')
    assert Profile.load("python").policy == before
    assert files("python") == ["shipped/python.toml", *BELOW]
    assert files("default") == ["user/default.toml", "shipped/base.toml"]


def test_profiles_of_the_machine_do_not_look_into_the_callers_directory(put: Put) -> None:
    put("user", "default", 'extends = "strict"\n')
    put("user", "course", 'extends = "strict"\n')
    put("etc", "grader", 'extends = "default"\n')
    assert files("grader") == ["etc/grader.toml", *BELOW]
    put("etc", "grader", 'extends = "course"\n')
    with pytest.raises(ProfileError, match="there is no profile 'course'"):
        load.load_chain("grader")
    put("user", "own", 'extends = "grader"\n')
    put("etc", "grader", 'extends = "default"\n')
    assert files("own") == ["user/own.toml", "etc/grader.toml", *BELOW]


def test_a_file_elsewhere_asks_every_directory(put: Put, tmp_path: Path) -> None:
    put("user", "default", 'extends = "default"\n')
    file = tmp_path / "default.toml"
    file.write_text('extends = "default"\n')
    assert files(str(file))[1:] == ["user/default.toml", *BELOW]


def test_who_extends_nothing_extends_the_shipped_base(put: Put) -> None:
    put("user", "base", 'extends = "system"\n[limits]\nmemory = "8GiB"\n')
    put("user", "plain", 'description = "x"\n')
    assert files("plain") == ["user/plain.toml", "shipped/base.toml"]
    assert files("base") == ["user/base.toml", "shipped/system.toml", "shipped/base.toml"]


def test_the_hardened_defaults_of_lint_are_the_shipped_ones(put: Put) -> None:
    put("user", "base", '[limits]\nmemory = "8GiB"\n[why]\n"limits.memory" = "x"\n')
    put("user", "own", 'extends = "system"\n[limits]\nmemory = "8GiB"\n')
    assert [finding.path for finding in lint("own") if finding.severity == "error"] == ["limits.memory"]


def test_a_real_loop_is_one(put: Put) -> None:
    put("user", "a", 'extends = "b"\n')
    put("user", "b", 'extends = "a"\n')
    with pytest.raises(ProfileError, match="is a loop"):
        load.load_chain("a")


def test_a_name_that_only_the_file_itself_has(put: Put) -> None:
    put("user", "own", 'extends = "own"\n')
    with pytest.raises(ProfileError, match="there is no profile 'own'") as caught:
        load.load_chain("own")
    assert caught.value.line == 1


def test_shadowed_names(put: Put) -> None:
    put("user", "own", 'extends = "strict"\n')
    put("etc", "python", 'extends = "python"\n')
    assert [name for name in load.available() if load.shadowed(name)] == ["python"]
