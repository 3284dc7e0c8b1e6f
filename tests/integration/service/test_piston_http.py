"""Piston over a real server with real sandboxes."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.support.clock import seconds
from tests.support.served import served

pytestmark = pytest.mark.requires("userns")
PYTHON = {"language": "python", "version": "*"}
HI = 'print("hi")'
CPP = "#include <iostream>\nint main(int n, char** a){ std::string s; std::getline(std::cin, s); std::cout << s << n << a[1]; }"


@pytest.fixture(scope="module")
def base(run_options, tmp_path_factory):
    limits = {"wall": "20s", "cpu": "10s", "output": "64KiB", "memory": "512MiB"}
    with served(tmp_path_factory.mktemp("piston"), limits=limits, **run_options) as server:
        yield server.url


def execute(base: str, body: Any, path: str = "/api/v2/execute", **options: Any) -> httpx.Response:
    return httpx.post(base + path, json=body, timeout=seconds(60), **options)


def run(base: str, code: str, **more: Any) -> dict[str, Any]:
    answer = execute(base, {**PYTHON, "files": [{"content": code}], **more})
    assert answer.status_code == 200, answer.text
    found = answer.json()["run"]
    assert isinstance(found, dict)
    return found


def test_a_script(base):
    answer = execute(base, {**PYTHON, "files": [{"content": HI}]})
    body = answer.json()
    assert answer.status_code == 200
    assert "compile" not in body
    assert body["language"] == "python"
    found = body["run"]
    assert (found["stdout"], found["stderr"], found["output"], found["code"], found["signal"]) == ("hi\n", "", "hi\n", 0, None)
    assert (found["message"], found["status"]) == (None, None)
    assert found["memory"] > 0
    assert all(isinstance(found[name], int) for name in ("cpu_time", "wall_time"))


@pytest.mark.parametrize("path", ["/api/v2/execute", "/api/v2/execute/", "/api/v2/piston/execute", "/api/v2/piston/execute/"])
def test_every_path_that_clients_use(base, path):
    answer = execute(base, {"language": "py", "version": "3.x", "files": [{"name": "", "content": HI}]}, path)
    assert answer.json()["run"]["code"] == 0
    other = path.replace("execute", "runtimes")
    runtimes = httpx.get(base + other, timeout=seconds(60)).json()
    assert {"python", "c++"} <= {item["language"] for item in runtimes}
    assert all(item["version"].count(".") == 2 for item in runtimes)


def test_a_compiled_program_with_arguments_and_stdin(base):
    body = {"language": "c++", "version": "*", "files": [{"name": "a.cpp", "content": CPP}], "stdin": "in", "args": ["one"]}
    found = execute(base, body).json()
    assert (found["compile"]["code"], found["compile"]["signal"]) == (0, None)
    assert found["run"]["stdout"] == "in2one"


def test_what_does_not_compile(base):
    found = execute(base, {"language": "c++", "version": "*", "files": [{"content": "int main( {"}]}).json()
    assert found["run"] == found["compile"]
    assert found["run"]["code"] == 1
    assert "error" in found["run"]["stderr"]


def test_ends_of_all_kinds(base):
    found = run(base, 'import sys; sys.stderr.write("bad"); sys.exit(3)')
    assert (found["code"], found["signal"], found["stderr"], found["output"], found["status"]) == (3, None, "bad", "bad", "RE")
    found = run(base, "import os; os.kill(os.getpid(), 11)")
    assert (found["code"], found["signal"], found["status"]) == (None, "SIGSEGV", "SG")
    found = run(base, "import time; time.sleep(30)", run_timeout=500)
    assert (found["code"], found["signal"], found["status"], found["stdout"]) == (None, "SIGKILL", "TO", "")
    found = run(base, "while True: pass", run_cpu_time=300)
    assert (found["code"], found["signal"], found["status"]) == (None, "SIGKILL", "TO")
    found = run(base, 'while True: print("x" * 100)')
    assert (found["signal"], found["status"], found["message"]) == ("SIGKILL", "OL", "stdout length exceeded")
    assert 0 < len(found["stdout"]) <= 64 << 10
    found = run(base, 'import sys\nwhile True: sys.stderr.write("x" * 100)')
    assert (found["signal"], found["status"], found["message"]) == ("SIGKILL", "EL", "stderr length exceeded")
    found = run(base, "def f(:")
    assert found["code"] == 1
    assert "SyntaxError" in found["stderr"]


def test_memory_is_limited(base):
    found = run(base, "x = bytearray(300 << 20); print(len(x))", run_memory_limit=64 << 20)
    assert found["code"] != 0
    assert "314572800" not in found["stdout"]
    assert run(base, "print(1)", run_memory_limit=-1, compile_memory_limit=-1)["code"] == 0
    assert execute(base, {**PYTHON, "files": [{"content": HI}], "run_memory_limit": 1000}).status_code in (200, 400)


def test_output_is_merged_in_order(base):
    """Each word is read before the next one is written."""
    code = (
        "import array, fcntl, os, termios, time\n"
        "for word in 'oeoeoe':\n"
        "    fd, unread = (1 if word == 'o' else 2), array.array('i', [1])\n"
        "    os.write(fd, word.encode())\n"
        "    while unread[0]:\n"
        "        time.sleep(.01)\n"
        "        fcntl.ioctl(fd, termios.FIONREAD, unread)\n"
    )
    assert run(base, code)["output"] == "oeoeoe"


def test_stdin_and_files(base):
    code = "import sys, helper; print(repr(sys.stdin.read()), helper.X, open('sub/data.bin','rb').read(), sys.argv[1:])"
    files = [
        {"name": "main.py", "content": code},
        {"name": "helper.py", "content": "X = 'é'"},
        {"name": "sub/data.bin", "content": "00ff", "encoding": "hex"},
    ]
    found = execute(base, {**PYTHON, "files": files, "stdin": "a", "args": ["x y", 5]}).json()["run"]
    assert found["stdout"] == "'a\\n' é b'\\x00\\xff' ['x y', '5']\n"


def test_output_that_is_no_text(base):
    assert run(base, "import os; os.write(1, b'a\\xff\\x1b[31m<b>')")["stdout"] == "a�\x1b[31m<b>"


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"language": "python"', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"version": NaN}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"{}", "text/plain;charset=UTF-8", 415),
        (b"{}", "application/x-www-form-urlencoded", 415),
        (b"{}", None, 415),
    ],
)
def test_bodies_that_are_no_json(base, content, kind, status):
    headers = {} if kind is None else {"Content-Type": kind}
    answer = httpx.post(f"{base}/api/v2/execute", content=content, headers=headers, timeout=seconds(60))
    assert answer.status_code == status
    assert isinstance(answer.json()["message"], str)


def test_the_words_for_mistakes(base):
    body = {"version": "*", "files": [{"content": HI}]}
    answer = execute(base, body)
    assert (answer.status_code, answer.json()) == (400, {"message": "language is required as a string"})
    answer = execute(base, {**body, "language": "python", "run_timeout": 1_000_000})
    assert answer.json() == {"message": "run_timeout cannot exceed the configured limit of 20000"}
    answer = execute(base, {**body, "language": "python", "files": [{"name": "../../x", "content": ""}]})
    assert answer.status_code == 400
    assert "tries to escape parent directory" in answer.json()["message"]
    answer = execute(base, {**body, "language": "python", "files": [{"content": "x" * (1 << 20)}]})
    assert answer.status_code == 400


def test_unknown_paths_and_packages(base):
    assert httpx.get(f"{base}/api/v2/nothing", timeout=seconds(60)).json() == {"message": "Not Found"}
    packages = httpx.get(f"{base}/api/v2/packages", timeout=seconds(60)).json()
    assert all(set(item) == {"language", "language_version", "installed"} for item in packages)
    missing = execute(base, {"language": "cobol", "version": "1.0.0"}, "/api/v2/packages")
    assert (missing.status_code, missing.json()) == (404, {"message": "Requested package cobol-1.0.0 does not exist"})
    assert execute(base, PYTHON, "/api/v2/packages").status_code == 400
    assert httpx.request("DELETE", f"{base}/api/v2/packages", json=PYTHON, timeout=seconds(60)).status_code == 403


def talk(base: str, *messages: Any, until: str = "") -> tuple[list[dict[str, Any]], int]:
    """Send messages, each after the next answer that has `until` in it where it is given; all that is said, the close code."""
    said: list[dict[str, Any]] = []
    with connect(base.replace("http", "ws") + "/api/v2/connect", max_size=None) as socket:
        socket.send(messages[0] if isinstance(messages[0], str) else json.dumps(messages[0]))
        left = list(messages[1:])
        if not until:
            for message in left:
                socket.send(json.dumps(message))
        with contextlib.suppress(ConnectionClosed):
            while True:
                said.append(json.loads(socket.recv(timeout=seconds(60))))
                if until and left and until in json.dumps(said[-1]):
                    socket.send(json.dumps(left.pop(0)))
        assert socket.close_code is not None
        return said, socket.close_code


def test_a_conversation(base):
    code = "print('name?', flush=True); print('hello', input())"
    init = {"type": "init", **PYTHON, "files": [{"content": code}]}
    said, closed = talk(base, init, {"type": "data", "stream": "stdin", "data": "Ada\n"}, until="name?")
    assert closed == 4999
    assert said[0]["type"] == "runtime"
    assert said[0]["language"] == "python"
    assert said[1] == {"type": "stage", "stage": "run"}
    assert "".join(item["data"] for item in said if item["type"] == "data") == "name?\nhello Ada\n"
    assert said[-1] == {"type": "exit", "stage": "run", "code": 0, "signal": None}


def test_a_compiled_conversation_and_a_signal(base):
    loop = '#include <cstdio>\n#include <unistd.h>\nint main(){ puts("on"); fflush(stdout); pause(); }'
    init = {"type": "init", "language": "c++", "version": "*", "files": [{"content": loop}]}
    said, closed = talk(base, init, {"type": "signal", "signal": "SIGTERM"}, until='"on')
    assert closed == 4999
    assert [item["stage"] for item in said if item["type"] == "stage"] == ["compile", "run"]
    exits = [item for item in said if item["type"] == "exit"]
    assert exits[0] == {"type": "exit", "stage": "compile", "code": 0, "signal": None}
    assert (exits[1]["stage"], exits[1]["code"]) == ("run", None)
    assert exits[1]["signal"]


def test_a_conversation_that_does_not_compile(base):
    init = {"type": "init", "language": "c++", "version": "*", "files": [{"content": "nonsense"}]}
    said, closed = talk(base, init)
    assert closed == 4999
    assert (said[-1]["type"], said[-1]["stage"], said[-1]["code"]) == ("exit", "compile", 1)


INIT = {"type": "init", **PYTHON, "files": [{"content": "import time; time.sleep(10)"}]}


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ((INIT, INIT), 4000),
        (({"type": "what"},), 4001),
        (("no json",), 4002),
        (({"type": "init"},), 4002),
        (({"type": "data", "stream": "stdin", "data": "x"},), 4003),
        (({"type": "signal", "signal": "SIGTERM"},), 4003),
        ((INIT, {"type": "data", "stream": "stdout", "data": "x"}), 4004),
        ((INIT, {"type": "signal", "signal": "SIGNONE"}), 4005),
        ((INIT, {"type": "data", "stream": "stdin", "data": 5}), 4002),
    ],
)
def test_close_codes(base, messages, code):
    said, closed = talk(base, *messages)
    assert closed == code
    assert (code == 4002) == any(item["type"] == "error" for item in said)
