"""The command in a real terminal: keys, sizes, signals, and the terminal as it was afterwards."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clock import limit, seconds
from tests.support.command import Cli

pytestmark = pytest.mark.vm


@pytest.fixture
def cli(tmp_path: Path, degraded: bool) -> Cli:
    return Cli(tmp_path, degraded=degraded)


class Screen:
    """The other end of the terminal that the command runs in."""

    def __init__(self, cli: Cli, *words: str, rows: int = 24, columns: int = 80) -> None:
        self.master, self.slave = os.openpty()
        self.resize(rows, columns)
        self.text = b""
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            cli.words(*words), cwd=cli.directory, env=cli.environment, stdin=self.slave, stdout=self.slave, stderr=self.slave,
            start_new_session=True,
        )  # fmt: skip

    def resize(self, rows: int, columns: int) -> None:
        termios.tcsetwinsize(self.slave, (rows, columns))

    def expect(self, text: bytes) -> None:
        deadline = time.monotonic() + seconds(15)
        while text not in self.text:
            ready, _, _ = select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, self.text
            self.text += os.read(self.master, 65536)
        self.text = self.text[self.text.index(text) + len(text) :]

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    def end(self) -> int:
        """The exit code; the terminal must be as it was."""
        code = self.process.wait(seconds(15))
        assert termios.tcgetattr(self.slave) == self.before
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def screens(cli: Cli) -> Iterator[Any]:
    made: list[Screen] = []

    def start(*words: str, **options: int) -> Screen:
        made.append(Screen(cli, *words, **options))
        return made[-1]

    yield start
    for screen in made:
        screen.close()


def test_a_terminal_of_its_own(screens: Any) -> None:
    screen = screens(
        "run", "--tty", "--", "sh", "-c", "tty; stty size; echo $TERM; read x; echo got:$x; exit 5", rows=33, columns=77
    )
    screen.expect(b"/dev/pts/0")
    screen.expect(b"33 77")
    screen.expect(b"xterm")
    screen.type(b"word\r")
    screen.expect(b"got:word")
    assert screen.end() == 5


def test_keys_reach_the_program_and_the_terminal_is_restored(screens: Any) -> None:
    screen = screens(
        "run", "--tty", "--", "sh", "-c", "trap 'echo caught' INT; echo ready; while ! read x; do :; done; echo done:$x"
    )
    screen.expect(b"ready")
    screen.type(b"\x03")  # the payload's terminal makes the signal, not ours
    screen.expect(b"caught")
    screen.type(b"on\r")
    screen.expect(b"done:on")
    assert screen.end() == 0


def test_the_size_follows(screens: Any) -> None:
    script = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGWINCH, lambda *_: os.write(1, b'%d %d\\r\\n' % os.get_terminal_size()))\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    screen = screens("run", "--tty", "--", "python3", "-c", script, rows=20, columns=60)
    screen.expect(b"ready")
    screen.resize(41, 99)
    os.kill(screen.process.pid, signal.SIGWINCH)
    screen.expect(b"99 41")
    screen.type(b"\r")
    assert screen.end() == 0


def test_a_terminal_is_restored_after_a_limit_and_after_a_signal(screens: Any) -> None:
    assert screens("run", "-t", "--limit", f"wall={limit(0.5)}", "--", "sleep", "50").end() == 137
    screen = screens("run", "-t", "--", "sh", "-c", "echo ready; sleep 50")
    screen.expect(b"ready")
    screen.process.send_signal(signal.SIGTERM)
    assert screen.end() == 143


def test_interrupt_from_the_keyboard_without_tty(screens: Any) -> None:
    screen = screens("run", "--", "sh", "-c", "echo ready; sleep 50")
    screen.expect(b"ready")
    os.kill(screen.process.pid, signal.SIGINT)
    assert screen.end() == 130


def test_lines_typed_reach_a_program_without_tty(screens: Any) -> None:
    screen = screens("run", "--", "sh", "-c", "read x; echo got:$x")
    screen.type(b"line\n")
    screen.expect(b"got:line")
    assert screen.end() == 0


def test_tty_needs_a_terminal(cli: Cli) -> None:
    code, _, err = cli("run", "-t", "--", "true")
    assert code == 125
    assert b"--tty needs a terminal" in err
