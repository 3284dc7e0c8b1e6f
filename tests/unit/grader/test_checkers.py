"""The built-in checkers: what is right, where the first difference is, and that size does not matter."""

from __future__ import annotations

import re
import time

import pytest

from sandbox.grader import checkers
from sandbox.model.errors import RequestError
from tests.support.clock import seconds

MIB = 1 << 20


def right(name, output, answer, *arguments):
    return checkers.check(name, output, answer, arguments)[0]


@pytest.mark.parametrize(
    ("output", "answer", "flags", "good"),
    [
        (b"a b\nc", b"a  b c\n", (), True),
        (b"YES\n", b"yes\n", (), True),
        (b"YES\n", b"yes\n", ("case_sensitive",), False),
        (b"\xc3\x84\n", b"\xc3\xa4\n", (), False),  # letters beyond ASCII have no case
        (b"", b"\n", (), True),
        (b"1", b"1 2", (), False),
        (b"1 2 3", b"1 2", (), False),
        (b"1.0", b"1", (), False),
        (b"a b\n", b"a b\n", ("space_change_sensitive",), True),
        (b"a  b\n", b"a b\n", ("space_change_sensitive",), False),
        (b"a b", b"a b\n", ("space_change_sensitive",), False),
        (b" a b\n", b"a b\n", ("space_change_sensitive",), False),
        (b"a b\n\n", b"a b\n", ("space_change_sensitive",), False),
        (b"A b\n", b"a b\n", ("space_change_sensitive",), True),
        (b"1.0\t2\n", b"1 2\n", ("space_change_sensitive", "float_tolerance", "0"), False),
        (b"1.0 2\n", b"1 2\n", ("space_change_sensitive", "float_tolerance", "0"), True),
        (b"3.14000000e-2", b"0.0314", ("float_tolerance", "1e-9"), True),
        (b"1.0", b"1", ("float_tolerance", "0"), True),
        (b"100.9", b"100", ("float_relative_tolerance", "0.01"), True),
        (b"101.1", b"100", ("float_relative_tolerance", "0.01"), False),
        (b"0.005", b"0", ("float_relative_tolerance", "0.01"), False),
        (b"0.005", b"0", ("float_tolerance", "0.01"), True),
        (b"100.9", b"100", ("float_absolute_tolerance", "0.01"), False),
        (b"100.9", b"100", ("float_absolute_tolerance", "0.01", "float_relative_tolerance", "0.01"), True),
        (b"-0", b"0", ("float_absolute_tolerance", "0"), True),
        (b"0x10", b"16", ("float_tolerance", "0"), True),
        (b"nan", b"1", ("float_tolerance", "1e9"), False),
        (b"inf", b"1", ("float_tolerance", "1"), False),
        (b"1e999", b"1", ("float_tolerance", "1"), False),
        (b"1_0", b"10", ("float_tolerance", "1"), False),
        (b"1,0", b"1", ("float_tolerance", "1"), False),
        (b"1.0abc", b"1", ("float_tolerance", "1"), False),
        (b"NaN", b"nan", ("float_tolerance", "1"), True),
        (b"Infinity", b"inf", ("float_tolerance", "1"), False),
        (b"Case", b"case", ("float_tolerance", "1"), True),
        (b"Case", b"case", ("float_tolerance", "1", "case_sensitive"), False),
        (b"1e0", b"1e0", ("float_tolerance", "1", "case_sensitive"), True),
    ],
)
def test_the_default_checker(output, answer, flags, good):
    assert right("default", output, answer, *flags) is good


