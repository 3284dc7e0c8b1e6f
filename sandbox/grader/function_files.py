"""Samples, tasks and results of function grading as JSON lines, within bounds. Results grow row by row: work can go on later."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, Self

from sandbox.grader import functions
from sandbox.grader.functions import FunctionResult, Sample
from sandbox.grader.model import Verdict
from sandbox.model.errors import RequestError

_MOST_LINE = 8 << 20
_MOST_TASKS = 256 << 20  # bytes of a whole file of tasks, unpacked


def rows(path: str) -> Iterator[dict[str, Any]]:
    """Each row of a file of JSON lines (.gz is unpacked). Raises RequestError, which names file and line."""
    with _open(path) as file:
        for number, line in enumerate(_lines(file, path), 1):
            if line.strip():
                yield _row(line, path, number)


def _open(path: str) -> IO[bytes]:
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed by the caller
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}") from None
    return io.BufferedReader(gzip.GzipFile(fileobj=file)) if path.endswith(".gz") else file


def _lines(file: IO[bytes], path: str) -> Iterator[bytes]:
    number = 0
    while True:
        number += 1
        try:
            line = file.readline(_MOST_LINE + 1)
        except (OSError, EOFError) as error:
            raise RequestError(f"{path}:{number}: cannot be read: {error}") from None
        if len(line) > _MOST_LINE:
            raise RequestError(f"{path}:{number}: the line is longer than {_MOST_LINE >> 20} MiB")
        if not line:
            return
        yield line


def _row(line: bytes, path: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{path}:{number}: is no JSON: {error}") from None
    if not isinstance(row, dict):
        raise RequestError(f"{path}:{number}: must be an object, not {type(row).__name__}")
    return row


def tasks(path: str) -> dict[str, dict[str, Any]]:
    """Task id → row. Raises RequestError."""
    found: dict[str, dict[str, Any]] = {}
    size = 0
    for row in rows(path):
        if "task_id" not in row:
            raise RequestError(f"{path}: a task has no task_id")
        size += sum(len(value) for value in row.values() if isinstance(value, str))
        if size > _MOST_TASKS:
            raise RequestError(f"{path}: the tasks are larger than {_MOST_TASKS >> 20} MiB")
        found[str(row["task_id"])] = row
    return found


def samples(path: str, known: Mapping[str, Mapping[str, Any]] | None = None) -> Iterator[Sample]:
    """The samples of a file, each with what its task adds. Raises RequestError, which names the file."""
    for row in rows(path):
        task_id = str(row.get("task_id", ""))
        if known is not None and task_id not in known:
            raise RequestError(f"{path}: there is no task {task_id!r} among the tasks")
        try:
            yield functions.sample(row, known[task_id] if known is not None else None)
        except RequestError as error:
            raise RequestError(f"{path}: {error.message}", hint=error.hint) from None


def digest(sample: Sample, conditions: Sequence[object] = ()) -> str:
    """What a sample is, and how it is graded: equal digests have equal results."""
    parts = (sample.task_id, sample.program, sample.tests, sample.prompt, sample.entry_points, *conditions)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class Results:
    """The file of results. Rows that are there are kept, and samples with the same digest are not graded again.

    Attributes:
        done: (index, digest) → row.
    """

    def __init__(self, path: str, *, restart: bool = False) -> None:
        self.path = path
        self.done: dict[tuple[int, str], dict[str, Any]] = {}
        if not restart and os.path.exists(path):
            self._read()
        try:
            self._file = open(path, "wb" if restart else "ab")  # noqa: SIM115 - closed by `close`
            self._mend()
        except OSError as error:
            raise RequestError(f"{path} cannot be written: {error.strerror}") from None

    def _read(self) -> None:
        with _open(self.path) as file:
            for number, line in enumerate(_lines(file, self.path), 1):
                if not line.endswith(b"\n"):
                    break  # torn: the computer went down in the middle of it
                row = _row(line, self.path, number)
                if not isinstance(row.get("index"), int) or not isinstance(row.get("sample"), str) or "verdict" not in row:
                    raise RequestError(f"{self.path}:{number}: is no result of `sandbox evaluate`", hint="use another --out")
                if row["verdict"] != Verdict.JE.value:  # the judge's fault may be gone
                    self.done[row["index"], row["sample"]] = row

    def _mend(self) -> None:
        """What is appended begins on a line of its own: a torn last line goes."""
        size = self._file.tell()
        with open(self.path, "rb") as file:
            file.seek(max(0, size - _MOST_LINE))
            tail = file.read()
        if tail and not tail.endswith(b"\n"):
            self._file.truncate(size - len(tail) + tail.rfind(b"\n") + 1)

    def add(self, result: FunctionResult, key: str) -> dict[str, Any]:
        """Write a row. Raises RequestError."""
        row = {**result.to_dict(), "sample": key}
        try:
            self._file.write(json.dumps(row).encode("ascii") + b"\n")
            self._file.flush()
        except OSError as error:
            raise RequestError(f"{self.path} cannot be written: {error.strerror}") from None
        self.done[result.index, key] = row
        return row

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
