"""Good and hostile requests together against a real server, for as long as is wanted.

    .venv/bin/python -m tests.soak.service_load [--seconds 600] [--good 3] [--evil 4] [--allow-degraded]

Every request must be answered as it should be, whatever the others do: small runs of one tenant beside fork bombs, floods of
output, memory hogs, endless loops, bodies too large, heads too slow, clients that go away and WebSockets that say nothing of
another, which may have two runs at once. At the end nothing is left: no run, no process, no descriptor, no error in the log.
JSON on stdout; the exit code is 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import connect

from tests.support.clock import wait_until
from tests.support.served import Served, served

_BOMBS: dict[str, dict[str, Any]] = {
    "fork bomb": {"argv": ["sh", "-c", "f() { f | f & }; f; sleep 5"], "limits": {"wall": "1s"}},
    "output flood": {"argv": ["yes"], "limits": {"wall": "2s"}},
    "memory hog": {"argv": ["python3", "-c", "x = bytearray(1 << 34)"]},
    "memory eater": {"argv": ["sh", "-c", "head -c 1G /dev/zero | tail"], "limits": {"memory": "32MiB", "wall": "2s"}},
    "endless loop": {"argv": ["sh", "-c", "while :; do :; done"], "limits": {"cpu": "500ms"}},
    "disk filler": {"argv": ["sh", "-c", "yes > x"], "limits": {"wall": "2s"}},
    "escapes": {"argv": ["printf", r"\033]0;<script>\007\377\376"]},
    "compiler bomb": {"language": "cpp", "code": "#include </dev/zero>\nint main(){}", "compile_limits": {"cpu": "1s"}},
}


class Load:
    """What was asked, and what came of it."""

    def __init__(self, server: Served, good: str, evil: str) -> None:
        self.server = server
        self.good = {"authorization": f"Bearer {good}"}
        self.evil = {"authorization": f"Bearer {evil}"}
        self.times: list[float] = []
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    def expect(self, what: str, ok: object, detail: object = "") -> None:
        self.counts[what] += 1
        if not ok:
            self.wrong.append(f"{what}: {detail}"[:500])

    async def small(self, http: httpx.AsyncClient) -> None:
        """A good request."""
        word = str(random.random())
        began = time.perf_counter()
        answer = await http.post("/v1/run", json={"argv": ["cat"], "stdin": word}, headers=self.good)
        self.times.append(time.perf_counter() - began)
        ok = answer.status_code == 200 and answer.json()["run"]["stdout"] == word
        self.expect("small", ok, f"{answer.status_code} {answer.text[:300]}")

    async def bomb(self, http: httpx.AsyncClient) -> None:
        name = random.choice(list(_BOMBS))
        answer = await http.post("/v1/run", json=_BOMBS[name], headers=self.evil)
        self.expect(name, answer.status_code in (200, 429, 503), f"{answer.status_code} {answer.text[:300]}")

    async def too_large(self, http: httpx.AsyncClient) -> None:
        async def body():
            for _ in range(200):
                yield b"x" * 65536

        try:
            answer = await http.post("/v1/run", content=body(), headers=self.evil)
            self.expect("too large", answer.status_code in (413, 503), answer.status_code)
        except httpx.TransportError:
            self.expect("too large", True)  # cut off while it was sent

    async def nonsense(self, http: httpx.AsyncClient) -> None:
        for raw in (b"{", b"[" * 50_000, os.urandom(200), b'{"argv": 1}'):
            answer = await http.post("/v1/run", content=raw, headers={**self.evil, "content-type": "application/json"})
            self.expect("nonsense", answer.status_code == 400, answer.status_code)

    async def gone(self, http: httpx.AsyncClient) -> None:
        """Ask, and go away."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        body = b'{"argv": ["sleep", "10"]}'
        head = f"POST /v1/run HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {self.evil['authorization']}\r\n"
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await asyncio.sleep(random.random() / 5)
        writer.transport.abort()
        del reader
        self.expect("gone", True)

    async def slow(self, http: httpx.AsyncClient) -> None:
        """A head that never ends."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        writer.write(b"POST /v1/run HTTP/1.1\r\nX: ")
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(30):
                await reader.read()
        writer.close()
        self.expect("slow", True)

    async def silent(self, http: httpx.AsyncClient) -> None:
        """A WebSocket that says nothing."""
        with contextlib.suppress(Exception):
            async with connect(f"ws://127.0.0.1:{self.server.port}/v1/runs/ws", additional_headers=self.evil) as line:
                async with asyncio.timeout(30):
                    await line.recv()
        self.expect("silent", True)


async def carry_out(load: Load, seconds: float, good: int, evil: int) -> None:
    """All of them at once, until the time is over."""
    end = time.monotonic() + seconds
    hostile = (load.bomb, load.bomb, load.bomb, load.too_large, load.nonsense, load.gone, load.gone, load.slow, load.silent)
    async with httpx.AsyncClient(base_url=load.server.url, timeout=120) as http:
        for _ in range(20):
            await load.small(http)  # warm, before anything is counted
        load.times.clear()

        async def forever(choose: Callable[[], Callable[[httpx.AsyncClient], Awaitable[None]]], pause: float) -> None:
            while time.monotonic() < end:
                try:
                    await choose()(http)
                except Exception as error:
                    load.wrong.append(f"{type(error).__name__}: {error}")
                await asyncio.sleep(pause)

        clients = [forever(lambda: load.small, 0.02) for _ in range(good)]
        clients += [forever(lambda: random.choice(hostile), 0.05) for _ in range(evil)]
        await asyncio.gather(*clients)


def _token(place: Path, name: str, *options: str) -> str:
    command = [sys.executable, "-m", "sandbox.cli", "serve", "--config", str(place / "service.toml"), "token", "add", name]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=True).stdout.strip()


def state(server: Served) -> dict[str, int]:
    """What must not grow."""
    pid = server.process.pid
    resident = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return {
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "processes": len(server.descendants()),
        "resident_mib": int(resident) * os.sysconf("SC_PAGESIZE") >> 20,
    }


def load_for(seconds: float, *, good: int = 3, evil: int = 4, **settings: Any) -> dict[str, Any]:
    """Carry it out and report: figures, and under "wrong" all that should not have been."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        given = {"no_auth": False, "tokens_file": str(place / "tokens.json"), "request_seconds": 3, "body_bytes": 1 << 20}
        given["kept_bytes"] = 1 << 20  # answers that are kept are no leak: few of them, so that one would be seen
        with served(place, **{**given, **settings}) as server:
            tokens = _token(place, "good", "--scope", "run"), _token(place, "evil", "--scope", "run", "--concurrency", "2")
            load = Load(server, *tokens)
            asyncio.run(carry_out(load, min(5.0, seconds), good, evil))
            load.times.clear()
            before = state(server)
            asyncio.run(carry_out(load, seconds, good, evil))
            after = _settled(server, before)
            errors = [line for line in server.lines() if line["level"] in ("error", "critical")]
            load.wrong += [f"in the log: {line}" for line in errors[:5]]
    times = sorted(load.times)
    figures = {
        "p50_ms": round(1000 * times[len(times) // 2], 2),
        "p99_ms": round(1000 * times[int(0.99 * len(times))], 2),
        "small": len(times),
        "all": load.counts.total(),
    }
    for kind, most in (("descriptors", 10), ("processes", 10), ("resident_mib", 60)):
        if after[kind] > before[kind] + most:
            load.wrong.append(f"{kind} grew from {before[kind]} to {after[kind]}")
    return {**figures, "before": before, "after": after, "counts": dict(load.counts), "wrong": load.wrong[:20]}


def _settled(server: Served, before: dict[str, int]) -> dict[str, int]:
    """The state when what was given up has ended."""
    with contextlib.suppress(AssertionError):  # the figures tell
        wait_until(lambda: all(state(server)[kind] <= before[kind] + 2 for kind in ("descriptors", "processes")), within=20)
    return state(server)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seconds", type=float, default=600)
    options.add_argument("--good", type=int, default=3)
    options.add_argument("--evil", type=int, default=4)
    options.add_argument("--allow-degraded", action="store_true")
    given = options.parse_args()
    settings = {"allow_degraded": True} if given.allow_degraded else {}
    report = load_for(given.seconds, good=given.good, evil=given.evil, **settings)
    report["ratio"] = round(report["p99_ms"] / report["p50_ms"], 2)
    print(json.dumps(report, indent=2))
    raise SystemExit(1 if report["wrong"] or report["ratio"] > 5 else 0)


if __name__ == "__main__":
    main()
