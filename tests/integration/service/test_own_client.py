"""`sandbox.client` against a real server: the same calls as of the local API, with the same results and errors."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import threading

import pytest

import sandbox
from sandbox.client import AsyncSandbox, Retries, Sandbox, Unreachable
from sandbox.model.errors import CapacityError, CommandNotFound, PolicyError, RequestError
from sandbox.model.result import CollectedFile, Exited, Outcome
from tests.support.clock import wait_until
from tests.support.served import served


@pytest.fixture(scope="module")
def server(tmp_path_factory, run_options):
    with served(tmp_path_factory.mktemp("service"), max_concurrency=2, **run_options) as running:
        yield running


@pytest.fixture
def box(server):
    with Sandbox(server.url, timeout=60) as client:
        yield client


def asynchronously(server, work):
    async def run():
        async with AsyncSandbox(server.url, timeout=60) as client:
            return await work(client)

    return asyncio.run(run())


def test_a_real_result_is_rebuilt_whole(box, run_options):
    script = r"printf '\377\0' ; echo hi >&2; cp in out; chmod 751 out; printf x > 'a\xff'; ln -s / link"
    options = {"files": {"in": (b"\0\xff", 0o600)}, "collect": ["."], "limits": {"wall": "5s"}}
    remote = box.run(["bash", "-c", script], **options)
    with sandbox.Sandbox("default", **run_options) as local_box:
        local = local_box.run(["bash", "-c", script], **options)
    assert remote.stdout == b"\xff\0"
    assert remote.files["out"] == CollectedFile(b"\0\xff", 0o751)
    for name in ("outcome", "exit", "stdout", "stderr", "files", "refused_files", "truncated", "degraded"):
        assert getattr(remote, name) == getattr(local, name), name
    assert remote.enforced["limits"]["wall_ns"] == 5 * 10**9
    assert json.loads(json.dumps(remote.to_dict())) == remote.to_dict()


def test_a_local_result_survives_the_wire(run_options):
    from sandbox.client.results import result_from

    result = sandbox.run(["sh", "-c", "echo x"], **run_options)
    assert result_from(json.loads(json.dumps(result.to_dict()))) == result


def test_sources_are_compiled_and_run(box):
    code = '#include <cstdio>\nint main() { int a, b; scanf("%d %d", &a, &b); printf("%d", a + b); }'
    answer = box.execute("c++", code, stdin=b"20 22")
    assert (answer.language, answer.compile.ok, answer.run.text()) == ("cpp", True, "42")
    answer = box.execute("c++", "int main() { return x; }")
    assert answer.run is None
    assert not answer.compile.ok
    assert b"x" in answer.compile.stdout + answer.compile.stderr


def test_limits_and_errors_are_those_of_the_local_call(box):
    assert box.run(["sleep", "20"], limits={"wall": "100ms"}).outcome is Outcome.WALL_TIME
    with pytest.raises(CommandNotFound):
        box.run(["no-such-program"])
    with pytest.raises(PolicyError, match="memory"):
        box.run(["true"], limits={"memory": "900GiB"})
    with pytest.raises(RequestError):
        box.run(["true"], files={"../x": b""})
    with pytest.raises(RequestError, match="klingon"):
        box.execute("klingon", "x")


def test_output_comes_as_it_is_written(box):
    pieces = []
    gate_read, gate_write = os.pipe()
    script = "echo first; read line; echo got $line"
    with open(gate_read, "rb", buffering=0) as gate:

        def hear(data):
            if not pieces:
                os.write(gate_write, b"go\n")
                os.close(gate_write)
            pieces.append(data)

        result = box.run(["sh", "-c", script], stdin=gate, on_stdout=hear)
    assert pieces[0] == b"first\n"
    assert b"".join(pieces) == result.stdout == b"first\ngot go\n"


@pytest.mark.parametrize("source", [io.BytesIO(b"abc"), [b"a", bytearray(b"bc")], iter([b"abc"])])
def test_standard_input_may_be_a_stream(box, source):
    assert box.run(["cat"], stdin=source).stdout == b"abc"


def test_a_large_stream_goes_through_whole(box):
    data = os.urandom(1 << 20)
    assert box.run(["wc", "-c"], stdin=[data]).text().strip() == str(len(data))


def test_what_a_stream_or_a_callback_raises_is_the_callers(box):
    def broken():
        yield b"a"
        raise ZeroDivisionError

    def bad(_):
        raise LookupError

    with pytest.raises(ZeroDivisionError):
        box.run(["cat"], stdin=broken())
    with pytest.raises(LookupError):
        box.run(["echo", "x"], on_stdout=bad)


def test_a_terminal_is_resized_and_a_run_canceled(box):
    heard = threading.Event()
    script = "trap 'stty size; exit 7' WINCH; stty size; while :; do sleep 0.05; done"
    with box.start(["sh", "-c", script], tty=(10, 20), on_stdout=lambda _: (heard.set(), run.resize(33, 44))) as run:
        result = run.wait(timeout=30)
    assert heard.is_set()
    assert (result.exit, result.text().split()) == (Exited(7), ["10", "20", "33", "44"])
    with box.start(["sleep", "30"]) as run:
        with pytest.raises(TimeoutError):
            run.wait(timeout=0.2)
        run.cancel()
        result = run.wait(timeout=30)
        assert result.outcome is Outcome.CANCELED
        assert run.wait() is result
        run.cancel()


def test_a_run_that_is_closed_is_gone_and_has_no_result(box, server):
    run = box.start(["sleep", "30"])
    run.close()
    with pytest.raises(RequestError, match="closed"):
        run.wait()
    wait_until(lambda: server.busy == 0, 30)


def test_a_map_over_the_wire(box, server):
    requests = [["echo", str(number)] for number in range(6)] + [["no-such-program"]]
    items = sorted(box.map(requests), key=lambda item: item.index)
    assert [item.result.text().strip() for item in items[:6]] == list("012345")
    assert isinstance(items[6].error, CommandNotFound)
    slow = box.map([["true"], ["sleep", "30"]], concurrency=2)
    next(slow)
    wait_until(lambda: server.busy == 1, 30)
    slow.close()
    wait_until(lambda: server.busy == 0, 30)


def test_the_asynchronous_twin(server):
    async def work(box):
        result = await box.run(["cat"], stdin=b"x")
        assert result.stdout == b"x"

        async def pieces():
            yield b"one\n"
            yield b"two\n"

        async with await box.start(["cat"], stdin=pieces()) as run:
            chunks = [chunk async for chunk in run]
            result = await run.wait()
        assert {type(chunk) for chunk in chunks} == {sandbox.Chunk}
        assert b"".join(chunk.data for chunk in chunks) == result.stdout == b"one\ntwo\n"
        async with await box.start(["sh", "-c", "echo up; sleep 30"]) as run:
            async for _ in run:
                run.cancel()
            assert (await run.wait()).outcome is Outcome.CANCELED
        items = [item async for item in box.map([["echo", "1"], ["no-such-program"]])]
        assert sorted(type(item.error).__name__ for item in items) == ["NoneType", "RemoteCommandNotFound"]
        answer = await box.execute("python", "print(input())", stdin=io.BytesIO(b"hello\n"))
        assert answer.run.text() == "hello\n"
        return [language.id for language in await box.languages()], await box.profiles()

    languages, profiles = asynchronously(server, work)
    assert "python3" in languages
    assert profiles[0]["name"] == "default"


def test_a_canceled_task_ends_its_run(server):
    async def work(box):
        task = asyncio.ensure_future(box.run(["sleep", "30"]))
        await asyncio.to_thread(wait_until, lambda: server.busy == 1, 30)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await asyncio.to_thread(wait_until, lambda: server.busy == 0, 30)

    asynchronously(server, work)


def test_a_submission_is_judged(box):
    cases = [{"input": "1\n", "answer": "2\n"}, {"input": "3\n", "answer": "6\n"}]
    assert box.grade("python", "print(2 * int(input()))", cases=cases)["verdict"] == "AC"
    assert box.grade("python", "print(2)", cases=cases)["verdict"] == "WA"


def test_a_busy_service_is_asked_again_over_either_way(tmp_path, run_options):
    waits = []
    with (
        served(tmp_path, max_concurrency=1, max_queue=0, **run_options) as server,
        Sandbox(server.url, timeout=60) as box,
        box.start(["sleep", "60"]) as first,
    ):
        for call in (box.start, box.run):
            with pytest.raises(CapacityError):
                call(["true"], queue_timeout=0)
        box._sleep = lambda seconds: (waits.append(seconds), first.close(), wait_until(lambda: server.busy == 0, 30))
        assert box.start(["echo", "late"]).wait().stdout == b"late\n"
        assert len(waits) == 1


def test_nobody_there():
    with Sandbox("http://127.0.0.1:1", retry=Retries(most=1)) as box:
        with pytest.raises(Unreachable, match="sandbox serve"):
            box.run(["true"])
        with pytest.raises(Unreachable):
            box.start(["true"])
