"""The words of /v1: what requests may say (strictly), and what answers look like (for OpenAPI)."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sandbox.model.errors import RequestError
from sandbox.model.result import Outcome, RunResult
from sandbox.service.ask import Answer, Ask, LanguageInfo
from sandbox.service.work import Work

Name = Annotated[str, Field(max_length=4096)]
Word = Annotated[str, Field(max_length=131_072)]
_MOST = 1000
LimitMap = Annotated[dict[Annotated[str, Field(max_length=64)], int | Annotated[str, Field(max_length=64)]], Field(max_length=32)]


class Strict(BaseModel):
    """A request: nothing in it is guessed at, and nothing that is not known is passed over."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class Content(Strict):
    """The bytes of a file."""

    content: str
    encoding: Literal["utf8", "base64", "hex"] = "utf8"

    def data(self, what: str) -> bytes:
        """The bytes. Raises RequestError."""
        return decoded(self.content, self.encoding, what)


class InputFile(Content):
    """A file for the work directory."""

    mode: Annotated[int, Field(ge=0, le=0o777)] = 0o644


class SourceFile(Content):
    """A source of the program. The first one is the main file."""

    name: Name = ""


class Tty(Strict):
    """A terminal for the program."""

    rows: Annotated[int, Field(ge=1, le=1000)] = 24
    columns: Annotated[int, Field(ge=1, le=1000)] = 80


class RunBody(Strict):
    """What is to be run: `language` with `code` or `sources`, or `argv` alone, a command that is in the profile."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"language": "python", "code": "print(input())", "stdin": "hello\n"},
                {"argv": ["echo", "hello"], "limits": {"wall": "2s"}},
            ]
        }
    )

    language: Annotated[str, Field(max_length=64)] | None = None
    """Id, name or alias; see /v1/languages."""
    version: Annotated[str, Field(max_length=100)] = "*"
    """A selector as npm has it."""
    argv: Annotated[list[Word], Field(max_length=_MOST)] | None = None
    """A command, when there is no language."""
    code: str | None = None
    """One source."""
    sources: Annotated[list[SourceFile], Field(max_length=_MOST)] | None = None
    args: Annotated[list[Word], Field(max_length=_MOST)] = []
    """Arguments of the program."""
    stdin: str | Content = ""
    files: Annotated[dict[Name, InputFile], Field(max_length=_MOST)] = {}
    """Put into the work directory."""
    collect: Annotated[list[Name], Field(max_length=_MOST)] = []
    """Names or patterns taken out of it afterwards; "." is everything."""
    env: Annotated[dict[Name, Word], Field(max_length=_MOST)] = {}
    cwd: Name | None = None
    profile: Annotated[str, Field(max_length=64)] = ""
    """See /v1/profiles; the server's first one, or that of the language, by default."""
    limits: LimitMap = {}
    """As in profiles: {"memory": "64MiB", "wall": "2s"}; never above those of the server."""
    compile_limits: LimitMap = {}
    """`cpu` and `memory` of the compiler."""
    tty: Tty | None = None

    @model_validator(mode="after")
    def _one_program(self) -> RunBody:
        if (self.language is None) == (self.argv is None):
            raise ValueError("give either `language` or `argv`")
        if self.language is not None and (self.code is None) == (self.sources is None):
            raise ValueError("give either `code` or `sources`")
        if self.argv is not None and (self.code is not None or self.sources is not None or self.args):
            raise ValueError("`code`, `sources` and `args` belong to a `language`")
        return self

    def input(self) -> bytes:
        """The standard input that came with the body. Raises RequestError."""
        return decoded(self.stdin, "utf8", "stdin") if isinstance(self.stdin, str) else self.stdin.data("stdin")

    def to_ask(self, work: Work, *, label: str, peer: str, stdin: AsyncIterable[bytes] | None = None) -> Ask:
        """What the core is asked, perhaps with an input that is still to come. Raises RequestError."""
        return Ask(
            language="" if self.language is None else work.resolve(self.language, self.version).id,
            sources=given_sources(self.code, self.sources),
            argv=tuple(self.args if self.argv is None else self.argv),
            stdin=self.input() if stdin is None else stdin,
            files={name: (item.data(f"files[{name[:64]!r}]"), item.mode) for name, item in self.files.items()},
            collect=tuple(self.collect),
            env=self.env,
            cwd=self.cwd,
            profile=self.profile,
            limits=self.limits,
            compile_limits=self.compile_limits,
            tty=None if self.tty is None else (self.tty.rows, self.tty.columns),
            label=label,
            peer=peer,
        )


