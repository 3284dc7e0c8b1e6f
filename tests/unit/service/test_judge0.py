"""Judge0's submissions and results as pure mappings."""

from __future__ import annotations

import base64
import json

import pytest

from sandbox.model.errors import CommandNotFound, SandboxError
from sandbox.model.result import Exited, Outcome, Signaled
from sandbox.service.ask import Answer, LanguageInfo, Stage
from sandbox.service.dialects import judge0_fields, judge0_languages, judge0_maps
from sandbox.service.dialects.judge0_fields import DEFAULT_FIELDS, FIELDS, Rules
from sandbox.service.dialects.judge0_maps import Submission
from sandbox.service.dialects.stages import Recorder
from tests.support.results import result

INFOS = [
    LanguageInfo(id="python3", name="Python 3", version="3.11.2", aliases=(), extensions=(".py",)),
    LanguageInfo(id="cpp", name="C++", version="12.2.0", aliases=(), extensions=(".cpp",)),
]
LIMITS = {
    "cpu_ns": 15 * 10**9,
    "wall_ns": 30 * 10**9,
    "memory_bytes": 512 << 20,
    "stack_bytes": 512 << 20,
    "pids": 128,
    "file_bytes": 256 << 20,
}
RULES = Rules(numbers=judge0_fields.numbers(LIMITS), languages=judge0_languages.numbered(INFOS))
GOOD = {"source_code": "print(1)", "language_id": 71}


def checked(encoded=False, **changes):
    return judge0_fields.checked({**GOOD, **changes}, RULES, encoded=encoded)


def submission(**changes):
    values, wrong = checked(**changes)
    assert not wrong
    return Submission(values, RULES.languages[values["language_id"]])


def test_the_39_members_of_the_configuration():
    info = judge0_fields.config_info(RULES)
    assert len(info) == 39
    assert info["max_cpu_time_limit"] == 15.0
    assert info["max_max_processes_and_or_threads"] == 128
    assert info["max_memory_limit"] == 524288
    assert (info["enable_callbacks"], info["enable_network"], info["allow_enable_network"]) == (False, False, False)
    json.dumps(info)


def test_languages_of_this_host_have_all_their_numbers():
    assert [item for item in RULES.languages if RULES.languages[item].language == "python3"] == [71, 92, 100, 109, 113]
    assert RULES.languages[54].name == "C++ (GCC 12.2.0)"
    assert 72 not in RULES.languages
    assert RULES.languages[89].to_dict()["run_cmd"] is None
    assert RULES.languages[71].to_dict()["source_file"] == "script.py"
    assert "g++" in RULES.languages[54].to_dict()["compile_cmd"]


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"language_id": None}, {"language_id": ["can't be blank", "language with id  doesn't exist"]}),
        ({"language_id": 9999}, {"language_id": ["language with id 9999 doesn't exist"]}),
        ({"language_id": "x"}, {"language_id": ["is not a number", "language with id  doesn't exist"]}),
        ({"source_code": ""}, {"source_code": ["can't be blank"]}),
        ({"source_code": [1]}, {"source_code": ["can't be blank"]}),
        ({"number_of_runs": 0}, {"number_of_runs": ["must be greater than 0"]}),
        ({"number_of_runs": 21}, {"number_of_runs": ["must be less than or equal to 20"]}),
        ({"cpu_time_limit": 16}, {"cpu_time_limit": ["must be less than or equal to 15.0"]}),
        ({"cpu_time_limit": "x"}, {"cpu_time_limit": ["is not a number"]}),
        ({"cpu_time_limit": True}, {"cpu_time_limit": ["is not a number"]}),
        ({"cpu_time_limit": 1e999}, {"cpu_time_limit": ["is not a number"]}),
        ({"wall_time_limit": 0.5}, {"wall_time_limit": ["must be greater than or equal to 1.0"]}),
        ({"memory_limit": 1000}, {"memory_limit": ["must be greater than or equal to 2048"]}),
        ({"memory_limit": 10**9}, {"memory_limit": ["must be less than or equal to 524288"]}),
        ({"enable_network": True}, {"enable_network": ["enabling network is not allowed"]}),
        (
            {"enable_per_process_and_thread_time_limit": "true"},
            {"enable_per_process_and_thread_time_limit": ["this option cannot be enabled"]},
        ),
        ({"compiler_options": "-O3"}, {"compiler_options": ["setting compiler options is not allowed"]}),
        ({"command_line_arguments": "x" * 513}, {"command_line_arguments": ["is too long (maximum is 512 characters)"]}),
        ({"callback_url": "http://localhost/"}, {"callback_url": ["setting callback is not allowed"]}),
        ({"additional_files": "%%%"}, {"additional_files": ["is not valid base64"]}),
        ({"language_id": 89, "source_code": None}, {"additional_files": ["can't be blank"]}),
        ({"language_id": 89, "additional_files": "UEs="}, {"source_code": ["must be blank"]}),
    ],
)
def test_what_is_wrong_is_said_in_judge0s_words(changes, wrong):
    assert checked(**changes)[1] == wrong


