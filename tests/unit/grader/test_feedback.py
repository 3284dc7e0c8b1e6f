"""What a validator or checker answered."""

from __future__ import annotations

import pytest

from sandbox.grader import feedback
from sandbox.grader.model import Verdict
from sandbox.model.result import CollectedFile, Evidence, Exited, Outcome, Signaled
from tests.unit.cli.fakes import make_result


def ended(code, files=(), **changes):
    found = {f"feedback/{name}": CollectedFile(data, 0o644) for name, data in dict(files).items()}
    return make_result(exit=Exited(code), files=found, stdout=b"", **changes)


@pytest.mark.parametrize(("code", "verdict"), [(42, Verdict.AC), (43, Verdict.WA)])
def test_the_two_answers(code, verdict):
    found = feedback.read_ppf(ended(code, {"judgemessage.txt": b"seen\n", "teammessage.txt": b"hint"}))

    assert (found.verdict, found.message, found.team_message, found.score) == (verdict, "seen\n", "hint", None)


@pytest.mark.parametrize("code", [0, 1, 41, 44, 127, 139])
def test_any_other_exit_code_is_a_judge_error(code):
    found = feedback.read_ppf(ended(code, stderr=b"Traceback\nKeyError: 3\n"))

    assert found.verdict is Verdict.JE
    assert f"exit code {code}: KeyError: 3" in found.reason


@pytest.mark.parametrize("outcome", [item for item in Outcome if item not in (Outcome.EXITED, Outcome.SIGNALED)])
def test_a_limit_is_a_judge_error_even_when_the_exit_code_says_something(outcome):
    found = feedback.read_ppf(ended(42, outcome=outcome, evidence=(Evidence("deadline", "cpu_ns", 7),)))

    assert found.verdict is Verdict.JE
    assert "deadline: cpu_ns 7" in found.reason


def test_a_signal_is_a_judge_error_with_its_name():
    found = feedback.read_ppf(make_result(outcome=Outcome.SIGNALED, exit=Signaled(11)))

    assert found.verdict is Verdict.JE
    assert "SIGSEGV" in found.reason


@pytest.mark.parametrize(("text", "score"), [(b"12.5\n", 12.5), (b" 0 ", 0.0), (b"1e2", 100.0), (b".5", 0.5)])
def test_a_score(text, score):
    assert feedback.read_ppf(ended(42, {"score.txt": text})).score == score


@pytest.mark.parametrize(
    "text", [b"", b"1 2", b"10\n20\n", b"-1", b"nan", b"inf", b"1e999", b"0x10", b"1_0", b"9" * 1000, b"\xff"]
)
@pytest.mark.parametrize("name", ["score.txt", "score_multiplier.txt"])
def test_what_is_not_one_number_is_a_judge_error(name, text):
    found = feedback.read_ppf(ended(42, {name: text}))

    assert found.verdict is Verdict.JE
    assert name in found.reason


def test_a_multiplier_is_at_most_one():
    assert feedback.read_ppf(ended(42, {"score_multiplier.txt": b"0.25"})).multiplier == 0.25
    assert feedback.read_ppf(ended(42, {"score_multiplier.txt": b"1.01"})).verdict is Verdict.JE


def test_never_both_kinds_of_score():
    found = feedback.read_ppf(ended(42, {"score.txt": b"1", "score_multiplier.txt": b"1"}))

    assert found.verdict is Verdict.JE
    assert "both" in found.reason


def test_no_score_with_a_rejection_but_in_the_legacy_format():
    assert feedback.read_ppf(ended(43, {"score.txt": b"1"})).verdict is Verdict.JE
    assert feedback.read_ppf(ended(43, {"score.txt": b"1"}), score_on_reject=True).verdict is Verdict.WA


def test_another_pass_comes_with_an_acceptance_only():
    accepted = feedback.read_ppf(ended(42, {"nextpass.in": b"in", "state": b"kept"}), multi_pass=True)
    rejected = feedback.read_ppf(ended(43, {"nextpass.in": b"in"}), multi_pass=True)

    assert (accepted.next_pass, accepted.files) == (b"in", {"state": b"kept"})
    assert rejected.verdict is Verdict.JE
    assert feedback.read_ppf(ended(42, {"nextpass.in": b"in"})).next_pass is None


def test_feedback_that_cannot_be_taken_is_a_judge_error():
    found = feedback.read_ppf(ended(42, refused_files=(("feedback/judgemessage.txt", "a link"),)))

    assert found.verdict is Verdict.JE
    assert "judgemessage.txt" in found.reason


def test_messages_are_cut():
    found = feedback.read_ppf(ended(43, {"judgemessage.txt": b"x" * 1_000_000}))

    assert len(found.message) < 70_000
    assert "more bytes" in found.message


@pytest.mark.parametrize(
    ("code", "verdict"),
    [(0, "AC"), (1, "WA"), (2, "WA"), (3, "JE"), (4, "WA"), (5, "JE"), (6, "JE"), (8, "WA"), (42, "JE"), (139, "JE")],
)
def test_testlib(code, verdict):
    found = feedback.read_testlib(ended(code, stderr=b"wrong answer 3rd number differs"))

    assert (found.verdict.value, found.message) == (verdict, "wrong answer 3rd number differs")


@pytest.mark.parametrize(("said", "score"), [(b"points 12.5 good", 12.5), (b"points 0", 0.0), (b"note\npoints 7\n", 7.0)])
def test_testlib_points(said, score):
    found = feedback.read_testlib(ended(7, stderr=said))

    assert (found.verdict, found.score) == (Verdict.PAC, score)


@pytest.mark.parametrize("said", [b"", b"points", b"points -3", b"good 7"])
def test_testlib_points_without_a_number(said):
    assert feedback.read_testlib(ended(7, stderr=said)).verdict is Verdict.JE


@pytest.mark.parametrize(("code", "verdict"), [(0, "AC"), (1, "WA"), (2, "JE")])
def test_dmoj(code, verdict):
    assert feedback.read_dmoj(ended(code)).verdict.value == verdict
