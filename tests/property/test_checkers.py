"""The default checker beside a plain reading of its rules, byte by byte, as the reference implementation has them."""

from __future__ import annotations

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from sandbox.grader import checkers

SPACES = b" \t\n\v\f\r"
TEXT = st.lists(
    st.sampled_from([b" ", b"\n", b"\t", b"a", b"A", b"b", b"1", b"1.0", b"1.05", b"-0", b"0", b"1e2", b"100", b"nan", b"0x1"])
).map(b"".join)
FLAGS = st.tuples(
    st.sampled_from([(), ("case_sensitive",)]),
    st.sampled_from([(), ("space_change_sensitive",)]),
    st.sampled_from([(), ("float_tolerance", "0.1"), ("float_absolute_tolerance", "0"), ("float_relative_tolerance", "0.01")]),
).map(lambda parts: parts[0] + parts[1] + parts[2])


def number(token):
    """What C's strtod makes of the whole token, if that is finite."""
    try:
        value = float.fromhex(token.decode()) if b"x" in token.lower() else float(token)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def reference(output, answer, flags):
    spaces = "space_change_sensitive" in flags
    absolute = relative = -1.0
    for name, value in itertools.pairwise(flags):
        if name in ("float_tolerance", "float_absolute_tolerance"):
            absolute = float(value)
        if name in ("float_tolerance", "float_relative_tolerance"):
            relative = float(value)
    out = answer_at = 0

    def token(data, at):
        end = at
        while end < len(data) and data[end] not in SPACES:
            end += 1
        return data[at:end], end

    while True:
        while answer_at < len(answer) and answer[answer_at] in SPACES:
            if spaces:
                if output[out : out + 1] != answer[answer_at : answer_at + 1]:
                    return False
                out += 1
            answer_at += 1
        while out < len(output) and output[out] in SPACES:
            if spaces:
                return False
            out += 1
        if answer_at == len(answer):
            return out == len(output)
        if out == len(output):
            return False
        expected, answer_at = token(answer, answer_at)
        got, out = token(output, out)
        wanted = number(expected)
        if (absolute >= 0 or relative >= 0) and wanted is not None:
            found = number(got)
            if found is None:
                return False
            if not abs(wanted - found) <= absolute and not abs(wanted - found) <= relative * abs(wanted):
                return False
        elif (got != expected) if "case_sensitive" in flags else (got.lower() != expected.lower()):
            return False


@given(TEXT, TEXT, FLAGS)
def test_the_default_checker_is_its_reference(output, answer, flags):
    assert checkers.check("default", output, answer, flags)[0] is reference(output, answer, flags)


@given(TEXT, FLAGS, st.data())
def test_one_change_is_judged_alike(answer, flags, data):
    at = data.draw(st.integers(0, len(answer)))
    output = (
        answer[:at] + data.draw(st.sampled_from([b"", b" ", b"\n", b"A", b"0"])) + answer[at + data.draw(st.integers(0, 1)) :]
    )

    assert checkers.check("default", output, answer, flags)[0] is reference(output, answer, flags)


@given(st.binary(max_size=60), st.binary(max_size=60), st.sampled_from(checkers.names()))
def test_no_bytes_break_a_checker_and_wrong_is_explained(output, answer, name):
    if name == "linematches":
        return
    right, message = checkers.check(name, output, answer)

    assert right is (message == "")
    assert "\n" not in message
    assert len(message) < 600
    assert checkers.check(name, output, output) == (True, "")