def test_base64_of_requests():
    values, wrong = checked(encoded=True, source_code="cHJp\nbnQoMSk", stdin=None, expected_output="MQ==")
    assert not wrong
    assert (values["source_code"], values["stdin"], values["expected_output"]) == (b"print(1)", None, b"1")
    assert checked(encoded=True, source_code="print(1)")[1] == {"source_code": ["is not valid base64"]}


def test_defaults_and_limits_of_a_run():
    ask = judge0_maps.to_ask(submission(), {}, limits=LIMITS, label="x", peer="")
    assert ask.limits == {
        "cpu_ns": 6 * 10**9,
        "wall_ns": 10 * 10**9,
        "memory_bytes": 128_000 << 10,
        "stack_bytes": 64_000 << 10,
        "pids": 60,
        "file_bytes": 1 << 20,
    }
    assert (ask.language, ask.sources, ask.argv, ask.stdin) == ("python3", (("script.py", b"print(1)"),), (), b"")
    most = judge0_maps.run_limits(submission(cpu_time_limit=15, cpu_extra_time=5).values, LIMITS)
    assert most["cpu_ns"] == LIMITS["cpu_ns"]


def test_arguments_have_quotes_and_no_shell():
    assert judge0_maps.arguments({"command_line_arguments": "a 'b c' $(rm) `x` d;e"}) == ("a", "b c", "(rm)", "x", "de")
    assert judge0_maps.arguments({"command_line_arguments": "it's"}) == ("it's",)
    assert judge0_maps.arguments({"command_line_arguments": None}) == ()


def test_files_beside_a_program():
    extra = {"a.h": b"1", "script.py": b"evil"}
    ask = judge0_maps.to_ask(submission(), extra, limits=LIMITS, label="", peer="")
    assert ask.sources == (("script.py", b"print(1)"), ("a.h", b"1"))
    assert ask.files == {}
    compiled = judge0_maps.to_ask(submission(language_id=54), extra, limits=LIMITS, label="", peer="")
    assert compiled.files == extra
    plain = judge0_maps.to_ask(submission(language_id=43), extra, limits=LIMITS, label="", peer="")
    assert (plain.argv, plain.files["text.txt"]) == (("cat", "text.txt"), b"print(1)")


def judged(run, **changes):
    made = submission(**changes)
    judge0_maps.judge(made, Answer(run=run), Recorder(100))
    return made


@pytest.mark.parametrize(
    ("run", "status"),
    [
        (result(), 3),
        (result(end=Exited(1)), 11),
        (result(Outcome.SIGNALED, Signaled(11)), 7),
        (result(Outcome.SIGNALED, Signaled(25)), 8),
        (result(Outcome.SIGNALED, Signaled(8)), 9),
        (result(Outcome.SIGNALED, Signaled(6)), 10),
        (result(Outcome.SIGNALED, Signaled(9)), 12),
        (result(Outcome.MEMORY, Signaled(9)), 12),
        (result(Outcome.CPU_TIME, Signaled(9)), 5),
        (result(Outcome.WALL_TIME, Signaled(9)), 5),
        (result(Outcome.CANCELED, Signaled(9)), 13),
        (result(Outcome.OUTPUT, Signaled(9), truncated=("stdout",)), 8),
    ],
)
def test_statuses(run, status):
    assert judged(run).status == status


def test_extra_time_is_too_late():
    assert judged(result(), cpu_time_limit=0.005).status == 5


