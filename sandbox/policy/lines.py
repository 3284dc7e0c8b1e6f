"""On which line of a TOML text each key stands: good enough to point at the place of a mistake."""

from __future__ import annotations

import re
from collections.abc import Mapping

_HEADER = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9_.-]+))\s*=""")


def key_lines(text: str) -> dict[str, int]:
    """Path of each key, such as "limits.memory" or "mounts[0].source" → line, from 1, by headers and assignments."""
    lines: dict[str, int] = {}
    prefix = ""
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header and not _KEY.match(line):
            name = header[1].strip()
            if line.lstrip().startswith("[["):
                lines.setdefault(name, number)
                counts[name] = counts.get(name, -1) + 1
                name = f"{name}[{counts[name]}]"
            prefix = name + "."
            lines.setdefault(name, number)
        elif key := _KEY.match(line):
            lines.setdefault(prefix + next(group for group in key.groups() if group is not None), number)
    return lines


def line_of(path: str, lines: Mapping[str, int]) -> int:
    """The line of a path, or of the nearest thing above it; 0 when there is none."""
    while path:
        if path in lines:
            return lines[path]
        cut = max(path.rfind("."), path.rfind("["))
        path = path[:cut] if cut > 0 else ""
    return 0
