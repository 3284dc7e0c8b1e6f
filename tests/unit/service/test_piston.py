"""Piston's requests and answers as pure mappings."""

from __future__ import annotations

import dataclasses

import pytest

from sandbox.model.errors import RequestError
from sandbox.model.result import Evidence, Exited, Outcome, Signaled
from sandbox.service.ask import Answer, Event, LanguageInfo, Stage
from sandbox.service.dialects import piston_maps, piston_names
from sandbox.service.dialects.stages import Recorder
from tests.support.results import result

INFOS = [
    LanguageInfo(id="python3", name="Python 3", version="3.11.2", aliases=("python", "py", "py3"), extensions=(".py",)),
    LanguageInfo(id="cpp", name="C++", version="12.2.0", aliases=("c++", "cc", "cxx"), extensions=(".cc", ".cpp")),
    LanguageInfo(id="javascript", name="JavaScript", version="18.20.4", aliases=("js", "node"), extensions=(".js",)),
    LanguageInfo(id="zig", name="Zig", version="0.13.0", aliases=("ziglang",), extensions=(".zig",)),
]
LIMITS = {"wall_ns": 30 * 10**9, "cpu_ns": 15 * 10**9, "memory_bytes": 512 << 20}
COMPILE = {"cpu_ns": 30 * 10**9, "memory_bytes": 1 << 30}
GOOD = {"language": "python", "version": "*", "files": [{"content": "print(1)"}]}


def job(**changes):
    body = {**GOOD, **changes}
    return piston_maps.to_job(
        {name: value for name, value in body.items() if value is not ...}, limits=LIMITS, compile_limits=COMPILE, infos=INFOS
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"language": ...}, "language is required as a string"),
        ({"language": 5}, "language is required as a string"),
        ({"language": ""}, "language is required as a string"),
        ({"version": ...}, "version is required as a string"),
        ({"version": 3}, "version is required as a string"),
        ({"files": ...}, "files is required as an array"),
        ({"files": {"content": "x"}}, "files is required as an array"),
        ({"files": "x"}, "files is required as an array"),
        ({"files": [{"name": "x"}]}, "files[0].content is required as a string"),
        ({"files": [{"content": "x"}, {"content": 5}]}, "files[1].content is required as a string"),
        ({"files": [None]}, "files[0].content is required as a string"),
        ({"language": "brainfork"}, "brainfork-* runtime is unknown"),
        ({"version": "latest"}, "python-latest runtime is unknown"),
        ({"version": "2.x"}, "python-2.x runtime is unknown"),
        ({"version": "not a version"}, "python-not a version runtime is unknown"),
        ({"files": []}, "files must include at least one utf8 encoded file"),
        ({"files": [{"content": "aGk=", "encoding": "base64"}]}, "files must include at least one utf8 encoded file"),
        ({"files": [{"content": "x", "encoding": "utf-16"}]}, "files must include at least one utf8 encoded file"),
        ({"run_timeout": "500"}, "If specified, run_timeout must be a number"),
        ({"run_timeout": True}, "If specified, run_timeout must be a number"),
        ({"compile_cpu_time": [1]}, "If specified, compile_cpu_time must be a number"),
        ({"run_memory_limit": {}}, "If specified, run_memory_limit must be a number"),
        ({"run_timeout": 30_001}, "run_timeout cannot exceed the configured limit of 30000"),
        ({"run_cpu_time": 1e300}, "run_cpu_time cannot exceed the configured limit of 15000"),
        ({"run_memory_limit": 1 << 40}, "run_memory_limit cannot exceed the configured limit of 536870912"),
        ({"compile_memory_limit": float("inf")}, "compile_memory_limit cannot exceed the configured limit of 1073741824"),
        ({"run_timeout": -5}, "run_timeout must be non-negative"),
        ({"run_memory_limit": -2}, "run_memory_limit must be non-negative"),
        ({"run_timeout": float("nan")}, "run_timeout must be non-negative"),
    ],
)
def test_what_is_wrong_is_said_in_pistons_words(changes, message):
    with pytest.raises(RequestError) as error:
        job(**changes)
    assert error.value.message == message


@pytest.mark.parametrize("body", [None, [], "x", 5, {}])
def test_a_body_that_is_no_object_has_no_language(body):
    with pytest.raises(RequestError, match="language is required as a string"):
        piston_maps.to_job(body, limits=LIMITS, compile_limits=COMPILE, infos=INFOS)


