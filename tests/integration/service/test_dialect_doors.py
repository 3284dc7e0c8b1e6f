"""Dialects behind tokens: what one client keeps no other one sees, and what a stop does to what was taken in."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import signal
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from sandbox.service import tokens
from tests.support.clock import seconds, wait_until
from tests.support.served import Served, served

pytestmark = pytest.mark.requires("userns")
SLOW = "import time; time.sleep(1); print('done')"


@pytest.fixture(scope="module")
def clients(run_options, tmp_path_factory):
    """The clients of Ada, who may keep files, of Bob, who may only run, and of nobody."""
    place = tmp_path_factory.mktemp("doors")
    file = place / "tokens.json"
    ada, bob = tokens.add(file, "ada", scopes=("run", "files")), tokens.add(file, "bob", scopes=("run",))
    with served(place, no_auth=False, tokens_file=str(file), **run_options) as server:
        headers = ({"Authorization": f"Bearer {ada}"}, {"X-Auth-Token": bob}, {})
        made = [httpx.Client(base_url=server.url, headers=item, timeout=seconds(60)) for item in headers]
        yield made
        for client in made:
            client.close()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v2/runtimes"),
        ("POST", "/api/v2/execute"),
        ("POST", "/submissions"),
        ("GET", "/languages"),
        ("GET", "/config_info"),
        ("GET", "/submissions/x"),
        ("POST", "/run"),
        ("GET", "/file"),
        ("GET", "/version"),
    ],
)
def test_nobody_gets_in(clients, method, path):
    answer = clients[2].request(method, path)
    assert answer.status_code == 401
    assert isinstance(answer.json()["message"], str)


@pytest.mark.claim("SEC-SV-05")
def test_submissions_are_of_their_token(clients):
    ada, bob, _ = clients
    body = {"language_id": 71, "source_code": "print(1)"}
    token = ada.post("/submissions?wait=true", json=body).json()["token"]
    assert ada.get(f"/submissions/{token}").json()["stdout"] == "1\n"
    assert bob.get(f"/submissions/{token}").status_code == 404
    assert bob.delete(f"/submissions/{token}").status_code == 404
    assert bob.get("/submissions").json()["submissions"] == []
    assert bob.get(f"/submissions/batch?tokens={token}").json() == {"submissions": [None]}
    assert ada.post("/authenticate").status_code == 200
    assert ada.post("/authorize").status_code == 403


def test_files_are_of_their_token_and_need_its_scope(clients):
    ada, bob, _ = clients
    identifier = ada.post("/file", files={"file": ("x", b"secret")}).json()
    assert ada.get("/file").json() == {identifier: "x"}
    assert bob.get("/file").status_code == 403
    assert bob.get(f"/file/{identifier}").status_code == 403
    stolen = {"cmd": [{"args": ["cat", "x"], "copyIn": {"x": {"fileId": identifier}}}]}
    assert bob.post("/run", json=stolen).json() == f"file not exists with id {identifier}"


class _Hook(BaseHTTPRequestHandler):
    def do_PUT(self):
        self.server.seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def hook():
    with HTTPServer(("127.0.0.1", 0), _Hook) as made:
        made.seen = []
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.mark.claim("SEC-SV-08")
def test_a_stop_loses_no_submission(hook, tmp_path, run_options):
    with served(tmp_path, max_concurrency=1, callback_hosts=[f"127.0.0.1:{hook.server_port}"], **run_options) as server:
        body: dict[str, Any] = {"language_id": 71, "source_code": SLOW, "callback_url": f"http://127.0.0.1:{hook.server_port}/"}
        taken = [httpx.post(f"{server.url}/submissions", json=body, timeout=seconds(60)).json()["token"] for _ in range(4)]
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(seconds(60)) == 0
    assert {item["token"] for item in hook.seen} == set(taken)
    assert [item["status"]["id"] for item in hook.seen] == [3, 3, 3, 3]


def _project(**scripts: str) -> str:
    """Additional files of a submission that is a project."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in scripts.items():
            archive.writestr(name, text)
    return base64.b64encode(out.getvalue()).decode()


@pytest.mark.claim("SEC-SV-08")
def test_a_stop_between_two_steps_of_a_submission_loses_nothing(hook, tmp_path, run_options):
    """For a moment nothing runs and nothing waits: its compiler has ended, and its program has not begun."""
    callback = f"http://127.0.0.1:{hook.server_port}/"
    with served(tmp_path, max_concurrency=1, callback_hosts=[f"127.0.0.1:{hook.server_port}"], **run_options) as server:
        twice = {"language_id": 71, "source_code": "import time; time.sleep(1.5); print('done')", "number_of_runs": 2}
        project = {"language_id": 89, "additional_files": _project(compile="sleep 0.4; echo ok > out", run="cat out")}
        with ThreadPoolExecutor(1) as pool:
            waited = pool.submit(httpx.post, f"{server.url}/submissions?wait=true", json=twice, timeout=seconds(60))
            wait_until(lambda: server.busy == 1, seconds(10))
            later = httpx.post(f"{server.url}/submissions", json={**project, "callback_url": callback}, timeout=seconds(60))
            server.process.send_signal(signal.SIGTERM)
            assert waited.result().json()["status"]["id"] == 3, waited.result().text
        assert server.process.wait(seconds(60)) == 0
    assert [(item["token"], item["status"]["id"]) for item in hook.seen] == [(later.json()["token"], 3)], hook.seen


