"""Judge0's numbers of languages, for those that this host has. Pure.

Source: judge0/judge0, `db/languages/active.rb` and `archived.rb` (CE, up to 1.14). A number names a version there; here every
number of a language is the version that the host has, and its name says which. Numbers of what the host has not (Python 2, Clang)
are not taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.grader import languages
from sandbox.service.ask import LanguageInfo

PLAIN_TEXT, EXECUTABLE, PROJECT = 43, 44, 89
_ROWS: tuple[tuple[str, str, str, tuple[int, ...]], ...] = (  # id, name, file, numbers
    ("bash", "Bash ({})", "script.sh", (46,)),
    ("c", "C (GCC {})", "main.c", (48, 49, 50, 103)),
    ("csharp", "C# (Mono {})", "Main.cs", (51,)),
    ("cpp", "C++ (GCC {})", "main.cpp", (52, 53, 54, 105)),
    ("go", "Go ({})", "main.go", (60, 95, 106, 107)),
    ("haskell", "Haskell (GHC {})", "main.hs", (61,)),
    ("java", "Java (OpenJDK {})", "Main.java", (62, 91)),
    ("javascript", "JavaScript (Node.js {})", "script.js", (63, 93, 97, 102)),
    ("lua", "Lua ({})", "script.lua", (64,)),
    ("ocaml", "OCaml ({})", "main.ml", (65,)),
    ("pascal", "Pascal (FPC {})", "main.pas", (67,)),
    ("php", "PHP ({})", "script.php", (68, 98)),
    ("prolog", "Prolog (SWI-Prolog {})", "main.pl", (69,)),
    ("python3", "Python ({})", "script.py", (71, 92, 100, 109, 113)),
    ("ruby", "Ruby ({})", "script.rb", (72,)),
    ("rust", "Rust ({})", "main.rs", (73, 108)),
    ("typescript", "TypeScript ({})", "script.ts", (74, 94, 101)),
    ("kotlin", "Kotlin ({})", "Main.kt", (78, 111)),
    ("perl", "Perl ({})", "script.pl", (85,)),
)


@dataclass(frozen=True, slots=True)
class Numbered:
    """A language by its number.

    Attributes:
        language: id of ours; "" for what is no language (plain text, a program, several files with scripts).
        source_file: what the source is called; "" for several files.
    """

    number: int
    name: str
    language: str = ""
    source_file: str = ""

    def brief(self) -> dict[str, Any]:
        """A member of `GET /languages`."""
        return {"id": self.number, "name": self.name}

    def to_dict(self) -> dict[str, Any]:
        """`GET /languages/{id}`: with the commands as they are."""
        found = languages.load().get(self.language)
        compiler = found.compile if found is not None else None
        return {
            **self.brief(),
            "is_archived": False,
            "source_file": self.source_file or None,
            "compile_cmd": " ".join(compiler.command) if compiler is not None and compiler.artefacts else None,
            "run_cmd": " ".join(found.run.command) if found is not None else _COMMANDS.get(self.number),
        }


_OTHERS = (
    Numbered(PLAIN_TEXT, "Plain Text", source_file="text.txt"),
    Numbered(EXECUTABLE, "Executable", source_file="a.out"),
    Numbered(PROJECT, "Multi-file program"),
)
_COMMANDS = {PLAIN_TEXT: "/bin/cat text.txt", EXECUTABLE: "/bin/chmod +x a.out && ./a.out"}


def numbered(infos: Sequence[LanguageInfo]) -> dict[int, Numbered]:
    """All that there are, by number, in order."""
    there = {info.id: info for info in infos}
    found = list(_OTHERS)
    for identifier, name, file, numbers in _ROWS:
        if identifier in there:
            found += [Numbered(number, name.format(there[identifier].version), identifier, file) for number in numbers]
    return {item.number: item for item in sorted(found, key=lambda item: item.number)}
