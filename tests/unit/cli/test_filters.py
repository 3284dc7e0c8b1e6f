"""`sandbox profile export` and `sandbox profile simulate`."""

from __future__ import annotations

import json
import os
import resource

import pytest

from sandbox import Profile
from sandbox.policy.seccomp import simulate, tables
from sandbox.policy.seccomp.listing import listing
from sandbox.policy.seccomp.oci import import_oci
from sandbox.policy.seccomp.simulate import Verdict

ARCH = os.uname().machine


def answers(program: bytes, call: str, *args: int, arch: str = ARCH) -> Verdict:
    return simulate.run(program, arch, tables.numbers(arch)[call], args)


def test_an_oci_export_comes_back(invoke, tmp_path):
    code, out, err = invoke("profile", "export", "strict")
    assert (code, err) == (0, "")
    assert import_oci(json.loads(out))
    file = tmp_path / "strict.json"
    assert invoke("profile", "export", "strict", "-o", str(file)) == (0, "", "")
    assert file.read_text() == out
    code, other, _ = invoke("profile", "export", "strict", "--arch", "aarch64")
    assert json.loads(other)["architectures"] == ["SCMP_ARCH_AARCH64"]


def test_a_listing_is_that_of_show(invoke):
    policy = Profile.load("default").policy.seccomp
    assert invoke("profile", "export", "default", "--format", "listing", "--arch", "aarch64") == (
        0,
        listing(policy, "aarch64"),
        "",
    )


def test_a_program_alone_refuses_what_is_recorded_here(capfdbinary, tmp_path):
    """The main program by itself would let mount and ptrace pass: the other one has them."""
    from sandbox.cli.main import call

    assert call(["profile", "export", "default", "--format", "bpf"]) == 0
    program = capfdbinary.readouterr().out
    assert answers(program, "mount") == Verdict("errno", 1)
    assert answers(program, "ptrace") == Verdict("errno", 1)
    assert answers(program, "clone", 0x10000000) == Verdict("errno", 1)
    assert answers(program, "read") == Verdict("allow")
    file = tmp_path / "x.bpf"
    words = [
        "profile",
        "export",
        "default",
        "--set",
        "seccomp.kill=getpid",
        "--format",
        "bpf",
        "--arch",
        "aarch64",
        "-o",
        str(file),
    ]
    assert call(words) == 0
    assert answers(file.read_bytes(), "getpid", arch="aarch64") == Verdict("kill_process")


def test_bytes_are_not_for_a_terminal(invoke, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    code, out, err = invoke("profile", "export", "default", "--format", "bpf")
    assert (code, out) == (125, "")
    assert "no text for a terminal; add -o FILE" in err


def test_an_export_that_cannot_be_written_leaves_nothing(invoke, tmp_path):
    for wrong in (tmp_path / "no" / "such", tmp_path):
        code, _, err = invoke("profile", "export", "strict", "-o", str(wrong))
        assert code == 125
        assert err.startswith(f"sandbox: -o '{wrong}' cannot be written: ")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        code, _, err = invoke("profile", "export", "strict", "-o", str(tmp_path / "half"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 125
    assert "File too large" in err
    assert os.listdir(tmp_path) == []
    assert invoke("profile", "export", "strict", "-o", "/dev/full")[0] == 125
    assert os.path.exists("/dev/full")


@pytest.mark.parametrize(
    ("words", "first", "second"),
    [
        (("default", "read"), "read(): allow", "allow: bytes through descriptors that the process has [start]"),
        (("default", "mount"), "mount(): notify", "notify: changing the file system tree [dangerous]"),
        (("default", "socket", "AF_UNIX", "1"), "socket(AF_UNIX, 1): allow", "allow"),
        (
            ("default", "socket", "AF_UNIX", "3"),
            "socket(AF_UNIX, 3): errno EPERM",
            "errno EPERM if arg1 & 0xf == 0x3: SOCK_RAW [sockets]",
        ),
        (
            ("default", "socket", "AF_NETLINK"),
            "socket(AF_NETLINK): errno EAFNOSUPPORT",
            "the family AF_NETLINK is none of socket_families",
        ),
        (("default", "kill", "-1", "9"), "kill(-1, 9): allow", "allow: starting, waiting"),
        (("strict", "fork"), "fork(): errno ENOSYS", "no rule allows it, and everything else is answered with ENOSYS"),
        (("strict", "read", "--set", "seccomp.kill=read"), "read(): kill", "kill: asked for by the caller"),
        (
            ("default", "ioctl", "0", "0x1_0000_5412"),
            "ioctl(0, 0x1_0000_5412): errno EPERM",
            "errno EPERM if arg1 & 0xffffffff == 0x5412",
        ),
    ],
)
def test_simulate_says_what_and_why(invoke, words, first, second):
    code, out, err = invoke("profile", "simulate", *words, "--arch", "x86_64")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == first.replace("):", ") on x86_64:")
    assert lines[1].startswith(f"  {second}")


def test_simulate_as_json(answer):
    code, said = answer("profile", "simulate", "default", "ioctl", "1", "0x5412", "--arch", "x86_64", "--json")
    assert code == 0
    rule = said.pop("rule")
    assert said.pop("reason") == rule["why"]
    assert said == {"call": "ioctl", "number": 16, "arch": "x86_64", "args": [1, 0x5412], "action": "errno", "errno": "EPERM"}
    assert (rule["group"], rule["action"], rule["if"]) == ("files", "errno EPERM", ["arg1 & 0xffffffff == 0x5412"])
    assert answer("profile", "simulate", "strict", "fork", "--arch", "x86_64", "--json")[1]["rule"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("default", "opn"), "the system call 'opn' is unknown; did you mean 'open'?"),
        (("default", "open", "--arch", "aarch64"), "exists on another architecture only"),
        (("default", "read", "x"), "'x' is no argument of a system call"),
        (("default", "socket", "AF_UNX"), "did you mean 'AF_UNIX'?"),
        (("default", "read", "0x1ffffffffffffffff"), "does not fit 64 bits"),
        (("default", "read", *"1234567"), "at most 6 arguments, not 7"),
        (("default", "read", "--arch", "vax"), "vax"),
        (("nonsense", "read"), "there is no profile 'nonsense'"),
    ],
)
def test_questions_that_make_no_sense(invoke, words, said):
    code, out, err = invoke("profile", "simulate", *words)
    assert (code, out, err.count("\n")) == (125, "", 1)
    assert said in err