def decoded(text: str, encoding: str, what: str) -> bytes:
    """The bytes that a client means. Raises RequestError."""
    try:
        if encoding == "base64":
            return base64.b64decode(text, validate=True)
        return bytes.fromhex(text) if encoding == "hex" else text.encode()
    except (binascii.Error, ValueError) as error:
        raise RequestError(f"{what}: is not {encoding}: {error}") from None


def given_sources(code: str | None, sources: list[SourceFile] | None) -> tuple[tuple[str, bytes], ...]:
    """The sources of a body, of which `code` is a single one without a name. Raises RequestError."""
    if code is not None:
        return (("", decoded(code, "utf8", "code")),)
    return tuple((item.name, item.data(f"sources[{number}]")) for number, item in enumerate(sources or ()))


def piece(data: bytes) -> dict[str, str]:
    """Bytes of output in JSON: as text where they are UTF-8."""
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def answer_of(identifier: str, answer: Answer) -> dict[str, Any]:
    """The JSON form of an answer."""
    stage = answer.compile
    out: dict[str, Any] = {"id": identifier, "language": answer.language, "version": answer.version, "compile": None}
    if stage is not None:
        out["compile"] = {
            "ok": stage.ok,
            "reason": stage.reason,
            "stdout": stage.stdout.decode("utf-8", "replace"),
            "stderr": stage.stderr.decode("utf-8", "replace"),
            "result": _result(stage.result),
        }
    out["run"] = _result(answer.run)
    return out


def _result(run: RunResult | None) -> dict[str, Any] | None:
    return None if run is None else run.to_dict()


def dump(value: Any) -> bytes:
    """JSON as it is sent."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


class Named(BaseModel):
    """A file that was not collected, and why."""

    name: str
    reason: str


class RunAnswer(BaseModel):
    """How one run ended; docs/result.md says what each field means."""

    model_config = ConfigDict(extra="allow")

    outcome: Outcome
    exit: dict[str, int | str]
    usage: dict[str, int]
    timings: dict[str, int]
    stdout: str
    stderr: str
    truncated: list[str]
    files: dict[str, str]
    """Name → base64."""
    refused_files: list[Named]
    evidence: list[dict[str, int | str]]
    enforced: dict[str, Any]
    degraded: list[dict[str, str]]
    plan_digest: str


class StageAnswer(BaseModel):
    """What became of the compiler. `result` is null when the program was there already."""

    ok: bool
    reason: str
    stdout: str
    stderr: str
    result: RunAnswer | None


class Answered(BaseModel):
    """What became of a run. `run` is null when the program was not compiled."""

    id: str
    language: str
    version: str
    compile: StageAnswer | None
    run: RunAnswer | None


class ErrorBody(BaseModel):
    """What went wrong, for programs and for people."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    code: str
    message: str
    hint: str
    request_id: str
    kind: str | None = Field(default=None, alias="class")
    """The class of the library's error, where it is one."""


class ErrorAnswer(BaseModel):
    """Every answer of /v1 that is no success."""

    error: ErrorBody


class RunState(BaseModel):
    """A run that goes on."""

    id: str
    state: Literal["running", "canceling"]


class LanguageAnswer(BaseModel):
    """A language. `banner` is what its compiler or interpreter says of itself."""

    id: str
    name: str
    version: str
    aliases: list[str]
    extensions: list[str]
    banner: str

    @classmethod
    def of(cls, info: LanguageInfo) -> LanguageAnswer:
        """From the core's own form."""
        return cls(
            id=info.id,
            name=info.name,
            version=info.version,
            aliases=list(info.aliases),
            extensions=list(info.extensions),
            banner=info.banner,
        )


class ProfileAnswer(BaseModel):
    """A profile, and the limits of a run in it that says nothing, which it cannot exceed either."""

    name: str
    description: str
    limits: dict[str, int]


class Health(BaseModel):
    """All is well."""

    status: Literal["ok"]
    version: str


class ReportAnswer(BaseModel):
    """How a submission was judged; docs/report.schema.json has all of it."""

    model_config = ConfigDict(extra="allow")

    verdict: Literal["AC", "PAC", "WA", "TLE", "MLE", "OLE", "RTE", "SV", "CE", "JE", "SKIPPED"]
    score: float | None
    reason: str