@pytest.mark.parametrize(
    ("name", "arguments", "output", "answer", "good"),
    [
        ("exact", (), b"a\n", b"a\n", True),
        ("exact", (), b"a", b"a\n", False),
        ("lines", (), b"a \nb\n\n\n", b"a\nb", True),
        ("lines", (), b"\na\nb", b"a\nb", False),
        ("lines", (), b"a  b", b"a b", False),
        ("unordered", (), b"3 1\n2 1", b"1 1 2 3", True),
        ("unordered", (), b"3 1 2 2", b"1 1 2 3", False),
        ("unordered_lines", (), b"b  c\na\n", b"a\n\nb c\n", True),
        ("unordered_lines", (), b"c b\na\n", b"a\nb c\n", False),
        ("standard", (), b"\n a  b \n\nc", b"a b\nc\n", True),
        ("standard", (), b"a b c", b"a b\nc\n", False),
        ("standard", (), b"a\r\nb", b"a\nb", True),
        ("standard", (), b"A", b"a", False),
        ("standard", (), b"ab", b"a b", False),
        ("standard", (), b"", b" \n", True),
        ("identical", (), b"a \n", b"a\n", False),
        ("identical", ("pe_allowed=True",), b"a\n", b"a\n", True),
        ("sorted", (), b"2 1\n1 2\n", b"1 2\n2 1\n", True),
        ("sorted", (), b"1 2\n1 2\n", b"1 2\n2 1\n", False),
        ("sorted", ("split_on=whitespace",), b"1 2\n1 2\n", b"1 2\n2 1\n", True),
        ("floats", (), b"x 1.0000001\n\n", b"\nx 1\n", True),
        ("floats", (), b"1\n2", b"1 2", False),
        ("floats", ("precision=2",), b"1.009", b"1", True),
        ("floats", ("precision=2",), b"100.9", b"100", True),
        ("floats", ("precision=2", "error_mode=absolute"), b"100.9", b"100", False),
        ("floats", ("precision=2", "error_mode=relative"), b"0.001", b"0", False),
        ("floats", (), b"x", b"X", False),
        ("floatsabs", ("precision=2",), b"100.9", b"100", False),
        ("floatsabs", ("precision=2",), b"0.009", b"0", True),
        ("floatsrel", ("precision=2",), b"100.9", b"100", True),
        ("floatsrel", ("precision=2",), b"0.009", b"0", False),
        ("linecount", (), b" a \nb\n", b"a\n\nb\n", True),
        ("linecount", (), b"a\nx\n", b"a\nb\n", False),
        ("linematches", ("point_distribution=[1, 3]",), b"a\nx\n", b"a\nb\n", True),
        ("linematches", ("point_distribution=[1, 3]",), b"a\n", b"a\nb\n", False),
        ("linematches", ("point_distribution=[1, 3]", "filler_lines_required=False"), b"a\n", b"a\nb\n", True),
        ("rstripped", (), b"a \nb\n", b"a\nb\n", True),
        ("rstripped", (), b"a\nb\n\n", b"a\nb\n", False),
        ("rstripped", ("filter_new_line=True",), b"a\n\nb\n\n", b"a\nb\n", True),
        ("easy", (), b"c B\na", b"ABC", True),
        ("easy", (), b"aab", b"abb", False),
    ],
)
def test_the_others(name, arguments, output, answer, good):
    assert right(name, output, answer, *arguments) is good


@pytest.mark.parametrize(
    ("name", "arguments", "output", "answer", "message"),
    [
        ("default", (), b"1 2\n 4\n", b"1 2\n3\n", "line 2, column 2: expected '3', got '4'"),
        ("default", (), b"1\n", b"1 2\n", "the output ends after 1 tokens: expected '2', token 2 of 2"),
        ("default", (), b"1\n2\n", b"1\n", "line 2, column 1: expected the end of the output, got '2'"),
        (
            "default",
            ("float_tolerance", "1e-3"),
            b"1.1",
            b"1",
            "line 1, column 1: expected '1', got '1.1' (the difference of 0.1 is too large)",
        ),
        ("default", ("float_tolerance", "1"), b"x", b"1", "line 1, column 1: expected '1', got 'x' (a number is expected)"),
        (
            "default",
            ("space_change_sensitive",),
            b"a  b",
            b"a b",
            "line 1, column 2: expected ' ', got '  ' (the white space differs)",
        ),
        ("default", (), b"x" * 100, b"y", f"line 1, column 1: expected 'y', got '{'x' * 60}'…"),
        ("exact", (), b"ab\ncx\n", b"ab\ncd\n", "line 2, column 2: expected 'd', got 'x'"),
        ("exact", (), b"ab", b"ab\n", "line 1, column 3: expected '\\n', got the end"),
        ("exact", (), b"ab\nc", b"ab\n", "line 2, column 1: expected the end, got 'c'"),
        ("lines", (), b"a\nb\nx", b"a\nb\nc", "line 3, column 1: expected 'c', got 'x'"),
        ("lines", (), b"a", b"a\nb", "the output has 1 lines, 2 are expected"),
        ("unordered", (), b"1 5", b"1 2", "token 2: '5' is not expected"),
        ("unordered", (), b"1 1 2", b"1 2 3", "token 1: '1' is not expected more than 1 times"),
        ("unordered", (), b"1", b"1 2", "the token '2' is missing"),
        ("standard", (), b"a b", b"a\nb", "after token 1: expected a new line, got a space"),
        ("standard", (), b"\n\na\nc", b"a\nb", "line 4, column 1: expected 'b', got 'c'"),
        (
            "floats",
            (),
            b"\n1 2\n1 x",
            b"1 2\n1 3",
            "line 2 of those that are not empty: expected '3', got 'x' (a number is expected)",
        ),
        ("linecount", (), b"a", b"a\nb", "1 of 2 lines are right"),
        ("easy", (), b"aa", b"a", "'a' is there 2 times, expected 1 times"),
    ],
)
def test_the_message_names_the_first_difference(name, arguments, output, answer, message):
    assert checkers.check(name, output, answer, arguments) == (False, message)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("nothing", (), "no checker 'nothing'; there are default, exact"),
        ("default", ("sensitive",), "no flag 'sensitive'"),
        ("default", ("float_tolerance",), "float_tolerance needs a number"),
        ("default", ("float_tolerance", "x"), "float_tolerance needs a number"),
        ("default", ("float_tolerance", "-1"), "float_tolerance needs a number"),
        ("default", ("float_tolerance", "nan"), "float_tolerance needs a number"),
        ("floats", ("precision=x",), "precision cannot be 'x'"),
        ("floats", ("tolerance=1",), "no argument 'tolerance'; it knows precision"),
        ("linecount", ("match=lambda p, j: True",), "no argument 'match'"),
        ("easy", ("x=1",), "it takes none"),
    ],
)
def test_what_a_checker_does_not_know_is_refused_before_any_run(name, arguments, message):
    with pytest.raises(RequestError, match=re.escape(message)):
        checkers.validate(name, arguments)


