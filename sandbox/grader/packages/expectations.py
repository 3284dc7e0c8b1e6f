"""What the submissions of a package claim: by the folder they are in, by a tag in their source, or by submissions.yaml.

The formats know AC, WA, TLE and RTE; our finer verdicts are put with the one that other judges give for them.

Source: problem package format 2025-09, "Example submissions"; legacy, "Example Submissions"; DOMjudge `@EXPECTED_RESULTS@`.
"""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal, cast

from sandbox.grader.model import Expectation, Verdict
from sandbox.grader.packages.settings import Settings
from sandbox.model.errors import ProblemError

# Too much memory and forbidden calls end a program, which is a run-time error for judges that do not tell; so does too much
# output for some, and it is a wrong answer for others (CCS: OLE folds to WA). Judges that only cut the output say TLE of a
# program that prints without end; here the limit that it reaches first ends it.
FINER: dict[str, frozenset[Verdict]] = {
    "AC": frozenset({Verdict.AC, Verdict.PAC}),
    "WA": frozenset({Verdict.WA, Verdict.OLE}),
    "TLE": frozenset({Verdict.TLE, Verdict.OLE}),
    "RTE": frozenset({Verdict.RTE, Verdict.MLE, Verdict.OLE, Verdict.SV}),
    "MLE": frozenset({Verdict.MLE}),
    "OLE": frozenset({Verdict.OLE}),
    "CE": frozenset({Verdict.CE}),
}
_FINAL_AC = frozenset({Verdict.AC})
_FAILED = FINER["WA"] | FINER["TLE"] | FINER["RTE"]
_SPELLINGS = {
    "accepted": "AC", "correct": "AC", "wronganswer": "WA", "nooutput": "WA", "presentationerror": "WA",
    "timelimit": "TLE", "timelimitexceeded": "TLE", "runerror": "RTE", "runtimeerror": "RTE",
    "memorylimit": "MLE", "memorylimitexceeded": "MLE", "outputlimit": "OLE", "outputlimitexceeded": "OLE",
    "compilererror": "CE", "compileerror": "CE",
    "ac": "AC", "wa": "WA", "tle": "TLE", "rte": "RTE", "mle": "MLE", "ole": "OLE", "ce": "CE",
}  # fmt: skip
_ANYTHING = frozenset({"mixedverdicts", "mixed"})
_PARTIAL = frozenset({"partiallyaccepted", "partial"})
# Source: 2025-09, "Default directories": permitted, required
_MODERN: dict[str, tuple[str, str]] = {
    "accepted": ("AC", ""),
    "rejected": ("", "RTE TLE WA"),
    "wrong_answer": ("AC WA", "WA"),
    "time_limit_exceeded": ("AC TLE", "TLE"),
    "run_time_error": ("AC RTE", "RTE"),
    "brute_force": ("AC RTE TLE", "RTE TLE"),
}
_RESULTS = re.compile(rb"@EXPECTED_RESULTS@:[ \t]*([^\r\n]{0,200})")
_SCORE = re.compile(rb"@EXPECTED_SCORE@:[ \t]*([0-9]{1,12}(?:\.[0-9]{1,12})?)")
_TAG_BYTES = 64 << 10
_MAX_BRACES = 64  # alternatives of one pattern
_CLAIMS = ("permitted", "required", "score", "message", "use_for_time_limit")
_ABOUT_SOURCE = ("language", "entrypoint", "authors", "model_solution")


def spelled(word: str) -> str:
    """The verdict that a word stands for, in any of the spellings of judges; "" when it stands for none."""
    return _SPELLINGS.get(re.sub(r"[\s_-]", "", word).lower(), "")


