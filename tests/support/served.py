"""`sandbox serve` as a process of its own, as operators run it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.clock import seconds, wait_until


class Served:
    """A server that listens.

    Attributes:
        url: its base URL.
        process: the server.
        log: the file of its log lines.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: Path, url: str) -> None:
        self.process = process
        self.log = log
        self.url = url

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def lines(self) -> list[dict[str, Any]]:
        """Its log."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def metric(self, name: str) -> float:
        """One of its figures. Without httpx: what is looked for may be over in the time that makes a client."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds(60))
        try:
            line.request("GET", "/metrics")
            text = line.getresponse().read().decode()
        finally:
            line.close()
        return float(next(row.split()[1] for row in text.splitlines() if row.startswith(f"{name} ")))

    @property
    def busy(self) -> int:
        """How many runs are in flight."""
        return int(self.metric("sandbox_pool_busy"))

    def descendants(self) -> set[int]:
        """Every process below it."""
        return below(self.process.pid)


def children(top: int) -> set[int]:
    """The processes that `top` is the parent of."""
    return _families().get(top, set())


def below(top: int) -> set[int]:
    """Every process below `top`."""
    families = _families()
    found: set[int] = set()
    waiting = [top]
    while waiting:
        for child in families.get(waiting.pop(), set()) - found:
            found.add(child)
            waiting.append(child)
    return found


def _families() -> dict[int, set[int]]:
    out: dict[int, set[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            out.setdefault(int(stat.rpartition(")")[2].split()[1]), set()).add(int(entry))
    return out


@contextmanager
def served(place: Path, **settings: Any) -> Iterator[Served]:
    """A server with these settings, without tokens unless they say other; ended by SIGTERM."""
    given = {"no_auth": True, "port": 0, "languages": ["python3", "cpp"], **settings}
    lines = [f"{name} = {json.dumps(value)}" for name, value in given.items() if not isinstance(value, dict)]
    for name, table in given.items():
        if isinstance(table, dict):
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    config = place / "service.toml"
    config.write_text("\n".join(lines) + "\n")
    log = place / "service.log"
    command = [sys.executable, "-m", "sandbox.cli", "serve", "--config", str(config)]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr, stdout=stderr)
    try:
        running = Served(process, log, "")
        wait_until(lambda: process.poll() is not None or _address(running), within=120)
        assert process.poll() is None, log.read_text()[-2000:]
        running.url = f"http://{_address(running)}"
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(90)


def _address(running: Served) -> str:
    return next((line["address"] for line in running.lines() if line["message"] == "listening"), "")
