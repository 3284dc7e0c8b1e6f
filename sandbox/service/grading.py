"""POST /v1/grade: a submission against the cases of a request, or against a problem package. `sandbox.grader` does all of it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import tempfile
import zipfile
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import Field, model_validator

from sandbox.grader import checkers, jsons, packages
from sandbox.grader.grade import Event, agrade
from sandbox.grader.model import Case, Group, JudgeProgram, Limits, Problem, Report, Source
from sandbox.model.errors import PolicyError, RequestError
from sandbox.service import audit, ceilings, gone, programs
from sandbox.service.admission import Refused
from sandbox.service.ask import Answer, Ask
from sandbox.service.failures import Rejected
from sandbox.service.live import Handle
from sandbox.service.service import Service
from sandbox.service.tenant import Tenant
from sandbox.service.v1_models import Content, Name, SourceFile, Strict, Word, decoded, given_sources

_MOST_CASES = 500
_MOST_TEXT = 1 << 20  # of each kind, all cases together
_LEAST_TEXT = 500
_FEW_CASES = 16


class CaseBody(Strict):
    """One case: what the program is given, and what it should write."""

    name: Annotated[str, Field(max_length=64, pattern=r"^[\w.-]*$")] = ""
    input: str = ""
    answer: str = ""
    encoding: Literal["utf8", "base64", "hex"] = "utf8"
    args: Annotated[list[Word], Field(max_length=100)] = Field(default_factory=list)


class CheckerBody(Strict):
    """How output is compared: `default` (tokens, as the Problem Package Format has it), `exact`, `lines`, `floats` and so on."""

    name: Annotated[str, Field(max_length=32)] = "default"
    arguments: Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=16)] = Field(default_factory=list)


class GradeLimits(Strict):
    """Limits of a case."""

    cpu: Annotated[str, Field(max_length=32)] = "1s"
    memory: Annotated[str, Field(max_length=32)] | None = None
    output: Annotated[str, Field(max_length=32)] | None = None


class GradeBody(Strict):
    """A submission, and either `cases` or a `package`."""

    language: Annotated[str, Field(max_length=64)]
    version: Annotated[str, Field(max_length=100)] = "*"
    code: str | None = None
    sources: Annotated[list[SourceFile], Field(max_length=1000)] | None = None
    entry_point: Name = ""
    cases: Annotated[list[CaseBody], Field(min_length=1, max_length=_MOST_CASES)] | None = None
    checker: CheckerBody = CheckerBody()
    limits: GradeLimits = GradeLimits()
    package: Content | None = None
    """A zip archive of a problem package (ICPC and Kattis, DMOJ, or test cases alone), in base64."""
    mode: Literal["first", "all"] = "first"
    """Stop at the first case that decides, or run all."""

    @model_validator(mode="after")
    def _one_problem(self) -> GradeBody:
        if (self.code is None) == (self.sources is None):
            raise ValueError("give either `code` or `sources`")
        if (self.cases is None) == (self.package is None):
            raise ValueError("give either `cases` or `package`")
        return self


async def grade(
    service: Service, tenant: Tenant, body: GradeBody, peer: str, on_event: Callable[[Event], object] | None
) -> dict[str, Any]:
    """The report, as docs/report.schema.json has it. Raises Refused, RequestError, SandboxError."""
    known = service.work.catalogue.get(service.work.resolve(body.language, body.version).id)
    sources = programs.sources(known, given_sources(body.code, body.sources), service.config.source_bytes)
    checkers.validate(body.checker.name, body.checker.arguments)
    submission = Source(sources, "the submission", known.info.id, body.entry_point)
    ask = Ask(language=known.info.id, sources=tuple(sources.items()), label="grade", peer=peer)
    profile = known.language.run.profile
    service.audit.ready()
    queued, report, failure = 0.0, None, None
    about = await asyncio.to_thread(_about, body)
    try:
        with service.work.cancelable(Handle(), "the grading was canceled"):
            async with service.admission.admit(tenant) as queued:
                report = await _in_place(service, tenant, body, submission, on_event)
    except Refused as error:
        service.metrics.refused(error.reason)
        raise
    except BaseException as error:
        failure = error
        service.metrics.failed(error, dialect="grade")
        raise
    finally:
        if report is not None or failure is not None:
            line = audit.line(
                tenant=tenant.name,
                ask=ask,
                answer=Answer(language=known.info.id, version=known.info.version),
                queue_s=queued,
                profile=profile,
                profile_digest=service.work.profile_digest(known, profile),
                error=failure,
                peer=peer,
            )
            outcome = "error" if report is None else report.verdict.value
            service.audit.write({**line, "event": "grade", "problem": about, "outcome": outcome}, withhold=failure is None)
    service.metrics.graded(tenant.name, report.verdict.value, queued)
    return _shortened(jsons.report(report))


def _about(body: GradeBody) -> dict[str, object]:
    """What the audit says of the problem: a package by its bytes, which have programs of the client too; cases as they were."""
    if body.package is None:
        told = body.model_dump_json(include={"cases", "checker", "limits"}).encode()
    else:
        try:
            told = decoded(body.package.content, body.package.encoding, "package")
        except RequestError:
            told = body.package.content.encode("utf-8", "surrogatepass")
    return {"kind": "cases" if body.package is None else "package", **audit.digest(told)}


async def _in_place(
    service: Service, tenant: Tenant, body: GradeBody, submission: Source, on_event: Callable[[Event], object] | None
) -> Report:
    place = await gone.in_thread(lambda: tempfile.TemporaryDirectory(prefix="sandbox-grade-"))
    try:
        return await _graded(service, tenant, body, submission, Path(place.name), on_event)
    finally:
        await gone.in_thread(place.cleanup)


async def _graded(
    service: Service,
    tenant: Tenant,
    body: GradeBody,
    submission: Source,
    place: Path,
    on_event: Callable[[Event], object] | None,
) -> Report:
    problem = await gone.in_thread(lambda: _problem(body, place, service.config.package_bytes))
    try:
        bounded = _within(problem, service, tenant)
        grading = agrade(bounded, submission, mode=body.mode, jobs=1, allow_degraded=service.config.allow_degraded)
        events = cast("AsyncGenerator[Event]", grading)
        async with asyncio.timeout(service.config.grade_seconds), contextlib.aclosing(events):
            async for event in events:
                if on_event is not None:
                    on_event(event)
                if event.report is not None:
                    return event.report
    except TimeoutError:
        said = f"the grading did not end within {service.config.grade_seconds:g} s"
        raise Rejected(400, "too_long", said, hint="give fewer cases") from None
    finally:
        await gone.in_thread(lambda: packages.close(problem))
    raise RuntimeError("a grading ended without a report")


def _problem(body: GradeBody, place: Path, most: int) -> Problem:
    """The problem; its files are in `place`, below names of ours. Blocks. Raises RequestError."""
    if body.package is not None:
        archive = place / "package.zip"
        archive.write_bytes(decoded(body.package.content, body.package.encoding, "package"))
        _check_size(archive, most)
        return packages.load(archive)
    return Problem(
        name="request",
        format="plain",
        kinds=frozenset({"pass-fail"}),
        limits=_limits(body.limits),
        tests=Group("", groups=(Group("secret", tuple(_cases(body, place)), on_reject="break"),)),
        validator=JudgeProgram(builtin=body.checker.name, arguments=tuple(body.checker.arguments)),
        root=place,
    )


def _check_size(archive: Path, most: int) -> None:
    """That it unpacks to no more than this. Raises RequestError.

    The sizes are those that its directory tells; nothing is unpacked beyond them.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            size = sum(item.file_size for item in opened.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise RequestError(f"package: is no zip archive: {error}") from None
    if size > most:
        raise RequestError(f"package: unpacks to {size} bytes, {most} are allowed")


def _shortened(report: dict[str, Any]) -> dict[str, Any]:
    """The report with what programs wrote cut off, where there are many cases."""
    cases = report["cases"]
    most = max(_LEAST_TEXT, _MOST_TEXT // max(1, len(cases)))
    if most >= _MOST_TEXT // _FEW_CASES:
        return report
    for case in cases:
        for part in (case, case["run"] or {}, case["judge"] or {}):
            for name in ("stdout", "stderr", "expected", "message", "team_message"):
                if len(part.get(name, "")) > most:
                    part[name] = part[name][:most]
                    part.pop(f"{name}_base64", None)
    report["warnings"].append(f"there are {len(cases)} cases: what programs wrote is cut to {most} characters")
    return report


def _cases(body: GradeBody, place: Path) -> Iterator[Case]:
    names: set[str] = set()
    for number, case in enumerate(body.cases or (), 1):
        name = case.name or str(number)
        if name in names:
            raise RequestError(f"cases: two have the name {name!r}")
        names.add(name)
        paths = place / f"{number}.in", place / f"{number}.ans"
        for path, content, what in zip(paths, (case.input, case.answer), ("input", "answer"), strict=True):
            path.write_bytes(decoded(content, case.encoding, f"cases.{name}.{what}"))
        yield Case(f"secret/{name}", *paths, arguments=tuple(case.args))


def _limits(given: GradeLimits) -> Limits:
    asked = {name: value for name, value in given.model_dump().items() if value is not None}
    try:
        parsed = ceilings.parse(asked)
    except ValueError as error:
        raise PolicyError(str(error), path="limits") from None
    plain = Limits(time_s=parsed["cpu_ns"] / 1e9)
    return dataclasses.replace(
        plain,
        memory_bytes=parsed.get("memory_bytes", 256 << 20),
        output_bytes=parsed.get("output_bytes", 1 << 20),
    )


def _within(problem: Problem, service: Service, tenant: Tenant) -> Problem:
    """The problem with nothing above what the server allows: the time as a mistake of the caller, all else brought down.

    A verdict must not depend on a time limit that nobody asked for; memory and output of packages are usually far beyond need.
    """
    most = ceilings.lowest(ceilings.parse(service.config.limits), ceilings.parse(tenant.limits))
    compiler = ceilings.parse(service.config.compile_limits)
    limits = problem.limits
    seconds = most.get("cpu_ns", 3600 * 10**9) / 1e9
    if limits.time_is_given and limits.time_s > seconds:
        raise PolicyError(
            f"{limits.time_s:g} s for each case is more than the {seconds:g} s that this server allows", path="limits.cpu"
        )
    if not limits.time_is_given:
        raise RequestError("the package names no time limit, and finding it is not for a service", hint="put time_limit into it")
    memory, output = most.get("memory_bytes", 64 << 30), most.get("output_bytes", 1 << 30)
    bounded = dataclasses.replace(
        limits,
        memory_bytes=min(limits.memory_bytes, memory),
        output_bytes=min(limits.output_bytes, output),
        code_bytes=min(limits.code_bytes, service.config.source_bytes),
        compilation_s=min(limits.compilation_s, compiler["cpu_ns"] / 1e9),
        compilation_memory_bytes=min(limits.compilation_memory_bytes, compiler["memory_bytes"]),
        validation_s=min(limits.validation_s, seconds),
        validation_memory_bytes=min(limits.validation_memory_bytes, memory),
        validation_output_bytes=min(limits.validation_output_bytes, output),
        pids=min(limits.pids, most.get("pids", limits.pids)),
    )
    return dataclasses.replace(problem, limits=bounded)


def message(event: Event) -> dict[str, Any]:
    """An event of a grading, for a stream."""
    out: dict[str, Any] = {"kind": event.kind, "done": event.done, "total": event.total}
    if event.case is not None:
        out["case"] = jsons.case(event.case)
    return out
