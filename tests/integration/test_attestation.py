"""What a program sees of itself is what the plan says: status, ids, limits, mounts, control group, filters, environment."""

from __future__ import annotations

import json
import os
import resource
from typing import Any

import pytest

from sandbox import Profile, Sandbox
from sandbox.kernel import mounts
from sandbox.model import plan as plans

pytestmark = pytest.mark.vm

PROBE = """
import json, os, resource
def text(path):
    with open(path) as file:
        return file.read()
print(json.dumps({
    "status": dict(line.split(":\\t", 1) for line in text("/proc/self/status").splitlines() if ":\\t" in line),
    "mounts": [line.split() for line in text("/proc/self/mountinfo").splitlines()],
    "limits": {n: resource.getrlimit(getattr(resource, n)) for n in dir(resource) if n.startswith("RLIMIT_")},
    "maps": [text("/proc/self/uid_map").split(), text("/proc/self/gid_map").split()],
    "groups": text("/proc/self/cgroup").split(),
    "environment": dict(os.environ), "cwd": os.getcwd(), "umask": os.umask(0), "host": os.uname().nodename,
    "ids": [*os.getresuid(), *os.getresgid()], "supplementary": os.getgroups(), "ppid": os.getppid(),
    "sid": os.getsid(0) == os.getpid(),
    "oom": text("/proc/self/oom_score_adj").strip(), "scheduler": os.sched_getscheduler(0), "nice": os.getpriority(0, 0),
    "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1],
    "kinds": [os.readlink(f"/proc/self/fd/{n}").partition(":")[0] for n in (0, 1, 2)],
}))
"""
OPTIONS = {mounts.ATTR_RDONLY: "ro", mounts.ATTR_NOSUID: "nosuid", mounts.ATTR_NODEV: "nodev", mounts.ATTR_NOEXEC: "noexec",
           mounts.ATTR_NOSYMFOLLOW: "nosymfollow"}  # fmt: skip


@pytest.fixture(params=["default", "strict", "python", "python-warm", "node", "native", "compile"])
def profile(request: pytest.FixtureRequest) -> Profile:
    return Profile.load(request.param)


@pytest.fixture
def seen(profile: Profile, degraded: bool) -> tuple[dict[str, Any], Any, Any]:
    """(what the program saw, the plan, the result)."""
    with Sandbox(profile, allow_degraded=degraded) as box:
        result = box.run(["python3", "-B", "-c", PROBE])
        assert result.ok, result
        return json.loads(result.stdout), box._engine.plan, result


def test_a_program_sees_what_the_plan_says(seen: tuple[dict[str, Any], Any, Any], profile: Profile) -> None:
    found, plan, result = seen
    policy = profile.policy
    identity(found, plan, result)
    rights(found, plan)
    limits(found, plan, policy, bool(result.degraded))
    places(found, plan)
    surroundings(found, plan, policy)


def identity(found: dict[str, Any], plan: Any, result: Any) -> None:
    assert found["ids"] == [plan.ids.uid] * 3 + [plan.ids.gid] * 3
    inside, outside, count = (int(word) for word in found["maps"][0])
    assert (inside, count) == (plan.ids.uid, 1)
    assert outside > 0 or not plan.ids.slots
    if not plan.ids.deny_setgroups:
        assert found["supplementary"] in ([], [plan.ids.gid])
    assert result.enforced["identity"]["uid"] == plan.ids.uid


def rights(found: dict[str, Any], plan: Any) -> None:
    status = found["status"]
    kept = sum(1 << number for number in plan.capabilities)
    assert {name: int(status[name], 16) for name in status if name.startswith("Cap")} == dict.fromkeys(
        ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), kept
    )
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert int(status["Seccomp_filters"]) == bool(plan.filters.main) + bool(plan.filters.notify)
    assert [int(status[name], 16) for name in ("SigBlk", "SigIgn")] == [0, 1 << 12 | 1 << 24]  # Python ignores PIPE and XFSZ
    own = os.sched_getscheduler(0)  # what slows the caller stays
    scheduler = own if own in (os.SCHED_BATCH, os.SCHED_IDLE) else os.SCHED_OTHER
    assert (found["scheduler"], found["nice"], found["oom"]) == (scheduler, max(0, os.getpriority(0, 0)), "1000")


def limits(found: dict[str, Any], plan: Any, policy: Any, degraded: bool) -> None:
    wanted = {number: soft for number, soft, _ in plan.rlimits}
    names = {getattr(resource, name): name for name in dir(resource) if name.startswith("RLIMIT_")}
    for number, value in wanted.items():
        if number in names and names[number] not in ("RLIMIT_NOFILE", "RLIMIT_OFILE"):
            assert found["limits"][names[number]] == [value, value], names[number]
    assert found["limits"]["RLIMIT_NOFILE"][1] <= policy.limits.open_files
    assert found["limits"]["RLIMIT_CPU"][1] == policy.limits.cpu_ns // 10**9 + 2
    assert (found["limits"]["RLIMIT_NPROC"][1] == policy.limits.pids + 1) == degraded


def places(found: dict[str, Any], plan: Any) -> None:
    """Every mount is planned, with at least the planned attributes."""
    there = {line[4]: (set(line[5].split(",")), line[line.index("-") + 1]) for line in found["mounts"]}
    planned = {"/", "/proc", "/dev/.masked/file", "/dev/.masked/directory"} | {os.fsdecode(plan.work)}
    planned |= {"/tmp"} if plan.tmp else set()
    planned |= {"/dev/shm"} if plan.shm else set()
    planned |= {os.fsdecode(path) for path in (*plan.masks, *plan.readonly)}
    for item in plan.template:
        if item.kind in (plans.BIND, plans.DEVICE):
            target = os.fsdecode(item.target)
            planned.add(target)
            missing = {name for bit, name in OPTIONS.items() if item.attrs & bit} - there[target][0]
            assert not missing, (target, missing)
    extra = {path for path in there if not any(path == place or path.startswith(f"{place}/") for place in planned - {"/"})}
    assert extra <= {"/"}, extra
    for path, (options, kind) in there.items():
        assert "nosuid" in options, path
        assert kind in ("tmpfs", "proc") or "ro" in options, (path, kind)
    assert "ro" in there["/"][0]
    assert "ro" in there["/proc"][0]
    work = {name for bit, name in OPTIONS.items() if plan.work_attrs & bit}
    assert work <= there[os.fsdecode(plan.work)][0]


def surroundings(found: dict[str, Any], plan: Any, policy: Any) -> None:
    assert found["environment"] == {**dict(policy.environment.values), **_added(found["environment"])}
    assert (found["cwd"], found["umask"], found["host"]) == (policy.cwd, policy.umask, policy.identity.hostname)
    assert found["descriptors"] == [0, 1, 2]
    assert found["kinds"] == ["pipe"] * 3
    assert (found["ppid"], found["sid"]) == (1, True)
    assert all(line.rpartition(":")[2].startswith("/") and ".." not in line for line in found["groups"])
    assert all(line.rpartition(":")[2] == "/" for line in found["groups"] if line.startswith("0::"))


def _added(environment: dict[str, str]) -> dict[str, str]:
    """What Python itself sets at start in a C locale."""
    return {name: value for name, value in environment.items() if name == "LC_CTYPE"}
