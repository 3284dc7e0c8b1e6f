"""Programs in a language, made ready for one run: the compiler, the command, the profile.

The files of a program are put into its work directory, where Piston and Judge0 have them too. So every program of a language
runs below the same warm launcher; the grader, whose programs run a hundred times, mounts each instead.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass

from sandbox.grader import boxes, building, compiling, entrypoints
from sandbox.grader.building import BuildFailure, Built
from sandbox.grader.cancel import Cancel
from sandbox.grader.languages import Language, available, expand, load
from sandbox.grader.model import Limits, Source
from sandbox.model.errors import RequestError
from sandbox.policy.profile import Profile
from sandbox.runtime.request import FileContent, clean_name
from sandbox.service import versions
from sandbox.service.ask import LanguageInfo, UnknownLanguage

_MAX_STACK_MIB = 1024
_MAX_PROGRAM = 64 << 20


@dataclass(frozen=True, slots=True)
class Program:
    """Ready to run: `argv`, with `files` in the work directory."""

    argv: tuple[str, ...]
    files: Mapping[str, FileContent]


@dataclass(frozen=True, slots=True)
class Known:
    """A language that can be used here."""

    info: LanguageInfo
    language: Language

    @property
    def is_compiled(self) -> bool:
        """Whether a compiler makes what is run. One that only looks at the sources is left out: the run says the same."""
        return self.language.compile is not None and bool(self.language.compile.artefacts)


class Catalogue:
    """The languages of this host, by id, name and alias."""

    def __init__(self, known: Mapping[str, Known]) -> None:
        self._known = known
        self._names: dict[str, list[Known]] = {}
        for item in known.values():
            for name in dict.fromkeys((item.info.id, item.info.name.lower(), *(alias.lower() for alias in item.info.aliases))):
                self._names.setdefault(name, []).append(item)

    @classmethod
    def read(cls, wanted: tuple[str, ...] = (), *, allow_degraded: bool = False) -> Catalogue:
        """Ask this host. Compilers are asked for their versions in sandboxes, once for each state of their files. Blocks.

        Raises RequestError for a wanted language that is not there, SandboxError where the host cannot run sandboxes.
        """
        every = load()
        for name in wanted:
            if name not in every:
                raise RequestError(f"languages: there is no language {name!r}", hint=f"there are {', '.join(every)}")
        out = {}
        for found in available(every[name] for name in wanted or every):
            if found.missing and wanted:
                raise RequestError(f"languages: {found.language.id}: {', '.join(found.missing)} is not on this host")
            if not found.missing and found.language.entry_point != "run":
                out[found.language.id] = _known(found.language, allow_degraded=allow_degraded)
        return cls(out)

    def all(self) -> list[LanguageInfo]:
        """Every language."""
        return [item.info for item in self._known.values()]

    def get(self, identifier: str) -> Known:
        """By id. Raises UnknownLanguage."""
        found = self._known.get(identifier)
        if found is None:
            raise UnknownLanguage(f"there is no language {identifier[:64]!r} here", hint=f"there are {', '.join(self._known)}")
        return found

    def resolve(self, name: str, selector: str = "*") -> LanguageInfo:
        """By id, name or alias, in a version that fits (as npm has it). Raises UnknownLanguage."""
        for item in self._names.get(name.strip().lower(), ()):
            if versions.matches(item.info.version, selector):
                return item.info
        raise UnknownLanguage(f"{name[:64]}-{selector[:64]} is not known here", hint=f"there are {', '.join(self._known)}")


def _known(language: Language, *, allow_degraded: bool) -> Known:
    banner, _ = compiling.version_of(language, allow_degraded=allow_degraded)
    info = LanguageInfo(
        id=language.id,
        name=language.name,
        version=versions.of_banner(banner),
        aliases=language.aliases,
        extensions=language.extensions,
        banner=banner,
    )
    return Known(info, language)


def sources(known: Known, given: tuple[tuple[str, bytes], ...], most: int) -> dict[str, bytes]:
    """The sources by name, the main file first and with the extension that its language needs. Raises RequestError."""
    if not given:
        raise RequestError("a program needs at least one source")
    size = sum(len(data) for _, data in given)
    if size > most:
        raise RequestError(f"the sources have {size} bytes, {most} are allowed")
    out: dict[str, bytes] = {}
    for number, (name, data) in enumerate(given):
        name = name or ("main" if number == 0 else f"file{number}")  # noqa: PLW2901 - the name that it gets
        if number == 0 and not name.endswith(known.language.extensions):
            name = f"{name}{known.language.extensions[0]}"  # noqa: PLW2901
        if posixpath.basename(name).startswith(("-", "@")):
            raise RequestError(f"the file name {name[:64]!r} would be taken for an option by compilers")
        clean_name(name, "sources")
        if name in out:
            raise RequestError(f"two sources have the name {name[:64]!r}")
        out[name] = data
    return out


def profile_of(language: Language, name: str) -> Profile:
    """A profile by name, with what programs in a language need beside it."""
    return boxes.wide(name, language.run.environment, language.host_mounts)


def interpreted(known: Known, files: Mapping[str, bytes], memory: int, work: str) -> Program:
    """A program whose sources are run as they are. Nothing is started."""
    source = Source(files, "the request", known.language.id, next(iter(files)))
    entry = entrypoints.find(source, known.language, own=files.keys())
    return Program(_command(known.language, entry.main, memory, work), dict(files))


def build(
    known: Known, files: Mapping[str, bytes], limits: Limits, *, allow_degraded: bool, cancel: Cancel
) -> Built | BuildFailure:
    """Compile, or find in the store what was compiled of the same sources. Blocks. Raises UnsupportedHostError."""
    by_name = known.language.entry_point in ("file", "all")  # the others look for a class
    source = Source(files, "the request", known.language.id, next(iter(files)) if by_name else "")
    return building.build(
        source, limits, allow_degraded=allow_degraded, languages={known.language.id: known.language}, cancel=cancel
    )


def compiled(built: Built, memory: int, work: str) -> Program:
    """The program that was built, with its files. Reads them from the store: blocks."""
    entry = built.entry
    if entry.size > _MAX_PROGRAM:
        raise RequestError(f"the compiled program has {entry.size} bytes, {_MAX_PROGRAM} are allowed")
    files: dict[str, FileContent] = {}
    for name in entry.names:
        path = entry.files / name
        files[name] = (path.read_bytes(), 0o755 if path.stat().st_mode & 0o111 else 0o644)
    return Program(_command(built.language, built.entry_point, memory, work), files)


def _command(language: Language, main: str, memory: int, work: str) -> tuple[str, ...]:
    memory_mib = max(1, memory >> 20)
    values = {
        "main": main,
        "stem": posixpath.splitext(main)[0],
        "program": work,
        "memory_mib": str(memory_mib),
        "stack_mib": str(min(memory_mib, _MAX_STACK_MIB)),
    }
    return expand(language.run.command, values, ())
