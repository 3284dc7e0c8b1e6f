"""Packages of ICPC and Kattis, read from folders that each test writes."""

from __future__ import annotations

import os

import pytest

from sandbox.grader import packages
from sandbox.grader.packages import testdata
from sandbox.model.errors import ProblemError, RequestError
from tests.support.problem_files import cases, write

NEW = "problem_format_version: 2025-09\nname: Hello\nuuid: 1\n"
DRAFT = "problem_format_version: 2023-07-draft\nname: Hello\n"


@pytest.fixture
def load(tmp_path):
    def loaded(files):
        return packages.load(write(tmp_path / "hello", {**cases("secret/1"), **files}))

    return loaded


def refused(load, files, said):
    with pytest.raises(ProblemError) as caught:
        load(files)
    assert said in str(caught.value)


def group(problem, name):
    def below(found):
        yield found
        for inner in found.groups:
            yield from below(inner)

    return next(found for found in below(problem.tests) if found.name == name)


# problem.yaml


def test_a_small_legacy_package(load):
    problem = load({"problem.yaml": "", **cases("sample/1", "secret/2")})
    assert (problem.name, problem.format, problem.kinds) == ("hello", "legacy", {"pass-fail"})
    assert [case.name for case in problem.tests.all_cases()] == ["sample/1", "secret/1", "secret/2"]
    assert problem.validator.builtin == "default"
    assert problem.allow_file_writing
    assert problem.languages == ()
    assert problem.warnings == ()
    assert not problem.limits.time_is_given
    assert (problem.limits.ac_to_time_limit, problem.limits.time_limit_to_tle) == (5.0, 2.0)
    assert problem.tests.all_cases()[0].full_feedback
    assert not problem.tests.all_cases()[1].full_feedback


def test_limits_have_their_units(load):
    text = """limits:
  memory: 512
  output: 1
  code: 64
  compilation_time: 10
  compilation_memory: 100
  validation_time: 20
  validation_memory: 200
  validation_output: 2
  validation_passes: 3
  time_limit: 1.5
  time_resolution: 0.1
  time_multipliers: {ac_to_time_limit: 3, time_limit_to_tle: 2.5}
"""
    limits = load({"problem.yaml": NEW + text}).limits
    assert (limits.memory_bytes, limits.output_bytes, limits.code_bytes) == (512 << 20, 1 << 20, 64 << 10)
    assert (limits.compilation_s, limits.compilation_memory_bytes) == (10, 100 << 20)
    assert (limits.validation_s, limits.validation_memory_bytes, limits.validation_output_bytes) == (20, 200 << 20, 2 << 20)
    assert (limits.validation_passes, limits.time_s, limits.time_is_given) == (3, 1.5, True)
    assert (limits.time_resolution, limits.ac_to_time_limit, limits.time_limit_to_tle) == (0.1, 3, 2.5)


def test_legacy_multipliers(load):
    limits = load({"problem.yaml": "limits: {time_multiplier: 4, time_safety_margin: 3}"}).limits
    assert (limits.ac_to_time_limit, limits.time_limit_to_tle) == (4, 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limits: {memory: lots}", "problem.yaml: limits.memory is 'lots'; it has to be a number"),
        ("limits: {memory: 0}", "limits.memory is 0"),
        ("limits: {memory: -5}", "limits.memory is -5 MiB; it has to be more than 0 (at least one byte) and at most 1048576 MiB"),
        ("limits: {memory: 1048577}", "limits.memory is 1048577 MiB"),
        ("limits: {code: -5}", "limits.code is -5 KiB; it has to be more than 0 (at least one byte) and at most 1048576 KiB"),
        ("limits: {code: 0.0009}", "limits.code is 0.0009 KiB"),
        ("limits: {time_limit: -1}", "limits.time_limit is -1"),
        ("limits: 5", "limits has to be a mapping"),
        ("type: guessing", "type names 'guessing'"),
        ("type: [pass-fail, scoring]", "exclude each other"),
        ("type: [interactive, submit-answer]", "exclude each other"),
        ("validation: maybe", "has to begin with default or custom"),
        ("problem_format_version: 2099-01", "problem_format_version is '2099-01'"),
        ("name: [a]", "name has to be text"),
        ("languages: {a: b}", "languages has to be a sequence"),
        ("a: 1\na: 2", "problem.yaml:2: key 'a' is there twice"),
        ("- a", "has to be a mapping"),
    ],
)
def test_what_is_wrong_in_problem_yaml(load, text, said):
    refused(load, {"problem.yaml": text}, said)


def test_a_bad_package_is_the_callers_error():
    assert issubclass(ProblemError, RequestError)
    error = ProblemError("is wrong", file="problem.yaml", line=3, hint="repair it")
    assert str(error) == "problem.yaml:3: is wrong; repair it"


