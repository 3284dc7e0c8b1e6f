"""What is launched: five loads, each a program with its input and the answer that every way must give."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

PYTHON = "/usr/bin/python3"
C_SOURCE = b"""#include <stdio.h>
int main(void) { long sum = 0; for (int i = 1; i <= 1000; i++) sum += i; printf("%ld\\n", sum); return 0; }
"""
COMPILE = "d=$(mktemp -d) && cd $d && gcc -O1 -x c - -o a && ./a; s=$?; cd /; rm -rf $d; exit $s"
CASES = 200


@dataclass(frozen=True)
class Load:
    """One program, as it is launched in every way.

    Attributes:
        share: of the launches that /bin/true gets; heavy programs need fewer.
    """

    name: str
    title: str
    profile: str
    argv: tuple[str, ...]
    share: float
    stdin: bytes = b""
    expected: bytes = b""


TRUE = Load("true", "/bin/true", "default", ("/bin/true",), 1.0)
PASS = Load("pass", "python3 -c pass", "python", (PYTHON, "-I", "-c", "pass"), 0.5)
NUMPY = Load("numpy", "python3 -c 'import numpy'", "python", (PYTHON, "-c", "import numpy"), 0.15)
COMPILED = Load("compile", "compile and run a C program", "compile", ("/bin/sh", "-c", COMPILE), 0.15, C_SOURCE, b"500500\n")
LOADS = (TRUE, PASS, NUMPY, COMPILED)

GRADER = Load("grading", f"grade {CASES} cases", "default", ("/usr/bin/sort", "-n"), 1.0, b"3\n1\n2\n", b"1\n2\n3\n")


def cases() -> list[tuple[bytes, bytes]]:
    """(input, expected output) of the grading loop: numbers to sort."""
    found = []
    for number in range(CASES):
        numbers = [(number * 7919 + item * 104729) % 1000 for item in range(50)]
        found.append((lines(numbers), lines(sorted(numbers))))
    return found


def lines(numbers: list[int]) -> bytes:
    return b"".join(b"%d\n" % number for number in numbers)


def lacking(load: Load) -> str:
    """Why a load cannot be measured here; "" when it can."""
    done = subprocess.run(load.argv, input=load.stdin, capture_output=True, check=False)
    if done.returncode or done.stdout != load.expected:
        return f"the program does not work here without a sandbox: {done.stderr.decode(errors='replace').strip()[-200:]}"
    return ""
