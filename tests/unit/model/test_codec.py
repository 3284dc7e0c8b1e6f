from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.model import codec

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.binary(max_size=50) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=20,
)


@given(values)
def test_what_is_encoded_is_decoded_to_the_same_value_and_type(value: object) -> None:
    decoded = codec.decode(codec.encode(value))
    assert decoded == value
    assert type(decoded) is type(value)


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_raise_codec_error(data: bytes) -> None:
    try:
        value = codec.decode(data)
    except codec.CodecError:
        return
    assert codec.encode(value) == data  # the encoding is canonical


@given(values, st.integers(0, 300))
def test_a_cut_encoding_is_refused(value: object, cut: int) -> None:
    data = codec.encode(value)
    if cut < len(data):
        with pytest.raises(codec.CodecError):
            codec.decode(data[:cut])


@pytest.mark.parametrize("value", (1 << 63, 1.5, [1], {"a": 1}, object()))
def test_values_without_an_encoding_are_refused(value: object) -> None:
    with pytest.raises(codec.CodecError):
        codec.encode(value)


def test_nesting_is_bounded_in_both_directions() -> None:
    deep: tuple[object, ...] = ()
    for _ in range(codec.MAX_DEPTH + 1):
        deep = (deep,)
    with pytest.raises(codec.CodecError):
        codec.encode(deep)
    with pytest.raises(codec.CodecError):
        codec.decode((b"L" + (1).to_bytes(8, "little")) * (codec.MAX_DEPTH + 2) + b"N")


def test_a_length_beyond_the_data_allocates_nothing() -> None:
    with pytest.raises(codec.CodecError):
        codec.decode(b"L" + (1 << 62).to_bytes(8, "little"))
