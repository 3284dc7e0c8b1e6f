from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sandbox.runtime.capture import Capture


@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(1, 200))
def test_everything_is_kept_up_to_the_limit_else_head_and_tail(pieces: list[bytes], limit: int) -> None:
    capture = Capture(limit)
    for piece in pieces:
        capture.add(piece)
    everything = b"".join(pieces)
    kept = capture.kept()
    assert capture.total == len(everything)
    assert capture.exceeded == (len(everything) > limit)
    if not capture.exceeded:
        assert kept == everything
    else:
        half = limit // 2
        assert kept == everything[: limit - half] + (everything[-half:] if half else b"")


def test_memory_stays_bounded_under_a_flood() -> None:
    capture = Capture(1000)
    for _ in range(1000):
        capture.add(b"x" * 65536)
    assert len(capture._head) + len(capture._tail) <= 1000 + 1001 + 65536


def test_the_callback_sees_every_piece() -> None:
    seen: list[bytes] = []
    capture = Capture(2, seen.append)
    capture.add(b"abc")
    capture.add(b"d")
    assert seen == [b"abc", b"d"]


def test_the_end_is_told_once_and_is_no_piece() -> None:
    seen: list[object] = []
    capture = Capture(2, seen.append, lambda: seen.append("end"))
    capture.add(b"a")
    capture.add(b"")
    assert seen == [b"a", "end"]
    assert (capture.total, capture.kept()) == (1, b"a")
