"""What lint asks reasons for, and which reason counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.policy.lint import Finding, lint

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def put(text: str, name: str = "mine") -> str:
        file = tmp_path / f"{name}.toml"
        file.write_text(text)
        return str(file)

    return put


def errors(file: str) -> list[tuple[str, int]]:
    """(key, line) of each error."""
    return [(item.path, int(item.place.rpartition(":")[2])) for item in lint(file) if item.severity == "error"]


def warnings(file: str) -> list[Finding]:
    return [item for item in lint(file) if item.severity == "warning"]


def test_who_goes_further_than_a_reason_gives_his_own(write: Write) -> None:
    file = write('extends = "python"\n[limits]\nmemory = "4GiB"\n')
    assert errors(file) == [("limits.memory", 3)]
    (finding,) = lint(file)
    assert finding.place == f"{file}:3"
    assert "256MiB → 4GiB" in finding.message
    assert errors(write('extends = "python"\n[limits]\nmemory = "4GiB"\n[why]\n"limits.memory" = "x"\n')) == []


@pytest.mark.parametrize("memory", ["512MiB", "400MiB", "256MiB", "64MiB"])
def test_a_reason_covers_what_its_layer_allows_and_less(write: Write, memory: str) -> None:
    assert errors(write(f'extends = "python"\n[limits]\nmemory = "{memory}"\nscratch = "32MiB"\n')) == []


def test_a_reason_of_a_later_layer_counts(write: Write) -> None:
    write('extends = "system"\n[limits]\nmemory = "4GiB"\n', "parent")
    assert errors(write('extends = "./parent.toml"\n[why]\n"limits.memory" = "x"\n')) == []
    assert errors(write('extends = "./parent.toml"\n')) == [("limits.memory", 3)]
    (finding,) = lint(write('extends = "./parent.toml"\n'))
    assert finding.place.endswith("parent.toml:3")


def test_a_reason_of_an_earlier_layer_does_not_reach_up(write: Write) -> None:
    write('extends = "system"\n[why]\n"limits.memory" = "for whoever wants it"\n', "parent")
    assert errors(write('extends = "./parent.toml"\n[limits]\nmemory = "4GiB"\n')) == [("limits.memory", 3)]


def test_groups_and_families_are_told_apart_by_layer(write: Write) -> None:
    assert errors(write('extends = "strict"\n[seccomp]\ngroups = ["ipc"]\n[why]\n"seccomp.groups" = "x"\n')) == []
    write('extends = "strict"\n[seccomp]\ngroups = ["ipc"]\n[why]\n"seccomp.groups" = "x"\n', "parent")
    assert errors(write('extends = "./parent.toml"\n[seccomp]\ngroups = ["ipc"]\n')) == []
    assert errors(write('extends = "./parent.toml"\n[seccomp]\ngroups = ["sockets"]\n')) == [("seccomp.groups", 3)]
    file = write('extends = "default"\n[seccomp]\nsocket_families = ["AF_UNIX", "AF_NETLINK"]\n')
    assert errors(file) == [("seccomp.socket_families", 3)]


def test_rules_have_a_key_of_their_own(write: Write) -> None:
    """Also one that only drops the conditions under which a call is refused."""
    rule = '[[seccomp.rules]]\nsyscalls = ["ioctl"]\naction = "allow"\nwhy = "x"\n'
    assert errors(write(f'extends = "default"\n{rule}')) == [("seccomp.rules", 2)]
    assert errors(write(f'extends = "default"\n{rule}[why]\n"seccomp.rules" = "x"\n')) == []


def test_what_is_uncovered_needs_a_reason(write: Write) -> None:
    text = 'extends = "system"\n[paths]\nunmasked = ["/proc/keys", "/proc/sys"]\n'
    assert errors(write(text)) == [("paths.unmasked", 3)]
    assert errors(write(f'{text}[why]\n"paths.unmasked" = "x"\n')) == []


def test_a_profile_that_contradicts_itself_without_its_child(write: Write, tmp_path: Path) -> None:
    write('[rootfs]\nkind = "directory"\n[limits]\nmemory = "4GiB"\n', "parent")
    assert errors(write(f'extends = "./parent.toml"\n[rootfs]\nsource = "{tmp_path}"\n')) == [("limits.memory", 4)]


def test_a_layer_that_is_wrong_by_itself_is_a_finding(write: Write) -> None:
    write('extends = "system"\n[limits]\npids = 0\n', "parent")
    (finding,) = lint(write('extends = "./parent.toml"\n[limits]\npids = 5\n'))
    assert (finding.severity, finding.path) == ("error", "limits.pids")
    assert finding.place.endswith("parent.toml:3")


def test_a_profile_that_cannot_be_loaded_is_a_finding(write: Write) -> None:
    (finding,) = lint(write("[limits]\nmemry = 1\n"))
    assert (finding.severity, finding.path, finding.message) == ("error", "limits.memry", "unknown key 'memry'")
    assert finding.place.endswith("mine.toml:2")
    assert "did you mean 'memory'" in finding.fix
    (finding,) = lint("no-such-profile")
    assert finding.severity == "error"


@pytest.mark.parametrize(
    ("limits", "warned"),
    [
        ('wall = "5s"', False),  # who lowers the wall means just that
        ('wall = "5s"\ncpu = "10s"', True),
        ('cpu = "1h"', True),
        ('wall = "5s"\ncpu = "5s"', False),
    ],
)
def test_cpu_time_beyond_the_wall(write: Write, limits: str, warned: bool) -> None:
    file = write(f'extends = "system"\n[limits]\n{limits}\n[why]\n"limits.cpu" = "x"\n')
    assert [item.path == "limits.cpu" for item in lint(file)] == [True] * warned


ALLOWING = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": [], "action": "SCMP_ACT_ALLOW"}]}


def calls(tmp_path: Path, *names: str) -> None:
    from sandbox.policy.seccomp import tables

    every = [*sorted(tables.every_name()), *names]
    (tmp_path / "calls.json").write_text(json.dumps({**ALLOWING, "syscalls": [{"names": every, "action": "SCMP_ACT_ALLOW"}]}))


def test_an_oci_file_needs_one_reason(write: Write, tmp_path: Path) -> None:
    calls(tmp_path)
    text = 'extends = "strict"\n\n[seccomp]\noci = "calls.json"\n'
    assert errors(write(text)) == [("seccomp.oci", 4)]
    assert errors(write(f'{text}[why]\n"seccomp.oci" = "x"\n')) == []
    families = [item for item in warnings(write(text)) if item.path == "seccomp.socket_families"]
    assert len(families) == 1
    assert families[0].place.endswith("mine.toml:4")


def test_misspelt_names_in_an_oci_file(write: Write, tmp_path: Path) -> None:
    """Names of other architectures, and of calls that nobody here knows yet, are no mistakes."""
    calls(tmp_path, "opennat", "chown32", "sync_file_range2", "futex_time64", "riscv_hwprobe", "brand_new_call", "wirte")
    found = [
        item
        for item in warnings(write('extends = "strict"\n[seccomp]\noci = "calls.json"\n'))
        if "no system call" in item.message
    ]
    assert [(item.path, item.fix) for item in found] == [
        ("seccomp.oci", "did you mean 'openat'?"),
        ("seccomp.oci", "did you mean 'write'?"),
    ]
    assert all(item.place.endswith("mine.toml:3") for item in found)


def test_the_base_itself_has_nothing_to_remark() -> None:
    assert lint("base") == ()
