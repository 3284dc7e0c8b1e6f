"""What a submission of Judge0 may say: its fields, their defaults and bounds, and the words for what is wrong with them. Pure.

Source: judge0/judge0, `app/models/submission.rb` (validations, in their order) and `app/helpers/config.rb` (defaults).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.service.dialects import text
from sandbox.service.dialects.judge0_languages import PROJECT, Numbered

Errors = dict[str, list[str]]
DEFAULT_FIELDS = ("stdout", "time", "memory", "stderr", "token", "compile_output", "message", "status")
TEXTS = ("source_code", "stdin", "expected_output", "stdout", "stderr", "compile_output")  # base64 where it is asked for
MOST_RUNS = 20
BATCH = 20
CALLBACK_TRIES = 3
CALLBACK_SECONDS = 5.0
_LONGEST_OPTION = 512
_FLAGS = {  # field: what is said where it is set
    "enable_per_process_and_thread_time_limit": "this option cannot be enabled",
    "enable_per_process_and_thread_memory_limit": "this option cannot be enabled",
}
INPUTS = (
    "source_code", "language_id", "compiler_options", "command_line_arguments", "number_of_runs", "stdin", "expected_output",
    "cpu_time_limit", "cpu_extra_time", "wall_time_limit", "memory_limit", "stack_limit", "max_processes_and_or_threads",
    "enable_per_process_and_thread_time_limit", "enable_per_process_and_thread_memory_limit", "max_file_size",
    "redirect_stderr_to_stdout", "callback_url", "additional_files", "enable_network",
)  # fmt: skip
RESULTS = (
    "stdout", "stderr", "compile_output", "message", "exit_code", "exit_signal", "status_id", "status", "created_at",
    "finished_at", "time", "wall_time", "memory", "token", "language",
)  # fmt: skip
FIELDS = INPUTS + RESULTS


@dataclass(frozen=True, slots=True)
class Number:
    """A number of a submission: what it is when nothing is said, and its bounds."""

    default: float
    least: float
    most: float
    above: bool = False  # more than `least`, not equal to it


@dataclass(frozen=True, slots=True)
class Rules:
    """What this server takes.

    Attributes:
        numbers: by field.
        languages: by number.
        callback: what is wrong with a callback URL; "" when it is allowed.
        callbacks: whether there are any.
        queue: how many may wait.
        kept_seconds: how long a result is kept.
    """

    numbers: Mapping[str, Number]
    languages: Mapping[int, Numbered]
    callback: Callable[[str], str] = lambda _: "setting callback is not allowed"
    callbacks: bool = False
    queue: int = 100
    kept_seconds: float = 600.0


def numbers(limits: Mapping[str, int]) -> dict[str, Number]:
    """Judge0's defaults and bounds below the limits of this server (fields of `Limits`)."""
    cpu, wall = limits.get("cpu_ns", 15 * 10**9) / 1e9, limits.get("wall_ns", 20 * 10**9) / 1e9
    memory, stack = limits.get("memory_bytes", 512_000 << 10) >> 10, limits.get("stack_bytes", 128_000 << 10) >> 10
    pids, size = limits.get("pids", 120), limits.get("file_bytes", 4096 << 10) >> 10
    return {
        "number_of_runs": Number(1, 0, MOST_RUNS, above=True),
        "cpu_time_limit": Number(min(5.0, cpu), 0, cpu),
        "cpu_extra_time": Number(min(1.0, cpu), 0, min(5.0, cpu)),
        "wall_time_limit": Number(min(10.0, wall), min(1.0, wall), wall),
        "memory_limit": Number(min(128_000, memory), 2048, memory),
        "stack_limit": Number(min(64_000, stack), 0, stack),
        "max_processes_and_or_threads": Number(min(60, pids), 0, pids, above=True),
        "max_file_size": Number(min(1024, size), 0, size),
    }


def config_info(rules: Rules) -> dict[str, Any]:
    """`GET /config_info`: the 39 members of Judge0 CE."""
    own = rules.numbers
    most = {f"max_{name}": number.most for name, number in own.items()}
    return {
        "maintenance_mode": False,
        "enable_wait_result": True,
        "enable_compiler_options": False,
        "allowed_languages_for_compile_options": [],
        "enable_command_line_arguments": True,
        "enable_submission_delete": True,
        "enable_callbacks": rules.callbacks,
        "callbacks_max_tries": CALLBACK_TRIES,
        "callbacks_timeout": CALLBACK_SECONDS,
        "enable_additional_files": True,
        "max_queue_size": rules.queue,
        **{name: number.default for name, number in own.items()},
        **most,
        **{f"allow_{name}": False for name in _FLAGS},
        **dict.fromkeys(_FLAGS, False),
        "redirect_stderr_to_stdout": False,
        "max_extract_size": 10240,
        "enable_batched_submissions": True,
        "max_submission_batch_size": BATCH,
        "submission_cache_duration": float(rules.kept_seconds),
        "use_docs_as_homepage": False,
        "allow_enable_network": False,
        "enable_network": False,
    }