def of_directory(directory: str, *, legacy: bool) -> Expectation:
    """What a folder below submissions/ claims; an Expectation of anything for a folder that the format does not know."""
    origin = f"submissions/{directory}"
    plain = re.sub(r"[\s_-]", "", directory).lower()
    bound = _time_limit_use(directory, legacy=legacy)
    if not legacy and directory in _MODERN:
        permitted, required = _MODERN[directory]
        final = _FINAL_AC if directory == "accepted" else frozenset()
        return Expectation(
            _verdicts(permitted.split()), _verdicts(required.split()), final, use_for_time_limit=bound, origin=origin
        )
    if plain in _PARTIAL:
        final = frozenset({Verdict.PAC}) | (_FAILED if plain == "partial" else frozenset())
        return Expectation(final=final, origin=origin)
    if plain == "rejected":
        return Expectation(final=_FAILED, origin=origin)
    if plain == "bruteforce":
        return Expectation(final=FINER["TLE"] | FINER["RTE"], origin=origin)
    verdict = spelled(directory)
    if verdict == "AC":
        return Expectation(permitted=FINER["AC"], final=_FINAL_AC, use_for_time_limit=bound, origin=origin)
    return Expectation(final=FINER[verdict] if verdict else frozenset(), use_for_time_limit=bound, origin=origin)


def is_known(directory: str) -> bool:
    """Whether the name of a folder claims something, or claims to claim nothing."""
    plain = re.sub(r"[\s_-]", "", directory).lower()
    return bool(spelled(directory)) or plain in _ANYTHING | _PARTIAL | {"rejected", "bruteforce"}


def _time_limit_use(directory: str, *, legacy: bool) -> Literal["", "lower", "upper"]:
    """Source: 2025-09, the table "Example submissions"; legacy takes the accepted ones and the slow ones."""
    if directory == "accepted" or (directory in {"wrong_answer", "run_time_error"} and not legacy):
        return "lower"
    return "upper" if directory == "time_limit_exceeded" else ""


def with_tags(expectation: Expectation, files: Iterable[bytes], warnings: list[str], name: str) -> Expectation:
    """What the tags in the source claim goes before what the folder does."""
    for data in files:
        head = data[:_TAG_BYTES]
        results, score = _RESULTS.search(head), _SCORE.search(head)
        if score:
            value = float(score[1])
            expectation = replace(expectation, score=(value, value), origin=f"@EXPECTED_SCORE@ in submissions/{name}")
        if results:
            words = [word.strip(" \t*/#-;") for word in results[1].decode("utf-8", "replace").split(",")]
            found = [spelled(word) for word in words]
            if not all(found):
                warnings.append(
                    f"submissions/{name}: @EXPECTED_RESULTS@ has an unknown result in {', '.join(words)!r}; it was ignored"
                )
                continue
            return _tagged(expectation, found, name)
    return expectation


def _tagged(expectation: Expectation, found: list[str], name: str) -> Expectation:
    final = frozenset[Verdict]().union(*(FINER[verdict] for verdict in found))
    if found == ["AC"] and expectation.final and Verdict.PAC not in expectation.final:
        final = _FINAL_AC
    permitted = expectation.permitted if expectation.permitted <= final else frozenset[Verdict]()
    use = expectation.use_for_time_limit if len(found) == 1 else ""
    origin = f"@EXPECTED_RESULTS@ in submissions/{name}"
    return Expectation(permitted, frozenset(), final, expectation.score, use_for_time_limit=use, origin=origin)


def _verdicts(words: Iterable[str]) -> frozenset[Verdict]:
    return frozenset[Verdict]().union(*(FINER[word] for word in words))


def matches(pattern: str, path: str) -> bool:
    """Whether a pattern matches a path or a folder above it: `*` stays within a name, `{a,b}` are alternatives.

    Source: 2025-09, "Glob patterns".
    """
    parts = path.split("/")
    for plain in expand(pattern.strip("/")):
        wanted = plain.split("/")
        if len(wanted) <= len(parts) and all(_matches_name(want, part) for want, part in zip(wanted, parts, strict=False)):
            return True
    return False


def _matches_name(pattern: str, name: str) -> bool:
    # Only the star has a meaning: "[" and "?" stand for themselves.
    escaped = pattern.replace("[", "[[]").replace("?", "[?]")
    return fnmatch.fnmatchcase(name, re.sub(r"\*+", "*", escaped))


def expand(pattern: str) -> list[str]:
    """The patterns without braces that a pattern stands for.

    Raises:
        ProblemError: they are too many.
    """
    found = re.findall(r"\{[^{}]*\}|[^{}]+|[{}]", pattern)
    parts = [[item.strip() for item in part[1:-1].split(",")] if len(part) > 1 and part[0] == "{" else [part] for part in found]
    count = 1
    for part in parts:
        count *= len(part)
    if count > _MAX_BRACES:
        raise ProblemError(f"the pattern {pattern[:100]!r} has more than {_MAX_BRACES} alternatives")
    return ["".join(choice) for choice in itertools.product(*parts)]