@pytest.mark.parametrize(
    "changes",
    [
        {"files": [{"content": "x", "name": "../x.py"}]},
        {"files": [{"content": "x", "name": "a/../../x.py"}]},
        {"files": [{"content": "x", "name": ".."}]},
        {"files": [{"content": "x", "name": "."}]},
        {"files": [{"content": "x", "name": "a/"}]},
        {"files": [{"content": "x", "name": "a\0b"}]},
        {"files": [{"content": "x", "name": "y" * 300}]},
        {"files": [{"content": "x", "name": 5}]},
        {"files": [{"content": "x", "name": "a"}, {"content": "y", "name": "a/b"}]},
        {"files": [{"content": "x"}, {"content": "!!!", "encoding": "base64"}]},
        {"files": [{"content": "x"}, {"content": "abcde", "encoding": "base64"}]},
        {"files": [{"content": "x"}, {"content": "xyz", "encoding": "hex"}]},
        {"files": [{"content": "x"}] * 300},
        {"args": "one two"},
        {"args": [["nested"]]},
        {"args": ["a\0b"]},
        {"stdin": 5},
        {"stdin": ["x"]},
    ],
)
def test_what_breaks_the_real_server_is_refused(changes):
    with pytest.raises(RequestError):
        job(**changes)


def test_the_first_utf8_file_is_the_program_and_the_rest_lie_beside_it():
    made = job(
        language="c++",
        files=[
            {"name": "data.bin", "content": "AAH_", "encoding": "base64"},
            {"name": "/main.cpp", "content": "int main(){}"},
            {"name": "./lib/a.h", "content": "\ud800"},
            {"content": "6869", "encoding": "hex", "name": ""},
            {"name": "--flag.cpp", "content": "x"},
        ],
    ).ask
    assert made.sources == (("main.cpp", b"int main(){}"), ("lib/a.h", "�".encode()))
    assert made.files == {"data.bin": b"\x00\x01\xff", "lib/a.h": "�".encode(), "file3.code": b"hi", "--flag.cpp": b"x"}


def test_sources_of_a_script_are_not_given_twice():
    made = job(files=[{"content": "import a"}, {"name": "a.py", "content": "x"}]).ask
    assert made.sources == (("file0.code", b"import a"), ("a.py", b"x"))
    assert made.files == {}


@pytest.mark.parametrize(
    ("given", "stdin"), [(..., b"\n"), (None, b"\n"), ("", b"\n"), ("a", b"a\n"), ("a\n", b"a\n"), ("a\n\n", b"a\n\n")]
)
def test_stdin_ends_with_a_newline(given, stdin):
    assert job(stdin=given).ask.stdin == stdin


def test_limits_are_pistons_own_unless_the_request_has_some():
    usual = job().ask
    assert usual.limits == {"wall_ns": 3 * 10**9, "cpu_ns": 3 * 10**9}
    assert usual.compile_limits == {"cpu_ns": 10 * 10**9}
    own = job(
        run_timeout=500.5, run_cpu_time=100, run_memory_limit=1 << 26, compile_timeout=2000, compile_memory_limit=1 << 27
    ).ask
    assert own.limits == {"wall_ns": 500_500_000, "cpu_ns": 100_000_000, "memory_bytes": 1 << 26}
    assert own.compile_limits == {"cpu_ns": 2 * 10**9, "memory_bytes": 1 << 27}


def test_open_and_empty_limits_are_those_of_the_server():
    open_ = {"run_memory_limit": -1, "compile_memory_limit": -1, "run_timeout": 0, "compile_timeout": None, "run_cpu_time": ""}
    assert job(**open_).ask == job().ask


def test_a_server_with_less_than_pistons_default_gives_what_it_has():
    made = piston_maps.to_job(GOOD, limits={"wall_ns": 10**9}, compile_limits={}, infos=INFOS).ask
    assert made.limits == {"wall_ns": 10**9, "cpu_ns": 3 * 10**9}


@pytest.mark.parametrize(
    ("name", "selector", "language"),
    [
        ("py", "3.x", "python"),
        ("python3", "^3.10", "python"),
        ("cpp", ">=3", "c++"),
        ("g++", "12", "c++"),
        ("js", "18.20.4", "javascript"),
        ("cxx", "*", "c++"),
        ("ziglang", "0.13.0", "zig"),
    ],
)
def test_languages_by_name_alias_and_selector(name, selector, language):
    assert job(language=name, version=selector).runtime.name == language


def test_the_latest_version_is_taken():
    both = [*INFOS, dataclasses.replace(INFOS[0], version="3.9.1"), dataclasses.replace(INFOS[0], version="3.12.0")]
    found = piston_names.find("python", "3.x", both)
    assert found is not None
    assert found.info.version == "3.12.0"


