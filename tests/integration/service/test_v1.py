"""The service's own API against a real server, with real sandboxes."""

from __future__ import annotations

import base64
import concurrent.futures
import io
import json
import socket
import zipfile

import httpx
import pytest

from tests.support.clock import wait_until
from tests.support.served import served


@pytest.fixture(scope="module")
def server(tmp_path_factory, run_options):
    with served(tmp_path_factory.mktemp("service"), max_concurrency=2, stream_bytes=300_000, **run_options) as running:
        yield running


@pytest.fixture(scope="module")
def http(server):
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def test_a_command_runs_and_its_id_is_that_of_the_request(http):
    answer = http.post("/v1/run", json={"argv": ["cat"], "stdin": "hello"}, headers={"X-Request-Id": "mine-1"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["run"]["stdout"] == "hello"
    assert answer.json()["id"] == answer.headers["x-request-id"] == "mine-1"
    assert http.get("/v1/runs/mine-1").json() == answer.json()
    assert http.delete("/v1/runs/mine-1").status_code == 204
    assert http.get("/v1/runs/mine-1").status_code == 404


def test_files_go_in_and_come_out(http):
    body = {
        "argv": ["sh", "-c", "cp in out; chmod +x tool; ./tool"],
        "files": {"in": {"content": "AAH/", "encoding": "base64"}, "tool": {"content": "#!/bin/sh\necho ran\n", "mode": 0o700}},
        "collect": ["out"],
    }
    run = http.post("/v1/run", json=body).json()["run"]
    assert run["stdout"] == "ran\n", run
    assert base64.b64decode(run["files"]["out"]) == b"\x00\x01\xff"


def test_a_program_is_compiled_and_run(http):
    code = "#include <iostream>\nint main(int n, char **w) { int x; std::cin >> x; std::cout << x + n << w[1]; }"
    answer = http.post(
        "/v1/run", json={"language": "c++", "version": "12.x || >0", "code": code, "args": ["!"], "stdin": "40"}
    ).json()
    assert answer["compile"]["ok"]
    assert answer["run"]["stdout"] == "42!"
    assert answer["compile"]["result"] is None or answer["compile"]["result"]["files"] == {}


def test_what_does_not_compile_is_an_answer(http):
    answer = http.post("/v1/run", json={"language": "cpp", "code": "int main( {"}).json()
    assert answer["run"] is None
    assert not answer["compile"]["ok"]
    assert "error" in answer["compile"]["stderr"]


def test_sources_of_several_files(http):
    sources = [{"name": "start.py", "content": "import other; print(other.x)"}, {"name": "other.py", "content": "x = 5"}]
    assert http.post("/v1/run", json={"language": "py", "sources": sources}).json()["run"]["stdout"] == "5\n"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"argv": ["no-such-program"]}, "command_not_found"),
        ({"argv": ["true"], "limits": {"memory": "1TiB"}}, "policy"),
        ({"argv": ["true"], "limits": {"memory_bytes": -5}}, "policy"),
        ({"argv": ["true"], "profile": "../../etc/passwd"}, "request"),
        ({"argv": ["true"], "files": {"../x": {"content": ""}}}, "request"),
        ({"argv": ["true"], "files": {"x": {"content": "%", "encoding": "base64"}}}, "request"),
        ({"argv": ["a\0b"]}, "request"),
        ({"argv": []}, "request"),
        ({"language": "cobol", "code": ""}, "unknown_language"),
        ({"language": "py", "version": "^2", "code": ""}, "unknown_language"),
        ({"language": "py", "sources": [{"name": "/etc/x.py", "content": ""}]}, "request"),
        ({"language": "py", "sources": [{"name": "a.py", "content": ""}], "files": {"a.py": {"content": ""}}}, "request"),
        ({"language": "py", "code": "x" * 300_000}, "request"),
        ({"argv": ["true"], "tty": {"rows": 0, "columns": 1}}, "bad_request"),
        ({"argv": "true"}, "bad_request"),
        ({}, "bad_request"),
    ],
)
def test_mistakes_are_named_in_one_form(http, body, code):
    answer = http.post("/v1/run", json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    assert error["message"]
    assert error["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "raw", [b"", b"{", b'"\\ud800"', b'{"argv": ["\\ud800"]}', b"[" * 100_000, b"\xff\xfe", b'{"argv": [1e999]}']
)
def test_bodies_that_are_no_json_are_400(http, raw):
    answer = http.post("/v1/run", content=raw, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text


def test_another_content_type_is_refused(http):
    answer = http.post("/v1/run", content=b'{"argv": ["true"]}', headers={"content-type": "text/plain"})
    assert answer.status_code == 400


def _events(response: httpx.Response) -> list[tuple[str, dict]]:
    out, kind = [], ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            kind = line[7:]
        elif line.startswith("data: "):
            out.append((kind, json.loads(line[6:])))
    return out


def test_output_streams_as_it_is_written(http):
    body = {"language": "py", "code": "import sys\nprint(1, flush=True)\nprint(2, file=sys.stderr)"}
    with http.stream("POST", "/v1/run", json=body, headers={"accept": "text/event-stream"}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = _events(response)
    assert next(kind for kind, _ in events) == "stage"
    assert events[-1][0] == "result"
    assert ("stdout", {"stage": "run", "text": "1\n"}) in events
    assert ("stderr", {"stage": "run", "text": "2\n"}) in events
    assert events[-1][1]["run"]["stdout"] == "1\n"


def test_a_stream_that_cannot_begin_has_a_status(http):
    answer = http.post("/v1/run", json={"language": "cobol", "code": ""}, headers={"accept": "text/event-stream"})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "unknown_language"


def test_a_key_is_carried_out_once(http):
    body = {"argv": ["sh", "-c", "cat /proc/sys/kernel/random/uuid"]}
    headers = {"Idempotency-Key": "k1"}
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: http.post("/v1/run", json=body, headers=headers).json(), range(4)))
    assert len({answer["run"]["stdout"] for answer in answers}) == 1
    other = http.post("/v1/run", json={"argv": ["true"]}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")


def _busy(http) -> float:
    text = http.get("/metrics").text
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith("sandbox_pool_busy ")))


def test_delete_ends_a_run(http):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(http.post, "/v1/run", json={"argv": ["sleep", "20"]}, headers={"X-Request-Id": "long"})
        wait_until(lambda: _busy(http) == 1, within=10)
        assert http.get("/v1/runs/long").json() == {"id": "long", "state": "running"}
        assert http.delete("/v1/runs/long").status_code == 202
        assert answer.result().json()["run"]["outcome"] == "canceled"
    assert http.delete("/v1/runs/none").status_code == 404


def test_what_is_canceled_as_soon_as_it_has_begun_has_a_result(http):
    for number in range(10):
        headers = {"accept": "text/event-stream", "X-Request-Id": f"short-{number}"}
        with http.stream("POST", "/v1/run", json={"argv": ["sleep", "20"]}, headers=headers) as response:
            lines = response.iter_lines()
            assert next(lines) == "event: stage"
            assert http.delete(f"/v1/runs/short-{number}").status_code == 202
            last = next(line for line in reversed(list(lines)) if line.startswith("data: "))
        assert json.loads(last.removeprefix("data: "))["run"]["outcome"] == "canceled"


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_a_client_that_goes_away_ends_its_run(http, server, accept):
    wait_until(lambda: _busy(http) == 0, within=10)
    with pytest.raises(httpx.ReadTimeout), httpx.Client(base_url=server.url, timeout=1.0) as client:
        client.post("/v1/run", json={"argv": ["sleep", "20"]}, headers={"accept": accept})
    wait_until(lambda: _busy(http) == 0, within=15)


def test_a_client_that_does_not_read_ends_its_run_and_not_the_server(http, server):
    body = {"argv": ["sh", "-c", "head -c 900000 /dev/zero; sleep 15"]}
    slow = httpx.HTTPTransport(socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)])
    with (
        httpx.Client(base_url=server.url, transport=slow, timeout=60) as reader,
        reader.stream("POST", "/v1/run", json=body, headers={"accept": "text/event-stream"}) as response,
    ):
        events = response.iter_lines()
        assert next(events) == "event: stage"
        wait_until(lambda: _busy(http) == 0, within=10)
        rest = list(events)
    assert rest[-3] == "event: error"
    assert "too_slow" in rest[-2]


