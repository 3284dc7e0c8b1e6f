"""Whatever JSON a client sends, a dialect takes it or says what is wrong: nothing else is raised."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.model.errors import RequestError
from sandbox.service.ask import LanguageInfo
from sandbox.service.dialects import gojudge_maps, http, judge0_fields, judge0_languages, judge0_maps, piston_maps
from sandbox.service.dialects.judge0_fields import Rules
from sandbox.service.dialects.judge0_maps import Submission

INFOS = [LanguageInfo(id="python3", name="Python 3", version="3.11.2", aliases=("py",), extensions=(".py",))]
LIMITS = {
    "cpu_ns": 10**10,
    "wall_ns": 10**10,
    "memory_bytes": 1 << 29,
    "stack_bytes": 1 << 29,
    "pids": 128,
    "file_bytes": 1 << 28,
}
RULES = Rules(numbers=judge0_fields.numbers(LIMITS), languages=judge0_languages.numbered(INFOS))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(
        ["", "0", "71", "a", "../x", "/", "a/..", "\0", "\ud800", "é", "*", "^3", "aGk=", "x" * 300, "-c", "@f", "1e999", "."]
    )
    | st.text(max_size=20)
)
ANY = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=8
)


def objects(*names: str, **likely: Any) -> Any:
    """Objects that have some of `names`, with anything in them, and nearly always what is likely."""
    always = {name: st.one_of(value, value, value, value, ANY) for name, value in likely.items()}
    return st.fixed_dictionaries(always, optional=dict.fromkeys(sorted(set(names) - likely.keys()), ANY))


FILE = objects("name", encoding=st.sampled_from(["utf8", "base64", "hex"]), content=st.just("print(1)"))
PISTON = objects(
    "stdin", "args", "run_timeout", "compile_timeout", "run_memory_limit", "compile_memory_limit", "run_cpu_time",
    language=st.just("python"), version=st.just("*"), files=st.lists(FILE, max_size=4),
)  # fmt: skip
CONTENT = objects("src", "symlink", "fileId", "max", "name", "streamIn", content=st.just("x"))
COMMAND = objects(
    "env", "cpuLimit", "clockLimit", "memoryLimit", "copyOutMax", "tty", "copyOut", "copyOutCached", "stackLimit", "procLimit",
    args=st.just(["a", "b"]), files=st.lists(CONTENT | st.none(), max_size=4),
    copyIn=st.dictionaries(st.sampled_from(["a", "../a", "a/b", ""]), CONTENT, max_size=3),
)  # fmt: skip
PIPE = objects("proxy", "name", "max", **{"in": st.just({"index": 0, "fd": 1}), "out": st.just({"index": 1, "fd": 0})})


@settings(max_examples=400, deadline=None)
@given(PISTON | ANY)
def test_piston(body):
    with contextlib.suppress(RequestError):
        job = piston_maps.to_job(body, limits=LIMITS, compile_limits=LIMITS, infos=INFOS)
        names = [name for name, _ in job.ask.sources] + list(job.ask.files)
        assert not any(name.startswith("/") or ".." in name.split("/") or "\0" in name for name in names)
        assert all(0 < number <= LIMITS[field] for field, number in job.ask.limits.items())


@settings(max_examples=400, deadline=None)
@given(objects(*judge0_fields.INPUTS, language_id=st.just(71), source_code=st.just("x")), st.booleans())
def test_judge0(body, encoded):
    values, wrong = judge0_fields.checked(body, RULES, encoded=encoded)
    assert all(isinstance(word, str) and word for words in wrong.values() for word in words)
    if not wrong:
        submission = Submission(values, RULES.languages[values["language_id"]])
        http.dumps(judge0_maps.to_dict(submission, judge0_fields.FIELDS, encoded=True))
        if submission.language.number != judge0_languages.PROJECT:
            ask = judge0_maps.to_ask(submission, {}, limits=LIMITS, label="", peer="")
            assert all(0 < number <= LIMITS[field] for field, number in ask.limits.items())
            assert not any("\0" in word for word in ask.argv)


@settings(max_examples=400, deadline=None)
@given(objects(cmd=st.lists(COMMAND, max_size=3), pipeMapping=st.lists(PIPE, max_size=2)) | ANY)
def test_gojudge(body):
    with contextlib.suppress(RequestError):
        found, pipes = gojudge_maps.commands(body, {}.get, LIMITS)
        assert all(command.ask.argv for command in found)
        assert all(pipe.source != pipe.target for pipe in pipes)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=50) | ANY.map(lambda value: json.dumps(value).encode()))
def test_bodies(raw):
    with contextlib.suppress(RequestError):
        http.dumps(http.parse(raw))
