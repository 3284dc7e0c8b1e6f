"""Languages as data: one TOML file each, in `languages_data/`, which may extend another. Adding a language is adding a file.

Files are looked up in `$XDG_CONFIG_HOME/sandbox/languages` (`~/.config/…`), `/etc/sandbox/languages`, then among the shipped
ones; the name of the file is the id. `extends` names another language, or, with the file's own id, the next file of that name.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from sandbox.model.errors import RequestError
from sandbox.model.policy import Mount
from sandbox.policy import paths, units

PROGRAM = "/program"  # where the files of a built program are, inside
SHIPPED = Path(__file__).parent / "languages_data"
_MAX_FILE_BYTES = 64 << 10
_MAX_DEPTH = 8
_PATH = ("/usr/local/bin", "/usr/bin", "/bin")
_ID = re.compile(r"[a-z][a-z0-9_+-]{0,31}")
_WORD = re.compile(r"\{(\w+)\}")
_PLACEHOLDERS = {
    "sources": "the source files, one word each",
    "main": "the main file, or the main class where entry_point is 'java'",
    "stem": "the main file without its extension",
    "program": "the directory of the built program",
    "memory_mib": "the memory limit of the problem",
    "stack_mib": "the stack: as much as the memory, at most 1024",
}
_Size = Annotated[int, BeforeValidator(units.size)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, use_attribute_docstrings=True)


def _known(words: tuple[str, ...]) -> tuple[str, ...]:
    if not words or not words[0]:
        raise ValueError("a command has at least one word, its program")
    for word in words:
        for name in _WORD.findall(word):
            if name not in _PLACEHOLDERS:
                raise ValueError(f"{{{name}}} is not known; there are {', '.join(f'{{{item}}}' for item in _PLACEHOLDERS)}")
        if "{sources}" in word and word != "{sources}":
            raise ValueError(f"{{sources}} becomes several words and stands alone, not in {word!r}")
    return words


def _words(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(word, str) for word in value):
        raise ValueError('expected a list of words such as ["gcc", "-O2", "{sources}"]')
    return _known(tuple(value))


_Command = Annotated[tuple[str, ...], BeforeValidator(_words), Field(max_length=64)]


class Compile(_Strict):
    """How a program is compiled. The sources are in the working directory, and so is what is made."""

    command: _Command
    artefacts: tuple[str, ...] = ()
    """Names or patterns of what is kept; empty: nothing, the step only checks the sources."""
    profile: str = "compile"
    environment: dict[str, str] = Field(default_factory=dict)


class Execute(_Strict):
    """How a program is run. Its files are below {program}, the working directory is that of the case."""

    command: _Command
    profile: str = "native"
    warm_profile: str = ""
    """The profile with a warm interpreter, for many short runs."""
    environment: dict[str, str] = Field(default_factory=dict)
    memory_errors: tuple[str, ...] = ()
    """What the runtime writes to stderr when it is out of memory."""
    own_heap: bool = False
    """The runtime bounds its heap itself (by {memory_mib}), below the limit of the control group."""


class Overhead(_Strict):
    """What the runtime takes for itself: it comes on top of what the problem allows."""

    memory: _Size = 0
    pids: int = Field(default=0, ge=0, le=4096)


class Version(_Strict):
    """How the version is asked for: the first line that matches, of stdout and stderr."""

    command: _Command
    pattern: str = r".*\d.*"

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        return _pattern(value)


class MountEntry(_Strict):
    """A further place of the host that compiler and runtime need."""

    source: str
    target: str = ""
    requirement: str = Field(default="required", pattern="^(required|if_present)$")

    @field_validator("source", "target")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if value and not (value.startswith("/") and paths.is_clean(value)):
            raise ValueError(f"expected a clean absolute path, not {value!r}")
        return value


class Language(_Strict):
    """One language, as its file and those that it extends say."""

    id: str
    name: str
    aliases: tuple[str, ...] = ()
    extensions: tuple[str, ...]
    extra_extensions: tuple[str, ...] = ()
    """Of files that belong to a program without being compiled: headers, say."""
    priority: int = 0
    """Decides where several languages are equally likely: the highest."""
    shebang: str = ""
    """Pattern of a first line beginning with #! that names this language."""
    content: tuple[str, ...] = ()
    """Patterns of lines that tell this language from others with the same extension."""
    entry_point: str = Field(default="file", pattern="^(file|java|kotlin|all|run)$")
    """How the main file is found: by its name, by its `main` method, or there is none: all make one program, or `run`."""
    main_names: tuple[str, ...] = ("main", "Main")
    """Stems of the main file, the likeliest first."""
    main_content: str = ""
    """Pattern of a line that only the main file has."""
    keep_sources: bool = False
    """The sources are part of the built program (interpreted languages)."""
    compile: Compile | None = None
    run: Execute
    version: Version | None = None
    overhead: Overhead = Overhead()
    mounts: tuple[MountEntry, ...] = ()
    lineage: tuple[str, ...] = ()
    """Ids of the languages that this one extends, the nearest first."""
    origin: str = ""
    """The file."""

    @field_validator("extensions", "extra_extensions")
    @classmethod
    def _dotted(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for item in value:
            if not re.fullmatch(r"\.[\w+#-]+", item):
                raise ValueError(f"an extension is such as '.py', not {item!r}")
        return value

    @field_validator("shebang", "main_content")
    @classmethod
    def _compiles(cls, value: str) -> str:
        return _pattern(value)

    @field_validator("content")
    @classmethod
    def _all_compile(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_pattern(item) for item in value)

    @model_validator(mode="after")
    def _makes_something(self) -> Language:
        if not self.extensions and self.entry_point != "run":
            raise ValueError("extensions: a language has at least one, such as ['.py']")
        if not self.keep_sources and not (self.compile and self.compile.artefacts):
            raise ValueError("nothing is left to run: say keep_sources = true, or compile.artefacts")
        return self

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything that the files say, but where they are."""
        return hashlib.sha256(self.model_dump_json(exclude={"origin"}).encode()).hexdigest()

    @property
    def host_mounts(self) -> tuple[Mount, ...]:
        """The further mounts of compile and run."""
        why = f"the toolchain of {self.name}"
        optional = {"required": "required", "if_present": "if_present"}
        return tuple(
            Mount(item.source, item.target, requirement=optional[item.requirement], why=why)  # type: ignore[arg-type]
            for item in self.mounts
        )

    def programs(self) -> tuple[str, ...]:
        """The programs of the host that this language needs."""
        commands = [item.command for item in (self.compile, self.run) if item is not None]
        return tuple(dict.fromkeys(words[0] for words in commands if not words[0].startswith("{")))


@dataclass(frozen=True, slots=True)
class Found:
    """Whether a language can be used on this host.

    Attributes:
        programs: program → its place on the host.
        missing: what is not there; empty: the language can be used.
    """

    language: Language
    programs: Mapping[str, str]
    missing: tuple[str, ...]


def directories() -> tuple[Path, ...]:
    """Where language files are looked up, the first that has a name wins."""
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return (Path(config) / "sandbox" / "languages", Path("/etc/sandbox/languages"), SHIPPED)


def load(further: Sequence[str | Path] = ()) -> dict[str, Language]:
    """Every language by its id. `further` directories come first. Raises RequestError for a file that is not valid."""
    places = (*map(Path, further), *directories())
    ids = sorted({name for place in places for name in _names(place)})
    return {name: _resolve(name, places) for name in ids}


def get(name: str, languages: Mapping[str, Language] | None = None) -> Language:
    """The language of this id, name or alias. Raises RequestError, naming those that there are."""
    known = load() if languages is None else languages
    wanted = name.strip().lower()
    for language in known.values():
        if wanted in (language.id, language.name.lower(), *(alias.lower() for alias in language.aliases)):
            return language
    raise RequestError(f"there is no language {name!r}", hint=f"there are {', '.join(known)}")


def available(languages: Iterable[Language] | None = None) -> list[Found]:
    """Every language, with what of it this host has. Nothing is run."""
    out = []
    for language in load().values() if languages is None else languages:
        places = {name: host_path(name, language) for name in language.programs()}
        missing = [name for name, place in places.items() if not place]
        missing += [item.source for item in language.mounts if item.requirement == "required" and not os.path.exists(item.source)]
        out.append(Found(language, {name: place for name, place in places.items() if place}, tuple(missing)))
    return out


def host_path(program: str, language: Language) -> str:
    """Where the host has a program that a sandbox sees; "" where it has none."""
    candidates = [program] if program.startswith("/") else [f"{place}/{program}" for place in _PATH]
    for inside in candidates:
        outside = inside
        for item in language.mounts:
            target = item.target or item.source
            if inside == target or inside.startswith(target + "/"):
                outside = item.source + inside[len(target) :]
        if os.path.isfile(outside) and os.access(outside, os.X_OK):
            return outside
    return ""


def expand(command: Sequence[str], values: Mapping[str, str], sources: Sequence[str]) -> tuple[str, ...]:
    """A command with its placeholders filled in. Names of files can never be taken for options."""
    out: list[str] = []
    for word in command:
        if word == "{sources}":
            out.extend(map(as_argument, sources))
        else:
            out.append(_WORD.sub(lambda found: values[found[1]], word))
    return tuple(out)


def as_argument(name: str) -> str:
    """A relative name as a word that no compiler takes for an option or a list of options."""
    return name if name[:1].isalnum() or name.startswith("_") else f"./{name}"


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"{value!r} is no regular expression: {error}") from None
    return value


def _names(place: Path) -> list[str]:
    try:
        return [entry.name[:-5] for entry in os.scandir(place) if entry.name.endswith(".toml")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RequestError(f"{place}: the language files cannot be listed: {error.strerror}") from None


def _resolve(name: str, places: Sequence[Path]) -> Language:
    """The file of `name`, over those that it extends."""
    layers: list[tuple[Path, dict[str, Any]]] = []
    lineage: list[str] = []
    wanted, start = name, 0
    while wanted:
        if len(layers) >= _MAX_DEPTH:
            raise RequestError(f"{layers[0][0]}: extends: more than {_MAX_DEPTH} files extend each other: {' → '.join(lineage)}")
        index = next((number for number in range(start, len(places)) if wanted in _names(places[number])), -1)
        if index < 0:
            raise RequestError(
                f"{layers[-1][0]}: extends: there is no language {wanted!r}", hint="its file would be named after it"
            )
        path = places[index] / f"{wanted}.toml"
        data = _read(path)
        if not _ID.fullmatch(wanted):
            raise RequestError(f"{path}: {wanted!r} is no id of a language", hint="small letters, digits, '-', '_' and '+'")
        layers.append((path, data))
        parent = data.pop("extends", "")
        if not isinstance(parent, str):
            raise RequestError(f"{path}: extends: expected the id of a language, not {parent!r}")
        start = index + 1 if parent == wanted else 0
        if parent and parent != wanted:
            lineage.append(parent)
        wanted = parent
    merged: dict[str, Any] = {}
    for _, data in reversed(layers):
        merged = _merge(merged, data)
    return _checked(name, merged, tuple(lineage), layers[0][0])


def _checked(name: str, merged: dict[str, Any], lineage: tuple[str, ...], path: Path) -> Language:
    for key in ("id", "lineage", "origin"):
        if key in merged:
            raise RequestError(f"{path}: {key}: cannot be said in a language file", hint="it follows from the files themselves")
    try:
        return Language.model_validate({**merged, "id": name, "lineage": lineage, "origin": str(path)})
    except ValidationError as error:
        said = [f"{'.'.join(map(str, item['loc'])) or name}: {_said(item)}" for item in error.errors()]
        raise RequestError(f"{path}: {'; '.join(said)}") from None


def _said(item: Any) -> str:
    if item["type"] == "extra_forbidden":
        return "there is no such key"
    return str(item["msg"]).removeprefix("Value error, ")


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Tables are merged, everything else is replaced."""
    out = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _merge(out[key], value) if both else value
    return out


def _read(path: Path) -> dict[str, Any]:
    parse: Callable[[str], dict[str, Any]] = tomllib.loads
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror}") from None
    if len(raw) > _MAX_FILE_BYTES:
        raise RequestError(f"{path}: a language file has at most {_MAX_FILE_BYTES >> 10} KiB")
    try:
        return parse(raw.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RequestError(f"{path}: is not TOML: {error}") from None
