"""Ways round the list of system calls (threat model SF)."""

from __future__ import annotations

from tests.escape.model import Attack

SY = ("SEC-SY-03",)
ATTACKS = [
    Attack(id="SF01-int80", title="the i386 entry by int 0x80", claims=("SEC-SY-02",), command="probe int80", layers=("filter",)),
    Attack(
        id="SF05-clone3",
        title="clone3 hides the flags of new namespaces behind a pointer",
        claims=("SEC-SY-05", "SEC-ID-04"),
        command="probe clone3",
        layers=("filter", "user namespace limit"),
    ),
]