@pytest.mark.parametrize(
    ("name", "shown"), [("Hello", "Hello"), ("{sv: Hej, en: Hello}", "Hello"), ("{sv: Hej, da: Dav}", "Hej")]
)
def test_names_of_several_languages(load, name, shown):
    assert load({"problem.yaml": f"problem_format_version: 2025-09\nname: {name}"}).name == shown


def test_unknown_keys_are_named(load):
    problem = load({"problem.yaml": "limits: {memroy: 3}\nkeywords: a b\nlicence: x\nuuid: 1\n"})
    assert problem.warnings == (
        "problem.yaml: licence is not known and was ignored (did you mean 'license'?)",
        "problem.yaml: limits.memroy is not known and was ignored (did you mean 'memory'?)",
    )


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("type: scoring", {"scoring"}),
        ("type: [interactive, multi-pass]", {"interactive", "multi-pass", "pass-fail"}),
        ("type: submit-answer", {"submit-answer", "pass-fail"}),
        ("type: scoring interactive", {"scoring", "interactive"}),
    ],
)
def test_types(load, text, kinds):
    groups = {"data/secret/test_group.yaml": "max_score: 10"} if "scoring" in text else {}
    assert load({"problem.yaml": f"{NEW}{text}\n", **groups}).kinds == kinds


def test_file_writing_and_languages(load):
    problem = load({"problem.yaml": NEW + "languages: [c, cpp]\n"})
    assert not problem.allow_file_writing
    assert problem.languages == ("c", "cpp")
    assert load({"problem.yaml": NEW + "languages: all\nallow_file_writing: true\n"}).allow_file_writing


# DOMjudge


def test_domjudge_files(load):
    problem = load({"domjudge-problem.ini": "name = 'Find it'\ntimelimit='2.5'\n; a=b\n", ".timelimit": "9\n"})
    assert (problem.name, problem.limits.time_s, problem.limits.time_is_given) == ("Find it", 2.5, True)
    assert problem.dialect == "domjudge"


def test_domjudges_time_limit_alone(load):
    problem = load({"problem.yaml": "name: B", ".timelimit": "5\n"})
    assert (problem.name, problem.limits.time_s) == ("B", 5.0)
    problem = load({"problem.yaml": "name: B\nlimits: {time_limit: 2}", ".timelimit": "5\n"})
    assert problem.limits.time_s == 2.0
    assert "limits.time_limit 2 s goes before 5 s of .timelimit" in problem.warnings[0]


@pytest.mark.parametrize("text", ["soon", "0", "-1", "inf", "99999"])
def test_domjudges_time_limit_has_to_be_one(load, text):
    refused(load, {"problem.yaml": "", ".timelimit": text}, ".timelimit: the time limit is")


def test_domjudge_counts_accept_score_once_for_a_group(tmp_path):
    files = {
        "problem.yaml": "type: scoring", ".timelimit": "5",
        "data/testdata.yaml": "on_reject: continue\ngrader_flags: sum",
        "data/secret/testdata.yaml": "on_reject: continue\ngrader_flags: sum",
        "data/secret/small/testdata.yaml": "accept_score: 10",
        **cases("sample/1", "secret/small/1", "secret/small/2"),
    }  # fmt: skip
    problem = packages.load(write(tmp_path / "hello", files))
    small = group(problem, "secret/small")
    assert (small.score_aggregation, small.accept_score, small.on_reject) == ("min", 10, "break")
    assert group(problem, "sample").ignored


# validators and other programs


def test_custom_validators(load):
    problem = load({"problem.yaml": "validation: custom interactive\nvalidator_flags: a b", "output_validators/v/v.py": "1"})
    assert problem.kinds == {"pass-fail", "interactive"}
    assert (problem.validator.protocol, problem.validator.arguments, problem.validator.name) == ("ppf", ("a", "b"), "v")
    assert dict(problem.validator.source.files) == {"v.py": b"1"}


def test_a_single_file_with_its_header_is_one_validator(load):
    problem = load({"problem.yaml": "validation: custom", "output_validators/v.cc": "1", "output_validators/v.h": "2"})
    assert dict(problem.validator.source.files) == {"v.cc": b"1", "v.h": b"2"}


def test_scripts_make_the_folder_a_program(load):
    problem = load({"problem.yaml": "validation: custom", "output_validators/build": "1", "output_validators/a.py": "2"})
    assert set(problem.validator.source.files) == {"build", "a.py"}


def test_several_validators_are_a_guess_that_is_not_made(load):
    files = {"problem.yaml": "validation: custom", "output_validators/a.py": "1", "output_validators/b.py": "2"}
    refused(load, files, "output_validators: holds several programs (output_validators/a.py, output_validators/b.py)")


