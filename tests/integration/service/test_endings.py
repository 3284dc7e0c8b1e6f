"""How a server ends: in good order, or by force; and what is left of it."""

from __future__ import annotations

import concurrent.futures
import os
import signal

import httpx

from tests.support.clock import wait_until
from tests.support.served import served


def _post(url: str, seconds: float) -> tuple[int, dict]:
    answer = httpx.post(f"{url}/v1/run", json={"argv": ["sleep", str(seconds)]}, timeout=60)
    return answer.status_code, answer.json()


def _metric(url: str, name: str) -> float:
    text = httpx.get(f"{url}/metrics").text
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")))


def test_sigterm_answers_all_that_was_accepted_and_refuses_the_rest(tmp_path, run_options):
    with served(tmp_path, max_concurrency=2, **run_options) as server, concurrent.futures.ThreadPoolExecutor(8) as pool:
        accepted = [pool.submit(_post, server.url, 1) for _ in range(6)]
        wait_until(lambda: _metric(server.url, "sandbox_queue_depth") == 4, within=20)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: httpx.get(f"{server.url}/v1/ready").status_code == 503, within=5)
        refused = httpx.post(f"{server.url}/v1/run", json={"argv": ["true"]})
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "draining"
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["x-queue-depth"].isdigit()
        assert httpx.get(f"{server.url}/v1/health").status_code == 200
        answers = [item.result() for item in accepted]
        assert [(status, answer["run"]["exit"]) for status, answer in answers] == [(200, {"code": 0})] * 6
        assert server.process.wait(30) == 0


def test_a_stop_waits_no_longer_than_it_was_told(tmp_path, run_options):
    with served(tmp_path, drain_seconds=1, **run_options) as server, concurrent.futures.ThreadPoolExecutor(1) as pool:
        going = pool.submit(_post, server.url, 25)
        wait_until(lambda: _metric(server.url, "sandbox_pool_busy") == 1, within=20)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
        status, answer = going.result()
        assert status == 200
        assert answer["run"]["outcome"] == "canceled"
        assert any(line["message"] == "ended before everything was done" for line in server.lines())


def test_sigkill_leaves_nothing_running_and_the_next_start_is_clean(tmp_path, run_options):
    with served(tmp_path, **run_options) as server, concurrent.futures.ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            pool.submit(_post, server.url, 25)
        wait_until(lambda: _metric(server.url, "sandbox_pool_busy") == 3, within=20)
        below = server.descendants()
        assert len(below) >= 4, below  # a launcher, and sandboxes in it
        server.process.kill()
        server.process.wait(10)
        wait_until(lambda: not any(_lives(process) for process in below), within=10)
    with served(tmp_path, **run_options) as again:
        assert _post(again.url, 0)[0] == 200
        assert not [line for line in again.lines() if line["level"] in ("error", "critical")]


def _lives(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def test_a_second_signal_ends_at_once(tmp_path, run_options):
    with served(tmp_path, **run_options) as server, concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(_post, server.url, 25)
        wait_until(lambda: _metric(server.url, "sandbox_pool_busy") == 1, within=20)
        os.kill(server.process.pid, signal.SIGINT)
        wait_until(lambda: httpx.get(f"{server.url}/v1/ready").status_code == 503, within=5)
        os.kill(server.process.pid, signal.SIGINT)
        server.process.wait(10)
