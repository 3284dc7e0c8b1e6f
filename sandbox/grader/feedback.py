"""What a validator or checker answered, as a judgement. Pure: an ended run goes in, the verdict and its messages come out.

Whatever is not a clear answer is a judge error with its reason; it never blames the submission.

Source: problem package format, "Reporting a judgement", "Scoring test cases", "Multi-pass validation"; testlib.h exit codes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sandbox.grader.model import Verdict
from sandbox.model.result import Exited, Outcome, RunResult, Signaled

ACCEPT = 42
REJECT = 43
FOLDER = "feedback"
_REJECTED = "the problem's own program rejects the output"  # what it says to judges is not for the submitter
_MESSAGE_BYTES = 64 << 10
_NUMBER_BYTES = 256
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_POINTS = re.compile(r"^\s*points\s+(\d+(?:\.\d+)?)\b", re.ASCII | re.MULTILINE)
_LIMITS = {
    Outcome.CPU_TIME: "used up its CPU time",
    Outcome.WALL_TIME: "did not end in time",
    Outcome.IDLE_TIME: "waits for something that does not come",
    Outcome.MEMORY: "used up its memory",
    Outcome.PIDS: "started too many processes",
    Outcome.OUTPUT: "wrote too much output",
    Outcome.DISK: "filled its disk space",
    Outcome.DENIED_SYSCALL: "made a forbidden system call",
    Outcome.CANCELED: "was ended by us",
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge's program found.

    Attributes:
        verdict: AC, WA, PAC or JE.
        reason: one sentence for the submitter; of a judge error why there is no verdict.
        message, team_message: judgemessage.txt and teammessage.txt, cut to 64 KiB.
        score, multiplier: None where the validator gave none.
        next_pass: the input of the next pass, None when this was the last.
        files: everything in the feedback directory but nextpass.in, for the next pass.
        run: of the validator; None for built-in checkers.
    """

    verdict: Verdict
    reason: str = ""
    message: str = ""
    team_message: str = ""
    score: float | None = None
    multiplier: float | None = None
    next_pass: bytes | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    run: RunResult | None = None


def judge_error(reason: str, run: RunResult | None = None, message: str = "") -> Judgement:
    """No verdict, and why."""
    return Judgement(Verdict.JE, reason, message=message or reason, run=run)


def how_it_ended(run: RunResult, who: str = "the validator") -> str:
    """One sentence with the end of a judge's program, and the last line it complained with."""
    if run.outcome in _LIMITS:
        evidence = run.evidence[0] if run.evidence else None
        said = f" ({evidence.source}: {evidence.key} {evidence.value})" if evidence else ""
        return f"{who} {_LIMITS[run.outcome]}{said}"
    said = f"was ended by {run.exit.name}" if isinstance(run.exit, Signaled) else f"ended with exit code {run.exit.code}"
    complaint = text(run.stderr).strip().rpartition("\n")[2][:200]
    return f"{who} {said}{f': {complaint}' if complaint else ''}"


def text(data: bytes) -> str:
    """Text for people, at most 64 KiB of it."""
    cut = data[:_MESSAGE_BYTES].decode("utf-8", "replace")
    return f"{cut}\n… {len(data) - _MESSAGE_BYTES} more bytes" if len(data) > _MESSAGE_BYTES else cut


def read_ppf(run: RunResult, *, multi_pass: bool = False, score_on_reject: bool = False) -> Judgement:
    """The answer of an output validator or static validator.

    Args:
        run: the validator's, with its feedback directory collected.
        multi_pass: whether nextpass.in has a meaning.
        score_on_reject: the legacy format lets a rejected output have a score.
    """
    files = {name.partition("/")[2]: item.data for name, item in run.files.items() if name.startswith(FOLDER + "/")}
    message = text(files.get("judgemessage.txt", b""))
    code = run.exit.code if run.outcome is Outcome.EXITED and isinstance(run.exit, Exited) else None
    if code not in (ACCEPT, REJECT):
        hint = "; 42 accepts, 43 rejects" if code is not None else ""
        return judge_error(how_it_ended(run) + hint, run, message)
    wrong = _refused(run) or _wrong_files(files, code, multi_pass=multi_pass, score_on_reject=score_on_reject)
    if wrong:
        return judge_error(wrong, run, message)
    next_pass = files.pop("nextpass.in", None) if multi_pass else None
    return Judgement(
        Verdict.AC if code == ACCEPT else Verdict.WA,
        "" if code == ACCEPT else _REJECTED,
        message=message,
        team_message=text(files.get("teammessage.txt", b"")),
        score=number(files["score.txt"]) if "score.txt" in files else None,
        multiplier=number(files["score_multiplier.txt"]) if "score_multiplier.txt" in files else None,
        next_pass=next_pass,
        files=files,
        run=run,
    )


