"""What Piston calls languages: the name of its package, its aliases, and the runtime where one package has several languages.

Pure. Source: engineer-man/piston, `packages/*/*/metadata.json`. Languages that are not here go by their own ids.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sandbox.service import versions
from sandbox.service.ask import LanguageInfo

_NAMES: dict[str, tuple[str, str, str]] = {  # id: name, aliases, runtime
    "bash": ("bash", "sh", ""),
    "c": ("c", "gcc", "gcc"),
    "cpp": ("c++", "cpp g++", "gcc"),
    "csharp": ("csharp", "mono mono-csharp mono-c# mono-cs c# cs", "mono"),
    "go": ("go", "go golang", ""),
    "haskell": ("haskell", "haskell hs", ""),
    "java": ("java", "", ""),
    "javascript": ("javascript", "node-javascript node-js javascript js", "node"),
    "kotlin": ("kotlin", "kt", ""),
    "lua": ("lua", "", ""),
    "ocaml": ("ocaml", "ocaml ml", ""),
    "pascal": ("pascal", "freepascal pp pas", ""),
    "perl": ("perl", "pl", ""),
    "php": ("php", "", ""),
    "prolog": ("prolog", "prolog plg", ""),
    "pypy3": ("pypy", "pypy3", ""),
    "python3": ("python", "py py3 python3 python3.x", ""),
    "ruby": ("ruby", "ruby3 rb", ""),
    "rust": ("rust", "rs", ""),
    "typescript": ("typescript", "ts node-ts tsc typescript5 typescript4", ""),
}


@dataclass(frozen=True, slots=True)
class Runtime:
    """One language of this host in Piston's words."""

    info: LanguageInfo
    name: str
    aliases: tuple[str, ...]
    runtime: str

    def to_dict(self) -> dict[str, object]:
        """A member of `GET /runtimes`."""
        out: dict[str, object] = {"language": self.name, "version": self.info.version, "aliases": list(self.aliases)}
        return {**out, "runtime": self.runtime} if self.runtime else out


def runtime_of(info: LanguageInfo) -> Runtime:
    """A language by Piston's name."""
    if info.id not in _NAMES:
        return Runtime(info, info.id, tuple(info.aliases), "")
    name, aliases, runtime = _NAMES[info.id]
    return Runtime(info, name, tuple(aliases.split()), runtime)


def find(language: str, selector: str, infos: Iterable[LanguageInfo]) -> Runtime | None:
    """The latest runtime of this name or alias whose version fits; a name of ours is taken where Piston has none such."""
    if "latest" in selector:  # a tag of npm's, and no version
        return None
    runtimes = [runtime_of(info) for info in infos]
    named = [item for item in runtimes if language == item.name or language in item.aliases]
    named = named or [item for item in runtimes if language == item.info.id or language in item.info.aliases]
    fitting = [item for item in named if versions.matches(item.info.version, selector)]
    return max(fitting, key=_number, default=None)


def _number(item: Runtime) -> tuple[int, ...]:
    return tuple(int(part) for part in item.info.version.split(".") if part.isdigit())
