"""Function grading without a sandbox: samples, estimates, reports of judges, and the wire against hostile messages."""

from __future__ import annotations

import json
import os
import socket
from decimal import Decimal
from fractions import Fraction

import pytest

from sandbox.api import MapItem
from sandbox.grader import function_files, functions
from sandbox.grader.function_asked import Asked
from sandbox.grader.functions import FunctionResult, Sample, pass_at_k, sample, summary
from sandbox.grader.inside.wire import Ended, Peer, Remote
from sandbox.grader.model import Verdict
from sandbox.model.errors import CapacityError, RequestError
from sandbox.model.result import Outcome, Signaled
from tests.unit.cli.fakes import make_result


@pytest.mark.parametrize(
    ("total", "passed", "k", "estimate"),
    [(1, 1, 1, 1.0), (1, 0, 1, 0.0), (10, 3, 1, 0.3), (10, 3, 10, 1.0), (4, 2, 2, 1 - 1 / 6), (200, 1, 100, 0.5)],
)
def test_pass_at_k(total, passed, k, estimate):
    assert pass_at_k(total, passed, k) == pytest.approx(estimate)


@pytest.mark.parametrize("numbers", [(1, 2, 1), (5, 1, 6), (5, 1, 0), (0, 0, 1)])
def test_pass_at_k_of_what_cannot_be_told(numbers):
    with pytest.raises(RequestError):
        pass_at_k(*numbers)


def test_the_summary_gives_only_estimates_that_can_be_told():
    rows = [
        {"task_id": task, "passed": passed, "verdict": "AC" if passed else "WA"}
        for task, passed in [("a", 1), ("a", 0), ("b", 0)]
    ]
    assert summary(rows, (1, 2)) == {"tasks": 2, "samples": 3, "passed": 1, "verdicts": {"AC": 1, "WA": 2}, "pass@1": 0.25}
    assert summary([]) == {"tasks": 0, "samples": 0, "passed": 0, "verdicts": {}}


def test_samples_of_both_forms():
    task = {
        "task_id": "t",
        "prompt": "def f(x):\n",
        "test": "def check(c): ...",
        "entry_point": "f",
        "canonical_solution": "    return 1\n",
    }
    assert sample(task).program == "def f(x):\n    return 1\n"
    made = sample({"task_id": "t", "completion": "    return 2\n", "model": "m"}, task)
    assert (made.program, made.entry_points, made.extra) == ("def f(x):\n    return 2\n", ("f",), {"model": "m"})
    assert sample({"task_id": "t", "solution": "def f(x): return 3\n"}, task).program == "def f(x): return 3\n"
    mbpp = sample(
        {"task_id": 2, "prompt": "Write…", "code": "def g(): ...", "test_list": ["assert g()"], "test_imports": ["import math"]}
    )
    assert (mbpp.task_id, mbpp.program, mbpp.tests.split()) == ("2", "def g(): ...", ["import", "math", "assert", "g()"])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"task_id": "t", "completion": "x"}, "has no tests"),
        ({"task_id": "t", "test": "x"}, "has no code"),
        ({"task_id": "t", "test": ["x"], "completion": ""}, "must be a text"),
        ({"task_id": "t", "test_list": "x", "code": ""}, "list of texts"),
        ({"task_id": "t", "test": "x", "completion": "", "entry_point": "a b"}, "entry_point"),
        ({"task_id": "t", "test": "x", "completion": "x" * (2 << 20)}, "larger than"),
    ],
)
def test_samples_that_are_none(row, words):
    with pytest.raises(RequestError, match=words):
        sample(row)


def answer(lines, tokens=("A", "B", "C"), **changes):
    asked = Asked([(number, Sample(f"t{number}", "", "")) for number in range(len(tokens))], 1.0)
    asked.tokens = list(tokens)
    stdout = "".join(json.dumps(line) + "\n" for line in lines).encode()
    return MapItem(index=0, request=asked, result=make_result(stdout=stdout, **changes))


