"""Programs of a problem that judge: checkers, output validators, interactors, static and input validators.

Each runs in a sandbox of its own, after the submission's has ended (an interactor beside it, with nothing shared but two pipes).
Input, answer and output are copied into its work directory; no submission ever sees them, and nothing that it does reaches them.
A judge's program that fails is a judge error with its reason.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sandbox.api import Run, Sandbox
from sandbox.grader import building, checkers, scripts
from sandbox.grader.building import BuildFailure, Built
from sandbox.grader.cancel import Cancel
from sandbox.grader.feedback import (
    ACCEPT,
    FOLDER,
    Judgement,
    how_it_ended,
    judge_error,
    number,
    read_dmoj,
    read_ppf,
    read_testlib,
)
from sandbox.grader.keep import Keep
from sandbox.grader.model import Case, JudgeProgram, Limits, Source, Verdict
from sandbox.model.errors import RequestError
from sandbox.model.result import Exited, Outcome, RunResult
from sandbox.runtime.request import FileContent

INPUT = "judge.in"
ANSWER = "judge.ans"
OUTPUT = "team.out"
_KEEP = f"{FOLDER}/.keep"  # a directory is only made for a file in it
_PLAIN = {Verdict.PAC: Verdict.AC, Verdict.SV: Verdict.RTE}  # words that graders know
_CODE_BYTES = 64 << 20
_ANSWER_BYTES = 64 << 20
_WALL_FACTOR = 2.0
_WALL_S = 10.0


@dataclass(frozen=True, slots=True)
class Judge:
    """A program of the problem that is ready. `built` is None for a built-in checker."""

    program: JudgeProgram
    built: Built | None = None


def limits_of_judges(limits: Limits) -> Limits:
    """The limits that a problem sets for its own programs, in the form of those for submissions."""
    return dataclasses.replace(
        limits,
        time_s=limits.validation_s,
        memory_bytes=limits.validation_memory_bytes,
        output_bytes=limits.validation_output_bytes,
        code_bytes=max(limits.code_bytes, _CODE_BYTES),
    )


def prepare(
    program: JudgeProgram, limits: Limits, *, allow_degraded: bool = False, cancel: Cancel | None = None
) -> Judge | BuildFailure:
    """Compile a judge's program, or look at the flags of a built-in checker. The options are those of `building.build`."""
    if "missing" in (program.builtin, program.protocol):
        return BuildFailure("the package asks for a validator of its own and has none", blame="judge")
    if program.source is None:
        try:
            checkers.validate(program.builtin, program.arguments)
        except RequestError as error:
            return BuildFailure(str(error), blame="judge")
        return Judge(program)
    try:
        known = scripts.languages() if program.source.language == scripts.ID else None
    except RequestError as error:
        return BuildFailure(f"a language file of this host is wrong: {error}", blame="judge")
    built = building.build(
        program.source, limits_of_judges(limits), allow_degraded=allow_degraded, languages=known, cancel=cancel
    )
    if isinstance(built, BuildFailure):
        reason = f"{program.source.origin} of the problem does not compile: {built.reason}"
        return dataclasses.replace(built, reason=reason, blame="judge")
    return Judge(program, built)


def check(
    judge: Judge,
    case: Case,
    data: bytes | None,
    output: bytes,
    *,
    feedback: Mapping[str, bytes] | None = None,
    multi_pass: bool = False,
    score_on_reject: bool = False,
    keep: Keep,
    cpus: tuple[int, ...] = (),
    cancel: Cancel | None = None,
) -> Judgement:
    """Judge the output of a submission. Raises SandboxError for what the host lacks.

    Args:
        judge: the problem's.
        case: whose answer and flags.
        data: the input when it is not the case's own (a later pass).
        output: what the submission wrote.
        feedback: files that earlier passes left.
        multi_pass: see `feedback.read_ppf`.
        score_on_reject: likewise.
        keep: the sandboxes of this grading.
        cpus: cores to run on.
        cancel: ends it.
    """
    arguments = _arguments(judge, case)
    if judge.built is None:
        return _built_in(judge.program.builtin, case, output, arguments)
    files = _files(case, data, feedback)
    stdin = output
    if judge.program.protocol != "ppf":
        files[OUTPUT], stdin = output, b""
    box = keep.sandbox(judge.built, cpus=cpus)
    run = _start(judge, box, stdin=stdin, files=files, arguments=(*_paths(judge, box), *arguments))
    with run, (cancel or Cancel()).watching(run):
        return read(judge, run.wait(), multi_pass=multi_pass, score_on_reject=score_on_reject)


