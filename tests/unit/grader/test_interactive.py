"""The pipes between a submission and its judge."""

from __future__ import annotations

import os
import select
import threading
import time
from contextlib import AbstractContextManager
from types import SimpleNamespace

import pytest

from sandbox.grader.cancel import Cancel
from sandbox.grader.interactive import TRANSCRIPT_BYTES, Channel, Conversation, Transcript
from sandbox.model.result import Outcome


def in_thread(call):
    out = []
    thread = threading.Thread(target=lambda: out.append(call()), daemon=True)
    thread.start()
    return thread, out


def test_what_is_put_in_comes_out_and_then_the_end():
    channel = Channel()
    assert channel.put(b"hello")
    channel.end()

    assert os.read(channel.reader, 100) == b"hello"
    assert os.read(channel.reader, 100) == b""
    channel.close()


def test_a_writer_waits_for_a_slow_reader():
    channel = Channel()
    data = os.urandom(1_000_000)
    thread, out = in_thread(lambda: channel.put(data))
    got = bytearray()
    while len(got) < len(data):
        try:
            got += os.read(channel.reader, 65536)
        except BlockingIOError:
            select.select([channel.reader], [], [], 1.0)
    thread.join()

    assert (bytes(got), out) == (data, [True])
    channel.close()


def test_a_writer_that_waits_goes_on_when_the_reader_is_gone():
    channel = Channel()
    thread, out = in_thread(lambda: channel.put(bytes(1_000_000)))
    channel.drop()
    thread.join(30)

    assert out == [False]
    assert channel.put(b"more") is False
    channel.close()


def test_a_writer_does_not_wait_beyond_the_deadline():
    channel = Channel()
    channel.deadline = time.monotonic() + 0.05

    assert channel.put(bytes(1_000_000)) is False
    channel.close()


def test_no_descriptor_is_inherited():
    channel = Channel()

    assert not os.get_inheritable(channel.reader)
    assert not os.get_inheritable(channel._writer)
    channel.close()


def test_a_transcript_is_bounded():
    transcript = Transcript()
    for _ in range(100_000):
        transcript.add("<", b"x")
    for _ in range(10):
        transcript.add(">", bytes(TRANSCRIPT_BYTES))

    assert len(transcript.entries) < 5000
    assert transcript.entries[-1][1].endswith("…".encode())


class Runs:
    def __init__(self):
        self.ended = 0

    def cancel(self):
        self.ended += 1


def test_cancel_reaches_what_is_watched_and_what_comes_later():
    above = Cancel()
    below = Cancel(above)
    before, after, outside = Runs(), Runs(), Runs()
    with below.watching(outside):
        pass
    with below.watching(before):
        above.cancel()
        assert before.ended == 1
    with below.watching(after):
        assert after.ended == 1

    assert below.is_set
    assert outside.ended == 0


def test_cancel_of_one_case_leaves_the_others():
    above = Cancel()
    one, other = Cancel(above), Cancel(above)
    run, neighbour = Runs(), Runs()
    with one.watching(run), other.watching(neighbour):
        one.cancel()

    assert (run.ended, neighbour.ended, above.is_set) == (1, 0, False)


class Side(AbstractContextManager):
    """A run of one side, which does `work` and ends with `outcome`."""

    def __init__(self, work, outcome=Outcome.EXITED):
        self.work = work
        self.result = SimpleNamespace(outcome=outcome, timings=SimpleNamespace(teardown_ns=0))

    def wait(self):
        self.work()
        return self.result

    def cancel(self):
        pass

    def __exit__(self, *_):
        pass


@pytest.mark.parametrize(("outcome", "read"), [(Outcome.EXITED, 60_000), (Outcome.WALL_TIME, 0), (Outcome.CPU_TIME, 0)])
def test_a_judge_does_not_work_through_what_a_submission_left_that_was_ended(outcome, read):
    got = []
    ended = threading.Event()

    def judge_reads(stdin):
        ended.wait(30)
        while True:
            select.select([stdin], [], [], 30.0)
            data = os.read(stdin, 65536)
            if not data:
                return
            got.append(len(data))

    conversation = Conversation(lambda _: False, Transcript(), Cancel())
    finish = conversation._to_judge.end
    conversation._to_judge.end = lambda: (finish(), ended.set())
    conversation.hold(
        lambda *, stdin, on_stdout, on_end: Side(lambda: on_stdout(bytes(60_000)), outcome),
        lambda *, stdin, on_stdout, on_end: Side(lambda: judge_reads(stdin)),
        5.0,
    )

    assert sum(got) == read


def read_to_the_end(reader: int) -> None:
    while select.select([reader], [], [], 30.0)[0]:
        if not os.read(reader, 100):
            return


@pytest.mark.parametrize("goes_on", [False, True])
def test_the_end_of_a_judge_is_known_before_the_submission_hears_of_it(goes_on):
    """Its stdout is closed first: who crashes for that was not the first to end. Who waits for a judge that goes on is told."""
    heard = threading.Event()

    def submission(*, stdin, on_stdout, on_end):
        def work():
            read_to_the_end(stdin)
            heard.set()

        return Side(work)

    def judge(*, stdin, on_stdout, on_end):
        def work():
            on_end()
            heard.wait(30.0 if goes_on else 0.1)

        return Side(work)

    ended = Conversation(lambda run: False, Transcript(), Cancel()).hold(submission, judge, 60.0)

    assert ended.judge_first is not goes_on
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


def test_a_submission_that_is_long_in_starting_is_heard():
    """How long its words may wait for the judge is counted from the first one."""
    conversation = Conversation(lambda _: False, Transcript(), Cancel())
    left = []

    def says(on_stdout):
        left.append(conversation._to_judge.deadline - time.monotonic())
        on_stdout(b"x")
        left.append(conversation._to_judge.deadline - time.monotonic())

    conversation.hold(
        lambda *, stdin, on_stdout, on_end: Side(lambda: says(on_stdout)),
        lambda *, stdin, on_stdout, on_end: Side(lambda: None),
        5.0,
    )
    assert left[0] > 3600
    assert 0 < left[1] <= 6
