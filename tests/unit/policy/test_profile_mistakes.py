"""Contradictions and things that a host cannot do: each is an error at the file and line that said it."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox import Mount, Profile, ProfileError, RequestError, UnsupportedHostError
from sandbox.host import facts
from sandbox.model.plan import Filters
from sandbox.policy.plan import build_plan, cpu_text

Write = Callable[..., Path]
NO_FILTERS = Filters(main=b"", notify=b"", kill=(), names=())


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a profile; the name of the file is `name`."""

    def put(text: str, name: str = "mine") -> Path:
        file = tmp_path / f"{name}.toml"
        file.write_text(text)
        return file

    return put


def refused(file: Path) -> ProfileError:
    with pytest.raises(ProfileError) as caught:
        Profile.load(str(file))
    assert "\n" not in str(caught.value)
    return caught.value


def plan(profile: Profile, **changes: Any) -> Any:
    return build_plan(profile.policy, dataclasses.replace(facts.gather(), **changes), NO_FILTERS)


@pytest.mark.claim("SEC-PO-02")
@pytest.mark.parametrize(
    ("text", "path", "line", "words"),
    [
        ('[work]\npath = "/usr"', "work.path", 3, "are both at '/usr'"),
        ('[work]\npath = "/usr/work"', "work.path", 3, "lies in the mount '/usr'"),
        ('[work]\npath = "/etc/ssl"', "work.path", 3, "would hide the mount '/etc/ssl/certs'"),
        ('[[mounts]]\nsource = "/srv"\ntarget = "/work/data"', "mounts[/work/data]", 2, "would hide the mount"),
        ('[process]\ncwd = "/nowhere"', "process.cwd", 3, "no writable place"),
        ('[work]\npath = "/elsewhere"', "work.path", 3, "process.cwd '/work' lies in no mount"),
        ('[paths]\nmasked = ["/work"]', "paths.masked", 3, "take away '/work'"),
        ('[paths]\nmasked = ["/tmp"]', "paths.masked", 3, "take away '/tmp'"),
        ('[paths]\nreadonly = ["/dev"]', "paths.readonly", 3, "take away '/dev'"),
        ('[paths]\nreadonly = ["/dev/shm"]', "paths.readonly", 3, "take away '/dev/shm'"),
        ('[paths]\nmasked = ["/proc"]', "paths.masked", 3, "take away '/proc'"),
        ('[paths]\nmasked = ["/"]', "paths.masked", 3, "take away '/'"),
        ('[paths]\nunmasked = ["/proc/kcor"]', "paths.unmasked", 3, "did you mean '/proc/kcore'"),
        ('[paths]\nmasked = ["/usr/x"]\nunmasked = ["/usr/x"]', "paths.unmasked", 4, "is not covered by what this file extends"),
        ('[why]\n"limits.memry" = "x"', "why.limits.memry", 3, "did you mean 'limits.memory'"),
        ('[why]\npids = "x"', "why.pids", 3, "did you mean 'limits.pids'"),
        ('[why]\nnonsense = "x"', "why.nonsense", 3, "unknown key 'nonsense'"),
        ('[seccomp]\nwithout = ["start"]', "seccomp.without", 3, "does not allow 'execve'"),
        ('[limits]\nidle = "1h"', "limits.idle", 3, "limits.idle (1h) is longer than limits.wall (20s)"),
    ],
)
def test_contradictions_name_their_place(write: Write, text: str, path: str, line: int, words: str) -> None:
    error = refused(write(f'extends = "system"\n{text}\n'))
    assert error.path == path
    assert error.file.endswith("mine.toml")
    assert error.line == line
    assert words in str(error)


RULE = '[[seccomp.rules]]\nsyscalls = ["{}"]\naction = "{}"\nwhy = "x"\n'


@pytest.mark.parametrize(
    ("rule", "path", "line", "words"),
    [
        (RULE.format("opn", "allow"), "seccomp.rules[1].syscalls", 7, "did you mean 'open'"),
        (RULE.format("open", "alow"), "seccomp.rules[1].action", 8, "did you mean 'allow'"),
        (RULE.format("open", "allow") + "wy = 1\n", "seccomp.rules[1].wy", 10, "did you mean 'why'"),
        (RULE.format("open", "errno") + 'errno = "EPREM"\n', "seccomp.rules[1].errno", 10, "unknown errno"),
        (RULE.format("open", "allow") + "args = [1]\n", "seccomp.rules[1].args", 10, "a condition has"),
        (RULE.format("getpid", "errno"), "seccomp.rules[1]", 6, "different things about 'getpid'"),
        (RULE.format("execve", "notify"), "seccomp.rules[1]", 6, "does not allow 'execve'"),
    ],
)
def test_a_rule_of_a_profile_has_its_line(write: Write, rule: str, path: str, line: int, words: str) -> None:
    error = refused(write('extends = "system"\n' + RULE.format("getpid", "allow") + rule))
    assert (error.path, error.line) == (path, line)
    assert error.file.endswith("mine.toml")
    assert words in str(error)