class Rules:
    """The file submissions.yaml: claims by pattern.

    Attributes:
        rules: (pattern, its settings).
    """

    def __init__(self, values: dict[str, Any], file: str) -> None:
        for pattern, value in values.items():
            if value is not None and not isinstance(value, dict):
                raise ProblemError(f"{pattern} has to be a mapping", file=file)
        self.rules = [(pattern, Settings(value or {}, file, f"{pattern}: ")) for pattern, value in values.items()]

    def source(self, path: str) -> tuple[str, str]:
        """Language and entry point of a submission; "" where nothing is said."""
        language = entry = ""
        for pattern, settings in self.rules:
            if matches(pattern, path):
                language = settings.text("language", language)
                entry = settings.text("entrypoint", entry)
        return language, entry

    def expectation(self, path: str, *, legacy: bool) -> Expectation:
        """Everything that is claimed of the submission `path`, such as "accepted/a.py"."""
        directory = path.partition("/")[0]
        base = of_directory(directory, legacy=legacy)
        found: list[Expectation] = []
        for pattern, settings in self.rules:
            if not matches(pattern, path):
                continue
            if pattern.strip("/") == directory:
                base = _claimed(settings, base)
            else:
                found.append(_claimed(settings, Expectation()))
        uses = [claim.use_for_time_limit for claim in (base, *found) if claim.use_for_time_limit]
        return replace(base, also=tuple(found), use_for_time_limit=uses[-1] if uses else "")

    def warnings(self) -> list[str]:
        """About keys that are not known; claims of groups look like keys too and are known by their slash or their name."""
        said: list[str] = []
        for _, settings in self.rules:
            groups = [key for key in settings.values if _is_group(key)]
            said += settings.unknown((*_ABOUT_SOURCE, *_CLAIMS, *groups))
        return said


def _is_group(key: str) -> bool:
    return key.startswith(("sample", "secret")) or "/" in key or "*" in key


def _claimed(settings: Settings, above: Expectation) -> Expectation:
    """One mapping of claims over what it replaces."""
    groups = {key: _claimed(settings.below(key), Expectation()) for key in settings.values if _is_group(key)}
    permitted, required = above.permitted, above.required
    final = above.final
    if "permitted" in settings:
        permitted, final = _listed(settings, "permitted"), frozenset()
    if "required" in settings:
        required, final = _listed(settings, "required"), frozenset()
    return Expectation(
        permitted=permitted,
        required=required,
        final=final,
        score=_claimed_score(settings) or above.score,
        message=settings.text("message", above.message),
        use_for_time_limit=_use(settings, permitted, required, above),
        groups=groups,
        origin=f"{settings.file}: {settings.where}".rstrip(". :"),
    )


def _listed(settings: Settings, key: str) -> frozenset[Verdict]:
    words = settings.strings(key)
    for word in words:
        if word not in FINER:
            raise settings.error(key, f"names {word!r}; it has to be of {', '.join(FINER)}")
    return _verdicts(words)


def _claimed_score(settings: Settings) -> tuple[float, float] | None:
    value = settings.raw("score")
    if isinstance(value, list):
        if len(value) != 2:
            raise settings.error("score", "has to be a number, or the lowest and the highest one")
        ends = [Settings({"score": end}, settings.file, settings.where).number("score", 0.0) for end in value]
        return ends[0], ends[1]
    if value is None:
        return None
    number = settings.number("score", 0.0)
    return number, number


def _use(
    settings: Settings, permitted: frozenset[Verdict], required: frozenset[Verdict], above: Expectation
) -> Literal["", "lower", "upper"]:
    """Source: 2025-09, "Timelimit inference"."""
    given = settings.text("use_for_time_limit")
    if given in {"lower", "upper"}:
        return cast("Literal['lower', 'upper']", given)
    if given and not settings.flag("use_for_time_limit", default=True):
        return ""
    if "required" in settings and required == FINER["TLE"]:
        return "upper"
    if "permitted" in settings and permitted and Verdict.TLE not in permitted:
        return "lower"
    return above.use_for_time_limit