def read(judge: Judge, run: RunResult, *, multi_pass: bool = False, score_on_reject: bool = False) -> Judgement:
    """The judgement of an ended run, by the program's protocol."""
    if judge.program.protocol == "testlib":
        return read_testlib(run)
    if judge.program.protocol == "dmoj":
        return read_dmoj(run)
    return read_ppf(run, multi_pass=multi_pass, score_on_reject=score_on_reject)


def start_interactor(
    judge: Judge,
    box: Sandbox,
    case: Case,
    data: bytes | None,
    *,
    feedback: Mapping[str, bytes],
    stdin: int,
    on_stdout: Callable[[bytes], object],
    on_stdout_end: Callable[[], object],
    wall_s: float,
) -> Run:
    """Launch an interactor with its streams. It may wait for the submission as long as that may take (`wall_s`)."""
    return _start(
        judge,
        box,
        stdin=stdin,
        files=_files(case, data, feedback),
        arguments=(*_paths(judge, box, interactive=True), *_arguments(judge, case)),
        on_stdout=on_stdout,
        on_stdout_end=on_stdout_end,
        wall_s=wall_s + judge.built.limits.time_s if judge.built else wall_s,
    )


def static(
    judge: Judge,
    source: Source,
    language: str,
    entry_point: str,
    *,
    arguments: tuple[str, ...] = (),
    cancel: Cancel | None = None,
) -> Judgement:
    """What the static validator says of the source files, which it finds in its work directory."""
    if judge.built is None:
        return judge_error("a static validator has to be a program")
    files: dict[str, FileContent] = {**source.files, _KEEP: b""}
    with judge.built.sandbox() as box:
        folder = _inside(box, FOLDER) + "/"
        run = _start(judge, box, stdin=b"", files=files, arguments=(language, entry_point, folder, *arguments))
        with run, (cancel or Cancel()).watching(run):
            return read_ppf(run.wait())


def input_mistake(judge: Judge, case: Case, *, cancel: Cancel | None = None) -> str:
    """What the input validator says against the input of a case; "" when it is valid (exit code 42)."""
    if judge.built is None:
        return "an input validator has to be a program"
    with judge.built.sandbox() as box, open(case.input, "rb") as stdin:
        named = case.input_arguments
        arguments = (*named.get(judge.program.name, named.get("", judge.program.arguments)), *case.arguments)
        run = _start(judge, box, stdin=stdin.fileno(), files=dict(case.files), arguments=arguments)
        with run, (cancel or Cancel()).watching(run):
            result = run.wait()
    if result.outcome is Outcome.EXITED and result.exit == Exited(ACCEPT):
        return ""
    said = (result.stderr or result.stdout)[:500].decode("utf-8", "replace").strip()
    return how_it_ended(result, "the input validator") + (f" ({said})" if said and not result.stderr else "")


