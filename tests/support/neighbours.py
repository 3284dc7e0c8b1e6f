"""Two tenants at once (`tests/probes/neighbour.py`), each in a sandbox of its own or in none, of one user or of two.

As `python -m tests.support.neighbours` this module is a caller in a process of its own: it takes the same questions as lines
of JSON, so that it can be another user.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from sandbox import Profile, Sandbox, SandboxError

PAYLOAD = Path(__file__).resolve().parents[1] / "probes" / "neighbour.py"
PATIENCE = 90.0


class Tenant:
    """In a sandbox of this process."""

    def __init__(self, words: list[str], *, profile: dict[str, Any], degraded: bool) -> None:
        self._files = {"neighbour.py": PAYLOAD.read_bytes()}
        self._box = Sandbox(Profile.from_dict(profile), allow_degraded=degraded)
        self._lines: queue.Queue[Any] = queue.Queue()
        self._seen = b""
        self._reader, self._writer = os.pipe()
        self._run = self._box.start(
            ["python3", "neighbour.py", *words], files=self._files, stdin=self._reader, on_stdout=self._hear
        )
        self._thread = threading.Thread(target=self._drive, daemon=True)
        self._thread.start()

    def _hear(self, data: bytes) -> None:
        self._seen += data
        *lines, self._seen = self._seen.split(b"\n")
        for line in lines:
            self._lines.put(json.loads(line))

    def _drive(self) -> None:
        try:
            result = self._run.wait()
            self._lines.put(f"it ended: {result.outcome}, {result.stderr.decode()}")
        except SandboxError as error:
            self._lines.put(f"it ended: {error}")

    def has(self) -> Any:
        """What it has under its names."""
        return self._lines.get(timeout=PATIENCE)

    def reach(self, other: dict[str, Any]) -> Any:
        """What it reaches of another."""
        os.write(self._writer, json.dumps(other).encode() + b"\n")
        return self._lines.get(timeout=PATIENCE)

    def end(self) -> None:
        """It leaves everything where it is."""
        os.close(self._writer)
        self._thread.join(PATIENCE)
        self._run.close()
        os.close(self._reader)

    def find(self, places: list[str]) -> Any:
        """What the next run in the same sandbox finds there; then the sandbox is gone."""
        with self._box as box:
            return json.loads(box.run(["python3", "neighbour.py", "find", *places], files=self._files).stdout)


class Caller:
    """In a process of its own: `command` is this module, as somebody else."""

    def __init__(self, words: list[str], command: list[str], **options: Any) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._ask({"words": words, **options})

    def _ask(self, question: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline() or '"the caller ended"')

    def has(self) -> Any:
        """As a Tenant."""
        return self._answer()

    def reach(self, other: dict[str, Any]) -> Any:
        """As a Tenant."""
        self._ask(other)
        return self._answer()

    def end(self) -> None:
        """As a Tenant."""
        self._ask("end")
        assert self._answer() == "ended"

    def find(self, places: list[str]) -> Any:
        """As a Tenant."""
        self._ask(places)
        answer = self._answer()
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(PATIENCE)
        return answer


class Bare(Caller):
    """The payload itself, without a sandbox: the control."""

    def __init__(self, words: list[str]) -> None:
        command = [sys.executable, str(PAYLOAD), *words]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def end(self) -> None:
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(PATIENCE)

    def find(self, places: list[str]) -> Any:
        done = subprocess.run([sys.executable, str(PAYLOAD), "find", *places], check=True, capture_output=True)
        return json.loads(done.stdout)


def main() -> None:
    """Process: a caller with one Tenant, who answers for it."""
    tenant = Tenant(**json.loads(sys.stdin.readline()))
    print(json.dumps(tenant.has()), flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        if question == "end":
            tenant.end()
            answer: Any = "ended"
        else:
            answer = tenant.find(question) if isinstance(question, list) else tenant.reach(question)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
