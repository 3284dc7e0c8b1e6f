"""What the service adds to a call of the library, and how much of the library's throughput it gives.

    python benchmarks/service.py [--runs N] [--seconds S]

Latency: the same command through a warm AsyncSandbox and through POST /v1/run over one kept-alive connection, in turn, so that
both see the same machine. Throughput: eight clients at once against each, in turns of some seconds. The server is a process of
its own, as it is in use; the clients speak HTTP in a few lines, so that their own time does not count much. JSON on stdout.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

from sandbox.api import AsyncSandbox

COMMAND = ["true"]
CLIENTS = 8


class Line:
    """One kept-alive connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        body = json.dumps({"argv": COMMAND}).encode()
        head = (
            f"POST /v1/run HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._request = head.encode() + body

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def run(self) -> None:
        self._writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"content-length: (\d+)", head)
        body = await self._reader.readexactly(int(found[1]))
        if b'"outcome":"exited"' not in body:
            raise SystemExit(f"the service answered {head!r} {body!r}")


async def latency(box: AsyncSandbox, port: int, runs: int) -> dict[str, object]:
    """Milliseconds of each way, in turn."""
    library, service = [], []
    async with Line(port) as line:
        for number in range(runs + 10):
            pair = []
            for call in (lambda: box.run(COMMAND), line.run):
                began = time.perf_counter()
                await call()
                pair.append(1000 * (time.perf_counter() - began))
            if number >= 10:
                library.append(pair[0])
                service.append(pair[1])
    one, other = statistics.median(library), statistics.median(service)
    return {
        "library_p50_ms": round(one, 3),
        "service_p50_ms": round(other, 3),
        "added_p50_ms": round(other - one, 3),
        "library_p99_ms": round(sorted(library)[int(0.99 * runs)], 3),
        "service_p99_ms": round(sorted(service)[int(0.99 * runs)], 3),
    }


async def throughput(box: AsyncSandbox, port: int, seconds: float) -> dict[str, object]:
    """Runs per second with CLIENTS at once, the two ways in turn."""
    counts = {"library": 0, "service": 0}
    spent = dict.fromkeys(counts, 0.0)
    async with Lines(port) as lines:

        async def client(call, until: float, way: str) -> None:
            while time.perf_counter() < until:
                await call()
                counts[way] += 1

        for _ in range(3):
            for way, calls in (("library", [lambda: box.run(COMMAND)] * CLIENTS), ("service", [line.run for line in lines])):
                began = time.perf_counter()
                await asyncio.gather(*(client(call, began + seconds / 3, way) for call in calls))
                spent[way] += time.perf_counter() - began
    rates = {way: counts[way] / spent[way] for way in counts}
    return {
        "library_per_second": round(rates["library"], 1),
        "service_per_second": round(rates["service"], 1),
        "part": round(rates["service"] / rates["library"], 3),
    }


class Lines:
    """CLIENTS connections."""

    def __init__(self, port: int) -> None:
        self._lines = [Line(port) for _ in range(CLIENTS)]

    async def __aenter__(self) -> list[Line]:
        return [await line.__aenter__() for line in self._lines]

    async def __aexit__(self, *_: object) -> None:
        for line in self._lines:
            await line.__aexit__()


async def measure(port: int, runs: int, seconds: float, *, degraded: bool) -> dict[str, object]:
    async with AsyncSandbox("default", allow_degraded=degraded, max_concurrency=CLIENTS) as box:
        return {**await latency(box, port, runs), **await throughput(box, port, seconds)}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--runs", type=int, default=300)
    options.add_argument("--seconds", type=float, default=9.0)
    options.add_argument("--allow-degraded", action="store_true")
    given = options.parse_args()
    extra = ["--allow-degraded"] if given.allow_degraded else []
    command = [sys.executable, "-m", "sandbox.cli", "serve", "--no-auth", "--port", "0", *extra]
    with tempfile.TemporaryDirectory() as place, (Path(place) / "log").open("w+") as log:
        server = subprocess.Popen(command, stderr=log)
        try:
            port = _port(Path(place) / "log", server)
            if _has_uvloop():
                import uvloop

                run = uvloop.run
            else:
                run = asyncio.run
            figures = run(measure(port, given.runs, given.seconds, degraded=given.allow_degraded))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
    about = {"python": platform.python_version(), "kernel": platform.release(), "uvloop": _has_uvloop(), "runs": given.runs}
    print(json.dumps({**about, **figures}, indent=2))


def _has_uvloop() -> bool:
    import importlib.util

    return importlib.util.find_spec("uvloop") is not None


def _port(log: Path, server: subprocess.Popen[bytes]) -> int:
    while server.poll() is None:
        found = re.search(r'"address":"127\.0\.0\.1:(\d+)"', log.read_text())
        if found:
            return int(found[1])
        time.sleep(0.05)
    raise SystemExit(log.read_text())


if __name__ == "__main__":
    main()
