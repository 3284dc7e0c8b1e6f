"""A private pseudo terminal, reached by descriptors only.

Source: pts(4), ioctl_tty(2) (TIOCGPTPEER).
"""

from __future__ import annotations

import fcntl
import os
import struct

_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
_TIOCSWINSZ = 0x5414
_TIOCSCTTY = 0x540E


def open_pair(ptmx: bytes, rows: int, columns: int) -> tuple[int, int]:
    """(master, slave) of a new terminal of the devpts instance that `ptmx` belongs to."""
    flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
    master = os.open(ptmx, flags)
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    slave = fcntl.ioctl(master, _TIOCGPTPEER, flags)
    set_size(master, rows, columns)
    return master, slave


def set_size(fd: int, rows: int, columns: int) -> None:
    """Set the window size; the foreground processes get SIGWINCH."""
    fcntl.ioctl(fd, _TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def take_control(slave: int) -> None:
    """Make `slave` the controlling terminal of this session leader."""
    fcntl.ioctl(slave, _TIOCSCTTY, 0)
