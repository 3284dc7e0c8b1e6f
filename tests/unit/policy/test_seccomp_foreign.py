"""OCI and Docker files as profiles name them: unknown keys, slips, socket families."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox import Profile, ProfileError
from sandbox.policy.explain import explain
from sandbox.policy.lint import lint
from sandbox.policy.seccomp import misspelt, tables
from sandbox.policy.seccomp.answers import answer
from sandbox.policy.seccomp.oci import export_oci, import_oci, unknown_names

DOCKER = Path(__file__).resolve().parents[2] / "cases" / "docker-default-seccomp.json"
ENTRY = {"names": ["read"], "action": "SCMP_ACT_ALLOW"}

Profiles = Callable[..., Profile]


def with_entry(**more: Any) -> dict[str, Any]:
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{**ENTRY, **more}]}


@pytest.mark.parametrize(
    ("data", "path", "hint"),
    [
        ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoret": 1}, "defaultErrnoret", "did you mean 'defaultErrnoRet'?"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "sycalls": []}, "sycalls", "did you mean 'syscalls'?"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "zzz": []}, "zzz", "known keys: defaultAction"),
        (
            {"defaultAction": "SCMP_ACT_ERRNO", "archMap": [{"arch": "x"}]},
            "archMap[0].arch",
            "known keys: architecture, subArchitectures",
        ),
        (with_entry(errnoret=5), "syscalls[0].errnoret", "did you mean 'errnoRet'?"),
        (with_entry(arg=[]), "syscalls[0].arg", "did you mean 'args'?"),
        (with_entry(args=[{"index": 0, "valueTow": 1}]), "syscalls[0].args[0].valueTow", "did you mean 'valueTwo'?"),
        (with_entry(includes={"cap": ["CAP_BPF"]}), "syscalls[0].includes.cap", "did you mean 'caps'?"),
        (with_entry(excludes={"minkernel": "5.0"}), "syscalls[0].excludes.minkernel", "did you mean 'minKernel'?"),
        (with_entry(includes={"minKernel": "99.0"}, argz=[]), "syscalls[0].argz", "did you mean 'args'?"),  # does not apply here
    ],
)
def test_unknown_keys_are_refused(data: dict[str, Any], path: str, hint: str) -> None:
    with pytest.raises(ProfileError) as caught:
        import_oci(data, source="calls.json")
    assert caught.value.path == path
    assert "unknown key" in str(caught.value)
    assert hint in str(caught.value)


def test_every_key_of_the_specification_and_of_moby_is_taken() -> None:
    condition = {"index": 0, "value": 1, "valueTwo": 1, "op": "SCMP_CMP_EQ"}
    entry = {
        "names": ["read"],
        "name": "",
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": 5,
        "args": [condition],
        "comment": "why",
        "includes": {"caps": [], "arches": [], "minKernel": "4.8"},
        "excludes": {"caps": ["CAP_BPF"], "arches": ["s390"]},
    }
    data = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64"],
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": None}],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "listenerPath": "/x",
        "listenerMetadata": "y",
        "syscalls": [entry],
    }
    assert import_oci(data).rules[0].why == "why"
    whole = {"ociVersion": "1.0.2", "process": {}, "linux": {"seccomp": data, "namespaces": []}}
    assert import_oci(whole) == import_oci(data)


def test_dockers_own_file_is_understood_whole() -> None:
    data = json.loads(DOCKER.read_bytes())
    policy = import_oci(data, "x86_64")
    assert answer(policy, "x86_64", "openat", ()).action == "allow"
    assert answer(policy, "x86_64", "mount", ()).action == "errno"
    assert answer(policy, "x86_64", "socket", (40,)).action == "errno"
    unknown = unknown_names(data)
    assert {"chown32", "futex_time64"} <= set(unknown)
    assert misspelt.misspelt(unknown) == ()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    (tmp_path / "calls.json").write_bytes(DOCKER.read_bytes())

    def put(text: str, name: str = "mine") -> str:
        file = tmp_path / f"{name}.toml"
        file.write_text(text)
        return str(file)

    return put


def test_the_file_decides_on_socket_families(write: Callable[..., str]) -> None:
    """Those of lower layers do not count; what the same or a later layer says does."""
    oci = '[seccomp]\noci = "calls.json"\n'
    alone = Profile.load(write(f'extends = "default"\n{oci}')).policy
    assert set(alone.seccomp.socket_families) == set(tables.FAMILIES)
    assert answer(alone.seccomp, "x86_64", "socket", (tables.FAMILIES["AF_NETLINK"],)).action == "allow"
    assert answer(alone.seccomp, "x86_64", "socket", (tables.FAMILIES["AF_VSOCK"],)).errno == "EPERM"
    assert alone.origins["seccomp.socket_families"] == alone.origins["seccomp.oci"]
    same = Profile.load(write(f'extends = "default"\n{oci}socket_families = ["AF_UNIX"]\n')).policy
    assert same.seccomp.socket_families == ("AF_UNIX",)
    assert answer(same.seccomp, "x86_64", "socket", (tables.FAMILIES["AF_NETLINK"],)).errno == "EAFNOSUPPORT"
    write(f'extends = "default"\n{oci}', "parent")
    later = Profile.load(write('extends = "./parent.toml"\n[seccomp]\nsocket_families = []\n')).policy
    assert later.seccomp.socket_families == ()


def test_a_name_that_is_no_call_changes_nothing(write: Callable[..., str], tmp_path: Path) -> None:
    file = write('extends = "default"\n[seccomp]\noci = "calls.json"\n')
    before = Profile.load(file).policy.seccomp
    data = json.loads(DOCKER.read_bytes())
    data["syscalls"][0]["names"].append("opennat")
    (tmp_path / "calls.json").write_text(json.dumps(data))
    assert Profile.load(file).policy.seccomp == before
    (finding,) = [item for item in lint(file) if "no system call" in item.message]
    assert "'opennat'" in finding.message
    assert (finding.severity, finding.fix) == ("warning", "did you mean 'openat'?")


def test_explain_names_the_file_not_groups(write: Callable[..., str]) -> None:
    profile = Profile.load(
        write('extends = "default"\n\n[seccomp]\noci = "calls.json"\n[why]\n"seccomp.oci" = "as in the image"\n')
    )
    (row,) = [row for row in explain(profile) if row.key == "seccomp.oci"]
    assert row.text.endswith("by a Docker or OCI file; all others answer EPERM — as in the image")
    assert row.origin.endswith("mine.toml:4")


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [("openat", "openat", 0), ("opennat", "openat", 1), ("opeant", "openat", 1), ("opnat", "openat", 1), ("openst", "openat", 1),
     ("epenatx", "openat", 2), ("read", "openat", 3), ("", "ab", 2)],
)  # fmt: skip
def test_slips_are_counted(one: str, other: str, count: int) -> None:
    assert misspelt.slips(one, other, 2) == misspelt.slips(other, one, 2) == count


def test_an_export_for_one_architecture_names_it() -> None:
    policy = Profile.load("default").policy.seccomp
    exported = export_oci(policy, "aarch64")
    names = {name for entry in exported["syscalls"] for name in entry["names"]}
    assert exported["architectures"] == ["SCMP_ARCH_AARCH64"]
    assert "openat" in names
    assert "open" not in names
    assert "architectures" not in export_oci(policy)
    assert import_oci(exported)