def test_cases_are_judged(http):
    cases = [{"input": "1", "answer": "2"}, {"name": "big", "input": "5", "answer": "6\n"}]
    report = http.post("/v1/grade", json={"language": "py", "code": "print(int(input()) + 1)", "cases": cases}).json()
    assert report["verdict"] == "AC"
    assert [case["name"] for case in report["cases"]] == ["secret/1", "secret/big"]
    wrong = {"language": "py", "code": "print(1.0000001)", "cases": [{"answer": "1"}]}
    assert http.post("/v1/grade", json=wrong).json()["verdict"] == "WA"
    assert http.post("/v1/grade", json={**wrong, "checker": {"name": "floats"}}).json()["verdict"] == "AC"
    unknown = http.post("/v1/grade", json={**wrong, "checker": {"name": "magic"}})
    assert unknown.status_code == 400
    assert "magic" in unknown.json()["error"]["message"]
    assert http.post("/v1/grade", json={**wrong, "limits": {"cpu": "10min"}}).status_code == 400


def _package(**files: str) -> str:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return base64.b64encode(buffer.getvalue()).decode()


def test_a_package_is_judged_and_its_progress_streams(http):
    package = {"content": _package(**{"1.in": "3", "1.ans": "9", "2.in": "4", "2.ans": "16"}), "encoding": "base64"}
    body = {"language": "py", "code": "print(int(input()) ** 2)", "package": package}
    with http.stream("POST", "/v1/grade", json=body, headers={"accept": "text/event-stream"}) as response:
        events = _events(response)
    assert [event["kind"] for kind, event in events if kind == "progress" and event["kind"] == "case"] == ["case", "case"]
    assert events[-1][0] == "result"
    assert events[-1][1]["verdict"] == "AC"
    broken = http.post("/v1/grade", json={**body, "package": {"content": "AAAA", "encoding": "base64"}})
    assert broken.status_code == 400, broken.text


