"""The listings of all shipped profiles, as files that are reviewed and compared.

python -m sandbox.policy.seccomp.golden            compare, exit code 1 when a file differs
python -m sandbox.policy.seccomp.golden --write    write them anew
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sandbox.policy.load import load_chain
from sandbox.policy.locate import profiles_dir
from sandbox.policy.resolve import resolve
from sandbox.policy.seccomp import tables
from sandbox.policy.seccomp.listing import listing

# Only extended by others, and with their filter: nothing can run in them.
_UNUSED = ("base", "system")


def listings() -> Mapping[str, str]:
    """File name → text, for every profile that runs something and every architecture."""
    found = {}
    for file in sorted(profiles_dir().glob("*.toml")):
        if file.stem in _UNUSED:
            continue
        policy = resolve(load_chain(str(file))).seccomp
        for arch in tables.ARCHITECTURES:
            found[f"{file.stem}.{arch}.txt"] = listing(policy, arch)
    return found


def difference(directory: Path, expected: Mapping[str, str]) -> str:
    """A unified diff of the files in `directory` against `expected`; "" when they are equal."""
    present = {file.name: file.read_text(encoding="utf-8") for file in sorted(directory.glob("*.txt"))}
    lines: list[str] = []
    for name in sorted({*present, *expected}):
        before, after = present.get(name, ""), expected.get(name, "")
        lines += difflib.unified_diff(before.splitlines(), after.splitlines(), f"golden/{name}", "compiled", lineterm="")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """The command."""
    directory = profiles_dir() / "golden"
    expected = listings()
    if arguments == ["--write"]:
        directory.mkdir(exist_ok=True)
        for file in directory.glob("*.txt"):
            if file.name not in expected:
                file.unlink()
        for name, text in expected.items():
            (directory / name).write_text(text, encoding="utf-8")
        return 0
    if arguments:
        sys.stderr.write("usage: python -m sandbox.policy.seccomp.golden [--write]\n")
        return 2
    found = difference(directory, expected)
    sys.stdout.write(found + "\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
