"""How a server ends: in good order, or by force; and what is left of it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.clock import seconds, wait_until
from tests.support.served import children, served


def _post(url: str, nap: float) -> tuple[int, dict]:
    answer = httpx.post(f"{url}/v1/run", json={"argv": ["sleep", str(nap)]}, timeout=60)
    return answer.status_code, answer.json()


@pytest.mark.claim("SEC-SV-08")
def test_a_stop_answers_a_grading_that_it_ends(tmp_path, run_options):
    body = {"language": "py", "code": "import time; time.sleep(20)", "cases": [{"answer": "x"}], "limits": {"cpu": "10s"}}
    with served(tmp_path, drain_seconds=1, **run_options) as server, concurrent.futures.ThreadPoolExecutor(1) as pool:
        going = pool.submit(httpx.post, f"{server.url}/v1/grade", json=body, timeout=60)
        wait_until(lambda: any("main.py" in words for words in _commands(server)), within=20)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
        assert (going.result().status_code, going.result().json()["error"]["code"]) == (409, "canceled")


def _commands(server) -> list[str]:
    """The command lines of all processes below the server."""
    out = []
    for pid in server.descendants():
        with contextlib.suppress(OSError):
            out.append(Path(f"/proc/{pid}/cmdline").read_text())
    return out


def _naps(server) -> int:
    """How many of the programs that `_post` asks for run. A run has its turn before that, and may have no launcher yet."""
    return sum(words.startswith("sleep\0") for words in _commands(server))


@pytest.mark.claim("SEC-SV-08")
def test_sigterm_answers_all_that_was_accepted_and_refuses_the_rest(tmp_path, run_options):
    with served(tmp_path, max_concurrency=2, **run_options) as server, concurrent.futures.ThreadPoolExecutor(8) as pool:
        accepted = [pool.submit(_post, server.url, 3) for _ in range(6)]  # all are there before the first one ends
        wait_until(lambda: server.metric("sandbox_queue_depth") == 4, within=20)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: httpx.get(f"{server.url}/v1/ready", timeout=seconds(60)).status_code == 503, within=5)
        refused = httpx.post(f"{server.url}/v1/run", json={"argv": ["true"]}, timeout=seconds(60))
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "draining"
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["x-queue-depth"].isdigit()
        assert httpx.get(f"{server.url}/v1/health", timeout=seconds(60)).status_code == 200
        answers = [item.result() for item in accepted]
        assert [(status, answer["run"]["exit"]) for status, answer in answers] == [(200, {"code": 0})] * 6
        assert server.process.wait(30) == 0


def test_a_stop_waits_no_longer_than_it_was_told(tmp_path, run_options):
    with served(tmp_path, drain_seconds=1, **run_options) as server, concurrent.futures.ThreadPoolExecutor(1) as pool:
        going = pool.submit(_post, server.url, 25)
        wait_until(lambda: _naps(server) == 1, within=20)
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
        wait_until(lambda: _naps(server) == 3, within=20)
        below = server.descendants()
        assert len(below) >= 6, below  # a keeper, a launcher, and sandboxes in it
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
        wait_until(lambda: _naps(server) == 1, within=20)
        os.kill(server.process.pid, signal.SIGINT)
        wait_until(lambda: httpx.get(f"{server.url}/v1/ready", timeout=seconds(60)).status_code == 503, within=5)
        os.kill(server.process.pid, signal.SIGINT)
        server.process.wait(10)


_SLOW_TO_COMPILE = """
constexpr int f() { int s = 0; for (long i = 0; i < 2000000000; i++) s ^= i; return s; }
static_assert(f() == 0);
int main() {}
"""


def test_a_compiler_can_be_canceled_and_a_launcher_that_dies_costs_its_runs_alone(tmp_path, run_options):
    with served(tmp_path, **run_options) as server, concurrent.futures.ThreadPoolExecutor(2) as pool:
        began = len(server.descendants())
        body = {"language": "cpp", "code": _SLOW_TO_COMPILE}
        headers = {"X-Request-Id": "slow"}
        compiling = pool.submit(httpx.post, f"{server.url}/v1/run", json=body, headers=headers, timeout=60)
        wait_until(lambda: len(server.descendants()) > began, within=20)
        assert httpx.delete(f"{server.url}/v1/runs/slow", timeout=seconds(60)).status_code == 202
        answer = compiling.result()
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "canceled")

        running = pool.submit(_post, server.url, 20)
        wait_until(lambda: _naps(server) == 1, within=20)
        for launcher in children(server.process.pid):
            os.kill(launcher, signal.SIGKILL)
        status, lost = running.result()
        assert (status, lost["error"]["code"]) == (503, "launcher_died")
        assert _post(server.url, 0)[0] == 200


@pytest.mark.claim("SEC-SV-09")
def test_the_audit_file_tells_who_ran_what_and_not_what_it_was(tmp_path, run_options):
    file = tmp_path / "audit.jsonl"
    with served(tmp_path, audit_file=str(file), **run_options) as server:
        secret = {"argv": ["cat"], "stdin": "the-secret-of-the-payload"}
        identifier = httpx.post(f"{server.url}/v1/run", json=secret, timeout=seconds(60)).headers["x-request-id"]
        httpx.post(
            f"{server.url}/v1/grade", json={"language": "py", "code": "print(1)", "cases": [{"answer": "1"}]}, timeout=seconds(60)
        )
        os.rename(file, tmp_path / "old.jsonl")
        server.process.send_signal(signal.SIGHUP)
        wait_until(file.exists, within=5)
        httpx.post(f"{server.url}/v1/run", json={"argv": ["no-such-program"]}, timeout=seconds(60))
    old = [json.loads(line) for line in (tmp_path / "old.jsonl").read_text().splitlines()]
    assert [(line["event"], line["outcome"]) for line in old] == [("run", "exited"), ("grade", "AC")]
    assert (old[0]["request_id"], old[0]["tenant"], old[0]["peer"]) == (identifier, "anybody", "127.0.0.1")
    assert len(old[0]["profile_digest"]) == len(old[0]["plan_digest"]) == 64
    assert "the-secret" not in (tmp_path / "old.jsonl").read_text() + server.log.read_text()
    assert [json.loads(line)["error"] for line in file.read_text().splitlines()] == ["CommandNotFound"]


def test_a_warm_interpreter_gives_the_same(tmp_path, run_options):
    with served(tmp_path, warm=True, languages=["python3"], **run_options) as server:
        body = {"language": "py", "code": "import sys\nprint(sys.argv[1], input())", "args": ["a"], "stdin": "b"}
        run = httpx.post(f"{server.url}/v1/run", json=body, timeout=30).json()["run"]
        assert (run["stdout"], run["exit"]) == ("a b\n", {"code": 0})


def test_pages_of_allowed_origins_may_call(tmp_path, run_options):
    origin = "https://judge.example"
    with served(tmp_path, cors_origins=[origin], **run_options) as server:
        asked = {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        assert (
            httpx.options(f"{server.url}/v1/run", headers=asked, timeout=seconds(60)).headers["access-control-allow-origin"]
            == origin
        )
        answer = httpx.post(f"{server.url}/v1/run", json={"argv": ["true"]}, headers={"origin": origin}, timeout=seconds(60))
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)
        other = httpx.options(f"{server.url}/v1/run", headers={**asked, "origin": "https://evil.example"}, timeout=seconds(60))
        assert "access-control-allow-origin" not in other.headers


def test_a_server_that_cannot_start_says_why(tmp_path):
    config = tmp_path / "service.toml"
    config.write_text('no_auth = true\nport = 0\nlanguages = ["nope"]\n')
    command = [sys.executable, "-m", "sandbox.cli", "serve", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 125
    assert done.stderr.splitlines()[-1].startswith("sandbox: languages: there is no language 'nope'")