def test_runtimes_have_pistons_members():
    assert piston_names.runtime_of(INFOS[2]).to_dict() == {
        "language": "javascript",
        "version": "18.20.4",
        "aliases": ["node-javascript", "node-js", "javascript", "js"],
        "runtime": "node",
    }
    assert "runtime" not in piston_names.runtime_of(INFOS[0]).to_dict()


def stage(run, record=None):
    return piston_maps.program(run, record or Recorder(1 << 20))


def test_a_run_that_ended_well():
    assert stage(result(stdout=b"hi\n")) == {
        "signal": None,
        "stdout": "hi\n",
        "stderr": "",
        "code": 0,
        "output": "hi\n",
        "memory": 1_159_168,
        "message": None,
        "status": None,
        "cpu_time": 12,
        "wall_time": 154,
    }


@pytest.mark.parametrize(
    ("run", "status", "code", "signal", "message"),
    [
        (result(end=Exited(3)), "RE", 3, None, "Exited with error status 3"),
        (result(Outcome.SIGNALED, Signaled(11)), "SG", None, "SIGSEGV", "Caught fatal signal 11"),
        (result(Outcome.WALL_TIME, Signaled(9)), "TO", None, "SIGKILL", "Time limit exceeded (wall clock)"),
        (result(Outcome.CPU_TIME, Signaled(9)), "TO", None, "SIGKILL", "Time limit exceeded"),
        (result(Outcome.CPU_TIME, Exited(0)), "TO", None, "SIGKILL", "Time limit exceeded"),
        (result(Outcome.MEMORY, Signaled(9)), "SG", None, "SIGKILL", "Caught fatal signal 9"),
        (result(Outcome.MEMORY, Exited(1)), "RE", 1, None, "Exited with error status 1"),
        (result(Outcome.DENIED_SYSCALL, Signaled(31)), "SG", None, "SIGSYS", "Caught fatal signal 31"),
        (result(Outcome.OUTPUT, Signaled(9), truncated=("stdout",)), "OL", None, "SIGKILL", "stdout length exceeded"),
        (result(Outcome.OUTPUT, Signaled(9), truncated=("stderr",)), "EL", None, "SIGKILL", "stderr length exceeded"),
        (
            result(Outcome.CANCELED, Signaled(9), evidence=(Evidence("caller", "cancel", 1),)),
            "XX",
            None,
            "SIGKILL",
            "Canceled by the caller",
        ),
    ],
)
def test_how_it_ended(run, status, code, signal, message):
    found = stage(run)
    assert (found["status"], found["code"], found["signal"], found["message"]) == (status, code, signal, message)


def test_output_is_merged_in_order_and_bounded():
    record = Recorder(4)
    for kind, data in (("stdout", b"ab"), ("stderr", b"X"), ("stdout", b"cdef"), ("stderr", b"\xff")):
        record(Event(kind, "run", data))
    record(Event("exit", "run"))
    found = stage(result(stdout=b"never", stderr=b"looked at"), record)
    assert (found["stdout"], found["stderr"], found["output"]) == ("abcd", "X�", "abXcd�")


RUNTIME = piston_names.runtime_of(INFOS[1])


def test_what_was_not_compiled_has_its_stage_twice():
    failed = Stage(ok=False, stderr=b"error: no\n", result=result(end=Exited(1), stderr=b"error: no\n"), reason="no")
    found = piston_maps.from_answer(Answer(language="cpp", version="12.2.0", compile=failed), RUNTIME, Recorder(100))
    assert found["compile"]["code"] == 1
    assert found["compile"]["stderr"] == "error: no\n"
    assert found["run"] == found["compile"]
    assert (found["language"], found["version"]) == ("c++", "12.2.0")


def test_a_program_from_the_store_has_no_figures_of_its_compiler():
    found = piston_maps.from_answer(Answer(language="cpp", compile=Stage(ok=True), run=result()), RUNTIME, Recorder(100))
    assert (found["compile"]["code"], found["compile"]["memory"], found["compile"]["status"]) == (0, None, None)
    assert found["run"]["code"] == 0


def test_sources_that_were_refused_before_the_compiler_say_why():
    refused = Stage(ok=False, reason="the source has 9 bytes, 8 are allowed")
    found = piston_maps.from_answer(Answer(compile=refused), RUNTIME, Recorder(100))
    assert (found["run"]["code"], found["run"]["status"], found["run"]["message"]) == (1, "RE", refused.reason)
    silent = Stage(ok=False, result=result(), reason="the compiler made no program")
    found = piston_maps.from_answer(Answer(compile=silent), RUNTIME, Recorder(100))
    assert (found["run"]["code"], found["run"]["message"]) == (1, silent.reason)


def test_a_script_has_no_compile_stage():
    assert "compile" not in piston_maps.from_answer(Answer(run=result()), RUNTIME, Recorder(100))
