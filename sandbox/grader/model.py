"""What the rooms of the grader hand to each other: plain, frozen data. Readers make a `Problem`, `grade` makes a `Report`.

Source: Problem Package Format (legacy, 2023-07-draft, 2025-09), CCS judgement types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

from sandbox.model.result import RunResult


class Verdict(StrEnum):
    """How a case, a group or a submission was judged. JE never blames the submission; SV names a forbidden act."""

    AC = "AC"
    PAC = "PAC"  # accepted with less than the full score
    WA = "WA"
    TLE = "TLE"
    MLE = "MLE"
    OLE = "OLE"
    RTE = "RTE"
    SV = "SV"  # security violation: a forbidden system call
    CE = "CE"
    JE = "JE"  # the judge's own programs or data failed
    SKIPPED = "SKIPPED"  # not run: decided before (first failure, a group that cannot pass)


@dataclass(frozen=True, slots=True)
class Source:
    """Source files of one program: relative name → bytes. `origin` is the file or folder, for messages only."""

    files: Mapping[str, bytes]
    origin: str
    language: str = ""  # id of a language; "" detects it
    entry_point: str = ""  # main class or file where the language cannot find it


@dataclass(frozen=True, slots=True)
class JudgeProgram:
    """A program of the problem: validator, checker, interactor, generator.

    Attributes:
        source: None: the built-in checker named by `builtin`.
        builtin: "default" (PPF tokens with its flags), "exact", "lines", "unordered", "floats" and DMOJ's names.
        protocol: how it is called and how it answers: "ppf" (42/43, feedback directory), "testlib" (0/1/2/3/7), "dmoj".
            "missing": the package asks for a program of its own and has none; every case is a judge error.
        arguments: flags for every case; a case may replace them.
        name: of the program in its package, as `Case.input_arguments` names input validators.
    """

    source: Source | None = None
    builtin: str = "default"
    protocol: Literal["builtin", "ppf", "testlib", "dmoj"] = "builtin"
    arguments: tuple[str, ...] = ()
    name: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a problem. Times in seconds, sizes in bytes, as in the package (MiB = 2**20)."""

    time_s: float = 1.0
    time_is_given: bool = True  # False: to be found from the accepted submissions (ac_to_time_limit)
    ac_to_time_limit: float = 2.0
    time_limit_to_tle: float = 1.5
    time_resolution: float = 1.0  # a time limit that is to be found is a multiple of it
    memory_bytes: int = 2048 << 20
    output_bytes: int = 8 << 20
    code_bytes: int = 128 << 10
    compilation_s: float = 60.0
    compilation_memory_bytes: int = 2048 << 20
    validation_s: float = 60.0
    validation_memory_bytes: int = 2048 << 20
    validation_output_bytes: int = 8 << 20
    validation_passes: int = 2
    pids: int = 128  # a program that starts a hundred children is no fork bomb


