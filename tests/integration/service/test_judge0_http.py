"""Judge0 over a real server with real sandboxes."""

from __future__ import annotations

import base64
import io
import json
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest

from tests.support.clock import seconds, wait_until
from tests.support.served import served

pytestmark = pytest.mark.requires("userns")
DONE = {"id": 3, "description": "Accepted"}


class _Hook(BaseHTTPRequestHandler):
    def do_PUT(self):
        self.server.seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def hook():
    with HTTPServer(("127.0.0.1", 0), _Hook) as made:
        made.seen = []
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def client(run_options, hook, tmp_path_factory):
    settings = {"callback_hosts": [f"127.0.0.1:{hook.server_port}"], "languages": ["python3", "cpp", "c", "bash"], **run_options}
    with (
        served(tmp_path_factory.mktemp("judge0"), **settings) as server,
        httpx.Client(base_url=server.url, timeout=seconds(90)) as made,
    ):
        yield made


def post(client: httpx.Client, query: str = "wait=true", **body: Any) -> httpx.Response:
    return client.post(f"/submissions?{query}", json={"language_id": 71, **body})


def judged(client: httpx.Client, **body: Any) -> dict[str, Any]:
    answer = post(client, "wait=true&fields=*", **body)
    assert answer.status_code == 201, answer.text
    found = answer.json()
    assert isinstance(found, dict)
    return found


def done(client: httpx.Client, token: str, query: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}

    def ended() -> bool:
        found.update(client.get(f"/submissions/{token}?{query}").json())
        return found["status"]["id"] > 2

    wait_until(ended, seconds(60))
    return found


def test_a_submission_that_is_waited_for(client):
    found = post(client, source_code="print(input())", stdin="hi", expected_output="hi").json()
    assert (found["stdout"], found["stderr"], found["status"], found["compile_output"], found["message"]) == (
        "hi\n", None, DONE, None, None,
    )  # fmt: skip
    assert float(found["time"]) > 0
    assert found["memory"] > 0


def test_a_submission_that_is_polled(client):
    answer = post(client, "base64_encoded=true", source_code=base64.b64encode(b"print('\xc3\xa9')").decode())
    assert answer.status_code == 201
    assert list(answer.json()) == ["token"]
    found = done(client, answer.json()["token"], "base64_encoded=true&fields=stdout,status,source_code,finished_at")
    assert set(found) == {"stdout", "status", "source_code", "finished_at"}
    assert base64.b64decode(found["stdout"]) == "é\n".encode()
    assert found["status"] == DONE


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (54, '#include <cstdio>\nint main(){ puts("7"); }'),
        (50, '#include <stdio.h>\nint main(){ puts("7"); return 0; }'),
        (100, "print(7)"),
        (46, "echo 7"),
        (43, "7\n"),
    ],
)
def test_languages_by_number(client, number, code):
    assert judged(client, language_id=number, source_code=code, expected_output="7")["status"] == DONE


def test_ends_of_all_kinds(client):
    assert judged(client, source_code="print(2)", expected_output="1")["status"]["id"] == 4
    late = judged(client, source_code="while True: pass", cpu_time_limit=0.3, cpu_extra_time=0)
    assert (late["status"]["id"], late["exit_code"]) == (5, None)
    asleep = judged(client, source_code="import time; time.sleep(9)", wall_time_limit=1)
    assert (asleep["status"]["id"], asleep["message"]) == (5, "Time limit exceeded (wall clock)")
    wrong = judged(client, language_id=54, source_code="int main( {")
    assert (wrong["status"]["id"], wrong["stdout"], wrong["time"]) == (6, None, None)
    assert "error" in wrong["compile_output"]
    crashed = judged(client, language_id=54, source_code="int main(){ __builtin_trap(); }")
    assert crashed["status"]["id"] == 12
    crashed = judged(client, language_id=54, source_code="#include <cstdlib>\nint main(){ abort(); }")
    assert (crashed["status"]["id"], crashed["exit_signal"]) == (10, 6)
    failed = judged(client, source_code="raise SystemExit(4)")
    assert (failed["status"]["id"], failed["exit_code"]) == (11, 4)
    assert judged(client, source_code="def f(:")["status"]["id"] == 11
    long = judged(client, source_code="while True: print('x' * 1000)")
    assert (long["status"]["id"], long["exit_signal"]) == (8, 25)
    assert judged(client, language_id=44, source_code="no program")["status"]["id"] in (11, 14)


def test_options(client):
    found = judged(
        client,
        source_code="import sys; print(sys.argv[1:], flush=True); print('e', file=sys.stderr)",
        command_line_arguments="a 'b c' $HOME",
        redirect_stderr_to_stdout=True,
        number_of_runs=3,
    )
    assert (found["stdout"], found["stderr"], found["number_of_runs"]) == ("['a', 'b c', 'HOME']\ne\n", None, 3)


def zipped(**files: str) -> str:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return base64.b64encode(whole.getvalue()).decode()


def test_additional_files(client):
    files = zipped(helper="x", data__in="41")
    assert judged(client, source_code="print(int(open('data/in').read()) + 1)", additional_files=files)["stdout"] == "42\n"
    bad = judged(client, source_code="print(1)", additional_files=base64.b64encode(b"no zip").decode())
    assert bad["status"]["id"] == 13
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("../../evil", "x")
    bad = judged(client, source_code="print(1)", additional_files=base64.b64encode(whole.getvalue()).decode())
    assert bad["status"]["id"] == 13
    assert "tmp" not in bad["message"]


