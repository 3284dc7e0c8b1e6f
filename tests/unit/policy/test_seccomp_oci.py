"""Docker and OCI filters in and out."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import tempfile
from typing import Any

import pytest

from sandbox.model.errors import ProfileError
from sandbox.model.policy import ArgCondition, SeccompPolicy, SeccompRule
from sandbox.policy.load import load_chain
from sandbox.policy.resolve import resolve
from sandbox.policy.seccomp import rules, simulate, tables
from sandbox.policy.seccomp.compile import compile_policy
from sandbox.policy.seccomp.oci import export_oci, import_oci, unknown_names
from sandbox.policy.seccomp.simulate import Verdict, verdict
from tests.support.filtered import FULL, boundaries
from tests.support.require import requires

# The part of the OCI runtime specification's config-schema.json and defs-linux.json that is about linux.seccomp.
WORDS = {
    "action": ["KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP", "ERRNO", "TRACE", "ALLOW", "LOG", "NOTIFY"],
    "op": ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"],
}
ACTION = {"type": "string", "enum": [f"SCMP_ACT_{word}" for word in WORDS["action"]]}
UINT32 = {"type": "integer", "minimum": 0, "maximum": (1 << 32) - 1}
UINT64 = {"type": "integer", "minimum": 0, "maximum": FULL}
ARG = {
    "type": "object",
    "properties": {
        "index": UINT32,
        "value": UINT64,
        "valueTwo": UINT64,
        "op": {"type": "string", "enum": [f"SCMP_CMP_{word}" for word in WORDS["op"]]},
    },
    "required": ["index", "value", "op"],
    "additionalProperties": False,
}
SYSCALL = {
    "type": "object",
    "properties": {
        "names": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "action": ACTION,
        "errnoRet": UINT32,
        "args": {"type": "array", "items": ARG},
    },
    "required": ["names", "action"],
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "properties": {"defaultAction": ACTION, "defaultErrnoRet": UINT32, "syscalls": {"type": "array", "items": SYSCALL}},
    "required": ["defaultAction"],
    "additionalProperties": False,
}

ARCH = os.uname().machine
NEEDED = ["execve", "write", "exit_group", "brk", "mmap", "munmap"]
ALLOW, EPERM = Verdict("allow"), Verdict("errno", errno.EPERM)
EQ, MASKED = "SCMP_CMP_EQ", "SCMP_CMP_MASKED_EQ"
# In the manner of Docker's default profile: every feature that it uses.
DOCKER: dict[str, Any] = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 1,
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],
    "syscalls": [
        {"names": [*NEEDED, "read", "chown32", "openat"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
        {"names": ["mseal"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.10"}},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 38, "op": "SCMP_CMP_LT"}]},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 39, "op": EQ}]},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_GT"}]},
        {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 0, "op": EQ}]},
        {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 8, "op": EQ}]},
        {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}},
        {"names": ["bpf", "clone"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {
            "names": ["clone"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 0x7E020000, "op": MASKED}],
            "excludes": {"caps": ["CAP_SYS_ADMIN"], "arches": ["s390", "s390x"]},
        },
        {
            "names": ["clone3"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 38,
            "excludes": {"caps": ["CAP_SYS_ADMIN"]},
        },
    ],
}


def profile(*entries: dict[str, Any], default: str = "SCMP_ACT_ERRNO", **more: Any) -> dict[str, Any]:
    needed = {"names": NEEDED, "action": "SCMP_ACT_ALLOW"}
    return {"defaultAction": default, "syscalls": [needed, *entries], **more}


def ask(policy: SeccompPolicy, name: str, *args: int, arch: str = "x86_64") -> Verdict:
    return verdict(compile_policy(policy, arch), arch, tables.numbers(arch)[name], args)


@pytest.mark.parametrize(
    ("name", "args", "answer"),
    [
        ("read", (), ALLOW),
        ("write", (), ALLOW),
        ("mount", (), EPERM),
        ("ptrace", (), ALLOW),
        ("mseal", (), EPERM),  # the oldest supported kernel does not have it
        ("socket", (1,), ALLOW),
        ("socket", (37,), ALLOW),
        ("socket", (38,), EPERM),
        ("socket", (39,), ALLOW),
        ("socket", (40,), EPERM),
        ("socket", (41,), ALLOW),
        ("personality", (0,), ALLOW),
        ("personality", (8,), ALLOW),
        ("personality", (9,), EPERM),
        ("arch_prctl", (), ALLOW),
        ("bpf", (), EPERM),
        ("clone", (17,), ALLOW),
        ("clone", (0x10000011,), EPERM),
        ("clone3", (), Verdict("errno", errno.ENOSYS)),
    ],
)
def test_a_profile_in_the_manner_of_docker(name, args, answer):
    assert ask(import_oci(DOCKER, "x86_64"), name, *args) == answer


def test_capabilities_and_architectures_choose_entries():
    for capability in ("CAP_SYS_ADMIN", "sys_admin"):
        policy = import_oci(DOCKER, "x86_64", [capability])
        assert ask(policy, "bpf") == ALLOW
        assert ask(policy, "clone", 0x10000011) == ALLOW
        assert ask(policy, "clone3") == EPERM
    names = {name for rule in import_oci(DOCKER, "aarch64").rules for name in rule.syscalls}
    assert "arch_prctl" not in names
    assert "openat" in names


def test_unknown_names_are_named_and_without_effect():
    assert unknown_names(DOCKER) == ("chown32",)
    assert "chown32" not in {name for rule in import_oci(DOCKER).rules for name in rule.syscalls}


def test_a_whole_config_is_read():
    assert import_oci({"ociVersion": "1.0.2", "linux": {"seccomp": DOCKER}}, "x86_64") == import_oci(DOCKER, "x86_64")


@pytest.mark.parametrize(("word", "answer"), [("SCMP_ACT_ALLOW", ALLOW), ("SCMP_ACT_LOG", Verdict("log"))])
def test_a_default_that_admits_covers_known_calls_only(word, answer):
    refusal = {"names": ["chmod", "mount"], "action": "SCMP_ACT_ERRNO"}
    partly = {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13, "args": [{"index": 0, "value": 1, "op": EQ}]}
    policy = import_oci(profile(refusal, partly, default=word))
    assert ask(policy, "bpf") == answer
    assert ask(policy, "chmod") == ask(policy, "mount") == EPERM
    assert ask(policy, "kill", 1) == Verdict("errno", errno.EACCES)
    assert ask(policy, "kill", 2) == answer
    compiled = compile_policy(policy, "x86_64")
    assert verdict(compiled, "x86_64", 555) == Verdict("errno", errno.ENOSYS)
    assert verdict(compiled, "x86_64", 39 | tables.X32_BIT).action == "kill_process"


@pytest.mark.parametrize("word", ["KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP"])
def test_killing_ends_the_sandbox(word):
    policy = import_oci(profile({"names": ["mount"], "action": f"SCMP_ACT_{word}"}))
    compiled = compile_policy(policy, "x86_64")
    number = tables.numbers("x86_64")["mount"]
    assert compiled.kill == (number,)
    assert verdict(compiled, "x86_64", number) == Verdict("notify")
    everything = compile_policy(import_oci(profile(default=f"SCMP_ACT_{word}")), "x86_64")
    assert number in everything.kill
    assert tables.numbers("x86_64")["write"] not in everything.kill


def test_tracing_and_notifying():
    policy = import_oci(
        profile({"names": ["mount"], "action": "SCMP_ACT_TRACE", "errnoRet": 5}, {"names": ["bpf"], "action": "SCMP_ACT_NOTIFY"})
    )
    assert ask(policy, "mount") == Verdict("errno", errno.ENOSYS)
    assert ask(policy, "bpf") == Verdict("notify")


def test_conditions_on_one_argument_are_alternatives_and_on_several_must_all_hold():
    both = [{"index": 0, "value": 1, "op": EQ}, {"index": 0, "value": 2, "op": EQ}]
    each = [{"index": 0, "value": 1, "op": EQ}, {"index": 1, "value": 2, "op": EQ}]
    policy = import_oci(
        profile(
            {"names": ["kill"], "action": "SCMP_ACT_ALLOW", "args": both},
            {"names": ["tgkill"], "action": "SCMP_ACT_ALLOW", "args": each},
        )
    )
    assert [ask(policy, "kill", value) for value in (1, 2, 3)] == [ALLOW, ALLOW, EPERM]
    assert [ask(policy, "tgkill", *values) for values in ((1, 2), (1, 1), (2, 2))] == [ALLOW, EPERM, EPERM]


def test_an_allowance_under_a_condition_does_not_outweigh_a_refusal():
    condition = [{"index": 0, "value": 1, "op": EQ}]
    policy = import_oci(
        profile(
            {"names": ["kill"], "action": "SCMP_ACT_ALLOW", "args": condition},
            {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
        )
    )
    assert ask(policy, "kill", 1) == Verdict("errno", errno.EACCES)


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"defaultAction": "SCMP_ACT_ERNO"}, "defaultAction", "did you mean 'SCMP_ACT_ERRNO'"),
        ({"defaultErrnoRet": 5000}, "defaultErrnoRet", "0 to 4095"),
        ({"defaultErrnoRet": True}, "defaultErrnoRet", "0 to 4095"),
        ({"syscalls": {}}, "syscalls", "list of objects"),
        ({"syscalls": [1]}, "syscalls", "list of objects"),
        ({"syscalls": [{"action": "SCMP_ACT_ALLOW"}]}, "syscalls[0].names", "list"),
        ({"syscalls": [{"names": ["read"]}]}, "syscalls[0].action", "unknown action None"),
        ({"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0}]}, "syscalls[0].errnoRet", "succeeded"),
        ({"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "value": 0, "op": EQ}]}]},
         "syscalls[0].args[0].index", "0 to 5"),
        ({"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": -1, "op": EQ}]}]},
         "syscalls[0].args[0].value", "expected a number"),
        ({"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "=="}]}]},
         "syscalls[0].args[0].op", "unknown comparison"),
        ({"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": "CAP_BPF"}}]},
         "syscalls[0].includes.caps", "list of strings"),
        ({"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "new"}}]},
         "syscalls[0].includes.minKernel", "version"),
        ({"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}, {"names": ["read"], "action": "SCMP_ACT_LOG"}]},
         "syscalls", "different things"),
    ],
)  # fmt: skip
def test_mistakes_are_named(change, path, message):
    data = {"defaultAction": "SCMP_ACT_ERRNO", **change}
    with pytest.raises(ProfileError) as caught:
        import_oci(data, source="docker.json")
    assert caught.value.path == path
    assert message in str(caught.value)
    assert str(caught.value).startswith("docker.json: ")


@pytest.mark.parametrize("data", [[], "x", None, {}])
def test_what_is_no_profile_is_refused(data):
    with pytest.raises(ProfileError):
        import_oci(data)


def seen(answer: Verdict) -> Verdict:
    """What the payload sees: a report is answered with EPERM."""
    return EPERM if answer.action == "notify" else answer


@requires("jsonschema")
@pytest.mark.parametrize("name", ["default", "strict"])
def test_an_exported_profile_comes_back_as_the_same_filter(name):
    import jsonschema

    policy = resolve(load_chain(name)).seccomp
    exported = json.loads(json.dumps(export_oci(policy)))
    jsonschema.validate(exported, SCHEMA)
    before, after = compile_policy(policy, "x86_64"), compile_policy(import_oci(exported), "x86_64")
    numbers = tables.numbers("x86_64")
    named = rules.decisions(policy)
    for number in range(600):
        for args in ((0,) * 6, (1,) * 6, (FULL,) * 6):
            assert verdict(after, "x86_64", number, args) == seen(verdict(before, "x86_64", number, args)), (number, args)
    for call in sorted(named):
        if call in numbers and (named[call].refined or call in rules.SOCKET_CALLS):
            for args in boundaries(policy, call):
                found = verdict(after, "x86_64", numbers[call], args)
                assert found == seen(verdict(before, "x86_64", numbers[call], args)), (call, [hex(value) for value in args])


def test_exported_entries_never_overlap():
    """libseccomp drops one of two rules that do, and has no order for others."""
    entries: dict[str, list[dict[int, tuple[int, int]]]] = {}
    for entry in export_oci(resolve(load_chain("default")).seccomp)["syscalls"]:
        region = {}
        for item in entry.get("args", ()):
            region[item["index"]] = (item["value"], item["valueTwo"]) if item["op"] == MASKED else (FULL, item["value"])
        assert len(region) == len(entry.get("args", ()))
        for name in entry["names"]:
            entries.setdefault(name, []).append(region)
    for name, regions in entries.items():
        for index, one in enumerate(regions):
            for other in regions[index + 1 :]:
                apart = [key for key in one.keys() & other.keys() if (one[key][1] ^ other[key][1]) & one[key][0] & other[key][0]]
                assert apart, (name, one, other)


def test_kill_and_log_are_exported():
    extra = SeccompRule(syscalls=("mount",), action="kill", errno=0, args=(), group="x", why="x")
    logged = SeccompRule(
        syscalls=("kill",), action="log", errno=0, args=(ArgCondition(index=1, op="ge", value=9, mask=0),), group="x", why="x"
    )
    policy = resolve(load_chain("strict")).seccomp
    policy = dataclasses.replace(policy, rules=(*policy.rules, extra, logged))
    back = import_oci(export_oci(policy))
    assert compile_policy(back, "x86_64").kill == (tables.numbers("x86_64")["mount"],)
    assert [ask(back, "kill", 0, value).action for value in (8, 9, 10, FULL)] == ["errno", "log", "log", "log"]


@pytest.mark.parametrize("name", ["default", "strict"])
def test_container_runtimes_make_the_same_filter_of_an_exported_profile(name):
    """They put all entries into one libseccomp filter, without stages."""
    import pyseccomp

    policy = resolve(load_chain(name)).seccomp
    exported, known = export_oci(policy), tables.numbers(ARCH)
    single = pyseccomp.SyscallFilter(pyseccomp.ERRNO(exported["defaultErrnoRet"]))
    words = {"SCMP_ACT_ALLOW": pyseccomp.ALLOW, "SCMP_ACT_LOG": pyseccomp.LOG}
    for entry in exported["syscalls"]:
        action = words[entry["action"]] if entry["action"] in words else pyseccomp.ERRNO(entry["errnoRet"])
        operators = {EQ: pyseccomp.EQ, MASKED: pyseccomp.MASKED_EQ}
        args = [
            pyseccomp.Arg(
                item["index"], operators[item["op"]], item["value"], *([item["valueTwo"]] if item["op"] == MASKED else [])
            )
            for item in entry.get("args", ())
        ]
        for call in entry["names"]:
            if call in known:
                single.add_rule(action, known[call], *args)
    with tempfile.TemporaryFile() as file:
        single.export_bpf(file)
        file.seek(0)
        program = file.read()
    compiled = compile_policy(policy, ARCH)
    for call in sorted(rules.decisions(policy)):
        for args in boundaries(policy, call) if call in known else ():
            found = simulate.run(program, ARCH, known[call], args)
            assert found == seen(verdict(compiled, ARCH, known[call], args)), (call, [hex(value) for value in args])


def test_podmans_names_of_errors_are_read():
    data = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "defaultErrno": "ENOSYS",
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "errno": "EACCES"},
        ],
    }
    policy = import_oci(data, "x86_64")
    assert policy.default_errno == errno.ENOSYS
    assert [rule.errno for rule in policy.rules if rule.syscalls == ("bpf",)] == [errno.EACCES]
    data["syscalls"][1]["errno"] = "EWHAT"
    with pytest.raises(ProfileError, match=r"syscalls\[1\].errno: unknown errno 'EWHAT'"):
        import_oci(data, "x86_64")
