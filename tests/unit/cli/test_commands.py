"""`sandbox profile`, `sandbox doctor`, `sandbox completion`, help."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sandbox.host import doctor
from sandbox.host.doctor import Check, Status


def test_list_names_every_shipped_profile(invoke, answer):
    code, out, err = invoke("profile", "list")
    assert (code, err) == (0, "")
    rows = {line.split("\t")[0]: line.split("\t") for line in out.splitlines()}
    assert {"default", "strict", "python", "node", "native", "compile"} <= set(rows)
    assert all(len(row) == 3 for row in rows.values())
    _, said = answer("profile", "list", "--json")
    assert [item["name"] for item in said] == list(rows)


def test_a_broken_profile_does_not_hide_the_others(invoke, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "sandbox" / "profiles").mkdir(parents=True)
    (tmp_path / "sandbox" / "profiles" / "broken.toml").write_text("nonsense = 1\n")
    code, out, _ = invoke("profile", "list")
    assert code == 0
    (line,) = [line for line in out.splitlines() if line.startswith("broken\t")]
    assert "cannot be used: " in line
    assert "\ndefault\t" in "\n" + out


def test_show_is_the_whole_policy(invoke, answer):
    code, out, _ = invoke("profile", "show", "strict")
    assert code == 0
    assert {"identity.uid = 1000", "umask = 0o077", 'environment.values.HOME = "/work"'} <= set(out.splitlines())
    code, said = answer("profile", "show", "strict", "--set", "memory=16MiB", "--json")
    assert code == 0
    assert said["limits"]["memory_bytes"] == 16 << 20
    assert said["name"] == "strict"
    assert "origins" not in said


def test_show_lists_the_filter(invoke):
    for words in (("--syscalls",), ("--syscalls", "aarch64")):
        code, out, err = invoke("profile", "show", "default", *words)
        assert (code, err) == (0, "")
        assert any(line.startswith("read ") for line in out.splitlines())
    assert invoke("profile", "show", "default", "--syscalls", "vax")[0] == 125


def test_explain_says_where_things_come_from(invoke, answer):
    code, out, _ = invoke("profile", "explain", "default")
    assert code == 0
    assert "base.toml:" in out
    code, said = answer("profile", "explain", "default", "--set", "limits.wall=1s", "--json")
    assert code == 0
    assert [row["key"] for row in said["rows"] if row["origin"] == "<override>"] == ["limits.wall"]
    (row,) = [row for row in said["rows"] if row["key"] == "limits.wall"]
    assert row["text"].startswith("1s")
    assert row["origin"] == "<override>"


def test_lint_tells_errors_by_its_code(invoke, answer, tmp_path):
    assert invoke("profile", "lint", "default", "strict")[0] == 0
    loose = tmp_path / "loose.toml"
    loose.write_text('extends = "default"\n[limits]\nmemory = "8GiB"\n')
    code, out, _ = invoke("profile", "lint", str(loose))
    assert code == 1
    assert f"{loose}:3: error: limits.memory: " in out
    code, said = answer("profile", "lint", "--json", str(loose))
    assert code == 1
    assert "error" in {finding["severity"] for finding in said[str(loose)]}


def test_lint_goes_on_after_a_file_that_cannot_be_loaded(invoke, answer, tmp_path):
    broken, loose = tmp_path / "broken.toml", tmp_path / "loose.toml"
    broken.write_text("[limits]\nmemry = 1\n")
    loose.write_text('extends = "default"\n[limits]\nmemory = "8GiB"\n')
    missing = str(tmp_path / "missing.toml")
    code, out, err = invoke("profile", "lint", str(broken), missing, str(loose), "strict")
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert lines[0] == f"{broken}:2: error: limits.memry: unknown key 'memry'; did you mean 'memory'?"
    assert lines[1].startswith(f"{missing}: error: cannot be read")
    assert lines[2].startswith(f"{loose}:3: error: limits.memory: is weaker")
    code, said = answer("profile", "lint", "--json", str(broken), str(loose))
    assert code == 1
    assert [[item["severity"] for item in said[str(file)]] for file in (broken, loose)] == [["error"], ["error"]]
    assert said[str(broken)][0]["place"] == f"{broken}:2"


def test_diff_tells_differences_by_its_code(invoke, answer):
    assert invoke("profile", "diff", "default", "default") == (0, "no differences\n", "")
    code, out, _ = invoke("profile", "diff", "default", "strict")
    assert code == 1
    assert all(len(line.split("\t")) == 4 for line in out.splitlines())
    code, said = answer("profile", "diff", "default", "strict", "--json")
    assert code == 1
    assert len(said) == len(out.splitlines())


def check(name, status, **more):
    values = {"found": "f", "consequence": "", "remedy": "", "layer": "host"}
    return Check(name=name, status=status, **{**values, **more})


@pytest.mark.parametrize(("status", "code"), [(Status.PASS, 0), (Status.CAUTION, 0), (Status.FAIL, 1)])
def test_the_doctor_fails_on_fail_alone(invoke, answer, monkeypatch, status, code):
    found = (
        check("one", Status.PASS),
        check("two", status, consequence="it breaks", remedy="sysctl -w a=1\nreboot " + "x" * 200),
    )
    monkeypatch.setattr(doctor, "run_checks", lambda: found)
    given, out, err = invoke("doctor")
    assert (given, err) == (code, "")
    lines = out.splitlines()
    assert lines[:2] == ["one\tPASS\tf", f"two\t{status.value}\tf"]
    if status is not Status.PASS:
        assert f"two ({status.value}): it breaks" in lines
        assert "    sysctl -w a=1" in lines
        assert "    reboot " + "x" * 200 in lines
    given, said = answer("doctor", "--json")
    assert given == code
    assert said["status"] == status.value
    assert [item["name"] for item in said["checks"]] == ["one", "two"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_back(invoke, shell):
    code, out, err = invoke("completion", shell)
    assert (code, err) == (0, "")
    assert "_SANDBOX_COMPLETE" in out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("sandbox ", {"run", "profile", "doctor", "completion"}),
        ("sandbox run --profile str", {"strict"}),
        ("sandbox profile explain nat", {"native"}),
        ("sandbox run --limit mem", {"memory="}),
        ("sandbox run --set network", {"network.mode="}),
        ("sandbox profile show --set identity.u", {"identity.uid="}),
        ("sandbox profile explain --limit cpu", {"cpu=", "cpu_quota="}),
        ("sandbox run --set network.mode=n", {"network.mode=none"}),
    ],
)
def test_completion_knows_commands_and_profiles(words, expected, monkeypatch):
    environment = {"_SANDBOX_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run([sys.executable, "-m", "sandbox.cli"], capture_output=True, text=True, check=False)
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} >= expected


@pytest.mark.parametrize(
    "words",
    [(), ("run",), ("profile",), ("profile", "list"), ("profile", "show"), ("profile", "explain"), ("profile", "lint"),
     ("profile", "diff"), ("profile", "export"), ("profile", "simulate"), ("doctor",), ("completion",)],
)  # fmt: skip
def test_help_everywhere(invoke, words):
    for option in ("--help", "-h"):
        code, out, err = invoke(*words, option)
        assert (code, err) == (0, "")
        assert out.startswith("Usage: sandbox")


def test_numbers_in_json_are_plain(answer):
    assert json.dumps(answer("profile", "show", "default", "--json")[1]["umask"]) == str(0o077)