def test_a_missing_validator_is_known_as_such(load):
    problem = load({"problem.yaml": "validation: custom"})
    assert (problem.validator.source, problem.validator.builtin) == (None, "missing")
    assert "needs an output validator of its own and has none" in problem.warnings[0]
    assert load({"problem.yaml": NEW + "type: interactive"}).validator.builtin == "missing"


def test_the_default_validator_where_one_lies_unused(load):
    problem = load({"problem.yaml": "", "output_validators/a.py": "1"})
    assert problem.validator.source is None
    assert problem.warnings == ("output_validators: not used, as problem.yaml asks for the default validation",)


def test_new_packages_have_a_validator_by_having_one(load):
    problem = load({"problem.yaml": NEW, "output_validator/a.py": "1", "output_validator/lib/b.py": "2"})
    assert dict(problem.validator.source.files) == {"a.py": b"1", "lib/b.py": b"2"}


def test_other_programs(load):
    files = {
        "problem.yaml": NEW + "constants: {limit: 17, word: x}\n",
        "input_validators/a.py": "if n > {{limit}}: {{other}}",
        "input_validators/b/b.py": "2",
        "input_validators/c.ctd": "INT",
        "static_validator/s.py": "3",
        "include/default/x.txt": "{{word}}",
        "include/cpp/lib/y.h": "4",
        "data/secret/test_group.yaml": "args: ['{{limit}}']",
    }
    problem = load(files)
    assert [(found.name, dict(found.source.files)) for found in problem.input_validators] == [
        ("a.py", {"a.py": b"if n > 17: {{other}}"}),
        ("b", {"b.py": b"2"}),
    ]
    assert dict(problem.static_validator.source.files) == {"s.py": b"3"}
    assert problem.include == {"default": {"x.txt": b"x"}, "cpp": {"lib/y.h": b"4"}}
    assert problem.tests.all_cases()[0].arguments == ("17",)
    assert any("input_validators/c.ctd: c.ctd needs Checktestdata" in said for said in problem.warnings)


# test data


def test_everything_beside_a_case(load):
    files = {
        "problem.yaml": DRAFT, **cases("sample/1"),
        "data/secret/1.args": "-n 3\n", "data/secret/1.files/a/b.txt": "x", "data/secret/1.files/c": "y",
        "data/secret/1.hint": "think\n", "data/secret/1.desc": "largest\n", "data/secret/1.png": "",
        "data/sample/2.interaction": "<1\n", "data/sample/statement/1.in": "", "data/sample/1.in.statement": "",
        "data/secret/.hidden.in": "",
    }  # fmt: skip
    problem = load(files)
    sample, case = problem.tests.all_cases()
    assert sample.name == "sample/1"
    assert (case.arguments, case.hint, case.description) == (("-n", "3"), "think", "largest")
    assert {name: path.read_text() for name, path in case.files.items()} == {"a/b.txt": "x", "c": "y"}
    assert (case.input.read_text(), case.answer.read_text()) == ("secret/1\n", "secret/1\n")
    assert problem.warnings == ()


def test_settings_of_a_case_go_before_those_of_its_group(load):
    files = {
        "problem.yaml": NEW, **cases("sample/1", "secret/2"),
        "data/test_group.yaml": "output_validator_args: [float_tolerance, 1E-6]",
        "data/secret/test_group.yaml": "args: [a]\ninput_validator_args: {v: [x]}\nfull_feedback: true\n",
        "data/secret/2.yaml": "args: []\noutput_validator_args: [case_sensitive]\nhint: h\n"
        "description: d\ninput_validator_args: [y]\nodd: 1\n",
    }  # fmt: skip
    problem = load(files)
    sample, one, two = problem.tests.all_cases()
    assert sample.validator_arguments == one.validator_arguments == ("float_tolerance", "1E-6")
    assert (one.arguments, dict(one.input_arguments), one.full_feedback) == (("a",), {"v": ("x",)}, True)
    assert (two.arguments, two.validator_arguments, two.hint, two.description) == ((), ("case_sensitive",), "h", "d")
    assert dict(two.input_arguments) == {"": ("y",)}
    assert problem.warnings == ("data/secret/2.yaml: odd is not known and was ignored",)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"data/secret/2.in": ""}, "data/secret/2.in: has no answer file; add data/secret/2.ans"),
        ({"data/secret/empty/": ""}, "data/secret/empty: is a test group without test cases"),
        ({"data/secret/1/2.in": "", "data/secret/1/2.ans": ""}, "data/secret/1: is a folder and a test case"),
        ({"data/secret/testdata.yaml": "on_reject: maybe"}, "data/secret/testdata.yaml: on_reject is 'maybe'"),
        ({"data/secret/testdata.yaml": "grading: custom"}, "asks for the grader of the package, and graders/ has none"),
    ],
)
def test_what_is_wrong_in_test_data(tmp_path, files, said):
    base = {name: text for name, text in cases("secret/1").items() if not any(name in other for other in files)}
    root = write(tmp_path / "hello", {"problem.yaml": "", **base, **files})
    with pytest.raises(ProblemError) as caught:
        packages.load(root)
    assert said in str(caught.value)


