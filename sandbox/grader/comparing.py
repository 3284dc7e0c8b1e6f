"""Comparing an output with an answer: where they first differ, in words. Pure, and linear in their size."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# What C's strtod takes, but for infinities and NaN, which are compared as text.
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_HEX = re.compile(rb"[+-]?0[xX]([\da-fA-F]+\.?[\da-fA-F]*|\.[\da-fA-F]+)([pP][+-]?\d+)?")
_PIECE = re.compile(rb"\s+|\S+")
_TOKEN = re.compile(rb"\S+")
_BREAK = re.compile(rb"[\r\n]")
_SHOWN = 60
_LONG_NUMBER = 4096

Same = Callable[[bytes, bytes], str]  # (got, expected) → why they are not equal, "" when they are


@dataclass(frozen=True, slots=True)
class Checked:
    """What a checker found: what is wrong ("": nothing), and the part of the points that it is worth."""

    message: str = ""
    part: float = 1.0


def wrong(message: str) -> Checked:
    """Not right, and worth nothing."""
    return Checked(message, 0.0)


def finite(token: bytes) -> float | None:
    """The number that a token is for C's strtod; None for everything else, infinities and NaN too."""
    if len(token) > _LONG_NUMBER:
        return None
    if _NUMBER.fullmatch(token):
        value = float(token)
    elif _HEX.fullmatch(token):
        try:
            value = float.fromhex(token.decode())
        except OverflowError:
            return None
    else:
        return None
    return value if math.isfinite(value) else None


def exact(output: bytes, answer: bytes) -> Checked:
    """Byte for byte."""
    if output == answer:
        return Checked()
    at = _first_difference(output, answer)
    return wrong(f"{_place(output, at)}: expected {_rest(answer, at)}, got {_rest(output, at)}")


def tokens(output: bytes, answer: bytes, same: Same) -> Checked:
    """Token by token, whatever the white space between them."""
    got, expected = output.split(), answer.split()
    found = _difference(got, expected, same)
    if found is None:
        return Checked()
    index, why = found
    return _token_message(output, got, expected, index, why)


def pieces(output: bytes, answer: bytes, same: Same) -> Checked:
    """Token by token, and the white space before, between and after them byte for byte."""
    got, expected = _PIECE.findall(output), _PIECE.findall(answer)

    def same_piece(one: bytes, other: bytes) -> str:
        if one[:1].isspace() or other[:1].isspace():
            return "the white space differs"
        return same(one, other)

    found = _difference(got, expected, same_piece)
    if found is None:
        return Checked()
    index, why = found
    at = sum(map(len, got[:index]))
    wanted = show(expected[index]) if index < len(expected) else "the end of the output"
    seen = show(got[index]) if index < len(got) else "the end of the output"
    return wrong(f"{_place(output, at)}: expected {wanted}, got {seen}{f' ({why})' if why else ''}")


def standard(output: bytes, answer: bytes) -> Checked:
    """DMOJ's default: tokens, and whether a line break or only space is between two of them."""

    def normal(data: bytes) -> list[bytes]:
        return [b"\n" if _BREAK.search(item) else b" " if item.isspace() else item for item in _PIECE.findall(data.strip())]

    got, expected = normal(output), normal(answer)
    found = _difference(got, expected, lambda *_: "they differ")
    if found is None:
        return Checked()
    index, _ = found
    token = (index + 1) // 2
    if index % 2:
        kinds = {b"\n": "a new line", b" ": "a space", b"": "the end of the output"}
        wanted, seen = (kinds[item[index] if index < len(item) else b""] for item in (expected, got))
        return wrong(f"after token {token}: expected {wanted}, got {seen}")
    return _token_message(output, got[::2], expected[::2], token, "")


def tokens_of_lines(output: bytes, answer: bytes, same: Same) -> Checked:
    """Token by token, each line for itself; empty lines do not count."""
    got, expected = filled_lines(output), filled_lines(answer)
    for number, (line, wanted) in enumerate(zip(got, expected, strict=False), 1):
        if line == wanted:
            continue
        mine, theirs = line.split(), wanted.split()
        found = _difference(mine, theirs, same)
        if found is not None:
            inner = _token_message(line, mine, theirs, *found).message.partition(": ")[2]
            return wrong(f"line {number} of those that are not empty: {inner}")
    if len(got) != len(expected):
        return wrong(f"the output has {len(got)} lines, {len(expected)} are expected")
    return Checked()


def lines(output: bytes, answer: bytes) -> Checked:
    """Line by line, without white space at the end of lines and without empty lines at the end."""
    return _compare_lines(_without_last(_stripped(output)), _without_last(_stripped(answer)))


