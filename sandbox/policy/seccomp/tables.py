"""Names and numbers: system calls of both architectures, errno names, socket families."""

from __future__ import annotations

import difflib
import errno
import functools
import socket
from collections.abc import Mapping
from pathlib import Path

ARCHITECTURES = ("x86_64", "aarch64")
# Source: linux/audit.h
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "i386": 0x40000003, "arm": 0x40000028}
X32_BIT = 0x40000000
HIGHEST_FAMILY = 46
FAMILIES: Mapping[str, int] = {
    "AF_UNIX": 1,
    "AF_INET": 2,
    "AF_INET6": 10,
    "AF_NETLINK": 16,
    "AF_PACKET": 17,
    "AF_ALG": 38,
    "AF_VSOCK": 40,
    **{name: int(value) for name, value in vars(socket).items() if name.startswith("AF_") and isinstance(value, int)},
}


@functools.cache
def numbers(arch: str) -> Mapping[str, int]:
    """Name → number of one architecture ("x86_64" or "aarch64"). Raises KeyError for another."""
    column = ARCHITECTURES.index(arch) + 1 if arch in ARCHITECTURES else 0
    if not column:
        raise KeyError(arch)
    table = {}
    for line in Path(__file__).with_name("syscalls.tsv").read_text(encoding="ascii").splitlines():
        words = line.split("\t")
        if not line.startswith("#") and words[column] != "-":
            table[words[0]] = int(words[column])
    return table


@functools.cache
def names(arch: str) -> Mapping[int, str]:
    """Number → name of one architecture."""
    return {number: name for name, number in numbers(arch).items()}


@functools.cache
def every_name() -> frozenset[str]:
    """All system calls that exist on any of the architectures."""
    return frozenset(name for arch in ARCHITECTURES for name in numbers(arch))


def nearest(word: str, known: Mapping[str, object] | frozenset[str] | set[str] | tuple[str, ...] | list[str]) -> str:
    """ "; did you mean …?" for a word that is nearly one of `known`, else ""."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""


def errno_number(name: str | int) -> int:
    """The number of an errno name. Raises KeyError."""
    if isinstance(name, int):
        return name
    for number, known in errno.errorcode.items():
        if known == name:
            return number
    raise KeyError(name)


def errno_name(number: int) -> str:
    """Such as "EPERM"."""
    return errno.errorcode.get(number, str(number))