def test_every_checker_says_that_an_answer_is_right():
    for name in checkers.names():
        arguments = ("point_distribution=1,1",) if name == "linematches" else ()
        assert checkers.check(name, b"a 1\nb 2\n", b"a 1\nb 2\n", arguments) == (True, ""), name
        assert checkers.check(name, b"a 1\nb 3\n", b"a 1\nb 2\n", arguments)[0] is (name == "linematches"), name


def test_points_for_a_part_of_the_lines():
    assert checkers.part("linecount", b"a\nx\nc\nx\n", b"a\nb\nc\nd\n") == 0.5
    assert checkers.part("linecount", b"a\nb\nc\n", b"a\nb\n") == 0
    assert checkers.part("linematches", b"a\nx\n", b"a\nb\n", ("point_distribution=[1, 3]",)) == 0.25
    assert (checkers.part("default", b"1", b"1"), checkers.part("default", b"2", b"1")) == (1, 0)


def test_a_distribution_that_does_not_fit_is_the_judges_mistake():
    with pytest.raises(RequestError, match="3 lines, point_distribution has 1"):
        checkers.check("linematches", b"a", b"a\nb\nc\n")


BIG = {
    "spaces": (b" " * (8 * MIB), b" " * (8 * MIB - 1) + b"\n"),
    "one token": (b"a" * (8 * MIB), b"a" * (8 * MIB - 1) + b"b"),
    "one digit": (b"1" * (8 * MIB), b"1" * (8 * MIB - 1) + b"2"),
    "lines": (b"1\n" * (4 * MIB), b"1\n" * (4 * MIB - 1) + b"2\n"),
    "empty lines": (b"\n" * (8 * MIB), b"\n" * (8 * MIB - 1) + b"1"),
    "spaces and breaks": (b"a" + b" \r" * (4 * MIB) + b"b", b"a" + b" " * (8 * MIB) + b"b"),
    "quotes": (b"\"'\\" * (2 * MIB), b"\"'\\" * (2 * MIB) + b"x"),
}


@pytest.mark.parametrize(
    "name",
    [
        "default",
        "exact",
        "lines",
        "unordered",
        "unordered_lines",
        "standard",
        "floats",
        "sorted",
        "linecount",
        "rstripped",
        "easy",
    ],
)
@pytest.mark.parametrize("kind", ["one token", "lines"])
def test_eight_megabytes_are_compared_in_no_time(name, kind):
    output, answer = BIG[kind]
    begun = time.thread_time()

    checkers.check(name, output, answer)

    assert time.thread_time() - begun < seconds(8)


@pytest.mark.parametrize("kind", ["spaces and breaks", "spaces"])
def test_white_space_is_skipped_in_no_time(kind):
    begun = time.thread_time()

    checkers.check("standard", *BIG[kind])

    assert time.thread_time() - begun < seconds(8)


@pytest.mark.parametrize("kind", BIG)
@pytest.mark.parametrize("flags", [("float_tolerance", "1e-6"), ("space_change_sensitive", "float_tolerance", "1e-6")])
def test_flags_do_not_make_it_slow(kind, flags):
    output, answer = BIG[kind]
    begun = time.thread_time()

    checkers.check("default", output, answer, flags)

    assert time.thread_time() - begun < seconds(12)
