"""In which language a source is written, and where it starts. Pure; reads the sources, never runs them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sandbox.grader.languages import Language, get, load
from sandbox.grader.model import Source
from sandbox.model.errors import RequestError

_LOOK_BYTES = 256 << 10  # of each file: whoever hides the main method behind more gets an error that says what to do
_MAX_LINE = 200  # patterns are matched line by line, so that no file can make them slow
_SHEBANG = re.compile(r"#!.*")
_IMPORT = re.compile(r"\b(?:import|from|require|require_relative|use|include|load|source|consult|ensure_loaded|dofile)\b")
_WORD = re.compile(r"[\w-]+")
_JAVA_TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?(?:\*/|\Z)|\"{3}(?:\\.|(?!\"{3}).)*(?:\"{3}|\Z)|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|[\w$]+|[{}();.,@\[\]]|\S""",
    re.DOTALL,
)
_MAX_CLASS_NAME = 100  # of a file that is renamed after it
_HOW_TO_SAY = "say the entry point (--entry-point, `entrypoint` in submissions.yaml, Source.entry_point)"
_TYPES = ("class", "interface", "enum", "record")


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a program starts.

    Attributes:
        files: the sources of the language, the main one first.
        main: the main file, or the main class for Java.
    """

    files: tuple[str, ...]
    main: str


def with_usual_extensions(source: Source, languages: Mapping[str, Language]) -> Source:
    """The source with its extensions written as the languages have them: `A.PY` becomes `A.py`, for compilers insist on it.

    Capitals are looked through only where no file has an extension of a language as it is written (`.C` is one, of C++): beside
    a.cpp, B.CPP may be there to be included.
    """
    written = sorted({extension for language in languages.values() for extension in language.extensions})
    if any(name.endswith(tuple(written)) for name in source.files):
        return source
    usual = {extension.lower(): extension for extension in written}  # small letters are sorted behind capitals, and win
    parts = {name: posixpath.splitext(name) for name in source.files}
    names = {name: stem + usual.get(extension.lower(), extension) for name, (stem, extension) in parts.items()}
    if len({*names.values()}) < len(names) or any(other.startswith(f"{name}/") for name in names.values() for other in names):
        return source  # a name would be there twice
    files = {names[name]: data for name, data in source.files.items()}
    return replace(source, files=files, entry_point=names.get(source.entry_point, source.entry_point))


def detect(source: Source, languages: Mapping[str, Language] | None = None) -> Language:
    """The language of a source: as the caller says, by extensions, first lines and content.

    Raises RequestError when there is none, or when two are as likely.
    """
    known = load() if languages is None else languages
    if source.language:
        return get(source.language, known)
    fitting = [(_covered(source, language), language) for language in known.values()]
    fitting = [(count, language) for count, language in fitting if count]
    if not fitting:
        endings = sorted({posixpath.splitext(name)[1] or name for name in source.files})
        raise RequestError(
            f"{source.origin}: no language has files such as {', '.join(endings[:5])}",
            hint="give the language, or add a file for it (`sandbox languages` lists those that there are)",
        )
    most = max(count for count, _ in fitting)
    likely = [language for count, language in fitting if count == most]
    families = {language.extensions for language in likely}
    if len(families) > 1 and not all(set(likely[0].extensions) & set(other.extensions) for other in likely):
        names = ", ".join(sorted({language.name for language in likely}))
        raise RequestError(f"{source.origin}: has files of several languages ({names})", hint="give the language")
    return max(likely, key=lambda language: (*_likelihood(source, language), language.priority))


def find(source: Source, language: Language, own: Collection[str] = ()) -> Entry:
    """The files to compile and the entry point.

    Args:
        source: with the files that the problem adds.
        language: of it.
        own: names of the files that were handed in; the only one of them is the main file when none has the name of one.

    Raises RequestError when there is no entry point, saying how to name it.
    """
    if language.entry_point == "run":
        return Entry(tuple(source.files), "run")
    files = _of_language(source, language)
    if not files:
        raise RequestError(
            f"{source.origin}: has no {language.name} file", hint=f"its extensions are {', '.join(language.extensions)}"
        )
    if language.entry_point == "java":
        main = source.entry_point.removesuffix(".java").replace("/", ".") or _java_main(source, files)
        return Entry(files, main)
    first = _main_file(source, language, files, own)
    ordered = (first, *(name for name in files if name != first))
    if language.entry_point == "kotlin":
        named = source.entry_point if source.entry_point and not source.entry_point.endswith(".kt") else ""
        return Entry(ordered, named or _kotlin_class(first, _text(source.files[first])))
    return Entry(ordered, first)


def java_classes(text: str) -> tuple[str, list[str]]:
    """(package, names of classes with a `main` that Java starts), nested ones with "$", in order of appearance."""
    package = ""
    stack: list[
        tuple[str, bool]
    ] = []  # for each open brace the name of the class that it belongs to, or "", and whether it is an interface
    pending = ("", False)
    mains: list[str] = []
    words = [word for word in _JAVA_TOKEN.findall(text) if not word.startswith(("//", "/*"))]
    for index, word in enumerate(words):
        following = words[index + 1 : index + 3]
        if word == "package" and not stack and not package:
            package = _dotted(words[index + 1 : index + 80])
        elif word in _TYPES and following and following[0].replace("$", "_").isidentifier():
            before = words[index - 1] if index else ""
            is_record = word != "record" or following[1:2] == ["("] or following[1:2] == ["<"]
            if before != "." and is_record:
                pending = (following[0], word == "interface" and before != "@")
        elif word == "{":
            stack.append(pending)
            pending = ("", False)
        elif word == "}" and stack:
            stack.pop()
        elif word == "main" and following[:1] == ["("] and _is_started(words, index, stack):
            mains.append("$".join(name for name, _ in stack))
    return package, list(dict.fromkeys(mains))


def java_names(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files, each .java file with the name of its public class: javac insists on it, and who hands in a file need not.

    Source: DOMjudge `java_javac`, which renames files so.
    """
    out = dict(files)
    for name, data in files.items():
        public = _public_class(_text(data)) if name.endswith(".java") else ""
        wanted = posixpath.join(posixpath.dirname(name), f"{public}.java")
        if public and wanted not in out:
            out[wanted] = out.pop(name)
    return out


