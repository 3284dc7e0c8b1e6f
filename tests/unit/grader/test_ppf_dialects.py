"""Packages as different tools write them: quotes in flags, entry points, constants."""

from __future__ import annotations

import pytest

from sandbox.grader import packages
from sandbox.model.errors import ProblemError
from tests.support.problem_files import cases, write

NEW = "problem_format_version: 2025-09\n"


@pytest.fixture
def load(tmp_path):
    return lambda files: packages.load(write(tmp_path / "hello", {**cases("secret/1"), **files}))


@pytest.mark.parametrize(
    ("flags", "arguments"),
    [
        ("--secret --message 'of two words' x", ("--secret", "--message", "of two words", "x")),
        ("float_tolerance  1e-6", ("float_tolerance", "1e-6")),
        ("it's", ("it's",)),
        (r"a\d\"+ #b", (r"a\d\"+", "#b")),
    ],
)
def test_quotes_in_flags_make_one_argument(load, flags, arguments):
    # a YAML string in a block: it is taken as it is written
    files = {"data/testdata.yaml": f"output_validator_flags: |\n  {flags}\ninput_validator_flags: |\n  {flags}\n"}
    (case,) = load({"problem.yaml": "validation: custom\n", "output_validators/a.py": "1", **files}).tests.all_cases()
    assert case.validator_arguments == arguments
    assert case.input_arguments == {"": arguments}
    problem = load({"problem.yaml": f"validator_flags: |\n  {flags}\n"})
    assert problem.validator.arguments == arguments


def test_entry_points_that_domjudge_names(load):
    files = {
        "problem.yaml": "",
        "submissions.json": '{"submissions/accepted/two/": {"entry_point": "b.py", "x": []}, "submissions/accepted/c.py": 1}',
        "submissions/accepted/two/a.py": "",
        "submissions/accepted/two/b.py": "",
        "submissions/accepted/c.py": "",
    }
    assert {name: source.entry_point for name, source, _ in load(files).submissions} == {
        "accepted/c.py": "",
        "accepted/two": "b.py",
    }


def test_constants_with_several_forms(load):
    files = {
        "problem.yaml": NEW + "constants: {N: {value: 5000, tex: '5\\,000'}, M: 6}\n",
        "input_validators/a.py": "{{N}} {{N.value}} {{N.tex}} {{N.other}} {{M}} {{M.value}}",
    }
    (found,) = load(files).input_validators
    assert found.source.files["a.py"] == rb"5000 5000 5\,000 {{N.other}} 6 6"
    with pytest.raises(ProblemError, match=r"constants\.N has no `value`"):
        load({"problem.yaml": NEW + "constants: {N: {tex: 'x'}}\n"})


def test_constants_cannot_make_a_package_large(load):
    """A long value that is used often, and values that name each other: what a constant holds is not looked at again."""
    long = "problem_format_version: 2025-09\nconstants: {a: '%s'}\n" % ("x" * 400_000)
    with pytest.raises(ProblemError, match=r"input_validators/a\.py: becomes larger than 32768 KiB by its constants"):
        load({"problem.yaml": long, "input_validators/a.py": "{{a}}" * 1_000_000})
    with pytest.raises(ProblemError, match=r"data/secret/test_group\.yaml: becomes larger than 4096 KiB by its constants"):
        load(
            {
                "problem.yaml": long,
                "input_validators/a.py": "",
                "data/secret/test_group.yaml": f"description: '{'{{a}}' * 9_000}'\n",
            }
        )
    nested = (
        NEW + "constants: {" + ", ".join(f"c{n}: '{{{{c{n + 1}}}}}{{{{c{n + 1}}}}}'" for n in range(40)) + ", c40: x, e: ''}\n"
    )
    files = {"input_validators/a.py": "{{e}}{{c0}}{{e}}", "data/secret/test_group.yaml": "description: '{{c0}}'\n"}
    problem = load({"problem.yaml": nested, **files})
    assert problem.input_validators[0].source.files["a.py"] == b"{{c1}}{{c1}}"
    assert problem.tests.all_cases()[0].description == "{{c1}}{{c1}}"


def test_a_validator_may_need_no_answers(load):
    files = {"output_validators/v.py": "1", "data/secret/2.in": ""}
    problem = load({"problem.yaml": "validation: custom interactive\n", **files})
    assert [case.answer is None for case in problem.tests.all_cases()] == [False, True]
    assert problem.warnings == ("data/secret/2.in: has no answer file; the validator of the package is given an empty one",)
    with pytest.raises(ProblemError, match=r"2\.in: has no answer file"):
        load({"problem.yaml": "validation: default\n", **files})


def test_cases_beside_groups_have_a_meaning_where_nothing_is_scored(load):
    files = cases("secret/group/a", "secret/group/b")
    problem = load({"problem.yaml": NEW, **files})
    assert [case.name for case in problem.tests.all_cases()] == ["secret/1", "secret/group/a", "secret/group/b"]
    assert problem.warnings == ("data/secret: has test cases and groups side by side; it may have one or the other",)
    with pytest.raises(ProblemError, match="side by side"):
        load({"problem.yaml": NEW + "type: scoring\n", **files})
