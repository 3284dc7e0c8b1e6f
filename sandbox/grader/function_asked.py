"""What sandboxes of function grading are asked: samples that are given at once, or taken from a pool as their judge gets on."""

from __future__ import annotations

import json
import math
import queue
import secrets
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from sandbox.api import Request
from sandbox.model.errors import RequestError

if TYPE_CHECKING:
    from sandbox.grader.functions import Sample

Items: TypeAlias = "list[tuple[int, Sample]]"

_COMMAND = ("python3", "-c", "from inside.function_judge import main; main()")
_FEWEST = 2  # samples of a share
_SHARES = 2  # that each job would get of what is left; more: the jobs end closer together, and are told more often


class Asked(Request):
    """A request that still knows its samples, and the tokens that only their judges are told.

    Attributes:
        items: those that were given to it so far, each with its number; nothing comes after `close`.
        tokens: of each of them.
        alone: a single sample with the limits of a run, which the sandbox itself watches.
    """

    __slots__ = ("_lock", "_more", "_most", "_over", "_pool", "_said", "alone", "items", "tokens")

    def __init__(self, items: Items, time_limit_s: float, pool: Pool | None = None, most: int = 0) -> None:
        self.items: Items = []
        self.tokens: list[str] = []
        self.alone = pool is None and len(items) == 1
        self._pool, self._most, self._said = pool, most, 0
        self._lock, self._over = threading.Lock(), False
        self._more: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        settings = _part(json.dumps({"wall_s": 0 if self.alone else time_limit_s}).encode("ascii"))
        if self.alone:
            limits = {"cpu": f"{math.ceil(time_limit_s * 1000)}ms", "wall": f"{math.ceil(time_limit_s * 2000)}ms"}
        else:  # the judge ends who takes too long; where nothing goes on for longer than that, the judge itself was stopped
            limits = {"idle": f"{math.ceil(time_limit_s * 1000) + 1000}ms"}
        if pool is None:
            super().__init__(_COMMAND, stdin=settings + self._given(items), limits=limits)
        else:
            super().__init__(_COMMAND, stdin=self._fed(settings), limits=limits, on_stdout=self._heard)

    @property
    def pooled(self) -> bool:
        """Whether its samples come from a pool."""
        return self._pool is not None

    def _given(self, items: Items) -> bytes:
        """Note them; their parts of standard input."""
        tokens = [secrets.token_hex(16) for _ in items]
        self.items += items
        self.tokens += tokens
        parts = []
        for (_, item), token in zip(items, tokens, strict=True):
            task = {"token": token, "tests": item.tests, "prompt": item.prompt, "entry_points": list(item.entry_points)}
            parts += [_part(item.program.encode("utf-8", "surrogatepass")), _part(json.dumps(task).encode("ascii"))]
        return b"".join(parts)

    def _fed(self, settings: bytes) -> Iterator[bytes]:
        """Thread: the one of this run's stdin."""
        yield settings
        self._take()
        while piece := self._more.get():
            yield piece

    def _heard(self, data: bytes) -> None:
        """Take more when the judge has begun with the last sample that it has. What it says decides nothing else."""
        self._said += data.count(b"\n")
        if self._said >= len(self.items) - 1:
            self._take()

    def _take(self) -> None:
        with self._lock:
            if self._pool is not None and not self._over:
                self._more.put(self._given(self._pool.take(self._most - len(self.items))))

    def close(self) -> None:
        """The run is over, however it ended: its stdin is too, and it gets no more samples."""
        with self._lock:
            self._over = True
        self._more.put(b"")

    def returned(self) -> Items:
        """Of a run that failed: the samples that somebody else has to judge now, a share at least as long as there are any."""
        return self.items or (self._pool.take(self._most) if self._pool is not None else [])


class Pool:
    """Samples that no sandbox has yet, dealt in ever smaller shares: a job that meets slow ones leaves the rest to the others.

    Source: Polychronopoulos and Kuck, "Guided self-scheduling", IEEE Transactions on Computers, 1987.
    """

    def __init__(self, samples: Iterable[Sample], jobs: int) -> None:
        """Raises RequestError for what is no sample."""
        self._rest = deque(checked(samples))
        self._jobs = jobs
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._rest)

    def take(self, most: int) -> Items:
        """The next share, of at most `most`; none when nothing is left."""
        with self._lock:
            share = max(_FEWEST, math.ceil(len(self._rest) / (self._jobs * _SHARES)))
            return [self._rest.popleft() for _ in range(min(most, share, len(self._rest)))]

    def requests(self, most: int, time_limit_s: float) -> Iterator[Asked]:
        """As many as it takes when each gets at most `most`, and one for each job as far as there are samples."""
        for _ in range(max(math.ceil(len(self) / most), min(self._jobs, len(self)))):
            yield Asked([], time_limit_s, self, most)


def checked(samples: Iterable[Sample]) -> Iterator[tuple[int, Sample]]:
    """Samples with their numbers. Raises RequestError for one that is none, in the caller's thread."""
    for number, sample in enumerate(samples):
        texts: Sequence[object] = (sample.program, sample.tests, sample.prompt, *sample.entry_points)
        wrong = [type(text).__name__ for text in texts if not isinstance(text, str)]
        if wrong:
            raise RequestError(
                f"sample {number} ({sample.task_id!r}): program, tests, prompt and entry points are texts, not {wrong[0]}"
            )
        yield number, sample


def _part(data: bytes) -> bytes:
    return b"%016x" % len(data) + data
