"""Submissions of Judge0 as what the core is asked for, and its answers as results of Judge0. Pure.

Source: judge0/judge0, `app/jobs/isolate_job.rb` and `app/serializers/submission_serializer.rb`.
"""

from __future__ import annotations

import re
import shlex
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sandbox.grader.exports import JUDGE0_DESCRIPTIONS
from sandbox.model.errors import CommandNotFound, NotExecutable
from sandbox.model.result import Outcome, RunResult
from sandbox.service.ask import Answer, Ask
from sandbox.service.dialects import judge0_fields, stages, text
from sandbox.service.dialects.judge0_languages import EXECUTABLE, PLAIN_TEXT, Numbered
from sandbox.service.dialects.stages import Recorder

QUEUED, PROCESSING, ACCEPTED, WRONG, LATE, NOT_COMPILED = 1, 2, 3, 4, 5, 6
SIGXFSZ, NZEC, OTHER, INTERNAL, NOT_EXECUTABLE = 8, 11, 12, 13, 14
_SIGNALS = {11: 7, 25: 8, 8: 9, 6: 10}
_SIZE_SIGNAL = 25
_SHELL = re.compile(r"[$&;<>|`]")  # what Judge0 takes out of arguments, which it gives to a shell
_BLANK = b" \t\n\v\f\r\0"
TOO_LATE = b"Compilation time limit exceeded."
UNCONVERTIBLE = "some attributes for this submission cannot be converted to UTF-8, use base64_encoded=true query parameter"
UNCONVERTIBLE_MANY = (
    "some attributes for one or more submissions cannot be converted to UTF-8, use base64_encoded=true query parameter"
)


def now() -> str:
    """The time as Rails writes it."""
    seconds = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(seconds % 1 * 1000):03d}Z"


@dataclass(slots=True)
class Submission:
    """One submission as it is now: what was sent, and the results so far."""

    values: dict[str, Any]
    language: Numbered
    token: str = field(default_factory=lambda: str(uuid.uuid4()))
    created_at: str = field(default_factory=now)
    results: dict[str, Any] = field(default_factory=dict)
    status: int = QUEUED
    had_turn: bool = False

    @property
    def is_done(self) -> bool:
        """Whether it has been judged."""
        return self.status not in (QUEUED, PROCESSING)

    @property
    def size(self) -> int:
        """Bytes, about."""
        contents = (*self.values.values(), *self.results.values())
        return 2048 + sum(len(value) for value in contents if isinstance(value, bytes | str))

    def ended(self, status: int, **results: Any) -> None:
        """It has been judged."""
        self.results = {**results, "finished_at": now()}
        self.status = status


def to_ask(submission: Submission, extra: Mapping[str, bytes], *, limits: Mapping[str, int], label: str, peer: str) -> Ask:
    """The run of a submission that is one source.

    Args:
        submission: checked.
        extra: its additional files.
        limits: the most that a run may have.
        label: of the request.
        peer: address of the client.
    """
    values, language = submission.values, submission.language
    source: bytes = values["source_code"]
    common = Ask(stdin=values["stdin"] or b"", limits=run_limits(values, limits), label=label, peer=peer)
    if not language.language:
        command = {
            PLAIN_TEXT: ("cat", "text.txt"),
            EXECUTABLE: ("/bin/sh", "-c", 'chmod +x a.out && exec ./a.out "$@"', "sh", *arguments(values)),
        }[language.number]
        return replace(common, argv=command, files={**extra, language.source_file: source})
    beside = {name: data for name, data in extra.items() if name != language.source_file}
    return replace(
        common,
        language=language.language,
        sources=((language.source_file, source), *beside.items()),
        files=beside if stages.is_compiled(language.language) else {},
        argv=arguments(values),
    )


def run_limits(values: Mapping[str, Any], limits: Mapping[str, int]) -> dict[str, int]:
    """The limits of a run. The extra time of Judge0 is given, and what was used of it is too late."""
    wanted = {
        "cpu_ns": round((values["cpu_time_limit"] + values["cpu_extra_time"]) * 1e9),
        "wall_ns": round(values["wall_time_limit"] * 1e9),
        "memory_bytes": values["memory_limit"] << 10,
        "stack_bytes": values["stack_limit"] << 10,
        "pids": values["max_processes_and_or_threads"],
        "file_bytes": values["max_file_size"] << 10,
    }
    least = {"cpu_ns": 1_000_000, "stack_bytes": 64 << 10, "file_bytes": 1024}
    return {name: min(max(number, least.get(name, 1)), limits.get(name, 1 << 62)) for name, number in wanted.items()}


