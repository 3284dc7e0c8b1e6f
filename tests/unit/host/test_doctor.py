"""Each check judges a survey and nothing else: hosts of every kind are made up here."""

from __future__ import annotations

import dataclasses
import errno
import json
import subprocess
from typing import Any

import pytest

from sandbox.host import doctor, features, survey
from sandbox.host.cgroups import Hierarchy, Layout, Place
from sandbox.host.doctor import CHECKS, Check, Status, run_checks, unsupported, worst
from sandbox.host.facts import HostFacts
from sandbox.host.survey import Survey
from sandbox.model.errors import UnsupportedHostError

UNIFIED = Hierarchy(frozenset(), "/sys/fs/cgroup", "/", "/sys/fs/cgroup/user.slice/x.scope")
V2 = Layout(2, UNIFIED, ())
ALL = frozenset({"memory", "pids", "cpu", "cpuset", "io"})
STEPS = "userns map private ipc uts net cgroup time proc tmpfs mount_setattr overlay".split()
FACTS = HostFacts(
    arch="x86_64",
    uid=1000,
    gid=1000,
    landlock_abi=7,
    newuidmap="/usr/bin/newuidmap",
    newgidmap="/usr/bin/newgidmap",
    subuid=((100000, 65536),),
    subgid=((100000, 65536),),
)
GOOD = Survey(
    facts=FACTS,
    probe=dict.fromkeys(STEPS, 0),
    sysctls={"kernel.yama.ptrace_scope": "1", "kernel.io_uring_disabled": "2", "kernel.core_pattern": "core"},
    seccomp_actions=frozenset({"errno", "user_notif", "allow"}),
    layout=V2,
    places=(Place("own", "/sys/fs/cgroup/mine", ALL),),
    libseccomp="libseccomp.so.2",
)


def check(name: str, **changes: Any) -> Check:
    return {item.name: item for item in run_checks(dataclasses.replace(GOOD, **changes))}[name]


def facts(**changes: Any) -> HostFacts:
    return dataclasses.replace(FACTS, **changes)


def test_a_good_host_passes_everything():
    assert {item.name: item.found for item in run_checks(GOOD) if item.status is not Status.PASS} == {}
    assert worst(run_checks(GOOD)) is Status.PASS


def test_names_are_unique_and_layers_known():
    checks = run_checks(GOOD)
    assert len({item.name for item in checks}) == len(checks) == len(CHECKS)
    assert {item.layer for item in checks} == {"host", "isolation", "identity", "filter", "limits", "exposure"}


