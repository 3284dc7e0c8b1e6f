"""Profiles as the command shows them: with changes, in place of others, as TOML; help without a command."""

from __future__ import annotations

import io
import json
import tomllib

import pytest

from sandbox.cli import text, toml


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def on_terminal(monkeypatch):
    """What a command prints on a wide terminal without colours."""
    from sandbox.cli.main import call

    def run(*words):
        out = Terminal()
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setattr(text, "_width", lambda _: 300)
        monkeypatch.setattr("sys.stdout", out)
        assert call(list(words)) == 0
        return out.getvalue()

    return run


@pytest.mark.parametrize("words", [(), ("profile",)])
def test_without_a_command_there_is_help(invoke, words):
    code, out, err = invoke(*words)
    assert (code, err) == (0, "")
    assert out == invoke(*words, "--help")[1]
    assert out.startswith("Usage: sandbox")


def test_wrong_words_after_a_group_are_still_errors(invoke):
    assert invoke("--nonsense")[0] == 125
    assert invoke("profile", "--nonsense")[0] == 125


def test_show_is_toml(invoke, answer):
    for name in ("default", "compile"):
        code, out, _ = invoke("profile", "show", name)
        assert code == 0
        read = tomllib.loads(out)
        said = answer("profile", "show", name, "--json")[1]
        assert read["umask"] == said["umask"]
        assert read["seccomp"] == said["seccomp"]
        assert read["mounts"] == said["mounts"]
        assert read["environment"]["values"] == dict(said["environment"]["values"])
        assert read["exceptions"] == dict(said["exceptions"])
        assert set(read) == set(said)


def test_reasons_are_shown_once(answer):
    keys = [key for key, _ in answer("profile", "show", "compile", "--json")[1]["exceptions"]]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("value", ["plain", 'quo"te', "back\\slash", "line\nbreak", "\x7f\x9b\u202e", "größe ✓", "\U0001f600"])
def test_texts_survive_toml(value):
    (line,) = toml.lines({value: value})
    assert tomllib.loads(line) == {value: value}
    assert line.isprintable()


def test_changes_are_shown_as_run_would_take_them(invoke, answer, tmp_path):
    words = ("--set", "network.mode=none", "--limit", "memory=64MiB", "--mount", f"{tmp_path}:/data:ro,noexec")
    said = answer("profile", "show", "python", *words, "--json")[1]
    assert said["limits"]["memory_bytes"] == 64 << 20
    assert said["granted"] == ["/data"]
    (mount,) = [item for item in said["mounts"] if item["target"] == "/data"]
    assert (mount["source"], mount["executable"], mount["writable"]) == (str(tmp_path), False, False)
    rows = {row["key"]: row for row in answer("profile", "explain", "python", *words, "--json")[1]["rows"]}
    assert rows["mounts[/data]"]["text"] == f"read /data (the host's {tmp_path}), granted by the caller"
    assert rows["mounts[/data]"]["origin"] == "<override>"
    assert (
        rows["limits.memory"]["text"] == "64MiB: memory of all processes together, no swap"
    )  # python's reason is not the caller's
    for wrong in (("--limit", "memory=64GiB"), ("--limit", "memory"), ("--mount", "/no/such"), ("--set", "x=1")):
        code, out, err = invoke("profile", "explain", "python", *wrong)
        assert (code, out, err.count("\n")) == (125, "", 1)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("--set", "environment.FOO=x"), "use --env"),
        (("--set", "mounts=/srv"), "use --mount"),
        (("--limit", "wall=25s"), "25s would be more than the profile's 20s"),
        (("--mount", "/usr:relative"), "--mount '/usr:relative'"),
    ],
)
def test_hints_name_options(invoke, words, hint):
    assert hint in invoke("run", *words, "--", "true")[2]


def test_a_profile_in_place_of_a_shipped_one_is_told(on_terminal, answer, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "sandbox" / "profiles").mkdir(parents=True)
    file = tmp_path / "sandbox" / "profiles" / "python.toml"
    file.write_text('extends = "python"\ndescription = "mine"\n')
    said = {row["name"]: row for row in answer("profile", "list", "--json")[1]}
    assert (said["python"]["file"], said["python"]["shadows_shipped"]) == (str(file), True)
    assert said["node"]["shadows_shipped"] is False
    (line,) = [line for line in on_terminal("profile", "list").splitlines() if line.startswith("python ")]
    assert f"{file} (in place of the shipped one)" in line
    shown = on_terminal("profile", "explain", "python")
    assert f"{file}, in place of the shipped profile" in shown.splitlines()
    assert "in place of" not in on_terminal("profile", "explain", "node")
    assert "in place of" not in on_terminal("profile", "explain", str(file))


def test_doctor_speaks_of_options(invoke, answer, monkeypatch):
    from sandbox.host import doctor, features

    found = (
        doctor.Check(
            name="x", status=doctor.Status.FAIL, found="f", consequence="c", remedy=f"reboot, {features.DEGRADED}", layer="host"
        ),
    )
    monkeypatch.setattr(doctor, "run_checks", lambda: found)
    assert "reboot, or accept weaker limits with --allow-degraded\n" in invoke("doctor")[1]
    assert json.dumps(answer("doctor", "--json")[1]).count("--allow-degraded") == 1
