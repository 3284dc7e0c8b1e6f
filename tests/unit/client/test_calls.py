"""Requests and answers of the client, against a transport that is no network: bodies, errors, and when it asks again."""

from __future__ import annotations

import asyncio
import email.utils
import json
import os
import subprocess
import sys
import threading
import time

import httpx
import pytest

from sandbox import client
from sandbox.client import calls, errors, retries
from sandbox.model import errors as local
from sandbox.model.limits import Limits
from tests.unit.cli.fakes import make_result

URL = "http://sandbox.test"
RUN = make_result()
ANSWER = {"id": "1", "language": "", "version": "", "compile": None, "run": RUN.to_dict()}


class Service:
    """Answers with what it was given, in order, the last again and again; keeps what was asked."""

    def __init__(self, *answers):
        self.answers = list(answers) or [httpx.Response(200, json=ANSWER)]
        self.asked = []
        self.waited = []

    def __call__(self, request):
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    @property
    def body(self):
        return json.loads(self.asked[-1].content)


def call(service, kind, work, **options):
    """What `work` of a client of this kind gives; waits are noted, not waited."""
    options = {"token": "secret", **options}
    if kind == "blocking":
        with client.Sandbox(URL, transport=httpx.MockTransport(service), **options) as box:
            box._sleep = service.waited.append
            return work(box)

    async def run():
        async with client.AsyncSandbox(URL, transport=httpx.MockTransport(service), **options) as box:

            async def sleep(seconds):
                service.waited.append(seconds)

            box._sleep = sleep
            return await work(box)

    return asyncio.run(run())


both = pytest.mark.parametrize("kind", ["blocking", "asyncio"])


def busy(status=429, after="0"):
    headers = {} if after is None else {"Retry-After": after}
    return httpx.Response(status, headers=headers, json=refusal("queue_full"))


def refusal(code, **more):
    return {"error": {"code": code, "message": "no", "hint": "do", "request_id": "r1", **more}}


@both
def test_a_run_is_one_post_and_its_result_is_the_one_that_was_sent(kind):
    service = Service()
    assert call(service, kind, lambda box: box.run(["echo", "hi"], stdin=b"x", limits={"wall": "2s"})) == RUN
    (request,) = service.asked
    assert (request.method, request.url.path) == ("POST", "/v1/run")
    assert request.headers["authorization"] == "Bearer secret"
    assert request.headers["content-type"] == "application/json"
    assert len(request.headers["idempotency-key"]) == 32
    assert service.body == {"argv": ["echo", "hi"], "stdin": "x", "limits": {"wall": "2s"}}


@both
def test_everything_that_the_local_call_takes_travels(kind, tmp_path):
    tool = tmp_path / "tool"
    tool.write_bytes(b"#!x")
    tool.chmod(0o755)
    service = Service()
    limits = Limits(**dict.fromkeys(Limits.__slots__, 7))
    files = {"a": b"text", "b": (b"\xff", 0o600), "c": tool}
    options = {"stdin": b"\xff", "files": files, "collect": ["."], "env": {"A": "B"}, "cwd": "/work", "limits": limits}
    call(
        service,
        kind,
        lambda box: box.run(["a", b"b", tmp_path], **options),
        profile="python",
        limits={"memory": "1MiB", "pids": 3},
    )
    said = service.body
    assert said["argv"] == ["a", "b", str(tmp_path)]
    assert said["stdin"] == {"content": "/w==", "encoding": "base64"}
    assert said["files"] == {
        "a": {"content": "text", "encoding": "utf8"},
        "b": {"content": "/w==", "encoding": "base64", "mode": 0o600},
        "c": {"content": "#!x", "encoding": "utf8", "mode": 0o755},
    }
    assert (said["collect"], said["env"], said["cwd"], said["profile"]) == (["."], {"A": "B"}, "/work", "python")
    assert (said["limits"]["memory"], said["limits"]["pids"], said["limits"]["wall_ns"]) == ("1MiB", 7, 7)


@both
def test_sources_in_a_language(kind):
    service = Service()
    answer = call(service, kind, lambda box: box.execute("python", "print(1)", args=["x"], version="3"))
    assert answer.run == RUN
    assert service.body == {"language": "python", "version": "3", "args": ["x"], "code": "print(1)"}
    call(service, kind, lambda box: box.execute("cpp", {"main.cpp": "int", "a.h": b"\xff"}))
    assert service.body["sources"] == [
        {"name": "main.cpp", "content": "int", "encoding": "utf8"},
        {"name": "a.h", "content": "/w==", "encoding": "base64"},
    ]