def group_score(
    judge: Judge, members: Sequence[tuple[Verdict, float]], arguments: tuple[str, ...], *, cancel: Cancel | None = None
) -> tuple[Verdict, float, str]:
    """(verdict, score, what went wrong) that a legacy grader program makes of the members of a group.

    Source: legacy problem package format, "Graders": lines "verdict score" come in, one such line goes out, exit code 0.
    """
    if judge.built is None:
        return Verdict.JE, 0.0, "a grader has to be a program"
    lines = "".join(f"{_PLAIN.get(verdict, verdict).value} {score:g}\n" for verdict, score in members)
    with judge.built.sandbox() as box:
        run = _start(judge, box, stdin=lines.encode(), files={_KEEP: b""}, arguments=arguments)
        with run, (cancel or Cancel()).watching(run):
            result = run.wait()
    if not result.ok:
        return Verdict.JE, 0.0, how_it_ended(result, "the grader")
    words = result.text().split()
    score = number(words[1].encode()) if len(words) == 2 else None
    if score is None or words[0] not in Verdict.__members__:
        return Verdict.JE, 0.0, f"the grader has to answer with a verdict and a score, not {result.text()[:100]!r}"
    return Verdict(words[0]), score, ""


def _built_in(name: str, case: Case, output: bytes, arguments: tuple[str, ...]) -> Judgement:
    try:
        answer = _answer(case)
        right, message = checkers.check(name, output, answer, arguments)
        part = 1.0 if right else checkers.part(name, output, answer, arguments)
    except OSError as error:
        return judge_error(f"the data of {case.name} cannot be read: {error}")
    except RequestError as error:
        return judge_error(str(error))
    if not right and part > 0:  # some checkers give points for a part of the output
        return Judgement(Verdict.PAC, message, message=message, multiplier=part)
    return Judgement(Verdict.AC if right else Verdict.WA, "" if right else message, message=message)


def _answer(case: Case) -> bytes:
    """The answer, which is read into this process. Raises OSError, RequestError."""
    if case.answer is None:
        return b""
    with open(case.answer, "rb") as file:
        data = file.read(_ANSWER_BYTES + 1)
    if len(data) > _ANSWER_BYTES:
        raise RequestError(f"the answer of {case.name} has more than the {_ANSWER_BYTES >> 20} MiB that a built-in checker reads")
    return data


def _arguments(judge: Judge, case: Case) -> tuple[str, ...]:
    return judge.program.arguments if case.validator_arguments is None else case.validator_arguments


def _files(case: Case, data: bytes | None, feedback: Mapping[str, bytes] | None) -> dict[str, FileContent]:
    """What a judge's program finds in its work directory. Earlier feedback comes first: it cannot take the place of the data."""
    files: dict[str, FileContent] = {f"{FOLDER}/{name}": content for name, content in (feedback or {}).items()}
    files[_KEEP] = b""
    files[INPUT] = case.input if data is None else data
    files[ANSWER] = case.answer or b""
    return files


def _paths(judge: Judge, box: Sandbox, *, interactive: bool = False) -> tuple[str, ...]:
    """The arguments that name files, by protocol. Source: PPF "Invocation", testlib.h, DMOJ `contrib/default.py`."""
    given, answer, output = (_inside(box, name) for name in (INPUT, ANSWER, OUTPUT))
    match judge.program.protocol:
        case "ppf":
            return given, answer, _inside(box, FOLDER) + "/"
        case "dmoj" if interactive:
            return given, answer
    return given, output, answer


def _inside(box: Sandbox, name: str) -> str:
    return os.path.join(box.profile.policy.work.path, name)


def _start(
    judge: Judge,
    box: Sandbox,
    *,
    stdin: bytes | int,
    files: Mapping[str, FileContent],
    arguments: tuple[str, ...],
    on_stdout: Callable[[bytes], object] | None = None,
    on_stdout_end: Callable[[], object] | None = None,
    wall_s: float | None = None,
) -> Run:
    built = judge.built
    if built is None:
        raise RequestError("a built-in checker is no program")
    return building.start(
        built,
        box,
        stdin=stdin,
        files=files,
        arguments=arguments,
        collect=(FOLDER,),
        wall_s=wall_s or _WALL_FACTOR * built.limits.time_s + _WALL_S,
        on_stdout=on_stdout,
        on_stdout_end=on_stdout_end,
    )