@pytest.mark.parametrize(
    ("expected", "stdout", "status"),
    [
        ("1\n2", b"1  \n2\n\n", 3),
        ("1", b"1 \t\r\n", 3),
        (None, b"anything", 3),
        ("", b"", 3),
        ("1", b" 1", 4),
        ("1\n\n2", b"1\n2", 4),
        ("1", b"", 4),
        ("é", "é\n".encode(), 3),
    ],
)
def test_outputs_are_compared_without_trailing_blanks(expected, stdout, status):
    assert judged(result(stdout=stdout), expected_output=expected).status == status


def test_the_members_of_a_result():
    made = judged(result(end=Exited(3), stdout=b"out", stderr=b""))
    found = judge0_maps.to_dict(made, FIELDS, encoded=False)
    assert found["status"] == {"id": 11, "description": "Runtime Error (NZEC)"}
    assert (found["time"], found["wall_time"], found["memory"]) == ("0.012", "0.154", 1132)
    assert (found["exit_code"], found["exit_signal"], found["message"]) == (3, None, "Exited with error status 3")
    assert (found["stdout"], found["stderr"], found["compile_output"]) == ("out", None, None)
    assert (found["cpu_time_limit"], found["memory_limit"]) == ("5.0", 128_000)
    assert found["language"] == {"id": 71, "name": "Python (3.11.2)"}
    assert found["created_at"].endswith("Z")
    json.dumps(found)
    assert tuple(judge0_maps.to_dict(made, DEFAULT_FIELDS, encoded=False)) == DEFAULT_FIELDS


def test_a_submission_in_the_queue_has_no_results():
    found = judge0_maps.to_dict(submission(), DEFAULT_FIELDS, encoded=True)
    assert found["status"] == {"id": 1, "description": "In Queue"}
    assert (found["stdout"], found["time"], found["memory"], found["message"]) == (None, None, None, None)


def test_base64_of_answers_is_rubys():
    made = judged(result(stdout=b"x" * 50, end=Exited(1)))
    found = judge0_maps.to_dict(made, ("stdout", "message", "source_code"), encoded=True)
    assert found["stdout"] == base64.b64encode(b"x" * 45).decode() + "\n" + base64.b64encode(b"x" * 5).decode() + "\n"
    assert base64.b64decode(found["message"]) == b"Exited with error status 1"
    assert base64.b64decode(found["source_code"]) == b"print(1)"


def test_bytes_that_are_no_text_need_base64():
    made = judged(result(stdout=b"\xff"))
    with pytest.raises(UnicodeDecodeError):
        judge0_maps.to_dict(made, DEFAULT_FIELDS, encoded=False)
    assert judge0_maps.to_dict(made, DEFAULT_FIELDS, encoded=True)["stdout"] == "/w==\n"


def test_compilers():
    made = submission(language_id=54)
    judge0_maps.judge(made, Answer(compile=Stage(ok=False, stderr=b"error", result=result(end=Exited(1)))), Recorder(9))
    assert (made.status, made.results["compile_output"]) == (6, b"error")
    judge0_maps.judge(made, Answer(compile=Stage(ok=False, result=result(Outcome.CPU_TIME, Signaled(9)))), Recorder(9))
    assert (made.status, made.results["compile_output"]) == (6, b"Compilation time limit exceeded.")
    judge0_maps.judge(made, Answer(compile=Stage(ok=False, reason="no")), Recorder(9))
    assert (made.status, made.results["compile_output"]) == (6, b"no")
    judge0_maps.judge(made, Answer(compile=Stage(ok=True, stderr=b"warning"), run=result()), Recorder(9))
    assert (made.status, made.results["compile_output"]) == (3, b"warning")


def test_stderr_may_be_redirected():
    made = judged(result(stdout=b"o", stderr=b"e"), redirect_stderr_to_stdout=True)
    assert (made.results["stdout"], made.results["stderr"]) == (b"oe", None)


def test_what_was_not_run():
    made = submission()
    judge0_maps.failed(made, CommandNotFound("'x' is not there"))
    assert made.status == 14
    judge0_maps.failed(made, SandboxError("no room"))
    assert (made.status, made.results["message"]) == (13, "no room")


def test_fields():
    assert judge0_fields.wanted(None) == (DEFAULT_FIELDS, [])
    assert judge0_fields.wanted("*") == (FIELDS, [])
    assert judge0_fields.wanted("stdout, token,stdout") == (("stdout", "token"), [])
    assert judge0_fields.wanted("stdout,secrets")[1] == ["secrets"]
