"""Runs at the other end of a WebSocket."""

from __future__ import annotations

import base64
import json

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.support.clock import wait_until
from tests.support.served import served


@pytest.fixture(scope="module")
def server(tmp_path_factory, run_options):
    with served(tmp_path_factory.mktemp("service"), websockets=3, request_seconds=5, **run_options) as running:
        yield running


@pytest.fixture
def line(server):
    with connect(server.url.replace("http", "ws") + "/v1/runs/ws", max_size=1 << 22) as socket:
        yield socket


def _say(line, **message):
    line.send(json.dumps(message))


def _until(line, *kinds: str) -> list[dict]:
    out = []
    while not out or out[-1]["type"] not in kinds:
        out.append(json.loads(line.recv(timeout=30)))
    return out


def _text(messages) -> str:
    return "".join(item.get("text", "") for item in messages if item["type"] == "stdout")


def test_a_program_talks_with_its_client(line):
    _say(line, type="start", language="py", code="while True:\n    print(input() * 2, flush=True)")
    _say(line, type="stdin", data="ab\n")
    assert _text(_until(line, "stdout")) == "abab\n"
    _say(line, type="stdin", base64=base64.b64encode(b"c\n").decode())
    assert _text(_until(line, "stdout")) == "cc\n"
    _say(line, type="eof")
    result = _until(line, "result")[-1]
    assert result["run"]["exit"] == {"code": 1}
    assert "EOFError" in result["run"]["stderr"]
    with pytest.raises(ConnectionClosed) as closed:
        line.recv(timeout=10)
    assert closed.value.rcvd.code == 1000


def test_a_terminal_has_a_size_and_keys(line):
    script = "trap 'stty size; exit 7' INT; stty size; while :; do sleep 0.05; done"
    _say(line, type="start", argv=["sh", "-c", script], tty={"rows": 10, "columns": 20})
    assert "10 20" in _text(_until(line, "stdout"))
    _say(line, type="resize", rows=33, columns=44)
    _say(line, type="signal", signal="SIGINT")
    messages = _until(line, "result")
    assert "33 44" in _text(messages)
    assert messages[-1]["run"]["exit"] == {"code": 7}


def test_a_signal_ends_a_run_without_a_terminal(line):
    _say(line, type="start", argv=["sh", "-c", "echo here; sleep 20"])
    _until(line, "stdout")  # from then on there is a program to end
    _say(line, type="signal", signal="SIGKILL")
    assert _until(line, "result")[-1]["run"]["outcome"] == "canceled"


@pytest.mark.parametrize(
    "sent",
    [
        "no json",
        "[]",
        b"\x00\x01",
        '{"type": "stdin", "data": ""}',
        '{"type": "start"}',
        '{"type": "start", "argv": ["no-such-program"]}',
        '{"type": "start", "argv": ["true"], "more": 1}',
        "[" * 50_000,
    ],
)
def test_what_is_no_start_is_told(line, sent):
    line.send(sent)
    assert _until(line, "error")[-1]["error"]["message"]
    with pytest.raises(ConnectionClosed) as closed:
        line.recv(timeout=10)
    assert closed.value.rcvd.code == 1008


@pytest.mark.parametrize(
    "word", [{"type": "stdin", "base64": "%"}, {"type": "signal", "signal": "SIGFOO"}, {"type": "what"}, {"type": "resize"}]
)
def test_a_wrong_word_ends_the_run(line, word):
    _say(line, type="start", argv=["sleep", "20"])
    _until(line, "stage")
    _say(line, **word)
    assert _until(line, "error")[-1]["error"]["message"]


def test_who_says_nothing_is_let_go(line):
    assert _until(line, "error")[-1]["error"]["code"] == "too_slow"


def test_a_client_that_goes_ends_its_run(server):
    with connect(server.url.replace("http", "ws") + "/v1/runs/ws") as socket:
        _say(socket, type="start", argv=["sleep", "20"])
        _until(socket, "stage")
        assert server.busy == 1
    wait_until(lambda: server.busy == 0, within=10)


def test_too_many_are_refused_and_others_served(server):
    address = server.url.replace("http", "ws") + "/v1/runs/ws"
    with connect(address), connect(address), connect(address):
        with pytest.raises(InvalidStatus) as refused:
            connect(address)
        assert refused.value.response.status_code == 503
    assert not [line for line in server.lines() if line["level"] == "error"]
    wait_until(lambda: _can(address), within=10)


def _can(address: str) -> bool:
    try:
        with connect(address):
            return True
    except InvalidStatus:
        return False


def test_pages_of_others_may_not_call(server):
    with pytest.raises(InvalidStatus) as refused:
        connect(server.url.replace("http", "ws") + "/v1/runs/ws", origin="http://evil.example")
    assert refused.value.response.status_code == 403
