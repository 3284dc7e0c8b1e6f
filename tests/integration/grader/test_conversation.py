"""Two sandboxes that talk: order of ends, held pipes, deadlocks, floods. With plain commands in place of built programs."""

from __future__ import annotations

import os
import time

import pytest

import sandbox
from sandbox.grader.cancel import Cancel
from sandbox.grader.interactive import Conversation, Transcript
from sandbox.model.result import Exited, Outcome
from tests.support import resting
from tests.support.clock import seconds, wait_until

ACCEPTING = "import sys; line = sys.stdin.readline(); print('go', flush=True); sys.exit(42 if line else 43)"
TO_THE_END = "import sys; data = sys.stdin.read(); sys.exit(42 if data == 'done\\n' else 43)"


@pytest.fixture(scope="module")
def box(run_options):
    with sandbox.Sandbox("default", **run_options) as made:
        yield made


def hold(box, submission, judge, *, wall=20.0, judge_wall=60.0, output="1MiB", cancel=None):
    transcript = Transcript()

    def start(text, wall_s):
        def launch(*, stdin, on_stdout, on_end):
            limits = {"wall": f"{int(wall_s * 1000)}ms", "output": output} if wall_s else {}
            return box.start(["python3", "-c", text], stdin=stdin, on_stdout=on_stdout, on_stdout_end=on_end, limits=limits)

        return launch

    conversation = Conversation(lambda run: run.exit != Exited(42), transcript, cancel or Cancel())
    ended = conversation.hold(start(submission, min(wall, 20.0)), start(judge, min(judge_wall, 20.0)), wall)
    return ended, transcript


def codes(ended):
    return ended.submission.exit, ended.judge.exit


def test_both_talk_and_the_transcript_has_it(box):
    ended, transcript = hold(box, "print('hello', flush=True); assert input() == 'go'", ACCEPTING)

    assert codes(ended) == (Exited(0), Exited(42))
    assert [(who, data) for who, data, _ in transcript.entries] == [("<", b"hello\n"), (">", b"go\n")]


def test_many_rounds(box):
    ask = "for n in range(300):\n print(n, flush=True)\n assert int(input()) == n + 1\nprint('end', flush=True)"
    answer = "import sys\nfor line in iter(input, 'end'): print(int(line) + 1, flush=True)\nsys.exit(42)"

    ended, _ = hold(box, ask, answer)

    assert codes(ended) == (Exited(0), Exited(42))


def test_the_judge_sees_the_end_only_after_the_submission_is_over(box):
    """One that closes its output and then fails: the judge must not have decided on the end of file."""
    ended, _ = hold(box, "import os, sys, time\nos.close(1)\ntime.sleep(0.3)\nos._exit(3)", TO_THE_END)

    assert codes(ended) == (Exited(3), Exited(43))
    assert not ended.judge_first


def test_a_judge_that_rejects_first_ends_the_submission(box):
    started = time.monotonic()

    ended, _ = hold(box, "print('x', flush=True)\nwhile True: pass", "import sys; input(); sys.exit(43)")

    assert ended.judge_first
    assert ended.stopped
    assert (ended.submission.outcome, ended.judge.exit) == (Outcome.CANCELED, Exited(43))
    assert time.monotonic() - started < seconds(15)


def test_a_submission_that_goes_on_after_it_was_accepted_has_its_time(box):
    ended, _ = hold(box, "print('x', flush=True); input(); import time; time.sleep(0.3)", ACCEPTING)

    assert ended.judge_first
    assert not ended.stopped
    assert codes(ended) == (Exited(0), Exited(42))


def test_a_submission_that_writes_to_a_judge_that_has_gone_is_ended_by_us(box):
    text = "import sys\nprint('x', flush=True)\nsys.stdin.read()\nwhile True: print('more', flush=True)"

    ended, _ = hold(box, text, ACCEPTING)

    assert ended.broken_pipe
    assert ended.judge.exit == Exited(42)


def test_a_judge_that_writes_to_a_submission_that_has_gone_lives_on(box):
    judge = "import sys\nfor _ in range(2000): print('x' * 100, flush=True)\nsys.stdin.read()\nsys.exit(43)"

    ended, _ = hold(box, "pass", judge)

    assert codes(ended) == (Exited(0), Exited(43))


def test_two_that_wait_for_each_other_end_by_the_clock(box):
    ended, _ = hold(box, "input()", TO_THE_END, wall=1.0)

    assert ended.submission.outcome is Outcome.WALL_TIME
    assert ended.judge.exit == Exited(43)


def test_two_that_flood_each_other_end(box):
    started = time.monotonic()
    flood = "import sys\nwhile True: sys.stdout.write('x' * 65536)"

    ended, transcript = hold(box, flood, flood, wall=10.0, output="16KiB")

    assert ended.submission.outcome in (Outcome.OUTPUT, Outcome.WALL_TIME, Outcome.CANCELED)
    assert ended.judge.outcome is Outcome.OUTPUT
    assert sum(len(data) for _, data, _ in transcript.entries) < 70_000
    assert time.monotonic() - started < seconds(20)


def test_a_writer_is_held_up_by_a_reader_that_does_not_read(box):
    """512 KiB into a judge that reads none of it: the submission waits, it is not swallowed."""
    ended, _ = hold(
        box, "import sys; sys.stdout.write('x' * (512 << 10))", "import time; time.sleep(60)", wall=1.5, judge_wall=8.0
    )

    assert ended.submission.outcome is Outcome.WALL_TIME
    assert ended.judge.outcome is Outcome.WALL_TIME


def test_a_cancel_ends_both(box):
    cancel = Cancel()
    started = time.monotonic()

    transcript = Transcript()
    conversation = Conversation(lambda run: False, transcript, cancel)

    def launch(text):
        def start(*, stdin, on_stdout, on_end):
            def heard(data):
                on_stdout(data)
                cancel.cancel()

            return box.start(["python3", "-c", text], stdin=stdin, on_stdout=heard, on_stdout_end=on_end)

        return start

    ended = conversation.hold(launch("print('x', flush=True); input()"), launch("import sys; sys.stdin.read()"), 20.0)

    assert (ended.submission.outcome, ended.judge.outcome) == (Outcome.CANCELED, Outcome.CANCELED)
    assert time.monotonic() - started < seconds(15)


def test_nothing_is_left_open(run_options):
    with sandbox.Sandbox("default", parked=0, **run_options) as box:  # those that are parked have descriptors
        hold(box, "print('x', flush=True); input()", ACCEPTING)
        resting.settle()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            hold(box, "print('x', flush=True); input()", ACCEPTING)

        wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before, seconds(5), "no descriptor is left open")
