"""Words for people."""

from __future__ import annotations

import io
import re

from sandbox.cli import text


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_control_characters_are_written_out():
    assert text.one_line("a\x1b]0;title\x07b\nc\u202e\x9b") == "a\\x1b]0;title\\x07b c\\u202e\\x9b"
    assert text.printable("größe ✓") == "größe ✓"
    assert text.printable("\udcff") == "\\udcff"


def test_numbers():
    assert [text.size(n) for n in (0, 1023, 1536, 1 << 20, 3 << 30)] == ["0 B", "1023 B", "1.5 KiB", "1.0 MiB", "3.0 GiB"]
    assert [text.duration(n) for n in (0, 1500, 1_500_000, 2_340_000_000)] == ["0", "2 µs", "1.5 ms", "2.34 s"]
    assert text.value("wall_ns", 10**9) == "1.00 s"
    assert text.value("pids", 3) == "3"
    assert text.value("bytes", 1024) == "1.0 KiB"
    assert text.value("cpu_quota_millicpus", 1500) == "1.5 CPUs"
    assert text.value("limited_bytes", True) == "True"


def test_tables_are_plain_in_a_pipe_and_fit_a_terminal(monkeypatch):
    rows = [("default", "PASS", "long words " * 20), ("x", "FAIL", "bad\x1b[31m")]
    out = io.StringIO()
    text.table(("a", "b", "c"), rows, file=out)
    assert [line.split("\t")[:2] for line in out.getvalue().splitlines()] == [["default", "PASS"], ["x", "FAIL"]]
    for width in (40, 120):
        monkeypatch.setattr(text, "_width", lambda _, width=width: width)
        out = Terminal()
        monkeypatch.setenv("NO_COLOR", "1")
        text.table(("a", "b", "c"), rows, file=out)
        lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in out.getvalue().splitlines()]
        assert max(map(len, lines)) <= width
        assert "\\x1b[31m" in "".join(lines).replace(" ", "")
        assert "".join(lines).count("words") == 20


def test_wrapping_keeps_the_indent():
    assert text.wrapped("  one two three", 9) == ["  one two", "    three"]
    assert text.wrapped("  one two three", 0) == ["  one two three"]