def test_a_submission_of_several_runs_waits_for_each_turn(tmp_path, run_options):
    """Who has had the first turn is not refused a later one because others have filled the queue meanwhile."""
    with served(tmp_path, max_concurrency=1, max_queue=1, **run_options) as server, ThreadPoolExecutor(3) as pool:
        body = {"language_id": 71, "source_code": "import time; time.sleep(0.5)", "number_of_runs": 4}
        answer = pool.submit(httpx.post, f"{server.url}/submissions?wait=true", json=body, timeout=seconds(60))
        wait_until(lambda: server.busy == 1, seconds(10))

        def press() -> None:
            while not answer.done():
                httpx.post(f"{server.url}/v1/run", json={"argv": ["sleep", "0.1"]}, timeout=seconds(60))

        others = [pool.submit(press) for _ in range(2)]
        assert answer.result().json()["status"]["id"] == 3, answer.result().text
        for other in others:
            other.result()


def test_pipes_of_one_tenant_do_not_wait_for_those_of_another(tmp_path, run_options):
    file = tmp_path / "tokens.json"
    headers = [{"Authorization": f"Bearer {tokens.add(file, name)}"} for name in ("ada", "bob")]
    sleep = {"cmd": [{"args": ["sleep", "19"], "clockLimit": 2 * 10**10, "cpuLimit": 10**10}]}
    piped = {
        "cmd": [{"args": ["echo", "x"], "files": [{"content": ""}, None]}, {"args": ["cat"], "files": [None]}],
        "pipeMapping": [{"in": {"index": 0, "fd": 1}, "out": {"index": 1, "fd": 0}}],
    }
    settings = {"no_auth": False, "tokens_file": str(file), "max_concurrency": 4, "per_tenant_concurrency": 2}
    with served(tmp_path, **settings, **run_options) as server, ThreadPoolExecutor(8) as pool:

        def post(body: dict[str, Any], who: dict[str, str]) -> httpx.Response:
            return httpx.post(f"{server.url}/run", json=body, headers=who, timeout=seconds(60))

        hers = [pool.submit(post, sleep, headers[0]) for _ in range(2)]
        wait_until(lambda: len(_sleeping(server)) == 2, seconds(10))
        hers += [pool.submit(post, piped, headers[0]) for _ in range(2)]
        his = pool.submit(post, piped, headers[1]).result()
        assert [item["status"] for item in his.json()] == ["Accepted", "Accepted"], his.text
        assert not any(item.done() for item in hers), "hers were not in the way"
        for pid in _sleeping(server):
            os.kill(pid, signal.SIGKILL)
        ends = [item.result().json()[0]["status"] for item in hers]
        assert ends == ["Signalled"] * 2 + ["Accepted"] * 2


def _sleeping(server: Served) -> list[int]:
    """The programs below the server that sleep."""
    found = []
    for pid in server.descendants():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text() == "sleep\n":
                found.append(pid)
    return found


@pytest.mark.claim("SEC-SV-08")
def test_a_stop_that_takes_too_long_says_what_it_did_not_judge(hook, tmp_path, run_options):
    options = {"max_concurrency": 1, "drain_seconds": 1, "callback_hosts": [f"127.0.0.1:{hook.server_port}"], **run_options}
    with served(tmp_path, **options) as server:
        body = {"language_id": 71, "source_code": "import time; time.sleep(20)", "wall_time_limit": 25}
        body["callback_url"] = f"http://127.0.0.1:{hook.server_port}/"
        taken = [httpx.post(f"{server.url}/submissions", json=body, timeout=seconds(60)).json()["token"] for _ in range(3)]
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(seconds(20)) == 0
    assert {item["token"] for item in hook.seen} == set(taken)
    assert [item["status"]["id"] for item in hook.seen] == [13, 13, 13]


def runs(server: Served, name: str) -> bool:
    """Whether a process below the server has this word in its command."""
    for pid in server.descendants():
        with contextlib.suppress(OSError):
            if name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return True
    return False


def test_a_conversation_that_is_left_ends_its_program(tmp_path, run_options):
    code = "print('on', flush=True); input()"
    init = {"type": "init", "language": "python", "version": "*", "run_timeout": 20_000}
    init["files"] = [{"name": "left_alone.py", "content": code}]
    with served(tmp_path, **run_options) as server:
        with connect(server.url.replace("http", "ws") + "/api/v2/connect") as socket:
            socket.send(json.dumps(init))
            while '"on' not in str(socket.recv(timeout=seconds(60))):
                continue
            assert runs(server, "left_alone.py")
        wait_until(lambda: not runs(server, "left_alone.py"), seconds(10), "the program is gone, long before its limit of 20 s")


def test_a_request_that_is_left_ends_its_program(tmp_path, run_options):
    body = {"language": "python", "version": "*", "run_timeout": 20_000}
    body["files"] = [{"name": "left_alone.py", "content": "import time; time.sleep(20)"}]
    with served(tmp_path, **run_options) as server:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/api/v2/execute", json=body, timeout=httpx.Timeout(seconds(3)))
        wait_until(lambda: not runs(server, "left_alone.py"), seconds(10))