def arguments(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The words of `command_line_arguments`: there is no shell here, only its quotes."""
    plain = _SHELL.sub("", values["command_line_arguments"] or "").replace("\0", "")
    try:
        return tuple(shlex.split(plain))
    except ValueError:
        return tuple(plain.split())


def judge(submission: Submission, answer: Answer, record: Recorder) -> None:
    """Put what became of a run into the submission."""
    compiler = answer.compile
    compiled: dict[str, Any] = {}
    if compiler is not None:
        said = record.of("compile", compiler.stdout, compiler.stderr).merged
        compiled = {"compile_output": said or None}
    if answer.run is not None:
        judge_run(submission, answer.run, record, **compiled)
        return
    result = compiler.result if compiler is not None else None
    if result is not None and result.outcome in (Outcome.CPU_TIME, Outcome.WALL_TIME, Outcome.IDLE_TIME):
        compiled = {"compile_output": TOO_LATE}
    elif not compiled.get("compile_output") and compiler is not None:
        compiled = {"compile_output": compiler.reason.encode()}
    submission.ended(NOT_COMPILED, **compiled)


def judge_run(submission: Submission, run: RunResult, record: Recorder, **more: Any) -> None:
    """Put what became of the program into the submission."""
    values = submission.values
    end = stages.ending(run, time_limit_s=values["cpu_time_limit"])
    wrote = record.of("run", run.stdout, run.stderr)
    stdout, stderr = wrote.stdout, wrote.stderr
    if values["redirect_stderr_to_stdout"]:
        stdout, stderr = wrote.merged, b""
    over = bool(stages.over_length(run))
    signal = _SIZE_SIGNAL if over else end.signal
    submission.ended(
        SIGXFSZ if over else _status(end.status, signal, values["expected_output"], stdout),
        **more,
        stdout=stdout or None,
        stderr=stderr or None,
        message=f"Caught fatal signal {signal}" if over else end.message or None,
        exit_code=None if over else end.code,
        exit_signal=signal,
        time=(end.cpu_ns or 0) / 1e9,
        wall_time=(end.wall_ns or 0) / 1e9,
        memory=(end.memory_bytes or 0) >> 10,
    )


def failed(submission: Submission, error: Exception) -> None:
    """Nothing was run, and it is not the source's fault."""
    known = isinstance(error, CommandNotFound | NotExecutable)
    submission.ended(NOT_EXECUTABLE if known else INTERNAL, message=str(error))


def average(submission: Submission, times: list[float], memories: list[int]) -> None:
    """The figures of several runs."""
    submission.results["time"] = sum(times) / len(times)
    submission.results["memory"] = round(sum(memories) / len(memories))


def same(expected: bytes | None, stdout: bytes) -> bool:
    """Whether the output is right: blanks at the end of lines and of all do not count."""
    return expected is None or _stripped(expected) == _stripped(stdout)


def to_dict(submission: Submission, fields: tuple[str, ...], *, encoded: bool) -> dict[str, Any]:
    """The submission as JSON. Raises UnicodeDecodeError for texts that are not UTF-8, unless they are `encoded`."""
    return {name: _member(submission, name, encoded=encoded) for name in fields}


def _member(submission: Submission, name: str, *, encoded: bool) -> Any:
    simple = {
        "token": submission.token,
        "created_at": submission.created_at,
        "status_id": submission.status,
        "language_id": submission.language.number,
    }
    if name in simple:
        return simple[name]
    if name == "status":
        return {"id": submission.status, "description": JUDGE0_DESCRIPTIONS[submission.status]}
    if name == "language":
        return submission.language.brief()
    value = submission.values[name] if name in judge0_fields.INPUTS else submission.results.get(name)
    if name == "additional_files":
        return None if value is None else text.to_ruby_base64(value)
    if name == "message" and isinstance(value, str):
        return text.to_ruby_base64(value.encode("utf-8", "replace")) if encoded else value
    if isinstance(value, bytes):
        return text.to_ruby_base64(value) if encoded else value.decode()
    if isinstance(value, float):  # decimals are strings in Rails' JSON
        return f"{value:.3f}" if name in ("time", "wall_time") else str(value)
    return value


def _status(status: str, signal: int | None, expected: bytes | None, stdout: bytes) -> int:
    if status == "SG":
        return _SIGNALS.get(signal or 0, OTHER)
    known = {"TO": LATE, "RE": NZEC, "XX": INTERNAL}.get(status)
    if known is not None:
        return known
    return ACCEPTED if same(expected, stdout) else WRONG


def _stripped(data: bytes) -> bytes:
    return b"\n".join(line.rstrip(_BLANK) for line in data.split(b"\n")).rstrip(_BLANK)
