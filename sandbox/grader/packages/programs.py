"""The judge's programs of a package: validators, the grader, and files that are put beside each submission."""

from __future__ import annotations

import dataclasses

from sandbox.grader import scripts
from sandbox.grader.model import JudgeProgram, Source
from sandbox.grader.packages.testdata import Reading
from sandbox.model.errors import ProblemError

# A file with one of these ends is part of a program, or beside it, and no program by itself.
_NO_PROGRAM = (".h", ".hpp", ".hh", ".md", ".txt", ".yaml", ".yml", ".json", ".in", ".o", ".class", ".pyc", "~")
_NO_PROGRAM_NAMES = ("readme", "license", "makefile", "cmakelists")


def _is_program(name: str) -> bool:
    return not name.lower().endswith(_NO_PROGRAM) and not name.lower().startswith(_NO_PROGRAM_NAMES)


def found(reading: Reading, directory: str) -> list[Source]:
    """The programs in a folder such as output_validators/: each file, or each folder, is one.

    A `build` or `run` among the files makes the folder itself one program, and headers beside the only program belong to it.
    """
    folder = reading.folder
    names = folder.names(directory)
    files = [name for name in names if folder.is_file(f"{directory}/{name}")]
    folders = [name for name in names if name not in files and any(folder.walk(f"{directory}/{name}"))]
    sources = [name for name in files if _is_program(name)]
    whole = scripts.are_in(files) or (len(sources) == 1 and not folders and len(files) > 1)
    if whole:
        return [_program(reading, directory)]
    return [_program(reading, f"{directory}/{name}") for name in sorted([*sources, *folders])]


def _program(reading: Reading, name: str) -> Source:
    source = reading.folder.program(name, reading.constants)
    return dataclasses.replace(source, language=scripts.ID) if scripts.are_in(source.files) else source


def single(reading: Reading, directory: str) -> Source | None:
    """The program that is all of a folder such as output_validator/ (2025-09); None when there is no such folder."""
    folder = reading.folder
    names = folder.names(directory)
    if not names:
        return None
    if len(names) == 1 and folder.is_folder(f"{directory}/{names[0]}"):
        # The drafts kept the validator in a folder inside.
        return _program(reading, f"{directory}/{names[0]}")
    return _program(reading, directory)


def output_validator(reading: Reading, *, custom: bool | None, arguments: tuple[str, ...] = ()) -> JudgeProgram:
    """The output validator.

    Args:
        reading: the package.
        custom: whether the package asks for one of its own; None: it does so by having one.
        arguments: for every case.

    Raises:
        ProblemError: there are several; which one judges would be a guess.
    """
    directories = [name for name in ("output_validator", "output_validators") if reading.folder.names(name)]
    if custom is False:
        reading.warnings += [f"{name}: not used, as problem.yaml asks for the default validation" for name in directories]
        return JudgeProgram(arguments=arguments)
    sources: list[Source] = []
    for directory in directories:
        one = single(reading, directory) if directory == "output_validator" else None
        sources += [one] if one else found(reading, directory)
    if len(sources) > 1:
        names = ", ".join(source.origin for source in sources)
        raise ProblemError(f"holds several programs ({names})", file=directories[-1], hint="keep the one that shall judge")
    if not sources:
        if not custom:
            return JudgeProgram(arguments=arguments)
        directory = "output_validators" if reading.version == "legacy" else "output_validator"
        reading.warnings.append(f"{directory}: the package needs an output validator of its own and has none")
        return JudgeProgram(builtin="missing", protocol="ppf", arguments=arguments)
    return JudgeProgram(sources[0], builtin="", protocol="ppf", arguments=arguments, name=_name(sources[0]))


def input_validators(reading: Reading) -> tuple[JudgeProgram, ...]:
    """The input validators; those in languages of their own (.ctd, .viva) are named in a warning."""
    programs = []
    for directory in ("input_validators", "input_format_validators"):
        for source in found(reading, directory):
            special = [name for name in source.files if name.endswith((".ctd", ".viva"))]
            if special:
                reading.warnings.append(f"{source.origin}: {special[0]} needs Checktestdata or VIVA and is not run")
                continue
            programs.append(JudgeProgram(source, builtin="", protocol="ppf", name=_name(source)))
    return tuple(programs)


def _name(source: Source) -> str:
    return source.origin.rpartition("/")[2]


def included(reading: Reading) -> dict[str, dict[str, bytes]]:
    """Language or "default" → files of include/."""
    folder = reading.folder
    return {
        language: dict(folder.program(f"include/{language}", reading.constants).files)
        for language in folder.names("include")
        if folder.is_folder(f"include/{language}")
    }
