"""Text for people: numbers with units, hostile bytes made harmless, tables that fit the terminal or are plain."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence

from sandbox.model.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from rich.console import Console

_SIZES = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))
_STYLES = {"PASS": "green", "CAUTION": "yellow", "FAIL": "bold red"}


def printable(text: str) -> str:
    r"""The text with everything that could steer a terminal written as \xNN or \uNNNN."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def one_line(text: str) -> str:
    """The text on one line, printable."""
    return printable(" ".join(text.split()) if "\n" in text or "\r" in text else text)


def size(number: int) -> str:
    """1536 → "1.5 KiB"."""
    for unit, factor in _SIZES:
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number} B"


def duration(nanoseconds: int) -> str:
    """1_500_000 → "1.5 ms"."""
    for unit, factor in (("s", 10**9), ("ms", 10**6)):
        if nanoseconds >= factor:
            return f"{nanoseconds / factor:.{2 if unit == 's' else 1}f} {unit}"
    return f"{nanoseconds / 1000:.0f} µs" if nanoseconds else "0"


def value(name: str, number: object) -> str:
    """A number in the unit that its name, or the end of it, says (`wall_ns`, `bytes`)."""
    unit = name.rpartition("_")[2]
    if isinstance(number, int) and not isinstance(number, bool):
        if unit == "ns":
            return duration(number)
        if unit == "bytes":
            return size(number)
        if unit == "millicpus":
            return f"{number / 1000:g} CPUs"
    return str(number)


def emit(text: str, file: TextIO | None = None) -> None:
    """Write text to stdout (or `file`) at once. Raises RequestError when that cannot be (a full disk)."""
    out = file or sys.stdout
    with _told():
        out.write(text)
        out.flush()


def emit_bytes(data: bytes) -> None:
    """As `emit`, to stdout, for what is no text."""
    with _told():
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RequestError(f"standard output cannot be written: {error.strerror}") from None


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, file: TextIO | None = None) -> None:
    """Print a table: drawn by rich on a terminal, one line of tab-separated cells a row elsewhere."""
    out = file or sys.stdout
    clean = [[one_line(cell) for cell in row] for row in rows]
    if not out.isatty():
        emit("".join("\t".join(row) + "\n" for row in clean), out)
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in clean:
        drawn.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    console(out).print(drawn)


def paragraphs(text: str, *, file: TextIO | None = None) -> None:
    """Print lines of text; long ones are wrapped at words with their indent on a terminal."""
    out = file or sys.stdout
    width = _width(out) if out.isatty() else 0
    lines = [part for line in text.splitlines() for part in wrapped(printable(line), width)]
    emit("".join(f"{line}\n" for line in lines), out)


def wrapped(line: str, width: int) -> list[str]:
    """One line as lines of at most `width` columns (0: as it is); what follows is indented two more than the first."""
    if not width or len(line) <= width:
        return [line]
    import textwrap

    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(
        line.strip(),
        width,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def console(file: TextIO) -> Console:
    """A rich console that colours words, not what looks like a number or a path."""
    from rich.console import Console

    return Console(file=file, highlight=False, soft_wrap=False, width=_width(file))


def _width(file: TextIO) -> int:
    try:
        return max(20, os.get_terminal_size(file.fileno()).columns)
    except (OSError, ValueError):
        return 80