def test_several_files_with_scripts(client):
    files = zipped(
        compile="gcc -o prog main.c -I include && echo compiled",
        run='./prog "$@"',
        main__dummy="",
        include__a_h="",
    )
    source = '#include <stdio.h>\nint main(int n, char** a){ char s[9]; scanf("%8s", s); printf("%s %s\\n", s, a[1]); }'
    whole = io.BytesIO(base64.b64decode(files))
    with zipfile.ZipFile(whole, "a") as archive:
        archive.writestr("main.c", source)
    encoded = base64.b64encode(whole.getvalue()).decode()
    body = {"language_id": 89, "additional_files": encoded, "stdin": "in", "command_line_arguments": "arg"}
    found = judged(client, **body, expected_output="in arg")
    assert (found["status"], found["compile_output"]) == (DONE, "compiled\n"), found
    failing = zipped(compile="echo no; exit 1", run="echo never")
    found = judged(client, language_id=89, additional_files=failing)
    assert (found["status"]["id"], found["compile_output"], found["stdout"]) == (6, "no\n", None)


def test_batches(client):
    body = {"submissions": [{"language_id": 71, "source_code": "print(1)"}, {"language_id": 71}]}
    answer = client.post("/submissions/batch", json=body)
    assert answer.status_code == 201
    good, bad = answer.json()
    assert bad == {"source_code": ["can't be blank"]}
    done(client, good["token"])
    found = client.get(
        "/submissions/batch", params={"tokens": f"{good['token']},no-such-token", "fields": "stdout,status_id"}
    ).json()
    assert found == {"submissions": [{"stdout": "1\n", "status_id": 3}, None]}
    assert client.post("/submissions/batch", json={"submissions": []}).json() == {
        "error": "there should be at least one submission in a batch"
    }
    assert client.post("/submissions/batch", json={"submissions": [{}] * 21}).status_code == 400
    assert client.post("/submissions/batch", json={"submissions": [{}]}).status_code == 422


def test_output_that_is_no_text(client):
    code = "import os; os.write(1, b'\\xff')"
    words = "some attributes for this submission cannot be converted to UTF-8, use base64_encoded=true query parameter"
    answer = post(client, source_code=code)
    assert (answer.status_code, answer.json()["error"]) == (400, words)
    token = answer.json()["token"]
    assert client.get(f"/submissions/{token}").json() == {"error": words}
    assert client.get(f"/submissions/{token}").status_code == 400
    assert client.get(f"/submissions/{token}?base64_encoded=true").json()["stdout"] == "/w==\n"
    assert client.get("/submissions/batch", params={"tokens": token}).status_code == 400


def test_deleting_and_listing(client):
    token = post(client, "wait=true", source_code="print(5)").json()["token"]
    listed = client.get("/submissions?per_page=1&base64_encoded=true").json()
    assert listed["submissions"][0]["token"] == token
    assert (listed["meta"]["current_page"], listed["meta"]["next_page"]) == (1, 2)
    assert client.get("/submissions?page=0").json() == {"error": "invalid page: 0"}
    assert base64.b64decode(client.delete(f"/submissions/{token}").json()["stdout"]) == b"5\n"
    assert client.get(f"/submissions/{token}").status_code == 404
    assert client.delete(f"/submissions/{token}").status_code == 404
    slow = post(client, "", source_code="import time; time.sleep(4)").json()["token"]
    refused = client.delete(f"/submissions/{slow}")
    assert refused.status_code == 400
    assert refused.json()["error"].startswith("submission cannot be deleted because its status is ")
    done(client, slow)


def test_what_is_wrong(client):
    answer = post(client, language_id=71)
    assert (answer.status_code, answer.json()) == (422, {"source_code": ["can't be blank"]})
    answer = post(client, "fields=stdout,secret", source_code="x")
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid fields: [secret]"})
    assert client.post("/submissions", content=b"{", headers={"Content-Type": "application/json"}).status_code == 400
    assert client.post("/submissions", content=b"[]", headers={"Content-Type": "application/json"}).status_code == 422
    assert client.post("/submissions", content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415
    assert client.get("/submissions/nothing").json() == {"status": 404, "error": "Not Found"}
    assert client.get("/languages/12345").status_code == 404
    assert client.get("/languages/x").status_code == 404


def test_callbacks(client, hook):
    answer = post(client, "", source_code="print(6)", callback_url=f"http://127.0.0.1:{hook.server_port}/done")
    token = answer.json()["token"]
    wait_until(lambda: hook.seen, seconds(60))
    assert (hook.seen[0]["token"], hook.seen[0]["stdout"], hook.seen[0]["status"]) == (token, "Ngo=\n", DONE)
    for url in ("http://169.254.169.254/", "http://localhost:1/", f"http://localhost:{hook.server_port}/", "file:///etc/passwd"):
        answer = post(client, "", source_code="print(6)", callback_url=url)
        assert answer.status_code == 422
        assert list(answer.json()) == ["callback_url"]
    assert len(hook.seen) == 1


def test_what_there_is_to_know(client):
    assert {item["id"] for item in client.get("/statuses").json()} == set(range(1, 15))
    languages = client.get("/languages").json()
    assert {71, 54, 50, 89} <= {item["id"] for item in languages}
    assert all(set(item) == {"id", "name"} for item in languages)
    assert client.get("/languages/71").json()["source_file"] == "script.py"
    assert client.get("/languages/all").json()[0]["is_archived"] is False
    assert client.get("/about").json()["version"] == "1.13.1"
    assert len(client.get("/config_info").json()) == 39
    assert client.get("/workers").json()[0]["working"] == 0
    assert client.get("/system_info").status_code == 200
    assert client.post("/authenticate").status_code == 200
    assert client.post("/authorize").status_code == 200
