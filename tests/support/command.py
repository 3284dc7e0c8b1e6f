"""The command as a process of its own, in a directory of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.clock import seconds

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-B", "-m", "sandbox.cli")


class Cli:
    """Calls `sandbox`; with `--allow-degraded` where this host needs it."""

    def __init__(self, directory: Path, *, degraded: bool) -> None:
        self.directory = directory
        self.degraded = degraded
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}

    def words(self, *words: str) -> list[str]:
        """The whole command line."""
        extra = ["--allow-degraded"] if self.degraded and words[0] == "run" else []
        return [*COMMAND, words[0], *extra, *words[1:]]

    def start(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start it; the three streams are pipes unless said otherwise."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(self.words(*words), cwd=self.directory, env=self.environment, **{**pipes, **options})

    def __call__(self, *words: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
        """(exit code, stdout, stderr without the warning of weaker controls)."""
        process = self.start(*words)
        try:
            out, err = process.communicate(stdin, timeout=seconds(60))
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        lines = err.splitlines(keepends=True)
        warnings = [line for line in lines if b"warning: weaker controls" in line]
        assert len(warnings) <= int(self.degraded), err
        return process.returncode, out, b"".join(line for line in lines if line not in warnings)
