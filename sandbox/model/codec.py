"""The one encoding of everything that crosses a process border: nested tuples of int, bytes, str, bool and None.

Each value is one tag byte and, where needed, a length or number of 8 bytes, little-endian:

    N none   T true   F false   I int (signed 64 bit)   B bytes   S str (UTF-8)   L tuple (number of items)

The encoding is canonical (equal values give equal bytes), so the digest of a plan is the SHA-256 of it. The
decoder trusts nothing: lengths are checked against what is there, depth and trailing bytes are refused.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_DEPTH = 16
_NUMBER = struct.Struct("<q")


class CodecError(ValueError):
    """The bytes are not an encoding, or the value has no encoding."""


def encode(value: Any) -> bytes:
    """Encode `value`. Raises CodecError for a type, size or depth that has no encoding."""
    parts: list[bytes] = []
    _encode(value, parts, 0)
    return b"".join(parts)


def _encode(value: Any, parts: list[bytes], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise CodecError(f"nested deeper than {MAX_DEPTH}")
    if value is None:
        parts.append(b"N")
    elif value is True:
        parts.append(b"T")
    elif value is False:
        parts.append(b"F")
    elif type(value) is int:
        try:
            parts.append(b"I" + _NUMBER.pack(value))
        except struct.error:
            raise CodecError(f"{value} does not fit 64 bits") from None
    elif type(value) is bytes:
        parts.append(b"B" + _NUMBER.pack(len(value)))
        parts.append(value)
    elif type(value) is str:
        data = value.encode("utf-8")
        parts.append(b"S" + _NUMBER.pack(len(data)))
        parts.append(data)
    elif type(value) is tuple:
        parts.append(b"L" + _NUMBER.pack(len(value)))
        for item in value:
            _encode(item, parts, depth + 1)
    else:
        raise CodecError(f"no encoding for {type(value).__name__}")


def decode(data: bytes) -> Any:
    """Decode one value that fills `data`. Raises CodecError for anything else."""
    value, end = _decode(data, 0, 0)
    if end != len(data):
        raise CodecError(f"{len(data) - end} bytes follow the value")
    return value


def _decode(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth > MAX_DEPTH:
        raise CodecError(f"nested deeper than {MAX_DEPTH}")
    tag = data[at : at + 1]
    at += 1
    if tag == b"N":
        return None, at
    if tag == b"T":
        return True, at
    if tag == b"F":
        return False, at
    if tag not in (b"I", b"B", b"S", b"L"):
        raise CodecError(f"unknown tag {tag!r}")
    if at + 8 > len(data):
        raise CodecError("cut short")
    (number,) = _NUMBER.unpack_from(data, at)
    at += 8
    if tag == b"I":
        return number, at
    if number < 0 or number > len(data) - at:
        raise CodecError("a length points past the end")
    if tag == b"L":
        items = []
        for _ in range(number):
            item, at = _decode(data, at, depth + 1)
            items.append(item)
        return tuple(items), at
    raw = data[at : at + number]
    at += number
    if tag == b"B":
        return raw, at
    try:
        return raw.decode("utf-8"), at
    except UnicodeDecodeError:
        raise CodecError("a str is not UTF-8") from None
