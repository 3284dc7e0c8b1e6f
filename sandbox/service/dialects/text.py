"""Bytes and the ways in which dialects write them in JSON. Pure."""

from __future__ import annotations

import base64
import binascii
import posixpath
import re

_SPACE = re.compile(r"[\s\x00]+")
_WORD = re.compile(r"[A-Za-z0-9+/]*={0,2}", re.ASCII)


def encode(text: str) -> bytes:
    """UTF-8; half a surrogate pair, which JSON can say and UTF-8 cannot, becomes U+FFFD as in JavaScript."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def decode(data: bytes) -> str:
    """Text; bytes that are not UTF-8 become U+FFFD."""
    return data.decode("utf-8", "replace")


def from_base64(text: str) -> bytes:
    """Base64 with white space, the URL alphabet or no padding, which Node.js and Ruby take too. Raises ValueError."""
    plain = _SPACE.sub("", text).replace("-", "+").replace("_", "/")
    if not _WORD.fullmatch(plain):
        raise ValueError("is not valid base64")
    plain = plain.rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error:
        raise ValueError("is not valid base64") from None


def from_hex(text: str) -> bytes:
    """Raises ValueError."""
    try:
        return binascii.unhexlify(_SPACE.sub("", text))
    except (binascii.Error, ValueError):
        raise ValueError("is not valid hex") from None


def to_ruby_base64(data: bytes) -> str:
    """Base64 as Ruby's `Base64.encode64` writes it: a line break after every 60 characters and at the end."""
    return "".join(base64.b64encode(data[start : start + 45]).decode("ascii") + "\n" for start in range(0, len(data), 45))


def inner_name(name: str) -> str:
    """A name as Node's `path.join(directory, name)` makes it, relative to that directory. Raises ValueError where it leads out.

    An absolute name stays inside, as there.
    """
    name = encode(name).decode()
    if "\0" in name:
        raise ValueError("contains a NUL byte")
    plain = posixpath.normpath(name.lstrip("/") or ".")
    if plain == ".." or plain.startswith("../"):
        raise ValueError(f"tries to escape parent directory: {plain}")
    if plain == "." or name.endswith("/"):
        raise ValueError("is a directory, not a file")
    if len(encode(plain)) > 1024 or any(len(encode(part)) > 255 for part in plain.split("/")):
        raise ValueError("is too long")
    return plain