CASES = [
    ("python", {"python": (3, 10, 9)}, Status.FAIL, "3.11"),
    ("machine", {"machine_supported": False}, Status.FAIL, "x86_64"),
    ("kernel", {"missing_calls": ("mount_setattr",)}, Status.FAIL, "6.1"),
    ("kernel", {"release": "5.15.0-91-generic"}, Status.CAUTION, "6.1"),
    ("kernel", {"release": "odd"}, Status.CAUTION, "6.1"),
    ("userns", {"probe": {}}, Status.FAIL, "python3"),
    ("userns", {"probe": {"userns": 0, "map": errno.EPERM}}, Status.FAIL, "journalctl"),
    ("namespaces", {"probe": {**GOOD.probe, "net": errno.EPERM}}, Status.FAIL, "filter"),
    ("namespaces", {"probe": {**GOOD.probe, "time": errno.EINVAL}}, Status.CAUTION, "TIME_NS"),
    ("namespaces", {"probe": {"userns": errno.EPERM}}, Status.FAIL, "userns"),
    ("procfs", {"probe": {**GOOD.probe, "proc": errno.EPERM}}, Status.FAIL, "/proc"),
    ("procfs", {"probe": {**GOOD.probe, "proc": errno.EPERM}, "container": "/.dockerenv"}, Status.FAIL, "systempaths"),
    ("mounts", {"probe": {**GOOD.probe, "tmpfs": errno.EPERM}}, Status.FAIL, "mount"),
    ("overlay", {"probe": {**GOOD.probe, "overlay": errno.ENODEV}}, Status.CAUTION, "modprobe overlay"),
    ("id-ranges", {"facts": facts(newuidmap="")}, Status.CAUTION, "apt install uidmap"),
    ("id-ranges", {"facts": facts(subuid=())}, Status.CAUTION, "--add-subuids"),
    ("id-ranges", {"no_new_privs": True}, Status.FAIL, "no_new_privs"),
    ("caller", {"facts": facts(uid=0)}, Status.CAUTION, "ordinary user"),
    ("caller", {"capabilities": ("sys_admin",)}, Status.CAUTION, "capabilities"),
    ("seccomp", {"seccomp_actions": frozenset({"errno"})}, Status.FAIL, "SECCOMP_FILTER"),
    ("libseccomp", {"libseccomp": "", "libseccomp_error": "no library"}, Status.FAIL, "apt install libseccomp2"),
    ("landlock", {"facts": facts(landlock_abi=0)}, Status.FAIL, "lsm=landlock"),
    ("landlock", {"facts": facts(landlock_abi=2)}, Status.CAUTION, "6.12"),
    ("cgroup", {"places": ()}, Status.FAIL, "allow_degraded"),
    ("controllers", {"places": (Place("own", "/x", frozenset({"memory", "pids"})),)}, Status.CAUTION, "Delegate=cpu"),
    ("controllers", {"places": ()}, Status.CAUTION, "cgroup"),
    ("swap", {"swaps": ("/dev/sda2",), "swap_accounted": False}, Status.FAIL, "swapoff"),
    ("rlimits", {"open_files": 1024}, Status.CAUTION, "ulimit -n"),
    ("rlimits", {"processes": 100}, Status.CAUTION, "-u"),
    ("oom_score_adj", {"oom_score_adj": -1000}, Status.CAUTION, "OOMScoreAdjust"),
    ("smt", {"smt": True}, Status.CAUTION, "smt/control"),
    (
        "core_pattern",
        {"sysctls": {"kernel.core_pattern": "|/usr/lib/systemd/systemd-coredump %P"}},
        Status.CAUTION,
        "core_pattern",
    ),
    ("yama", {"sysctls": {}}, Status.CAUTION, "YAMA"),
    ("yama", {"sysctls": {"kernel.yama.ptrace_scope": "0"}}, Status.CAUTION, "ptrace_scope=1"),
    ("io_uring", {"sysctls": {"kernel.io_uring_disabled": "0"}}, Status.CAUTION, "io_uring_disabled=1"),
]


@pytest.mark.parametrize(("name", "changes", "status", "remedy"), CASES)
def test_what_is_wrong_is_named_with_its_cure(name: str, changes: dict[str, Any], status: Status, remedy: str):
    found = check(name, **changes)
    assert found.status is status
    assert found.found
    assert found.consequence
    assert remedy in found.remedy
    assert "\n" not in found.remedy, "one line to paste"


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("swap", {"swaps": ("/dev/sda2",)}),
        ("rlimits", {"open_files": -1, "processes": -1}),
        ("id-ranges", {"facts": facts(uid=0, newuidmap="")}),
        ("io_uring", {"sysctls": {}}),
        ("cgroup", {"places": (Place("foreign", "/a", frozenset()), Place("scope", "", ALL, ("systemd-run",)))}),
        ("cgroup", {"layout": Layout(1, None, ()), "legacy": dict.fromkeys(("memory", "pids", "cpuacct"), "/x"), "places": ()}),
    ],
)
def test_what_is_enough_passes(name: str, changes: dict[str, Any]):
    assert check(name, **changes).status is Status.PASS


REFUSALS = [
    (errno.ENOSPC, {"user.max_user_namespaces": "0"}, {}, "max_user_namespaces=15000"),
    (errno.ENOSPC, {"user.max_user_namespaces": "100"}, {}, "max_user_namespaces=15000"),
    (errno.EPERM, {"kernel.unprivileged_userns_clone": "0"}, {}, "unprivileged_userns_clone=1"),
    (errno.EPERM, {"kernel.apparmor_restrict_unprivileged_userns": "1"}, {}, "apparmor_parser"),
    (errno.EACCES, {"kernel.apparmor_restrict_unprivileged_userns": "1"}, {}, "apparmor_parser"),
    (errno.EPERM, {}, {"container": "/.dockerenv"}, "seccomp=unconfined"),
    (errno.EPERM, {}, {"filtered": True}, "seccomp=unconfined"),
    (errno.EINVAL, {}, {}, "CONFIG_USER_NS"),
    (errno.EPERM, {}, {}, "journalctl"),
    (errno.ENOMEM, {}, {}, "sandbox doctor"),
    (0, {}, {}, "sandbox doctor"),
]