def stripped_lines(output: bytes, answer: bytes, *, without_empty: bool) -> Checked:
    """DMOJ's rstripped: line by line without white space at their ends; as many lines, empty ones too."""
    got, expected = output.split(b"\n"), answer.split(b"\n")
    if without_empty:
        got, expected = [line for line in got if line], [line for line in expected if line]
    return _compare_lines([line.rstrip() for line in got], [line.rstrip() for line in expected])


def unordered_tokens(output: bytes, answer: bytes) -> Checked:
    """The same tokens, each as often, in any order."""
    got, expected = output.split(), answer.split()
    return _compare_unordered(got, expected, "token")


def unordered_lines(output: bytes, answer: bytes) -> Checked:
    """The same lines in any order; empty ones and the amount of white space do not count."""
    got, expected = ([b" ".join(line.split()) for line in filled_lines(data)] for data in (output, answer))
    return _compare_unordered(got, expected, "line")


def same_letters(output: bytes, answer: bytes) -> Checked:
    """DMOJ's easy: the same characters, each as often; case, order and white space do not count."""
    got, expected = (Counter(data.translate(None, b" \t\n\r\v\f").lower()) for data in (output, answer))
    for byte in sorted(got | expected):
        if got[byte] != expected[byte]:
            return wrong(f"{show(bytes([byte]))} is there {got[byte]} times, expected {expected[byte]} times")
    return Checked()


def filled_lines(data: bytes) -> list[bytes]:
    """The lines that are not empty, as DMOJ splits them."""
    return [line for line in _BREAK.split(data) if line]


def show(data: bytes) -> str:
    """Bytes for people, cut short."""
    text = data[: _SHOWN + 1].decode("utf-8", "replace")
    return repr(text[:_SHOWN]) + ("…" if len(data) > _SHOWN else "")


def _difference(got: Sequence[bytes], expected: Sequence[bytes], same: Same) -> tuple[int, str] | None:
    """(index of the first difference, why); None when there is none."""
    if got == expected:
        return None
    for index, (one, other) in enumerate(zip(got, expected, strict=False)):
        if one != other and (why := same(one, other)):
            return index, "" if why == "they differ" else why
    return None if len(got) == len(expected) else (min(len(got), len(expected)), "")


def _token_message(output: bytes, got: Sequence[bytes], expected: Sequence[bytes], index: int, why: str) -> Checked:
    if index >= len(got):
        return wrong(
            f"the output ends after {len(got)} tokens: expected {show(expected[index])}, token {index + 1} of {len(expected)}"
        )
    start = next(itertools.islice(_TOKEN.finditer(output), index, None)).start()
    wanted = show(expected[index]) if index < len(expected) else "the end of the output"
    return wrong(f"{_place(output, start)}: expected {wanted}, got {show(got[index])}{f' ({why})' if why else ''}")


def _compare_lines(got: Sequence[bytes], expected: Sequence[bytes]) -> Checked:
    if got == expected:
        return Checked()
    for number, (line, wanted) in enumerate(zip(got, expected, strict=False), 1):
        if line != wanted:
            at = _first_difference(line, wanted)
            return wrong(f"line {number}, column {at + 1}: expected {_rest(wanted, at)}, got {_rest(line, at)}")
    return wrong(f"the output has {len(got)} lines, {len(expected)} are expected")


def _compare_unordered(got: Sequence[bytes], expected: Sequence[bytes], what: str) -> Checked:
    surplus = Counter(got)
    surplus.subtract(Counter(expected))
    for number, item in enumerate(got, 1):
        if surplus[item] > 0:
            return wrong(f"{what} {number}: {show(item)} is not expected{_so_often(expected.count(item))}")
    for item in expected:
        if surplus[item] < 0:
            return wrong(f"the {what} {show(item)} is missing{_so_often(got.count(item))}")
    return Checked()


def _so_often(times: int) -> str:
    return f" more than {times} times" if times else ""


def _stripped(data: bytes) -> list[bytes]:
    return [line.rstrip() for line in data.split(b"\n")]


def _without_last(items: list[bytes]) -> list[bytes]:
    """Without empty lines at the end."""
    count = len(items)
    while count and not items[count - 1]:
        count -= 1
    return items[:count]


def _first_difference(one: bytes, other: bytes) -> int:
    """The first position where they differ, by halves: each byte is compared twice at most."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _place(data: bytes, at: int) -> str:
    """Line and column (in bytes) of a position."""
    line, before = data.count(b"\n", 0, at) + 1, data.rfind(b"\n", 0, at)
    return f"line {line}, column {at - before}"


def _rest(data: bytes, at: int) -> str:
    """What is at a position, up to the end of the line."""
    if at >= len(data):
        return "the end"
    piece = data[at : at + _SHOWN + 1]
    line = piece.partition(b"\n")[0]
    return show(line or b"\n")
