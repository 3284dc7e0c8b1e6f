"""Any policy: the compiled program says what the rules say, and an exported profile says the same."""

from __future__ import annotations

import errno

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from sandbox.model.errors import ProfileError
from sandbox.model.policy import ArgCondition, SeccompPolicy, SeccompRule
from sandbox.policy.seccomp import answers, cubes, rules, tables
from sandbox.policy.seccomp.compile import compile_alone, compile_policy
from sandbox.policy.seccomp.oci import export_oci, import_oci
from sandbox.policy.seccomp.rules import NEEDED
from sandbox.policy.seccomp.simulate import Verdict, run, verdict
from tests.support.filtered import FULL, expected, holds

ARCH = "x86_64"
CALLS = ("kill", "socket", "socketpair", "ioctl", "mount")
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])

values = st.one_of(
    st.integers(0, 12), st.integers(0, FULL), st.sampled_from([FULL, 1 << 31, 1 << 32, (1 << 32) - 1, 1 << 63, 0x5412, 40])
)
masks = st.one_of(st.sampled_from([0xF, 0xFF, 0xFFFFFFFF, FULL, 1 << 40]), st.integers(1, FULL))


@st.composite
def conditions(draw: st.DrawFn, index: int | None = None) -> ArgCondition:
    place = draw(st.integers(0, 5)) if index is None else index
    op = draw(st.sampled_from(["eq", "ne", "lt", "le", "gt", "ge", "masked_eq"]))
    value, mask = draw(values), draw(masks) if op == "masked_eq" else 0
    return ArgCondition(index=place, op=op, value=value & mask if op == "masked_eq" else value, mask=mask)  # type: ignore[arg-type]


@st.composite
def seccomp_rules(draw: st.DrawFn) -> SeccompRule:
    action = draw(st.sampled_from(["allow", "errno", "errno", "notify", "log", "kill"]))
    places = draw(st.lists(st.integers(0, 2), max_size=2, unique=True))
    return SeccompRule(
        syscalls=tuple(draw(st.lists(st.sampled_from(CALLS), min_size=1, max_size=3, unique=True))),
        action=action,  # type: ignore[arg-type]
        errno=draw(st.sampled_from([errno.EPERM, errno.EACCES, errno.ENOSYS])) if action == "errno" else 0,
        args=tuple(draw(conditions(place)) for place in places),
        group=draw(st.sampled_from(["first", "first", "second"])),
        why="x",
    )


@st.composite
def policies(draw: st.DrawFn) -> SeccompPolicy:
    needed = SeccompRule(syscalls=NEEDED, action="allow", errno=0, args=(), group="start", why="x")
    chosen = sorted(draw(st.lists(seccomp_rules(), min_size=1, max_size=9)), key=lambda rule: rule.group)
    return SeccompPolicy(
        default_errno=draw(st.sampled_from([errno.ENOSYS, errno.EPERM])),
        rules=(needed, *chosen),
        socket_families=tuple(draw(st.lists(st.sampled_from(sorted(tables.FAMILIES)), max_size=4, unique=True))),
    )


def vectors(policy: SeccompPolicy, extra: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The random arguments, and some at the values that the rules compare with."""
    near = [(item.index, item.value) for rule in policy.rules for item in rule.args]
    base = extra[0] if extra else (0,) * 6
    found = list(extra)
    for index, value in near:
        near_it = (value, value + 1, value - 1, value ^ 1 << 32)
        found += [tuple(moved & FULL if at == index else base[at] for at in range(6)) for moved in near_it]
    return found


def consistent(policy: SeccompPolicy) -> bool:
    try:
        rules.decisions(policy)
    except ProfileError:
        return False
    return True


arguments = st.lists(st.tuples(*[values] * 6), min_size=1, max_size=4)


@FEW
@given(policies().filter(consistent), arguments)
def test_the_program_says_what_the_rules_say(policy: SeccompPolicy, given_arguments: list[tuple[int, ...]]) -> None:
    compiled = compile_policy(policy, ARCH)
    for name in CALLS:
        for args in vectors(policy, given_arguments):
            assert verdict(compiled, ARCH, tables.numbers(ARCH)[name], args) == expected(policy, name, args), (name, args)


@FEW
@given(policies().filter(consistent), arguments)
def test_a_program_alone_refuses_what_would_be_reported(policy: SeccompPolicy, given_arguments: list[tuple[int, ...]]) -> None:
    compiled, alone = compile_policy(policy, ARCH), compile_alone(policy, ARCH)
    for name in CALLS:
        number = tables.numbers(ARCH)[name]
        for args in vectors(policy, given_arguments):
            answer = verdict(compiled, ARCH, number, args)
            if answer.action == "notify":
                answer = Verdict("kill_process") if number in compiled.kill else Verdict("errno", errno.EPERM)
            assert run(alone, ARCH, number, args) == answer, (name, args)


@FEW
@given(policies().filter(consistent), arguments)
def test_an_answer_names_the_rule_that_decides(policy: SeccompPolicy, given_arguments: list[tuple[int, ...]]) -> None:
    for name in CALLS:
        for args in vectors(policy, given_arguments):
            found = answers.answer(policy, ARCH, name, args)
            if found.rule is None:
                assert found.action == "errno"
            else:
                assert (found.action, found.errno) == (found.rule.action, tables.errno_name(found.rule.errno) * bool(found.errno))


@FEW
@given(policies().filter(consistent), arguments)
def test_export_and_import_keep_what_the_payload_sees(policy: SeccompPolicy, given_arguments: list[tuple[int, ...]]) -> None:
    try:
        back = compile_policy(import_oci(export_oci(policy), ARCH), ARCH)
    except ProfileError:  # ranges of several arguments: refused, never wrong
        event("too large")
        return
    before = compile_policy(policy, ARCH)
    for name in CALLS:
        number = tables.numbers(ARCH)[name]
        for args in vectors(policy, given_arguments):
            left, right = verdict(before, ARCH, number, args), verdict(back, ARCH, number, args)
            if left.action == "notify" and number not in before.kill:
                left = Verdict("errno", errno.EPERM)
            assert left == right, (name, [hex(value) for value in args])


@given(conditions(), st.tuples(*[values] * 6))
def test_cubes_hold_the_values_of_a_condition(condition: ArgCondition, args: tuple[int, ...]) -> None:
    found = cubes.cubes(condition)
    for value in (args[condition.index], condition.value, condition.value + 1 & FULL, condition.value - 1 & FULL):
        matching = [cube for cube in found if value & cube[0] == cube[1]]
        vector = [value] * 6
        assert len(matching) == holds(condition, vector)


def as_bits(item: ArgCondition) -> ArgCondition:
    """A comparison of two bits: few enough regions."""
    return ArgCondition(index=item.index, op="masked_eq", value=item.value & 3, mask=3)


@given(st.lists(st.lists(conditions(), max_size=2), max_size=4), st.tuples(*[values] * 6))
def test_a_partition_covers_everything_once(listed: list[list[ArgCondition]], args: tuple[int, ...]) -> None:
    small = [[as_bits(item) for item in choice] for choice in listed]
    ordered = [(cubes.regions(choice), index) for index, choice in enumerate(small)]
    wanted = next((index for index, choice in enumerate(small) if all(holds(item, args) for item in choice)), -1)
    matching = [
        decision
        for region, decision in cubes.partition(ordered, -1)
        if all(args[index] & mask == value for index, (mask, value) in region.items())
    ]
    assert matching == [wanted]