def said(token, verdict="AC"):
    return {"proof": token, "verdict": verdict, "reason": "", "calls": 3, "cpu_s": 0.1, "wall_s": 0.2, "memory_bytes": 5}


def test_only_what_has_its_token_is_believed():
    results, again = functions.results_of(answer([said("A"), said("x"), "noise", said("C", "WA")]))
    assert [(result.index, result.verdict) for result in results] == [(0, "AC"), (2, "WA")]
    assert [[index for index, _ in items] for items in again] == [[1]]


def test_who_ended_a_batch_is_judged_alone_and_the_rest_together():
    results, again = functions.results_of(answer([said("A")], ("A", "B", "C", "D"), outcome=Outcome.MEMORY, exit=Signaled(9)))
    assert [result.index for result in results] == [0]
    assert [[index for index, _ in items] for items in again] == [[1], [2, 3]]


def test_how_a_completion_died_is_found_out_alone():
    results, again = functions.results_of(answer([said("A", "RTE"), said("B")]))
    assert [result.index for result in results] == [1]
    assert [[index for index, _ in items] for items in again] == [[0], [2]]


@pytest.mark.parametrize(
    ("lines", "changes", "verdict"),
    [
        ([said("A")], {}, "AC"),
        ([said("A", "RTE")], {}, "RTE"),
        ([said("A", "RTE")], {"outcome": Outcome.MEMORY, "exit": Signaled(9)}, "MLE"),
        ([said("B")], {}, "RTE"),
        ([], {}, "RTE"),
        ([], {"outcome": Outcome.CPU_TIME, "exit": Signaled(9)}, "TLE"),
        ([], {"outcome": Outcome.OUTPUT, "exit": Signaled(9)}, "OLE"),
        ([], {"outcome": Outcome.DENIED_SYSCALL, "exit": Signaled(31)}, "SV"),
        ([], {"outcome": Outcome.CANCELED, "exit": Signaled(9)}, "JE"),
        ([{"proof": "A"}], {}, "RTE"),
    ],
)
def test_a_sample_alone(lines, changes, verdict):
    results, again = functions.results_of(answer(lines, ("A",), **changes))
    assert ([result.verdict for result in results], again) == ([verdict], [])


def test_a_failure_of_ours_blames_no_sample():
    item = answer([])
    failed = MapItem(index=0, request=item.request, error=CapacityError("nothing is free"))
    results, again = functions.results_of(failed)
    assert [result.verdict for result in results] == ["JE"] * 3
    assert again == []


@pytest.fixture
def peers():
    """A judge's end, and the raw descriptor that a hostile completion holds."""
    ours, theirs = socket.socketpair()
    yield Peer(ours.fileno(), trusting=False), theirs
    ours.close()
    theirs.close()


