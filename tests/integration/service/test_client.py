"""Our own client against a real server: the calls, results and errors of the local API, over HTTP."""

from __future__ import annotations

import asyncio

import pytest

from sandbox import CommandNotFound, Outcome, PolicyError
from sandbox.client import AccessDenied, AsyncSandbox, RemoteError, Sandbox, Unreachable
from sandbox.model.result import Exited
from tests.support.served import served


@pytest.fixture(scope="module")
def server(tmp_path_factory, run_options):
    with served(tmp_path_factory.mktemp("client"), max_concurrency=2, **run_options) as running:
        yield running


@pytest.fixture
def box(server):
    with Sandbox(server.url) as found:
        yield found


def test_a_run_gives_the_result_that_the_local_call_gives(box):
    result = box.run(
        ["sh", "-c", "cat; cat in; echo bad >&2; echo made > out; exit 3"], stdin=b"\xff1", files={"in": b"2"}, collect=["out"]
    )
    assert (result.stdout, result.stderr, result.exit) == (b"\xff12", b"bad\n", Exited(3))
    assert result.files["out"].data == b"made\n"
    assert result.usage.wall_ns > 0
    assert result.enforced["limits"]


def test_limits_and_outcomes(box):
    result = box.run(["sleep", "20"], limits={"wall": "300ms"})
    assert result.outcome is Outcome.WALL_TIME
    assert result.evidence


def test_a_program_in_a_language(box):
    answer = box.execute("c++", "#include <cstdio>\nint main(int n, char **w) { puts(w[1]); }", args=["x"])
    assert answer.run.stdout == b"x\n"
    assert "cpp" in {language.id for language in box.languages()}


def test_output_comes_as_it_is_said_and_a_run_is_canceled(box):
    said = []
    with box.start(["sh", "-c", "echo first; cat; sleep 20"], stdin=iter([b"sec", b"ond"]), on_stdout=said.append) as run:
        while b"".join(said) != b"first\nsecond":
            with pytest.raises(TimeoutError):
                run.wait(0.05)
        run.cancel()
        assert run.wait(60).outcome is Outcome.CANCELED


def test_a_terminal(box):
    with box.start(["sh", "-c", "tty; stty size"], tty=(33, 99)) as run:
        assert b"33 99" in run.wait(60).stdout


def test_map(box):
    items = list(box.map([["sh", "-c", f"exit {number}"] for number in range(5)], concurrency=3))
    assert sorted((item.index, item.result.exit.code) for item in items) == [(number, number) for number in range(5)]


def test_errors_are_those_of_the_local_api(box):
    with pytest.raises(CommandNotFound) as caught:
        box.run(["no-such-program"])
    assert isinstance(caught.value, RemoteError)
    assert caught.value.request_id
    with pytest.raises(PolicyError):
        box.run(["true"], limits={"wall": "10h"})


def test_a_server_that_is_not_there():
    with Sandbox("http://127.0.0.1:9") as box, pytest.raises(Unreachable):
        box.run(["true"])


def test_a_token_is_asked_for(tmp_path, run_options):
    with served(tmp_path, no_auth=False, tokens_file=str(tmp_path / "tokens.json"), **run_options) as running:
        with Sandbox(running.url) as box, pytest.raises(AccessDenied):
            box.run(["true"])
        with Sandbox(running.url, token="f" * 43) as box, pytest.raises(AccessDenied):
            box.run(["true"])


def test_tasks(server):
    async def work():
        async with AsyncSandbox(server.url) as box:
            results = await asyncio.gather(*(box.run(["sh", "-c", f"echo {number}"]) for number in range(4)))
            assert [result.stdout for result in results] == [b"%d\n" % number for number in range(4)]
            async with await box.start(["sh", "-c", "echo a; echo b"]) as run:
                assert b"".join([chunk.data async for chunk in run]) == b"a\nb\n"
                assert (await run.wait()).ok

    asyncio.run(work())