def _public_class(text: str) -> str:
    """The public class at the top of a Java file; "" when there is none."""
    depth = 0
    words = [word for word in _JAVA_TOKEN.findall(text) if not word.startswith(("//", "/*"))]
    for index, word in enumerate(words):
        depth += (word == "{") - (word == "}")
        if depth == 0 and word in _TYPES and words[index + 1 : index + 2]:
            before = words[max(0, index - 6) : index]
            start = max((number for number, other in enumerate(before) if other in ("{", "}", ";")), default=-1)
            name: str = words[index + 1]
            if "public" in before[start + 1 :] and name.replace("$", "_").isidentifier() and len(name) <= _MAX_CLASS_NAME:
                return name
    return ""


def _is_started(words: Sequence[str], index: int, stack: Sequence[tuple[str, bool]]) -> bool:
    """Whether the method at `index` is `static … void main(String…`, public (as all in an interface), declared and not called."""
    if not stack or not all(name for name, _ in stack):
        return False
    modifiers = words[max(0, index - 12) : index]
    start = max((number for number, word in enumerate(modifiers) if word in ("{", "}", ";")), default=-1)
    head = modifiers[start + 1 :]
    wanted = {"static"} if stack[-1][1] else {"public", "static"}
    return head[-1:] == ["void"] and wanted <= set(head) and "String" in words[index + 2 : index + 8]


def _dotted(words: Iterable[str]) -> str:
    out: list[str] = []
    for word in words:
        if word == ";":
            return "".join(out)
        out.append(word)
    return ""


def _java_main(source: Source, files: Sequence[str]) -> str:
    found: list[tuple[str, str]] = []
    for name in files:
        package, mains = java_classes(_text(source.files[name]))
        found += [(name, f"{package}.{main}" if package else main) for main in mains]
    if not found:  # it compiles, and it is for Java to say that it cannot be started
        return posixpath.basename(files[0]).removesuffix(".java")
    outer = [item for item in found if "$" not in item[1]] or found
    if len(outer) == 1:
        return outer[0][1]
    preferred = [main for _, main in outer if main.rpartition(".")[2] == "Main"]
    named = [main for name, main in outer if main.rpartition(".")[2] == posixpath.basename(name).removesuffix(".java")]
    for choice in (preferred, named):
        if len(choice) == 1:
            return choice[0]
    raise RequestError(
        f"{source.origin}: several classes have a main method ({', '.join(main for _, main in outer[:5])})",
        hint=_HOW_TO_SAY,
    )