def checked(body: Mapping[str, Any], rules: Rules, *, encoded: bool) -> tuple[dict[str, Any], Errors]:
    """(the fields of a submission, with defaults; what is wrong with them, nothing when all is well). Texts are bytes."""
    errors: Errors = {}
    values: dict[str, Any] = dict.fromkeys(INPUTS)
    for name in ("source_code", "stdin", "expected_output", "additional_files"):
        values[name] = _text(name, body.get(name), errors, encoded=encoded or name == "additional_files")
    values["language_id"] = _whole(body.get("language_id"))
    _check_source(values, body.get("language_id"), rules, errors)
    for name, number in rules.numbers.items():
        values[name] = _number(name, body.get(name), number, errors)
    for name, words in _FLAGS.items():
        values[name] = _flag(body.get(name))
        if values[name]:
            errors.setdefault(name, []).append(words)
    for name in ("compiler_options", "command_line_arguments", "callback_url"):
        values[name] = _string(body.get(name))
        if name != "callback_url" and len(values[name] or "") > _LONGEST_OPTION:
            errors.setdefault(name, []).append(f"is too long (maximum is {_LONGEST_OPTION} characters)")
    if (values["compiler_options"] or "").strip():
        errors.setdefault("compiler_options", []).append("setting compiler options is not allowed")
    if (values["callback_url"] or "").strip() and (wrong := rules.callback(values["callback_url"])):
        errors.setdefault("callback_url", []).append(wrong)
    values["redirect_stderr_to_stdout"] = _flag(body.get("redirect_stderr_to_stdout"))
    values["enable_network"] = _flag(body.get("enable_network"))
    if values["enable_network"]:
        errors.setdefault("enable_network", []).append("enabling network is not allowed")
    return values, errors


def wanted(fields: str | None) -> tuple[tuple[str, ...], list[str]]:
    """(the fields that a query asks for, those of them that there are not)."""
    names = [name.strip() for name in (fields or "").split(",") if name.strip()]
    if "*" in names:
        return FIELDS, []
    unknown = [name for name in names if name not in FIELDS]
    return tuple(dict.fromkeys(names)) or DEFAULT_FIELDS, unknown


def _check_source(values: dict[str, Any], raw: Any, rules: Rules, errors: Errors) -> None:
    number = values["language_id"]
    is_project = number == PROJECT
    if is_project and values["source_code"]:
        errors.setdefault("source_code", []).append("must be blank")
    if is_project and not values["additional_files"]:
        errors.setdefault("additional_files", []).append("can't be blank")
    if not is_project and not (values["source_code"] or b"").strip() and "source_code" not in errors:
        errors["source_code"] = ["can't be blank"]
    if number is None:
        errors.setdefault("language_id", []).append("can't be blank" if raw in (None, "") else "is not a number")
    if number not in rules.languages:
        said = "" if number is None else number
        errors.setdefault("language_id", []).append(f"language with id {said} doesn't exist")


def _text(name: str, value: Any, errors: Errors, *, encoded: bool) -> bytes | None:
    words = _string(value)
    if words is None:
        return None
    if not encoded:
        return text.encode(words)
    try:
        return text.from_base64(words)
    except ValueError as error:
        errors.setdefault(name, []).append(str(error))
        return None


def _string(value: Any) -> str | None:
    """As Rails casts what is given for a text."""
    if value is None or isinstance(value, list | dict):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _whole(value: Any) -> int | None:
    found = _float(value)
    return None if found is None else int(found)


def _number(name: str, value: Any, rule: Number, errors: Errors) -> float:
    """The value within its bounds; whole where its default is."""
    if value is None or value == "":
        return rule.default
    found = _float(value)
    wrong = ""
    if found is None:
        wrong = "is not a number"
    elif rule.above and found <= rule.least:
        wrong = f"must be greater than {rule.least}"
    elif found < rule.least:
        wrong = f"must be greater than or equal to {rule.least}"
    elif found > rule.most:
        wrong = f"must be less than or equal to {rule.most}"
    if wrong or found is None:
        errors.setdefault(name, []).append(wrong)
        return rule.default
    return int(found) if isinstance(rule.default, int) else found


def _float(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def _flag(value: Any) -> bool:
    """As Rails casts what is given for a boolean."""
    return value not in (None, False, 0, "", "0", "f", "F", "false", "FALSE", "off", "OFF")