VALUES = [
    None, True, 0, -(1 << 70), 1.5, "ä\ud800", b"\xff", bytearray(b"a"), (1, (2,)), [1, [2]], {1: {"a": {3}}}, frozenset({1}), 2j,
    range(1, 9, 2), Decimal("1.10"), Fraction(1, 3), len, int,
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_plain_values_pass_both_ways(peers, value):
    judge, _ = peers
    back = judge.unpack(json.loads(json.dumps(judge.pack(value))))
    assert back == value
    assert type(back) is type(value)


def test_values_that_pretend_arrive_as_what_they_are(peers):
    class Sly(int):
        def __eq__(self, other):
            return True

        __hash__ = int.__hash__

    judge, _ = peers
    back = judge.unpack(judge.pack([Sly(3)]))
    assert type(back[0]) is int
    assert back != [4]


HOSTILE = [
    '{"object": [1]}', '{"object": ["x", "y"]}', '{"object": [[], "function"]}', '{"int": "zz"}', '{"int": 5}',
    '{"builtin": "eval"}', '{"builtin": []}', '{"mine": 0}', '{"mine": -1}', '{"mine": "x"}', '{"dict": [[[], 1]]}',
    '{"dict": 3}', '{"set": [[[]]]}', '{"a": 1, "b": 2}', "{}", '{"bytes": "x"}', '{"complex": [1]}',
    '{"fraction": "1/0"}', '{"decimal": "x"}',
    '{"range": [1, 2, 0]}', '{"range": ["a"]}', '{"tuple": 1}', '{"wrong": 1}',
]  # fmt: skip


@pytest.mark.parametrize("form", HOSTILE)
def test_what_cannot_be_read_ends_the_belief(peers, form):
    judge, _ = peers
    with pytest.raises(Ended, match="malformed"):
        judge.unpack(json.loads(form))
    assert judge.ended


MESSAGES = [
    b"", b"[]", b"3", b'{"a": 1}', b'["value"]', b'["value", 1]', b'["raised", 1, 2]', b'["stop", 1]', b'["get", "x"]', b"\xff",
    b"NaN,", b'["' + b"[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("message", MESSAGES)
def test_messages_of_no_form(peers, message):
    judge, theirs = peers
    theirs.sendall(message + b"\n")
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(Ended):
        judge.call(0, (), {})
    with pytest.raises(Ended):  # and it stays so
        judge.call(0, (), {})


def test_a_completion_may_call_only_what_it_was_handed(peers):
    judge, theirs = peers
    theirs.sendall(b'["call", 0, [], {}]\n["get", 0, "__globals__"]\n["call", 7, [], {}]\n["value", 1, null]\n')
    assert judge.call(0, (lambda: 41,), {}) == 1
    said = [json.loads(line) for line in theirs.recv(1 << 16).splitlines()]
    assert said[1] == ["value", 41, None]
    assert said[2][0] == said[3][0] == "raised"


def test_a_remote_is_equal_to_nothing(peers):
    judge, _ = peers
    one, other = judge.unpack({"object": [1, "Thing"]}), judge.unpack({"object": [1, "Thing"]})
    assert isinstance(one, Remote)
    assert one != other
    assert one not in (1, "x", None)
    assert list(judge.opaque) == ["Thing"]


def test_an_exception_of_the_completion_is_a_builtin_one(peers):
    judge, theirs = peers
    theirs.sendall(b'["raised", ["SystemExit", "Mine", "KeyError", "Exception"], [{"tuple": [1]}]]\n')
    with pytest.raises(KeyError) as caught:
        judge.call(0, (), {})
    assert caught.value.args == ((1,),)


def test_results_go_on_where_they_were_left(tmp_path):
    path = str(tmp_path / "results.jsonl")
    with function_files.Results(path) as results:
        results.add(FunctionResult(0, "a", Verdict.AC), "k0")
        results.add(FunctionResult(1, "b", Verdict.JE, "no room"), "k1")
    with open(path, "ab") as file:
        file.write(b'{"index": 2, "torn')
    with function_files.Results(path) as results:
        assert set(results.done) == {(0, "k0")}
        results.add(FunctionResult(2, "c", Verdict.WA, "x"), "k2")
    rows = list(function_files.rows(path))
    assert [row["index"] for row in rows] == [0, 1, 2]
    with function_files.Results(path, restart=True) as results:
        assert results.done == {}
    assert os.path.getsize(path) == 0


@pytest.mark.parametrize(
    ("content", "words"), [(b"{", "is no JSON"), (b"[1]", "must be an object"), (b"[" * 100_000, "is no JSON")]
)
def test_files_that_are_no_samples(tmp_path, content, words):
    path = tmp_path / "samples.jsonl"
    path.write_bytes(b'{"task_id": "a"}\n' + content + b"\n")
    with pytest.raises(RequestError, match=rf"samples\.jsonl:2: {words}"):
        list(function_files.rows(str(path)))


def test_a_file_of_something_else_is_not_appended_to(tmp_path):
    path = tmp_path / "notes.jsonl"
    path.write_text('{"mine": 1}\n')
    with pytest.raises(RequestError, match="is no result"):
        function_files.Results(str(path))
    assert path.read_text() == '{"mine": 1}\n'