def _refused(run: RunResult) -> str:
    """What of the feedback could not be taken: a link, a pipe, too large. A verdict that lacks a part of it is none."""
    for name, reason in run.refused_files:
        if name != FOLDER:
            return f"the validator left {name!r} in its feedback directory, which cannot be taken: {reason}"
        return f"the validator's feedback directory cannot be taken: {reason}"
    return ""


def _wrong_files(files: Mapping[str, bytes], code: int, *, multi_pass: bool, score_on_reject: bool) -> str:
    """What of the special files breaks the rules; "" when all is well."""
    scores = [name for name in ("score.txt", "score_multiplier.txt") if name in files]
    if len(scores) == 2:
        return "the validator wrote both score.txt and score_multiplier.txt; only one of them may be there"
    if scores and code == REJECT and not score_on_reject:
        return f"the validator rejected the output and wrote {scores[0]}; only accepted output has a score"
    for name in scores:
        value = number(files[name])
        if value is None:
            shown = text(files[name][:60])
            return f"the validator's {name} has to be one non-negative number, not {shown!r}"
        if name == "score_multiplier.txt" and value > 1:
            return f"the validator's score_multiplier.txt has to be from 0 to 1, not {value:g}"
    if multi_pass and "nextpass.in" in files and code != ACCEPT:
        return "the validator wrote nextpass.in and rejected the output; another pass needs exit code 42"
    return ""


def number(data: bytes) -> float | None:
    """The one non-negative finite number in a file; None for anything else, such as two numbers."""
    if len(data) > _NUMBER_BYTES:
        return None
    words = data.decode("ascii", "replace").split()
    if len(words) != 1 or not _NUMBER.fullmatch(words[0]):
        return None
    value = float(words[0])
    return value if math.isfinite(value) and value >= 0 else None


def read_testlib(run: RunResult) -> Judgement:
    """The answer of a checker made with testlib: the exit code, and the message on stderr.

    0 accepts, 1 (wrong), 2 (wrong format), 4 and 8 (unexpected end) reject, 7 gives points, 3 is a failure of the checker.
    """
    said = text(run.stderr).strip()
    if run.outcome is not Outcome.EXITED or not isinstance(run.exit, Exited):
        return judge_error(how_it_ended(run, "the checker"), run, said)
    match run.exit.code:
        case 0:
            return Judgement(Verdict.AC, message=said, run=run)
        case 1 | 4:
            return Judgement(Verdict.WA, _REJECTED, message=said, run=run)
        case 2 | 8:
            return Judgement(Verdict.WA, "the output has not the form that was asked for", message=said, run=run)
        case 7:
            return _points(run, said)
    return judge_error(how_it_ended(run, "the checker"), run, said)


def read_dmoj(run: RunResult) -> Judgement:
    """The answer of a checker in DMOJ's default form: 0 accepts, 1 rejects, the message for the submitter is on stdout."""
    said = text(run.stdout).strip()
    if run.outcome is Outcome.EXITED and run.exit in (Exited(0), Exited(1)):
        right = run.exit == Exited(0)
        return Judgement(
            Verdict.AC if right else Verdict.WA, "" if right else _REJECTED, message=said, team_message=said, run=run
        )
    return judge_error(how_it_ended(run, "the checker") + "; 0 accepts, 1 rejects", run, said)


def _points(run: RunResult, said: str) -> Judgement:
    """Source: testlib.h `quitp` ("points N message"), DMOJ `testlib.py` (a line "points N")."""
    found = _POINTS.search(said[:1000])
    value = float(found[1]) if found else math.inf
    if not math.isfinite(value):
        return judge_error(f"the checker gave points without a number: {said[:100]!r}", run, said)
    return Judgement(Verdict.PAC, message=said, score=value, run=run)
