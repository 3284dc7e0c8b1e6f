"""Names and numbers: system calls of both architectures, errno names, socket families.

The data is our own and not asked from the host's libseccomp, whose resolver ends years before the kernel does.
"""

from __future__ import annotations

import difflib
import errno
import functools
from collections.abc import Collection, Mapping
from pathlib import Path

ARCHITECTURES = ("x86_64", "aarch64")
# Source: linux/audit.h
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "i386": 0x40000003, "arm": 0x40000028}
X32_BIT = 0x40000000
MAX_ERRNO = 4095  # include/linux/err.h: a larger one would be a good result

# The number is the place in the list. Source: include/linux/socket.h, Linux 6.18.
_FAMILIES = """UNSPEC UNIX INET AX25 IPX APPLETALK NETROM BRIDGE ATMPVC X25 INET6 ROSE DECnet NETBEUI SECURITY KEY NETLINK PACKET
ASH ECONET ATMSVC RDS SNA IRDA PPPOX WANPIPE LLC IB MPLS CAN TIPC BLUETOOTH IUCV RXRPC ISDN PHONET IEEE802154 CAIF ALG NFC VSOCK
KCM QIPCRTR SMC XDP MCTP"""
FAMILIES: Mapping[str, int] = {f"AF_{name}": number for number, name in enumerate(_FAMILIES.split())}


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


def nearest(word: str, known: Collection[str]) -> str:
    """A question such as "did you mean 'mount'?" for a word that is nearly one of `known`, else ""."""
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""


def errno_number(name: str | int) -> int:
    """The number of an errno name, or a number from 1 to MAX_ERRNO as it is. Raises KeyError."""
    if isinstance(name, int):
        if isinstance(name, bool) or not 1 <= name <= MAX_ERRNO:
            raise KeyError(name)
        return name
    number = getattr(errno, name, None) if isinstance(name, str) and name.startswith("E") else None
    if not isinstance(number, int):
        raise KeyError(name)
    return number


def errno_name(number: int) -> str:
    """Such as "EPERM"; the number itself where it has no name."""
    return errno.errorcode.get(number, str(number))