def test_a_rule_written_in_one_line_has_its_line(write: Write) -> None:
    error = refused(write('extends = "system"\n[seccomp]\nrules = [{ syscalls = ["opn"], action = "allow", why = "x" }]\n'))
    assert (error.path, error.line) == ("seccomp.rules[0].syscalls", 3)


def test_the_layer_that_spoke_last_is_to_blame(write: Write) -> None:
    write('extends = "system"\n[paths]\nmasked = ["/data"]\n[limits]\nidle = "10s"\n', "parent")
    error = refused(
        write('extends = "./parent.toml"\n\n[limits]\nwall = "5s"\n[work]\npath = "/data/work"\n[process]\ncwd = "/tmp"\n')
    )
    assert (error.path, error.line) == ("limits.wall", 4)
    assert "mine.toml:6: work.path: paths.masked has '/data', which would take away '/data/work'" in error.hint
    error = refused(write('extends = "./parent.toml"\n[work]\npath = "/data"\n[process]\ncwd = "/tmp"\n'))
    assert (error.path, error.line) == ("work.path", 3)
    assert error.file.endswith("mine.toml")


def test_a_work_directory_in_a_directory_root_may_lie_in_a_mount(write: Write, tmp_path: Path) -> None:
    text = f'[rootfs]\nkind = "directory"\nsource = "{tmp_path}"\n[[mounts]]\nsource = "/srv"\n[work]\npath = "/srv/work"\n'
    assert Profile.load(str(write(text))).policy.work.path == "/srv/work"


def test_several_mistakes_are_told_in_the_order_of_lines(write: Write) -> None:
    error = refused(write('[work]\npath = 3\nwhatever = 1\n[limits]\nmemory = "x"\n[identity]\nuid = 0\n'))
    assert error.line == 2
    assert re.findall(r"mine\.toml:(\d+)", str(error)) == ["2", "3", "5", "7"]


def test_contradictions_are_all_told(write: Write) -> None:
    error = refused(write('extends = "system"\n[paths]\nmasked = ["/proc", "/dev"]\n[limits]\nidle = "1h"\n'))
    assert error.line == 3
    assert "2 more" in error.hint
    assert "limits.idle" in error.hint


@pytest.mark.parametrize(("key", "value"), [("groups", '["files"]'), ("without", '["files"]'), ("default_errno", '"EPERM"')])
@pytest.mark.parametrize("above", [False, True])
def test_what_an_oci_file_decides_is_not_said_beside_it(write: Write, tmp_path: Path, key: str, value: str, above: bool) -> None:
    (tmp_path / "calls.json").write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW"}))
    first = 'extends = "system"\n[seccomp]\noci = "calls.json"\n'
    assert Profile.load(str(write(first, "parent"))).policy.seccomp.rules
    text = f'extends = "./parent.toml"\n\n[seccomp]\n{key} = {value}\n' if above else f"{first}{key} = {value}\n"
    error = refused(write(text))
    assert (error.path, error.line) == (f"seccomp.{key}", 4)
    assert "has no effect beside seccomp.oci" in str(error)


def test_an_oci_file_that_admits_no_program(write: Write, tmp_path: Path) -> None:
    (tmp_path / "calls.json").write_text(json.dumps({"defaultAction": "SCMP_ACT_ERRNO"}))
    error = refused(write('extends = "system"\n[seccomp]\noci = "calls.json"\n'))
    assert (error.path, error.line) == ("seccomp.oci", 3)
    (tmp_path / "calls.json").write_text("{")
    error = refused(write('extends = "system"\n[seccomp]\noci = "calls.json"\n'))
    assert (error.path, error.line) == ("seccomp.oci", 3)