def test_a_package_that_unpacks_to_too_much_is_not_unpacked(http):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("1.in", "1.ans"):
            archive.writestr(name, b"\0" * (150 << 20))
    package = {"content": base64.b64encode(buffer.getvalue()).decode(), "encoding": "base64"}
    answer = http.post("/v1/grade", json={"language": "py", "code": "", "package": package})
    assert answer.status_code == 400
    assert "unpacks to" in answer.json()["error"]["message"]


def test_reports_of_many_cases_are_short(http):
    cases = [{"answer": "x" * 60_000} for _ in range(40)]
    answer = http.post("/v1/grade", json={"language": "py", "code": "print('x' * 60000)", "cases": cases, "mode": "all"})
    assert answer.json()["verdict"] == "AC"
    assert len(answer.content) < 3 << 20
    assert "cut to" in answer.json()["warnings"][-1]


def test_what_the_server_says_of_itself(http):
    assert {item["id"] for item in http.get("/v1/languages").json()} == {"python3", "cpp"}
    first = http.get("/v1/profiles").json()[0]
    assert first["name"] == "default"
    assert first["limits"]["memory_bytes"] == 256 << 20
    assert http.get("/v1/health").json()["status"] == http.get("/v1/ready").json()["status"] == "ok"
    assert "sandbox_runs_total" in http.get("/metrics").text
    assert http.get("/nothing").json()["error"]["code"] == "not_found"
    assert http.put("/v1/run").status_code == 405


def _await_line(server, identifier):
    """An answer is logged once it is sent."""
    line = (identifier, "answered")
    wait_until(lambda: line in [(said["request_id"], said["message"]) for said in server.lines()], within=30)


def test_every_answer_has_an_id_and_closed_headers(http, server):
    for answer in (http.get("/v1/health"), http.get("/nothing"), http.post("/v1/run", json={})):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        identifier = answer.headers["x-request-id"]
        _await_line(server, identifier)
    assert http.get("/v1/health", headers={"X-Request-Id": "a b\tc"}).headers["x-request-id"] != "a b\tc"


def test_a_stream_with_a_key_that_was_used_has_the_same_result(http):
    headers = {"accept": "text/event-stream", "Idempotency-Key": "streamed"}
    results = []
    for _ in range(2):
        with http.stream("POST", "/v1/run", json={"argv": ["cat", "/proc/sys/kernel/random/uuid"]}, headers=headers) as response:
            results.append(_events(response))
    assert results[0][-1] == results[1][0]
    assert [kind for kind, _ in results[1]] == ["result"]