@both
@pytest.mark.parametrize(
    ("argv", "options", "words"),
    [
        ("echo", {}, "list of words"),
        ([], {}, "empty"),
        ([b"\xff"], {}, "not UTF-8"),
        ([3], {}, "no str"),
        (["a"], {"files": {"x": "text"}}, "must be bytes"),
        (["a"], {"files": {"x": (b"", "rwx")}}, "must be bytes"),
        (["a"], {"tty": 3}, "rows, columns"),
        (["a"], {"on_stdout_end": print}, "on_stdout_end"),
        (["a"], {"env": {"A": b"x"}}, "no JSON"),
    ],
)
def test_what_cannot_be_sent_is_refused_here(kind, argv, options, words):
    service = Service()
    with pytest.raises(local.RequestError, match=words):
        call(service, kind, lambda box: box.run(argv, **options))
    assert service.asked == []


@both
def test_an_unknown_option_is_a_mistake_of_the_program(kind):
    with pytest.raises(TypeError, match="no option 'stdinn'"):
        call(Service(), kind, lambda box: box.run(["a"], stdinn=b""))


def test_files_that_are_none_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing"):
        with pytest.raises(local.RequestError, match="files"):
            call(Service(), "blocking", lambda box, path=path: box.run(["a"], files={"x": path}))


@both
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_asked_again_with_the_same_key(kind, status):
    service = Service(busy(status), busy(status), httpx.Response(200, json=ANSWER))
    assert call(service, kind, lambda box: box.run(["a"])) == RUN
    assert len(service.asked) == 3
    assert len({request.headers["idempotency-key"] for request in service.asked}) == 1


@both
@pytest.mark.parametrize("after", ["2", "date"])
def test_as_long_as_it_wants_is_waited(kind, after):
    wanted = email.utils.formatdate(time.time() + 20, usegmt=True) if after == "date" else after
    service = Service(busy(after=wanted), httpx.Response(200, json=ANSWER))
    call(service, kind, lambda box: box.run(["a"]))
    (waited,) = service.waited
    assert (2 <= waited <= 3) if after == "2" else (17 <= waited <= 21)


@both
@pytest.mark.parametrize(
    ("answer", "retry", "count"),
    [
        (busy(after=None), None, 1),
        (busy(after="3600"), None, 1),
        (busy(after="soon"), None, 1),
        (busy(), retries.Retries(most=2), 3),
        (busy(), retries.Retries(most=0), 1),
        (httpx.Response(500, headers={"Retry-After": "0"}, json=refusal("internal")), None, 1),
        (httpx.Response(400, json=refusal("bad_request")), None, 1),
    ],
)
def test_and_no_longer_than_is_safe(kind, answer, retry, count):
    service = Service(answer)
    with pytest.raises(errors.RemoteError):
        call(service, kind, lambda box: box.run(["a"]), retry=retry)
    assert len(service.asked) == count


@both
def test_queue_timeout_bounds_the_waiting(kind):
    service = Service(busy(after="5"))
    with pytest.raises(local.CapacityError) as caught:
        call(service, kind, lambda box: box.run(["a"], queue_timeout=1.0))
    assert len(service.asked) == 1
    assert (caught.value.retry_after, caught.value.retryable, caught.value.status) == (5, True, 429)


@both
@pytest.mark.parametrize(
    ("broken", "count"),
    [
        (httpx.ConnectError("refused"), 2),
        (httpx.RemoteProtocolError("closed"), 2),
        (httpx.ReadError("reset"), 2),
        (httpx.ReadTimeout("slow"), 1),
    ],
)
def test_a_broken_connection_is_made_again_a_slow_answer_is_not_asked_for_twice(kind, broken, count):
    service = Service(broken, httpx.Response(200, json=ANSWER))
    if count == 2:
        assert call(service, kind, lambda box: box.run(["a"])) == RUN
    else:
        with pytest.raises(errors.Unreachable, match="no answer"):
            call(service, kind, lambda box: box.run(["a"]))
    assert len(service.asked) == count
    assert len({request.headers["idempotency-key"] for request in service.asked}) == 1


@both
@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={**ANSWER, "run": {}}),
        httpx.Response(200, text="[" * 100_000),
        httpx.Response(502, text="<html>Bad Gateway"),
        httpx.Response(302, headers={"Location": "http://elsewhere.test/"}),
    ],
)
def test_what_does_not_speak_this_api_is_told_as_such(kind, answer):
    service = Service(answer)
    with pytest.raises(errors.BadAnswer):
        call(service, kind, lambda box: box.run(["a"]))
    assert len(service.asked) == 1, "the token does not follow a redirect"