@dataclass(frozen=True, slots=True)
class Case:
    """One test case. Paths are of judge data on the host; no submission ever sees more than the input and `files`.

    Attributes:
        name: path below data without suffix, such as "secret/group1/03".
        input: what stdin is.
        answer: the judge's answer; None where there is none.
        arguments: of the submission (.args).
        files: name → path, put into the working directory (.files).
        validator_arguments: of the output validator for this case; None: those of the validator.
        input_arguments: of input validators, by their name; "" is for those that are not named.
        full_feedback: the submitter may see input, output and answer of this case.
    """

    name: str
    input: Path
    answer: Path | None = None
    arguments: tuple[str, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    validator_arguments: tuple[str, ...] | None = None
    hint: str = ""
    description: str = ""
    input_arguments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    full_feedback: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """A test group: cases and groups in order of name. "" is the root, below it "sample" and "secret".

    Attributes:
        score_aggregation: how scores of members make that of the group; "custom" only for the legacy grader program.
        accept_score, reject_score: of a case by verdict, unless its validator gives a score. For 2025-09 the first is the
            maximum of a case; infinite: its validator has to give the score.
        bounded_cases: no case may have more than `accept_score` (2025-09, DMOJ); where the root says it, rejected submissions
            keep their scores.
        max_score, min_score: bounds; None where there is none. A pass-fail group without max_score has no score.
        on_reject: "break" stops the group at its first failure, "continue" runs all.
        verdict_of: legacy `first_error`, `worst_error`, or 2025-09 "require all": how verdicts of members make the group's.
        otherwise: legacy: the verdict when `accept_if_any_accepted` finds no accepted member.
        require_pass: names of groups that must pass before this one counts.
        ignored: samples whose verdict counts nowhere (legacy `ignore_sample`).
        static_validation: the static validator judges here; the maximum of its score, 0 where the group has no scores.
        static_arguments: of the static validator here.
        grader_arguments: of the legacy grader program here.
    """

    name: str
    cases: tuple[Case, ...] = ()
    groups: tuple[Group, ...] = ()
    score_aggregation: Literal["pass-fail", "sum", "min", "max", "avg", "custom"] = "pass-fail"
    accept_score: float = 1.0
    reject_score: float = 0.0
    bounded_cases: bool = False
    max_score: float | None = None
    min_score: float | None = None
    on_reject: Literal["break", "continue"] = "break"
    verdict_of: Literal["first_error", "worst_error", "always_accept", "accept_if_any_accepted"] = "first_error"
    require_pass: tuple[str, ...] = ()
    ignored: bool = False
    otherwise: Literal["first_error", "worst_error"] = "first_error"
    static_validation: float | None = None
    static_arguments: tuple[str, ...] = ()
    grader_arguments: tuple[str, ...] = ()

    def all_cases(self) -> tuple[Case, ...]:
        """Every case below, in order of running."""
        return (*self.cases, *(case for group in self.groups for case in group.all_cases()))


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a submission of the package claims.

    Attributes:
        permitted: verdicts that any case may have (empty: any).
        required: verdicts of which some case must have one (empty: none).
        final: verdicts that the submission may have (empty: any).
        score: (low, high) of the final score; None: any.
        groups: name or pattern of groups or cases → expectation, of 2025-09's submissions.yaml.
        also: more that was said of the same submission; all of it must hold.
        origin: where this was said.
    """

    permitted: frozenset[Verdict] = frozenset()
    required: frozenset[Verdict] = frozenset()
    final: frozenset[Verdict] = frozenset()
    score: tuple[float, float] | None = None
    message: str = ""
    use_for_time_limit: Literal["", "lower", "upper"] = ""
    groups: Mapping[str, Expectation] = field(default_factory=dict)
    also: tuple[Expectation, ...] = ()
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem, whatever format it was read from.

    Attributes:
        name: for people.
        format: "legacy", "2023-07-draft", "2025-09", "dmoj", "plain".
        kinds: of "pass-fail", "scoring", "interactive", "multi-pass", "submit-answer".
        tests: the root group.
        validator: of output; an interactor where "interactive" is of the kinds.
        input_validators, static_validator, grader: further programs.
        include: language id or "default" → files put beside each submission in that language.
        submissions: (path below submissions/, source, expectation).
        allow_file_writing: False: the working directory is read-only.
        languages: ids that are allowed; empty: all.
        warnings: what the reader could not map or found odd.
        dialect: "domjudge": a legacy package whose scores are counted as DOMjudge does.
        objective: whether a higher or a lower score is better (legacy).
        owner: keeps the files of an unpacked archive: they go with the last reference to it (`packages.close`: at once).
    """

    name: str
    format: str
    kinds: frozenset[str]
    limits: Limits
    tests: Group
    validator: JudgeProgram
    root: Path
    input_validators: tuple[JudgeProgram, ...] = ()
    static_validator: JudgeProgram | None = None
    grader: JudgeProgram | None = None
    include: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    submissions: tuple[tuple[str, Source, Expectation], ...] = ()
    allow_file_writing: bool = True
    languages: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    dialect: Literal["", "domjudge"] = ""
    objective: Literal["max", "min"] = "max"
    owner: object = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Timing:
    """What a time rests on. `spread_s` is the largest difference between repeated runs of this case.

    Attributes:
        cpu_s, wall_s: of the run that counts.
        runs: CPU seconds of every run of this case, in order.
        throttled_s, steal_s: time that the host took away; forced_switches: preemptions. None: not to be had.
        cpus: the cores that it was pinned to.
    """

    cpu_s: float
    wall_s: float
    runs: tuple[float, ...] = ()
    throttled_s: float | None = None
    steal_s: float | None = None
    forced_switches: int | None = None
    cpus: tuple[int, ...] = ()

    @property
    def spread_s(self) -> float:
        """Seconds between the fastest and the slowest run."""
        return max(self.runs) - min(self.runs) if self.runs else 0.0


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case judged.

    Attributes:
        reason: one sentence with the evidence, for the submitter: "used 1.02 s of CPU time, 1.00 s are allowed".
        message: for judges: judgemessage.txt, or why the judge's program failed.
        team_message: teammessage.txt.
        score: None where the problem has no scores.
        multiplier: of score_multiplier.txt: the part of the case's maximum that was reached; None: there was none.
        run: the run of the submission that decided (the last pass); None when there was none.
        judge: the run of the validator; None for built-in checkers.
        stdout: the first bytes of the submission's output, for the report; expected: those of the answer.
        transcript: of interactive runs: (who: "<" from the submission, ">" from the validator; bytes; seconds since start).
        passes: of multi-pass problems.
    """

    case: Case
    verdict: Verdict
    reason: str = ""
    message: str = ""
    team_message: str = ""
    score: float | None = None
    multiplier: float | None = None
    timing: Timing | None = None
    memory_bytes: int | None = None
    run: RunResult | None = None
    judge: RunResult | None = None
    stdout: bytes = b""
    expected: bytes = b""
    transcript: tuple[tuple[str, bytes, float], ...] = ()
    passes: int = 1


@dataclass(frozen=True, slots=True)
class GroupResult:
    """A group judged: its verdict, its score, and what it was made of. `reason` is of a judge error that no case explains."""

    name: str
    verdict: Verdict
    score: float | None
    cases: tuple[CaseResult, ...] = ()
    groups: tuple[GroupResult, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """A submission judged.

    Attributes:
        reason: of the case that decided, or of the compiler.
        compile_output: what the compiler said of the submission, cut to 64 KiB.
        judge_output: what the compiler said of the problem's own program that does not compile, likewise.
        cached: whether the compiled program came from the store.
        decided_by: name of the case that decided; "" when all were accepted.
        wall_s: of the whole grading.
        degraded: what of the sandbox's limits was not enforced on this host.
    """

    problem: str
    submission: str
    language: str
    verdict: Verdict
    score: float | None
    reason: str
    tests: GroupResult | None
    compile_output: str = ""
    compile_run: RunResult | None = None
    cached: bool = False
    decided_by: str = ""
    limits: Limits = field(default_factory=Limits)
    wall_s: float = 0.0
    degraded: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    judge_output: str = ""

    def all_cases(self) -> tuple[CaseResult, ...]:
        """Every case that was run or skipped, in order."""

        def below(group: GroupResult) -> tuple[CaseResult, ...]:
            return (*group.cases, *(case for inner in group.groups for case in below(inner)))

        return below(self.tests) if self.tests else ()