@pytest.mark.parametrize(("number", "sysctls", "around", "remedy"), REFUSALS)
def test_refusals_of_user_namespaces_are_told_apart(number: int, sysctls: dict[str, str], around: dict[str, Any], remedy: str):
    words = features.userns(
        number, sysctls, **{"filtered": False, "container": "", "executable": "/usr/bin/python3.11", **around}
    )
    assert remedy in words[1]
    assert words[0].startswith("no sandbox can be started")


def test_the_apparmor_profile_names_this_interpreter():
    sysctls = {"kernel.apparmor_restrict_unprivileged_userns": "1"}
    words = features.userns(errno.EPERM, sysctls, filtered=False, container="", executable="/opt/py/bin/python3.12")
    assert "/opt/py/bin/python3.12 flags=(unconfined)" in words[1]


SCOPE_WITHOUT = Place("scope", "", frozenset({"cpu"}), ("systemd-run",))


@pytest.mark.parametrize(
    ("layout", "places", "systemd", "uid", "remedy"),
    [
        (Layout(0, None, ()), (), False, 1000, "mount -t cgroup2"),
        (Layout(1, None, ()), (), True, 1000, "unified_cgroup_hierarchy=1"),
        (Layout(1, None, ()), (), True, 0, "mount these v1 hierarchies"),
        (V2, (SCOPE_WITHOUT,), True, 1000, "Delegate=cpu cpuset io memory pids"),
        (V2, (Place("scope", "", ALL, ("systemd-run",)),), True, 1000, "systemd-run --user --scope"),
        (V2, (), True, 1000, "enable-linger"),
        (V2, (), False, 1000, "chown -R 1000"),
    ],
)
def test_the_way_to_control_groups_fits_the_host(
    monkeypatch: pytest.MonkeyPatch, layout: Layout, places: tuple[Place, ...], systemd: bool, uid: int, remedy: str
):
    monkeypatch.delenv("SANDBOX_CGROUP", raising=False)
    monkeypatch.setattr(features.os, "getuid", lambda: uid)
    words = features.cgroup(layout, places, {}, systemd=systemd)
    assert remedy in words[1]
    assert "runs are refused" in words[0]


@pytest.mark.parametrize("feature", ["userns", "newuidmap", "procfs", "cgroup.memory", "landlock", "seccomp", "kernel", "other"])
def test_errors_use_the_same_words(feature: str):
    error = unsupported(feature, errno.EPERM)
    assert isinstance(error, UnsupportedHostError)
    assert error.feature == feature
    assert error.consequence
    assert error.remedy == error.hint != ""
    assert "\n" not in str(error)


def test_the_json_form():
    checks = run_checks(dataclasses.replace(GOOD, smt=True))
    data = json.loads(json.dumps(doctor.to_dict(checks)))
    assert data["status"] == "CAUTION"
    assert {"name", "status", "layer", "found", "consequence", "remedy"} == set(data["checks"][0])


def test_this_host_is_examined():
    checks = run_checks()
    assert len(checks) == len(CHECKS)
    assert {item.status for item in checks} <= set(Status)
    for item in checks:
        assert bool(item.remedy) == bool(item.consequence) == (item.status is not Status.PASS), item


@pytest.mark.requires("userns")
def test_the_probe_tells_that_user_namespaces_work_here():
    found = survey.run_probe()
    assert found["userns"] == found["map"] == 0
    assert set(found) <= set(STEPS)


def test_a_probe_that_says_nonsense_is_no_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Any):
    script = tmp_path / "probe.py"
    script.write_text("print('hello world'); print('userns x'); print('map 7')")
    monkeypatch.setattr(survey, "_PROBE", str(script))
    assert survey.run_probe() == {"map": 7}
    monkeypatch.setattr(survey.sys, "executable", "/nowhere/python")
    assert survey.run_probe() == {}


def test_remedies_that_are_commands_can_be_read_by_a_shell():
    apparmor = {"kernel.apparmor_restrict_unprivileged_userns": "1"}
    commands = [
        features.sysctl("user.max_user_namespaces", 15000),
        features.delegate_all(),
        features.userns(errno.EPERM, apparmor, filtered=False, container="", executable="/opt/a b/python")[1],
        features.newuidmap()[1],
        features.YAMA[1],
        features.IO_URING[1],
        features.CORE_PATTERN[1],
    ]
    for command in commands:
        assert subprocess.run(["sh", "-n", "-c", command], capture_output=True, check=False).stderr == b"", command