def _kotlin_class(name: str, text: str) -> str:
    """The class that Kotlin makes of a file with a top-level `main`."""
    given = re.search(r'^\s*@file:JvmName\(\s*"([\w$]+)"\s*\)', text[:_LOOK_BYTES], re.MULTILINE)
    package = re.search(r"^\s*package\s+([\w.]+)", text[:_LOOK_BYTES], re.MULTILINE)
    stem = re.sub(r"\W", "_", posixpath.basename(name).removesuffix(".kt"))
    made = given[1] if given else f"{stem[:1].upper()}{stem[1:]}Kt"
    return f"{package[1]}.{made}" if package else made


def _main_file(source: Source, language: Language, files: Sequence[str], own: Collection[str]) -> str:
    wanted = source.entry_point
    if wanted and language.entry_point != "kotlin":
        for name in files:
            if wanted in (name, posixpath.splitext(name)[0]):
                return name
        raise RequestError(
            f"{source.origin}: the entry point {wanted!r} is not among its files", hint=f"they are {', '.join(files[:5])}"
        )
    if len(files) == 1:
        return files[0]
    top = [name for name in files if "/" not in name] or list(files)
    for stem in language.main_names:
        for name in top:
            if posixpath.splitext(posixpath.basename(name))[0] == stem:
                return name
    handed_in = [name for name in files if name in own]
    if len(handed_in) == 1:
        return handed_in[0]
    told = [name for name in top if language.main_content and _matches(language.main_content, _lines(source.files[name]))]
    if len(told) == 1 or language.entry_point == "all":
        return (told or top)[0]
    if len(top) > 1:
        used = _used(source, files)
        top = [name for name in top if posixpath.splitext(posixpath.basename(name))[0] not in used] or top
    if len(top) == 1:
        return top[0]
    raise RequestError(
        f"{source.origin}: it is not clear which of {', '.join(top[:5])} is the main file",
        hint=f"name it {language.main_names[0]}{language.extensions[0]}, or {_HOW_TO_SAY}",
    )


def _used(source: Source, files: Iterable[str]) -> set[str]:
    """What the files import, as words: who is among them is a module of another one, and not where the program starts."""
    found: set[str] = set()
    for name in files:
        own = posixpath.splitext(posixpath.basename(name))[0]
        for line in _lines(source.files[name]):
            if _IMPORT.search(line):
                found.update(word for word in _WORD.findall(line) if word != own)
    return found


def _of_language(source: Source, language: Language) -> tuple[str, ...]:
    found = tuple(name for name in source.files if name.endswith(language.extensions))
    # A caller who says the language may call the file as he likes, if there is but one.
    return found or (tuple(source.files) if source.language and len(source.files) == 1 else ())


def _covered(source: Source, language: Language) -> int:
    """How many files belong to the language; those beside sources (headers) count half."""
    own = sum(name.endswith(language.extensions) for name in source.files)
    return (
        2 * own + sum(name.endswith(language.extra_extensions) for name in source.files if language.extra_extensions)
        if own
        else 0
    )


def _likelihood(source: Source, language: Language) -> tuple[int, int]:
    """(whether a first line names it, lines that look like it)."""
    named = matching = 0
    for name in _of_language(source, language):
        lines = _lines(source.files[name])
        first = _SHEBANG.match(lines[0]) if lines else None
        if first and language.shebang and re.search(language.shebang, first[0]):
            named = 1
        matching += sum(1 for line in lines if any(re.search(pattern, line) for pattern in language.content))
    return named, matching


def _matches(pattern: str, lines: Iterable[str]) -> bool:
    return any(re.search(pattern, line) for line in lines)


def _lines(data: bytes) -> list[str]:
    return [line[:_MAX_LINE] for line in _text(data).split("\n")[:2000]]


def _text(data: bytes) -> str:
    return data[:_LOOK_BYTES].decode("utf-8", "replace").removeprefix("﻿")