def test_without_any_test_data(tmp_path):
    with pytest.raises(ProblemError, match="data: is missing"):
        packages.load(write(tmp_path / "a", {"problem.yaml": ""}))
    with pytest.raises(ProblemError, match="data: holds no test case"):
        packages.load(write(tmp_path / "b", {"problem.yaml": "", "data/secret/": "", "data/1.in": "", "data/1.ans": ""}))
    with pytest.raises(ProblemError, match="there is no such folder"):
        packages.load(tmp_path / "c")
    with pytest.raises(ProblemError, match="is no folder and no archive"):
        packages.load(write(tmp_path, {"x.txt": ""}) / "x.txt")


def test_samples_alone_judge_with_a_warning(tmp_path):
    problem = packages.load(write(tmp_path / "a", {"problem.yaml": "", **cases("sample/1")}))
    assert [case.name for case in problem.tests.all_cases()] == ["sample/1"]
    assert problem.warnings == ("data/secret: there are no secret test cases; only the samples judge",)


def test_answers_without_input_are_named(load):
    problem = load({"problem.yaml": "", "data/secret/2.ans": "", "data/secret/3.files/x": ""})
    assert problem.warnings == (
        "data/secret/2.ans: there is no 2.in, so it belongs to no test case",
        "data/secret/3.files: there is no 3.in, so it belongs to no test case",
    )


def test_a_name_that_begins_with_a_dash_is_one_like_others(load):
    names = ("secret/-2", "secret/--help", "secret/-group/1")
    problem = load({"problem.yaml": "", **cases(*names), "data/secret/-2.files/-x": ""})
    assert {case.name for case in problem.tests.all_cases()} == {"secret/1", *names}
    assert [list(case.files) for case in problem.tests.all_cases() if case.files] == [["-x"]]


def test_too_many_cases(load, monkeypatch):
    monkeypatch.setattr(testdata, "MAX_CASES", 1)
    refused(load, {"problem.yaml": "", **cases("secret/2")}, "holds 2 test cases; 1 are allowed")


# links and special files


def test_links_inside_are_followed_and_links_outside_are_not(tmp_path):
    root = write(tmp_path / "hello", {"problem.yaml": "", **cases("secret/1")})
    (root / "data/secret/2.in").symlink_to("1.in")
    (root / "data/secret/2.ans").symlink_to("1.ans")
    case = packages.load(root).tests.all_cases()[1]
    assert (case.name, case.input) == ("secret/2", (root / "data/secret/1.in").resolve())
    (root / "data/secret/2.ans").unlink()
    (root / "data/secret/2.ans").symlink_to("/etc/passwd")
    with pytest.raises(ProblemError, match=r"data/secret/2\.ans: leads out of the package"):
        packages.load(root)


def test_links_in_a_circle_and_pipes(tmp_path):
    root = write(tmp_path / "hello", {"problem.yaml": "", **cases("secret/1")})
    (root / "data/secret/again").symlink_to("..")
    with pytest.raises(ProblemError, match="is deeper than 16 folders"):
        packages.load(root)
    (root / "data/secret/again").unlink()
    os.mkfifo(root / "data/secret/2.in")
    with pytest.raises(ProblemError, match=r"data/secret/2\.in: is neither a plain file nor a folder"):
        packages.load(root)
    (root / "data/secret/2.in").unlink()
    (root / "data/secret/2.in").symlink_to("2.in")
    with pytest.raises(ProblemError, match=r"data/secret/2\.in: cannot be read: Too many levels of symbolic links$"):
        packages.load(root)


@pytest.mark.parametrize("name", ["data/secret/1.in", "data/secret/1.ans", "data/secret/1.desc", "submissions/accepted/a/b.py"])
def test_a_link_to_nothing_is_said_with_what_to_do(tmp_path, name):
    root = write(tmp_path / "hello", {"problem.yaml": "", **cases("secret/1"), "submissions/accepted/a/a.py": ""})
    (root / name).unlink(missing_ok=True)
    (root / name).symlink_to("gone")
    with pytest.raises(ProblemError) as caught:
        packages.load(root)
    said = f"{name}: is a link to 'gone', where there is nothing; put the file itself there, or remove the link"
    assert str(caught.value) == said


def test_a_submission_that_leads_outside(tmp_path):
    root = write(tmp_path / "hello", {"problem.yaml": "", **cases("secret/1"), "submissions/accepted/a/b.py": ""})
    (root / "submissions/accepted/a/c.py").symlink_to("/etc/passwd")
    with pytest.raises(ProblemError, match="leads out of the package"):
        packages.load(root)
