"""Data and its reading: tables, groups, rules, listings, and the programs that the simulator refuses."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import struct
from collections import Counter
from pathlib import Path

import pytest

from sandbox.model.errors import ProfileError, UnsupportedHostError
from sandbox.model.policy import ArgCondition, SeccompPolicy, SeccompRule
from sandbox.policy.load import load_chain
from sandbox.policy.locate import profiles_dir
from sandbox.policy.resolve import resolve
from sandbox.policy.seccomp import golden, simulate, tables
from sandbox.policy.seccomp.compile import compile_policy
from sandbox.policy.seccomp.groups import load_groups
from sandbox.policy.seccomp.listing import listing
from sandbox.policy.seccomp.rules import NEEDED
from sandbox.policy.seccomp.simulate import Verdict, verdict

HEADERS = [f"/usr/include/{os.uname().machine}-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"]
LINE = re.compile(r"#define __NR_(\w+) (\d+)")


def rule(*syscalls: str, action="allow", number=0, args=(), group="g") -> SeccompRule:
    return SeccompRule(syscalls=syscalls, action=action, errno=number, args=args, group=group, why="x")


def condition(index: int, op: str, value: int, mask: int = 0) -> ArgCondition:
    return ArgCondition(index=index, op=op, value=value, mask=mask)  # type: ignore[arg-type]


def policy(*rules: SeccompRule, families=()) -> SeccompPolicy:
    return SeccompPolicy(default_errno=errno.ENOSYS, rules=(rule(*NEEDED), *rules), socket_families=families)


def ask(given: SeccompPolicy, name: str, *args: int) -> str:
    return str(verdict(compile_policy(given, "x86_64"), "x86_64", tables.numbers("x86_64")[name], args))


# tables


def test_both_architectures_have_the_calls_since_424_under_the_same_numbers():
    left, right = (tables.numbers(arch) for arch in tables.ARCHITECTURES)
    assert {name: number for name, number in left.items() if number >= 424} == {
        name: number for name, number in right.items() if number >= 424
    }
    assert max(left.values()) == left["file_setattr"] == 469
    assert set(range(424, 470)) <= set(left.values())


@pytest.mark.parametrize("arch", tables.ARCHITECTURES)
def test_no_number_is_given_twice(arch):
    assert max(Counter(tables.numbers(arch).values()).values()) == 1
    assert tables.names(arch)[tables.numbers(arch)["execve"]] == "execve"


def test_the_table_agrees_with_the_headers_of_this_machine():
    texts = [Path(name).read_text() for name in HEADERS if os.path.exists(name)]
    known = tables.numbers(os.uname().machine)
    for text in texts:
        for name, number in LINE.findall(text):
            assert known.get(name, int(number)) == int(number), name


@pytest.mark.parametrize("arch", tables.ARCHITECTURES)
def test_the_table_agrees_with_libseccomp(arch):
    import pyseccomp

    checked = 0
    for name, number in tables.numbers(arch).items():
        found = pyseccomp.resolve_syscall(getattr(pyseccomp.Arch, arch.upper()), name)
        if found >= 0:
            assert found == number, name
            checked += 1
    assert checked > 300


def test_an_unknown_architecture_is_refused():
    with pytest.raises(KeyError):
        tables.numbers("i386")
    with pytest.raises(UnsupportedHostError, match="riscv64"):
        compile_policy(policy(), "riscv64")


def test_families_and_errno_names():
    import socket

    for name in ("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_ALG", "AF_VSOCK", "AF_CAN", "AF_TIPC"):
        assert tables.FAMILIES[name] == getattr(socket, name)
    assert tables.FAMILIES["AF_XDP"] == 44
    assert tables.FAMILIES["AF_MCTP"] == 45
    assert [tables.errno_number(word) for word in ("EPERM", "ENOTSUP", "EWOULDBLOCK", 38)] == [1, 95, 11, 38]
    for word in ("EWHAT", "eperm", "errorcode", 0, -1, 4096, True, "__name__"):
        with pytest.raises(KeyError):
            tables.errno_number(word)
    assert tables.errno_name(1) == "EPERM"
    assert tables.errno_name(3999) == "3999"
    assert tables.nearest("moutn", ["mount", "read"]) == "did you mean 'mount'?"
    assert tables.nearest("zzz", ["mount"]) == ""


# groups


def test_every_system_call_belongs_to_one_group():
    """A later group would replace what an earlier one says about the call: `processes` does that to `clone`, on purpose."""
    owners: dict[str, set[str]] = {}
    for group in load_groups().values():
        for item in group.rules:
            for name in item.syscalls:
                owners.setdefault(name, set()).add(group.name)
    assert {name: found for name, found in owners.items() if len(found) > 1} == {"clone": {"threads", "processes"}}


def test_every_group_and_rule_says_why():
    for group in load_groups().values():
        assert group.why.strip()
        assert all(item.why.strip() and item.group == group.name for item in group.rules)


GROUP = 'name = "g"\nwhy = "because"\n\n[[rules]]\nsyscalls = ["read"]\naction = "allow"\nwhy = "because"\n'


@pytest.mark.parametrize(
    ("old", "new", "line", "path", "message"),
    [
        ('"read"', '"raed"', 5, "rules[0].syscalls", "unknown system call 'raed'; did you mean 'read'?"),
        ('["read"]', "[]", 5, "rules[0].syscalls", "list of names"),
        ('["read"]', "[3]", 5, "rules[0].syscalls", "unknown system call 3"),
        ('["read"]', "[[1]]", 5, "rules[0].syscalls", "unknown system call"),
        ('action = "allow"', 'action = "alow"', 6, "rules[0].action", "did you mean 'allow'?"),
        ("action =", "acton =", 6, "rules[0].acton", "unknown key; did you mean 'action'?"),
        ('action = "allow"', 'action = "errno"\nerrno = "EPREM"', 7, "rules[0].errno", "unknown errno 'EPREM'"),
        ('action = "allow"', 'action = "errno"\nerrno = 0', 7, "rules[0].errno", "unknown errno 0"),
        ('action = "allow"', 'action = "allow"\nerrno = "EPERM"', 7, "rules[0].errno", "goes only with"),
        ('action = "allow"\nwhy = "because"', 'action = "allow"', 4, "rules[0].why", "every rule says why"),
        ("[[rules]]", "[[ruls]]", 4, "ruls", "unknown key; did you mean 'rules'?"),
        ('name = "g"', 'name = "h"', 1, "name", "the group is called 'h', its file 'g'"),
        ('why = "because"\n\n', 'why = " "\n\n', 2, "why", "must be a text"),
        ('name = "g"', "name = 3", 1, "name", "must be a text"),
        (GROUP[GROUP.index("[[") :], "rules = []", 4, "rules", "must be a list of tables"),
        ('name = "g"', 'name = "g', 0, "", "cannot be read"),
    ],
)
def test_mistakes_in_a_group_are_named_with_their_place(tmp_path, old, new, line, path, message):
    file = tmp_path / "g.toml"
    file.write_text(GROUP.replace(old, new, 1))
    with pytest.raises(ProfileError) as caught:
        load_groups(tmp_path)
    assert message in str(caught.value)
    assert (caught.value.line, caught.value.path, caught.value.file) == (line, path, str(file))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("[{ index = 6, op = 'eq', value = 0 }]", "index is 0 to 5"),
        ("[{ index = 0, op = 'eq', value = -1 }]", "unsigned 64-bit"),
        ("[{ index = 0, op = '==', value = 0 }]", "none of eq"),
        ("[{ index = 0, op = 'eq', value = true }]", "value must be a number"),
        ("[{ index = 0, op = 'eq', value = 1, mask = 1 }]", "mask goes with masked_eq"),
        ("[{ index = 0, op = 'masked_eq', value = 1 }]", "mask goes with masked_eq"),
        ("[{ index = 0, op = 'masked_eq', value = 2, mask = 1 }]", "can never hold"),
        ("[{ index = 0, op = 'eq' }]", "a condition has"),
        ("[{ index = 0, op = 'eq', value = 0, values = 1 }]", "a condition has"),
        ("[1]", "a condition has"),
        ("3", "list of conditions"),
        ("[{ index = 0, op = 'eq', value = 0 }, { index = 0, op = 'ne', value = 1 }]", "compared twice"),
    ],
)
def test_mistakes_in_conditions(tmp_path, args, message):
    (tmp_path / "g.toml").write_text(GROUP + f"args = {args}\n")
    with pytest.raises(ProfileError, match=re.escape(message)) as caught:
        load_groups(tmp_path)
    assert caught.value.path == "rules[0].args"
    assert caught.value.line == 8


# rules and compiler


def test_a_later_layer_replaces_what_earlier_ones_say_about_a_call():
    given = policy(
        rule("kill", args=(condition(0, "eq", 1),)),
        rule("kill", action="errno", number=13, group="later"),
        rule("mount", group="later"),
        rule("mount", action="kill", group="last"),
    )
    assert ask(given, "kill", 1) == "errno EACCES"
    assert ask(given, "mount") == "notify"
    assert compile_policy(given, "x86_64").kill == (tables.numbers("x86_64")["mount"],)


def test_within_a_layer_refusals_come_first_whatever_the_order():
    rules = [
        rule("kill"),
        rule("kill", action="errno", number=13, args=(condition(1, "eq", 9),)),
        rule("kill", action="notify", args=(condition(1, "ge", 9),)),
        rule("kill", action="log", args=(condition(0, "eq", 1),)),
    ]
    for given in (policy(*rules), policy(*reversed(rules))):
        assert ask(given, "kill", 1, 9) == "errno EACCES"
        assert ask(given, "kill", 1, 10) == "notify"
        assert ask(given, "kill", 1, 8) == "log"
        assert ask(given, "kill", 2, 8) == "allow"


def test_allowed_only_under_a_condition():
    given = policy(
        rule("kill", args=(condition(0, "eq", 1),)),
        rule("kill", args=(condition(0, "eq", 2), condition(1, "ne", 9))),
        rule("tgkill", action="errno", number=1),
        rule("tgkill", args=(condition(0, "eq", 1),)),
        rule("mount", action="notify"),
        rule("mount", args=(condition(3, "masked_eq", 0x20, 0x20),)),
    )
    assert [ask(given, "kill", *args) for args in ((1, 9), (2, 8), (2, 9), (3, 8))] == ["allow", "allow", *["errno ENOSYS"] * 2]
    assert [ask(given, "tgkill", first) for first in (1, 2)] == ["allow", "errno EPERM"]
    assert [ask(given, "mount", 0, 0, 0, flags) for flags in (0x20, 0x21, 0x01)] == ["allow", "allow", "notify"]


def test_a_rule_equal_to_the_default_is_no_mistake():
    given = policy(rule("kill", action="errno", number=errno.ENOSYS), rule("tgkill", action="errno", number=errno.ENOSYS,
                   args=(condition(0, "eq", 1),)), rule("tgkill"))  # fmt: skip
    assert ask(given, "kill") == "errno ENOSYS"
    assert [ask(given, "tgkill", first) for first in (1, 2)] == ["errno ENOSYS", "allow"]


def test_two_not_equals_are_no_hole():
    """SF11: as alternatives, each of "not 38" and "not 40" lets the other through; as refusals they cannot."""
    given = policy(
        rule("socket"),
        *(rule("socket", action="errno", number=1, args=(condition(0, "masked_eq", family, 0xFFFFFFFF),)) for family in (38, 40)),
        families=tuple(tables.FAMILIES),
    )
    assert [ask(given, "socket", family) for family in (37, 38, 39, 40, 41)] == [
        "allow", "errno EPERM", "allow", "errno EPERM", "allow",
    ]  # fmt: skip


def test_without_reports_there_is_one_program():
    assert compile_policy(policy(rule("kill")), "x86_64").notify == b""


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([rule("kill"), rule("kill", action="errno", number=1)], "different things about 'kill'"),
        ([rule("kill", action="errno", number=1), rule("kill", action="errno", number=2)], "different things"),
        ([rule("kill", action="kill"), rule("kill", action="notify", args=(condition(0, "eq", 1),))], "both notified and killed"),
        ([rule("write", action="errno", number=1, group="later")], "does not allow 'write'"),
        ([rule("execve", action="notify", group="later")], "does not allow 'execve'"),
    ],
)
def test_contradictions_are_errors(rules, message):
    with pytest.raises(ProfileError, match=message):
        compile_policy(policy(*rules), "x86_64")


def test_equal_policies_are_compiled_once():
    first = compile_policy(resolve(load_chain("default")).seccomp, "x86_64")
    again = dataclasses.replace(resolve(load_chain("default")).seccomp)
    assert compile_policy(again, "x86_64") is first


@pytest.mark.parametrize("profile", ["default", "strict", "compile"])
@pytest.mark.parametrize("arch", tables.ARCHITECTURES)
def test_programs_are_small_and_well_formed(profile, arch):
    compiled = compile_policy(resolve(load_chain(profile)).seccomp, arch)
    for program in (compiled.main, compiled.notify):
        assert len(program) // 8 < 1024
        simulate.run(program, arch, 0)
        returned = {k & 0xFFFF0000 for code, _, _, k in struct.iter_unpack("=HBBI", program) if code == 0x06}
        assert returned <= {0x7FFF0000, 0x00050000, 0x7FC00000, 0x80000000}


# listings


def test_golden_listings_are_up_to_date():
    found = golden.difference(profiles_dir() / "golden", golden.listings())
    assert not found, f"review, then: python -m sandbox.policy.seccomp.golden --write\n{found[:4000]}"


def test_golden_differences_are_seen(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(golden, "listings", lambda: {"a.x86_64.txt": "read allow\n"})
    monkeypatch.setattr(golden, "profiles_dir", lambda: tmp_path)
    assert golden.main([]) == 1
    assert "+read allow" in capsys.readouterr().out
    assert golden.main(["--write"]) == 0
    assert golden.main([]) == 0
    (tmp_path / "golden" / "old.x86_64.txt").write_text("kill allow\n")
    assert golden.main([]) == 1
    assert golden.main(["--write"]) == 0
    assert os.listdir(tmp_path / "golden") == ["a.x86_64.txt"]
    assert golden.main(["--what"]) == 2


def test_a_listing_shows_every_decision_in_order_of_effect():
    given = policy(rule("kill"), rule("kill", action="errno", number=13, args=(condition(1, "masked_eq", 9, 0xFF),)),
                   rule("mount", args=(condition(0, "ge", 1),)), families=("AF_INET6", "AF_UNIX"))  # fmt: skip
    text = listing(given, "x86_64")
    assert "# families of socket and socketpair: AF_UNIX, AF_INET6; any other: errno EAFNOSUPPORT" in text
    kills = [line.split("  ", 2)[-1] for line in text.splitlines() if line.startswith("kill ")]
    assert "errno EACCES" in kills[0]
    assert "if arg1 & 0xff == 0x9" in kills[0]
    assert "otherwise" in kills[1]
    mounts = [line for line in text.splitlines() if line.startswith("mount ")]
    assert "if arg0 >= 0x1" in mounts[0]
    assert mounts[1].split()[2:] == ["errno", "ENOSYS", "otherwise"]
    assert listing(given, "aarch64") != text


# simulator


def program(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("=HBBI", *item) for item in instructions)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (b"", "1 to 4096"),
        (b"1234567", "1 to 4096"),
        (program((0x06, 0, 0, 0)) * 4097, "1 to 4096"),
        (program((0x28, 0, 0, 0), (0x06, 0, 0, 0)), "not allowed"),
        (program((0x15, 1, 0, 0), (0x06, 0, 0, 0)), "past the end"),
        (program((0x05, 0, 0, 9), (0x06, 0, 0, 0)), "past the end"),
        (program((0x20, 0, 0, 2), (0x06, 0, 0, 0)), "offset 2"),
        (program((0x20, 0, 0, 64), (0x06, 0, 0, 0)), "offset 64"),
        (program((0x02, 0, 0, 16), (0x06, 0, 0, 0)), "16 words"),
        (program((0x34, 0, 0, 0), (0x06, 0, 0, 0)), "divide"),
        (program((0x00, 0, 0, 0)), "no return"),
    ],
)
def test_programs_that_the_kernel_would_refuse(code, message):
    with pytest.raises(ValueError, match=message):
        simulate.run(code, "x86_64", 0)


@pytest.mark.parametrize(
    ("steps", "result"),
    [
        ([(0x00, 0, 0, 7), (0x14, 0, 0, 8)], 0xFFFFFFFF),
        ([(0x00, 0, 0, 7), (0x24, 0, 0, 6)], 42),
        ([(0x00, 0, 0, 7), (0x34, 0, 0, 2)], 3),
        ([(0x00, 0, 0, 7), (0x54, 0, 0, 5), (0x44, 0, 0, 8), (0xA4, 0, 0, 1)], 12),
        ([(0x00, 0, 0, 1), (0x64, 0, 0, 31), (0x74, 0, 0, 30)], 2),
        ([(0x00, 0, 0, 1), (0x84, 0, 0, 0)], 0xFFFFFFFF),
        ([(0x01, 0, 0, 5), (0x00, 0, 0, 3), (0x0C, 0, 0, 0)], 8),
        ([(0x00, 0, 0, 9), (0x02, 0, 0, 3), (0x00, 0, 0, 0), (0x61, 0, 0, 3), (0x87, 0, 0, 0)], 9),
        ([(0x80, 0, 0, 0), (0x07, 0, 0, 0), (0x03, 0, 0, 15), (0x60, 0, 0, 15)], 64),
        ([(0x00, 0, 0, 4), (0x45, 1, 0, 4), (0x00, 0, 0, 0), (0x25, 0, 1, 3), (0x00, 0, 0, 1)], 1),
        ([(0x00, 0, 0, 4), (0x35, 0, 1, 5), (0x00, 0, 0, 9), (0x05, 0, 0, 1), (0x00, 0, 0, 9)], 4),
        ([(0x20, 0, 0, 16), (0x07, 0, 0, 0), (0x20, 0, 0, 20), (0x1D, 1, 0, 0), (0x00, 0, 0, 7)], 7),
    ],
)
def test_instructions(steps, result):
    code = program(*steps, (0x15, 0, 1, result), (0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x80000000))
    assert simulate.run(code, "x86_64", 1, [1 << 33]) == Verdict("allow")


def test_the_stricter_answer_counts():
    order = [0x80000000, 0, 0x00030000, 0x00050001, 0x7FC00000, 0x7FF00000, 0x7FFC0000, 0x7FFF0000]
    for strict, left in enumerate(order):
        for loose in order[strict:]:
            for pair in ((left, loose), (loose, left)):
                main, notify = (program((0x06, 0, 0, value)) for value in pair)
                both = dataclasses.asdict(verdict(simulate_filters(main, notify), "x86_64", 0))
                assert both["action"] == simulate.ACTIONS[left & 0xFFFF0000]


def simulate_filters(main: bytes, notify: bytes):
    from sandbox.model.plan import Filters

    return Filters(main=main, notify=notify, kill=(), names=())