def test_a_mount_that_cannot_be_used_has_its_line(write: Write, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    write('extends = "system"\n[[mounts]]\nsource = "/srv"\n', "parent")
    cases = (
        ("/no/such", "/data", "cannot be mounted"),
        ("/srv", "/dev/x", "lies in '/dev'"),
        ("/srv", "/tmp/x", "lies in '/tmp'"),
        (str(fifo), "/data", "neither a file nor a directory"),
        ("/srv", "/usr/no/such/place", "does not exist there"),
    )
    for source, target, words in cases:
        file = write(
            f'extends = "./parent.toml"\n[[mounts]]\nsource = "/srv"\n\n[[mounts]]\nsource = "{source}"\ntarget = "{target}"\n'
        )
        with pytest.raises(ProfileError, match=words) as caught:
            plan(Profile.load(str(file)))
        assert (caught.value.path, caught.value.line) == (f"mounts[{target}]", 5)
        assert caught.value.file == str(file)


def test_origins_of_mounts_are_by_target(write: Write) -> None:
    write('extends = "system"\n[[mounts]]\nsource = "/opt"\n', "parent")
    file = write('extends = "./parent.toml"\n\n[[mounts]]\nsource = "/srv"\n[[mounts]]\nsource = "/opt"\nexecutable = false\n')
    origins = Profile.load(str(file)).policy.origins
    assert (origins["mounts[/srv]"].line, origins["mounts[/opt]"].line) == (3, 5)
    assert origins["mounts[/opt]"].file == str(file)
    assert origins["mounts[/usr]"].file.endswith("system.toml")
    assert not [key for key in origins if key.startswith("mounts[0")]


def test_a_mount_that_the_caller_granted_is_the_callers_mistake() -> None:
    for mount, words in (
        (Mount("/no/such", "/data"), "cannot be mounted"),
        (Mount("/usr", "/work/x"), "would hide"),
        (Mount("/usr", "/proc/x"), "lies in"),
    ):
        with pytest.raises(RequestError, match=words) as caught:
            plan(Profile.load("default").with_mounts([mount]))
        assert mount.target in str(caught.value)
    profile = Profile.parse('extends = "system"\n[work]\npath = "/home/work"\n[process]\ncwd = "/home/work"\n')
    with pytest.raises(RequestError, match="lies in the mount '/home'"):
        plan(profile.with_mounts([Mount("/usr", "/home")]))


@pytest.mark.parametrize("writable", ["true", "false"])
def test_a_root_that_cannot_be_read_has_its_line(write: Write, writable: str) -> None:
    file = write(f'[rootfs]\nkind = "directory"\nwritable = {writable}\nsource = "/no/such"\n')
    with pytest.raises(ProfileError, match="cannot be read") as caught:
        plan(Profile.load(str(file)))
    assert (caught.value.path, caught.value.line, caught.value.file) == ("rootfs.source", 4, str(file))


def test_cpus_that_the_host_does_not_have(write: Write) -> None:
    file = write('extends = "system"\n[cgroup]\ncpus = [0, 1, 4000]\n')
    with pytest.raises(UnsupportedHostError) as caught:
        plan(Profile.load(str(file)), cpus=(0, 1, 2, 3, 8))
    assert f"{file}:3" in str(caught.value)
    assert "CPU 4000, this host has 0-3,8" in str(caught.value)
    with pytest.raises(UnsupportedHostError, match="the caller asks for CPU 9, this host has 0-1"):
        plan(Profile.load("default").tightened({"cgroup.cpus": "9"}), cpus=(0, 1))
    assert plan(Profile.load(str(file)), cpus=())  # the kernel does not tell
    assert plan(Profile.load(str(file)), cpus=(0, 1, 4000))


def test_cpus_are_listed_as_the_kernel_does() -> None:
    assert [cpu_text(numbers) for numbers in ((0,), (0, 1), (0, 1, 3), (7, 5, 6))] == ["0", "0-1", "0-1,3", "5-7"]


def test_a_changed_oci_file_is_read_again(write: Write, tmp_path: Path) -> None:
    calls = tmp_path / "calls.json"
    file = write('extends = "system"\n[seccomp]\noci = "calls.json"\n')
    calls.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW"}))
    assert not [rule for rule in Profile.load(str(file)).policy.seccomp.rules if rule.action == "errno"]
    calls.write_text(
        json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["ptrace"], "action": "SCMP_ACT_ERRNO"}]})
    )
    assert [rule for rule in Profile.load(str(file)).policy.seccomp.rules if rule.action == "errno"]


def test_reasons_are_kept_once_and_the_latest(write: Write) -> None:
    file = write('extends = "compile"\n[why]\n"limits.memory" = "mine"\n')
    exceptions = Profile.load(str(file)).policy.exceptions
    assert dict(exceptions)["limits.memory"] == "mine"
    assert len(exceptions) == len(dict(exceptions))