@both
def test_map_gives_each_request_its_item(kind):
    service = Service()

    def serve(request):
        word = json.loads(request.content)["argv"][0]
        if word == "bad":
            return httpx.Response(400, json=refusal("request"))
        return httpx.Response(200, json={**ANSWER, "run": make_result(stdout=word.encode()).to_dict()})

    service.__class__ = type("Serving", (Service,), {"__call__": lambda _, request: serve(request)})
    requests = [["1"], {"argv": ["2"], "stdin": b"x"}, ["bad"], []]

    def work(box):
        if kind == "blocking":
            return list(box.map(requests, concurrency=2))

        async def collect():
            return [item async for item in box.map(requests, concurrency=2)]

        return collect()

    items = sorted(call(service, kind, work), key=lambda item: item.index)
    assert [item.request for item in items] == requests
    assert [item.result.stdout if item.result else None for item in items] == [b"1", b"2", None, None]
    assert isinstance(items[2].error, local.RequestError)
    assert isinstance(items[3].error, local.RequestError)


def test_closing_a_map_cancels_what_runs_by_its_id():
    running, ended = threading.Event(), threading.Event()
    asked = []

    def serve(request):
        asked.append(request)
        if request.method == "DELETE":
            ended.set()
        elif json.loads(request.content)["argv"] == ["slow"]:
            running.set()
            assert ended.wait(60)
        return httpx.Response(200, json=ANSWER)

    with client.Sandbox(URL, transport=httpx.MockTransport(serve)) as box:
        items = box.map([["quick"], ["slow"]], concurrency=1)
        assert next(items).result == RUN
        assert running.wait(60)
        items.close()
    quick, slow, canceled = asked
    assert canceled.url.path == f"/v1/runs/{slow.headers['x-request-id']}"
    assert quick.headers["x-request-id"] != slow.headers["x-request-id"]


@both
@pytest.mark.parametrize("wrapped", [True, False])
def test_languages_and_profiles(kind, wrapped):
    row = {"id": "cpp", "name": "C++", "version": "12", "aliases": ["c++"], "extensions": [".cpp"], "more": 1}
    service = Service(httpx.Response(200, json={"languages": [row]} if wrapped else [row]))
    (found,) = call(service, kind, lambda box: box.languages())
    assert found == client.Language(id="cpp", name="C++", version="12", aliases=("c++",), extensions=(".cpp",))
    assert service.asked[0].method == "GET"
    assert "idempotency-key" not in service.asked[0].headers
    service = Service(httpx.Response(200, json={"profiles": [{"name": "default"}]}))
    assert call(service, kind, lambda box: box.profiles()) == [{"name": "default"}]


@pytest.mark.parametrize(
    "url",
    ["", "sandbox", "ftp://x", "http://", "http://x:0", "http://x:99999", "http://u:p@x", "http://x/?a", "http://x/#a", None],
)
def test_an_address_that_is_none(url):
    with pytest.raises(local.RequestError, match="address"):
        client.Sandbox(url)


def test_addresses_below_a_path():
    assert calls.socket_address(calls.address("https://x/sandbox/")) == "wss://x/sandbox/v1/runs/ws"


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "é", "a\r\nHost: x"])
def test_a_token_that_is_none_is_not_quoted(token):
    with pytest.raises(local.RequestError) as caught:
        client.AsyncSandbox(URL, token=token)
    assert not token or token not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "seconds"), [("0", 0), (" 7 ", 7), ("-1", None), ("", None), (None, None), ("²", None), ("9" * 99, 999999999)]
)
def test_what_retry_after_means(value, seconds):
    assert retries.retry_after(value) == seconds


def test_a_date_of_the_past_is_now():
    assert retries.retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retries.retry_after("Wed, 21 Oct 2015 07:28:00 GMT", now=1445412470) == 10


def test_it_needs_httpx_alone_and_says_so():
    code = (
        "import sys\n"
        "for name in ('websockets', 'fastapi', 'uvicorn', 'prometheus_client'): sys.modules[name] = None\n"
        "import sandbox.client\n"
        "others = ('sandbox.runtime', 'sandbox.launcher', 'sandbox.kernel', 'sandbox.service')\n"
        "assert not [name for name in sys.modules if name.startswith(others)]\n"
        "try: sandbox.client.Sandbox('http://127.0.0.1:1').start(['a'])\n"
        "except sandbox.RequestError as error: assert 'sandbox[client]' in str(error)\n"
        "else: raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    code = (
        "import sys; sys.modules['httpx'] = None\n"
        "try: import sandbox.client\n"
        "except ModuleNotFoundError as error: assert 'sandbox[client]' in str(error)\n"
        "else: raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
