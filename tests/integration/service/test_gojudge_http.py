"""go-judge over a real server with real sandboxes."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support.clock import seconds
from tests.support.served import served

pytestmark = pytest.mark.requires("userns")
OUT = [{"content": ""}, {"name": "stdout", "max": 10240}, {"name": "stderr", "max": 10240}]
ADD = "#include <iostream>\nint main(){ int a, b; std::cin >> a >> b; std::cout << a + b << std::endl; }"
LIMITS = {"cpuLimit": 10**10, "memoryLimit": 1 << 28, "procLimit": 50}


@pytest.fixture(scope="module")
def client(run_options, tmp_path_factory):
    with (
        served(tmp_path_factory.mktemp("gojudge"), **run_options) as server,
        httpx.Client(base_url=server.url, timeout=seconds(90)) as made,
    ):
        yield made


def run(client: httpx.Client, *commands: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    answer = client.post("/run", json={"cmd": [{"files": OUT, **LIMITS, **command} for command in commands], **more})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert isinstance(found, list)
    return found


def test_compile_once_and_run_what_was_kept(client):
    [made] = run(
        client,
        {
            "args": ["/usr/bin/g++", "a.cc", "-o", "a"],
            "copyIn": {"a.cc": {"content": ADD}},
            "copyOut": ["stdout", "stderr"],
            "copyOutCached": ["a"],
        },
    )
    assert (made["status"], made["exitStatus"], made["files"]) == ("Accepted", 0, {"stdout": "", "stderr": ""})
    kept = made["fileIds"]["a"]
    given = {"args": ["a"], "copyIn": {"a": {"fileId": kept}}, "files": [{"content": "1 2"}, *OUT[1:]]}
    [found] = run(client, given)
    assert (found["status"], found["files"]["stdout"]) == ("Accepted", "3\n")
    assert found["time"] > 0
    assert found["runTime"] > 0
    assert client.get("/file").json() == {kept: "a"}
    assert client.get(f"/file/{kept}").content[:4] == b"\x7fELF"
    assert client.delete(f"/file/{kept}").status_code == 200
    assert client.delete(f"/file/{kept}").status_code == 404
    assert client.get(f"/file/{kept}").status_code == 404
    answer = client.post("/run", json={"cmd": [given]})
    assert (answer.status_code, answer.json()) == (400, f"file not exists with id {kept}")


def test_files_of_the_server(client):
    identifier = client.post("/file", files={"file": ('we"ird\r\n.txt', b"cont\xffent")}).json()
    answer = client.get(f"/file/{identifier}")
    assert answer.content == b"cont\xffent"
    assert answer.headers["Content-Disposition"].count('"') == 2
    [found] = run(client, {"args": ["cat", "x"], "copyIn": {"x": {"fileId": identifier}}})
    assert found["files"]["stdout"] == "cont�ent"
    assert client.post("/file", content=b"x").status_code == 400
    client.delete(f"/file/{identifier}")


def test_ends_of_all_kinds(client):
    several = run(
        client,
        {"args": ["sh", "-c", "exit 3"]},
        {"args": ["sh", "-c", "kill -11 $$"]},
        {"args": ["sh", "-c", "while :; do :; done"], "cpuLimit": 300_000_000},
        {"args": ["sleep", "9"], "clockLimit": 300_000_000},
        {"args": ["sh", "-c", "echo 123456"], "files": [{"content": ""}, {"name": "stdout", "max": 3}]},
        {"args": ["true"], "copyOut": ["gone"]},
        {"args": ["true"], "copyOut": ["gone?"]},
        {"args": ["sh", "-c", "ln -s /etc/passwd l; mkdir d"], "copyOut": ["l", "d"]},
        {"args": ["/no/such/program"]},
    )
    assert [item["status"] for item in several] == [
        "Nonzero Exit Status", "Signalled", "Time Limit Exceeded", "Time Limit Exceeded", "Output Limit Exceeded", "File Error",
        "Accepted", "File Error", "Internal Error",
    ]  # fmt: skip
    assert (several[0]["exitStatus"], several[1]["exitStatus"], several[4]["files"]) == (3, 11, {"stdout": "123"})
    assert several[5]["fileError"][0]["type"] == "CopyOutOpen"
    assert "root:" not in str(several[7])
    assert several[8]["error"]


def test_an_answer_holds_so_much(client):
    big = {"args": ["sh", "-c", "head -c 9000000 /dev/zero > f"], "copyOut": ["f"]}
    first, second = run(client, big, big)
    assert (first["status"], len(first["files"]["f"])) == ("Accepted", 9_000_000)
    assert (second["status"], second["files"], second["fileError"][0]["type"]) == ("File Error", {}, "CollectSizeExceeded")


def test_a_pipe_between_two_commands(client):
    found = run(
        client,
        {"args": ["sh", "-c", "echo one; echo two >&2; echo three"], "files": [{"content": ""}, None, OUT[2]]},
        {"args": ["tr", "a-z", "A-Z"], "files": [None, OUT[1], OUT[2]]},
        pipeMapping=[{"in": {"index": 0, "fd": 1}, "out": {"index": 1, "fd": 0}, "proxy": True, "name": "seen", "max": 5}],
    )
    assert [item["status"] for item in found] == ["Accepted", "Accepted"]
    assert (found[0]["files"], found[1]["files"]["stdout"]) == ({"stderr": "two\n", "seen": "one\nt"}, "ONE\nTHREE\n")


def test_a_conversation_through_two_pipes(client):
    asks = "import sys\nprint(6, flush=True)\nprint('got', input(), file=sys.stderr)"
    answers = "print(int(input()) * 7, flush=True)"
    found = run(
        client,
        {"args": ["python3", "-c", asks], "files": [None, None, OUT[2]]},
        {"args": ["python3", "-c", answers], "files": [None, None, OUT[2]]},
        pipeMapping=[
            {"in": {"index": 0, "fd": 1}, "out": {"index": 1, "fd": 0}},
            {"in": {"index": 1, "fd": 1}, "out": {"index": 0, "fd": 0}},
        ],
    )
    assert [item["status"] for item in found] == ["Accepted", "Accepted"], found
    assert found[0]["files"]["stderr"] == "got 42\n"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "no cmd provided"),
        ({"cmd": [{"args": ["cat"], "files": [{"src": "/etc/passwd"}]}]}, "file (/etc/passwd) does not under ([])"),
        ({"cmd": [{"args": ["cat"], "copyIn": {"x": {"symlink": "/etc"}}}]}, "symlink is not supported here"),
    ],
)
def test_what_is_refused(client, body, words):
    answer = client.post("/run", json=body)
    assert (answer.status_code, answer.json()) == (400, words)


def test_what_there_is_to_know(client):
    assert client.get("/version").json()["copyOutOptional"] is True
    assert client.get("/config").json()["stream"] is False
    assert client.post("/run", content=b"{", headers={"Content-Type": "application/json"}).status_code == 400
    plain = {"Content-Type": "text/plain"}  # which go-judge does not look at
    assert client.post("/run", content=b'{"cmd": [{"args": ["true"]}]}', headers=plain).json()[0]["status"] == "Accepted"
