"""Ten thousand WebSockets that say nothing, against a real server: as it is by default, and as one that may have them all.

    .venv/bin/python -m tests.soak.service_sockets [--sockets 10000] [--allow-degraded]

By default the server keeps a few and refuses the rest; told to, it keeps them all. In both cases another client is answered
meanwhile, and nothing is left afterwards. JSON on stdout; the exit code is 1 when something was not as it should be.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import resource
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from tests.soak.service_load import state
from tests.support.clock import wait_until
from tests.support.served import Served, served

_AT_ONCE = 50
_OF_ONE_ADDRESS = 200


async def open_one(number: int, port: int, gate: asyncio.Semaphore) -> tuple[str, asyncio.StreamWriter | None]:
    """A handshake from an address of its kind: the status of its answer, and the line while it is open."""
    key = base64.b64encode(os.urandom(16)).decode()
    head = f"GET /v1/runs/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {key}"
    async with gate:
        try:
            source = f"127.0.1.{1 + number // _OF_ONE_ADDRESS}"
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
            writer.write(f"{head}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), 60)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            return type(error).__name__, None
    status = answer.split()[1].decode()
    if status == "101":
        return status, writer
    writer.close()
    return status, None


async def others(url: str, until: asyncio.Event) -> list[float]:
    """Seconds that each small run of another client takes meanwhile. Raises where one is not answered."""
    times = []
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        while not until.is_set():
            began = time.perf_counter()
            answer = await http.post("/v1/run", json={"argv": ["true"]})
            answer.raise_for_status()
            times.append(time.perf_counter() - began)
            await asyncio.sleep(0.05)
    return times


async def flood(server: Served, sockets: int) -> dict[str, Any]:
    """Open them, hold them for five seconds, let them go."""
    gate, over = asyncio.Semaphore(_AT_ONCE), asyncio.Event()
    beside = asyncio.ensure_future(others(server.url, over))
    began = time.perf_counter()
    lines = await asyncio.gather(*(open_one(number, server.port, gate) for number in range(sockets)))
    seconds = time.perf_counter() - began
    await asyncio.sleep(5)
    held = state(server)
    over.set()
    times = sorted(await beside)
    for _, writer in lines:
        if writer is not None:
            writer.transport.abort()
    return {
        "answers": dict(Counter(status for status, _ in lines)),
        "seconds": round(seconds, 1),
        "others": len(times),
        "others_p50_ms": round(1000 * times[len(times) // 2], 1),
        "others_most_ms": round(1000 * times[-1], 1),
        "held": held,
    }


def attempt(sockets: int, **settings: Any) -> dict[str, Any]:
    """One server, one flood; `left` is what had not gone after 20 s."""
    with tempfile.TemporaryDirectory() as name, served(Path(name), **settings) as server:
        httpx.post(f"{server.url}/v1/run", json={"argv": ["true"]}).raise_for_status()
        before = state(server)
        report = asyncio.run(flood(server, sockets))
        with contextlib.suppress(AssertionError):  # `left` tells
            wait_until(lambda: state(server)["descriptors"] <= before["descriptors"] + 5, within=20)
        after = state(server)
        errors = [line for line in server.lines() if line["level"] in ("error", "critical")]
        left = max(0, after["descriptors"] - before["descriptors"] - 5)
        return {**report, "before": before, "after": after, "left": left, "errors": errors[:5]}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--sockets", type=int, default=10_000)
    options.add_argument("--allow-degraded", action="store_true")
    given = options.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    common = {"allow_degraded": True} if given.allow_degraded else {}
    roomy = {"websockets": given.sockets, "connections": given.sockets + 1000, "request_seconds": 300}
    reports = {
        "by default": attempt(given.sockets, **common),
        "with room for all": attempt(given.sockets, **common, **roomy),
    }
    print(json.dumps(reports, indent=2))
    opened = reports["with room for all"]["answers"].get("101", 0)
    bad = opened < given.sockets or any(item["left"] or item["errors"] or not item["others"] for item in reports.values())
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
