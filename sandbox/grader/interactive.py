"""Two programs that talk to each other: a submission and its judge, each in a sandbox of its own.

What one writes goes through a pipe to the other, by way of this process, which keeps a bounded transcript. A reader that does not
read holds the writer up, as a pipe between the two would. Neither can be hurt by the end of the other:

- The judge's input stays open until the submission is reaped. Otherwise its end of file would make a wrong answer of a crash or
  of a time-out.
- A judge that closes its stdout and goes on has said everything: the submission sees the end of its input a moment later. The
  stdout of one that ends is closed before its end is known, and what the submission does about it then is not its fault.
- What is written to one that has gone is dropped here; nobody dies of SIGPIPE. A submission that still writes after it was
  accepted is ended, and that does not count against it.
- No descriptor of the pipes is ever inherited: they live in this process alone.

Process: the caller's; one thread waits for the judge, the calling one for the submission.
Source: problemtools `support/interactive/interactive.cc`, for the order of ends and what follows from it.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from sandbox.api import Run
from sandbox.grader.cancel import Cancel
from sandbox.model.result import Outcome, RunResult

TRANSCRIPT_BYTES = 64 << 10
SUBMISSION = "<"
JUDGE = ">"
_GRACE_S = 1.0
_BY_ITSELF = frozenset({Outcome.EXITED, Outcome.SIGNALED})


class Starter(Protocol):
    """Launches one side, with these streams."""

    def __call__(self, *, stdin: int, on_stdout: Callable[[bytes], object], on_end: Callable[[], object] | None) -> Run:
        """Launch and return at once. `on_end` is told when nothing more can come from its stdout."""


@dataclass(frozen=True, slots=True)
class Interaction:
    """How a conversation ended.

    Attributes:
        judge_first: the judge ended before the submission did.
        broken_pipe: the submission was ended by us because it wrote after the judge had ended.
        stopped: the submission was ended by us because the judge had rejected it.
    """

    submission: RunResult
    judge: RunResult
    judge_first: bool
    broken_pipe: bool
    stopped: bool


@dataclass(slots=True)
class Transcript:
    """What was said, with the time; at most `TRANSCRIPT_BYTES` of it, then "…" once."""

    entries: list[tuple[str, bytes, float]] = field(default_factory=list)
    room: int = TRANSCRIPT_BYTES
    started: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, who: str, data: bytes) -> None:
        """Keep one piece."""
        with self._lock:
            if self.room <= 0:
                return
            kept = data[: self.room]
            self.room -= len(kept) + 16  # an entry of one byte is not free
            if self.room <= 0:
                kept += "…".encode()
            self.entries.append((who, kept, round(time.monotonic() - self.started, 6)))


class Channel:
    """One direction: a pipe whose writer waits for room, unless the reader is gone or `deadline` has passed."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._gone = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.deadline = time.monotonic() + 86400.0
        self._is_gone = False

    def put(self, data: bytes) -> bool:
        """Write all of it. False when it was dropped, since nobody will read it."""
        rest = memoryview(data)
        while rest and not self._is_gone:
            try:
                rest = rest[os.write(self._writer, rest) :]
            except BlockingIOError:
                if not self._wait():
                    return False
        return not self._is_gone

    def _wait(self) -> bool:
        poll = select.poll()
        poll.register(self._writer, select.POLLOUT)
        poll.register(self._gone, select.POLLIN)
        seconds = self.deadline - time.monotonic()
        return seconds > 0 and bool(poll.poll(int(seconds * 1000) + 1))

    def drop(self) -> None:
        """Nobody reads any more: a writer that waits goes on, and what it writes is dropped."""
        self._is_gone = True
        os.eventfd_write(self._gone, 1)

    def discard(self) -> None:
        """What was written and not read yet is dropped."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.reader, 1 << 16):
                pass

    def end(self) -> None:
        """Nothing more will be written: the reader sees the end of the file after what is left."""
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1

    def close(self) -> None:
        """Give everything back; neither side may use it any more."""
        self.end()
        os.close(self.reader)
        os.close(self._gone)


class Conversation:
    """One conversation in flight."""

    def __init__(self, rejected: Callable[[RunResult], bool], transcript: Transcript, cancel: Cancel) -> None:
        self._rejected = rejected
        self._transcript = transcript
        self._cancel = cancel
        self._to_judge = Channel()
        self._to_submission = Channel()
        self._submission: Run | None = None
        self._submission_ended = 0
        self._judge_result: RunResult | None = None
        self._judge_error: BaseException | None = None
        self._judge_ended = 0
        self._silence: threading.Timer | None = None
        self._wall_s = 0.0
        self._heard = False
        self._broken_pipe = self._stopped = False

    def hold(self, start_submission: Starter, start_judge: Starter, wall_s: float) -> Interaction:
        """Let both talk until both have ended. `wall_s` is the submission's wall limit. Raises SandboxError."""
        self._wall_s = wall_s
        with contextlib.ExitStack() as stack:
            stack.callback(self._to_judge.close)
            stack.callback(self._to_submission.close)
            judge = stack.enter_context(
                start_judge(stdin=self._to_judge.reader, on_stdout=self._from_judge, on_end=self._judge_is_silent)
            )
            stack.enter_context(self._cancel.watching(judge))
            submission = stack.enter_context(
                start_submission(stdin=self._to_submission.reader, on_stdout=self._from_submission, on_end=None)
            )
            self._submission = submission
            stack.enter_context(self._cancel.watching(submission))
            thread = threading.Thread(target=self._wait_for_judge, args=(judge,), name="sandbox judge", daemon=True)
            thread.start()
            stack.callback(thread.join)  # before the runs are closed and the channels go
            stack.callback(self._let_go, judge)
            result = self._wait_for_submission(submission)
            thread.join()
        if self._judge_error is not None:
            raise self._judge_error
        if self._judge_result is None:
            raise RuntimeError("a judge ended without a result and without an error")
        return Interaction(
            result, self._judge_result, self._judge_ended < self._submission_ended, self._broken_pipe, self._stopped
        )

    def _let_go(self, judge: Run) -> None:
        """However the submission ended, the judge sees the end of its input; after an error of ours it is ended."""
        self._to_submission.drop()
        if self._submission_ended == 0:
            judge.cancel()
            self._to_judge.drop()
        self._to_judge.end()

    def _wait_for_submission(self, run: Run) -> RunResult:
        result = run.wait()
        self._submission_ended = time.monotonic_ns() - result.timings.teardown_ns
        self._to_submission.drop()
        if result.outcome not in _BY_ITSELF:  # the judge need not work through what cannot change the verdict any more
            self._to_judge.discard()
        self._to_judge.end()
        return result

    def _wait_for_judge(self, run: Run) -> None:
        """Process: the judge's thread."""
        try:
            try:
                result = run.wait()
                self._judge_ended = time.monotonic_ns() - result.timings.teardown_ns
            finally:
                if self._silence is not None:
                    self._silence.cancel()
                    self._silence.join()
            self._judge_result = result
            if self._submission_ended == 0 and self._rejected(result):
                self._stopped = True
                self._end_submission()
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that asked
            self._judge_error = error
            self._end_submission()
        finally:
            self._to_judge.drop()
            self._to_submission.end()

    def _judge_is_silent(self) -> None:
        """Process: the judge's thread, within `wait`: nothing more comes from its stdout."""
        self._silence = threading.Timer(_GRACE_S, self._to_submission.end)
        self._silence.daemon = True
        self._silence.start()

    def _end_submission(self) -> None:
        if self._submission is not None:
            self._submission.cancel()

    def _from_submission(self, data: bytes) -> None:
        self._transcript.add(SUBMISSION, data)
        if not self._heard:  # it runs by now, so that its limit ends it before; how long its launch took is not known
            self._heard = True
            self._to_judge.deadline = time.monotonic() + self._wall_s + _GRACE_S
        if not self._to_judge.put(data) and self._judge_ended and not self._stopped:
            self._broken_pipe = True
            self._end_submission()

    def _from_judge(self, data: bytes) -> None:
        self._transcript.add(JUDGE, data)
        self._to_submission.put(data)
