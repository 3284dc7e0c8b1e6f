from __future__ import annotations

import pytest

from sandbox.grader.packages import yamls
from sandbox.grader.packages.settings import MAX_WARNINGS, Settings, number, shortened
from sandbox.model.errors import ProblemError


def parse(text):
    return yamls.parse(text.encode(), "a.yaml")


def test_scalars_stay_what_was_written():
    text = "a: no\nb: 1e-6\nc: 2025-09\nd: 007\ne: '~'\nf: ~\ng:\nh: 2025-09-01\ni: 1_000\n"
    assert parse(text) == {
        "a": "no", "b": "1e-6", "c": "2025-09", "d": "007", "e": "~", "f": None, "g": None, "h": "2025-09-01", "i": "1_000",
    }  # fmt: skip


def test_lists_mappings_and_nothing():
    assert parse("- a\n- [b, {c: d}]\n") == ["a", ["b", {"c": "d"}]]
    assert parse("") is None
    assert parse("# nothing\n") is None
    assert yamls.mapping(b"", "a.yaml") == {}


def test_aliases_and_merges():
    assert parse("a: &x {b: c}\nd: *x\n") == {"a": {"b": "c"}, "d": {"b": "c"}}
    assert parse("a: &x {b: c, e: f}\nd: {<<: *x, b: own}\n")["d"] == {"b": "own", "e": "f"}
    assert parse("a: &x {b: 1}\nc: &y {b: 2, d: 3}\ne: {<<: [*x, *y]}\n")["e"] == {"b": "1", "d": "3"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "a.yaml:3: key 'a' is there twice"),
        ("a: [1\n", "is not YAML"),
        ("a: &x [*x]\n", "stands for nothing that is complete"),
        ("a: *nothing\n", "stands for nothing"),
        ("a: 1\n---\nb: 2\n", "a.yaml:2: begins a second document"),
        ("? [a, b]\n: c\n", "a key has to be text"),
        ("a: {<<: 3}\n", "<< needs a mapping"),
        ("[" * 40 + "]" * 40, "more than 32 levels"),
        ("a: \x01\n", "is not YAML"),
    ],
)
def test_bad_text_is_refused_with_file_and_line(text, said):
    with pytest.raises(ProblemError) as caught:
        parse(text)
    assert said in str(caught.value)
    assert str(caught.value).startswith("a.yaml")


def test_an_alias_bomb_is_counted_not_built():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(ProblemError, match="more than 50000 values"):
        parse("\n".join(lines))


def test_a_tower_of_aliases_is_too_deep():
    lines = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 40)]
    with pytest.raises(ProblemError, match="more than 32 levels"):
        parse("\n".join(lines))


def test_a_bomb_of_merges_is_counted():
    wide = "{" + ", ".join(f"k{i}: v" for i in range(1000)) + "}"
    text = f"a: &a {wide}\nb:\n" + "".join("- {<<: *a}\n" for _ in range(100))
    with pytest.raises(ProblemError, match="more than 50000 values"):
        parse(text)


def test_size_and_encoding():
    with pytest.raises(ProblemError, match="is larger than 512 KiB"):
        yamls.parse(b"a" * (yamls.MAX_BYTES + 1), "a.yaml")
    with pytest.raises(ProblemError, match="is not UTF-8"):
        yamls.parse(b"a: \xff", "a.yaml")
    assert yamls.parse(b"\xef\xbb\xbfa: 1", "a.yaml") == {"a": "1"}


def test_tags_make_no_objects(tmp_path):
    mark = tmp_path / "mark"
    value = parse(f"a: !!python/object/apply:os.system ['touch {mark}']\n")
    assert value == {"a": [f"touch {mark}"]}
    assert not mark.exists()


def test_a_file_of_settings_has_to_be_a_mapping():
    with pytest.raises(ProblemError, match="has to be a mapping"):
        yamls.mapping(b"- a\n", "a.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1.0), ("-.5e1", -5.0), ("1.", 1.0), ("+inf", float("inf")), ("-inf", float("-inf"))],
)
def test_numbers(text, value):
    assert number(text) == value


@pytest.mark.parametrize("text", ["", "nan", "0x10", "1_000", "1e", "e5", "--1", "1e999", "9" * 101, "\u0661"])
def test_no_numbers(text):
    assert number(text) is None


def settings(**values):
    return Settings(values, "a.yaml", "limits.")


def test_settings_have_types():
    found = settings(a="x", b="2.5", c="3", d="yes", e=["x", "y"], f={"g": "h"}, n=None)
    assert (found.text("a"), found.number("b", 0), found.whole("c", 0), found.flag("d", False)) == ("x", 2.5, 3, True)
    assert found.strings("e") == ("x", "y")
    assert found.strings("a") == ("x",)
    assert found.below("f").text("g") == "h"
    assert found.text("n", "default") == "default"
    assert "n" not in found
    assert found.words("missing") == ()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda s: s.text("list"), "limits.list has to be text"),
        (lambda s: s.number("word", 0), "limits.word is 'x'; it has to be a number"),
        (lambda s: s.number("inf", 0), "has to be a number"),
        (lambda s: s.number("half", 0, low=1), "it has to be from 1 to"),
        (lambda s: s.whole("half", 0), "has to be a whole number"),
        (lambda s: s.flag("word", False), "has to be true or false"),
        (lambda s: s.strings("map"), "has to be a sequence of strings"),
        (lambda s: s.strings("word", one=False), "has to be a sequence of strings"),
        (lambda s: s.below("word"), "has to be a mapping"),
        (lambda s: s.choice("word", ("a", "b"), "a"), "has to be one of a, b"),
    ],
)
def test_settings_of_wrong_types(call, said):
    with pytest.raises(ProblemError) as caught:
        call(settings(list=["a"], word="x", inf="inf", half="0.5", map={"a": "b"}))
    assert said in str(caught.value)


def test_what_nobody_asked_for_is_named():
    found = settings(memory="1", memroy="2", uuid="3")
    found.number("memory", 0)
    assert found.unknown(("uuid",)) == ["a.yaml: limits.memroy is not known and was ignored (did you mean 'memory'?)"]
    assert found.unknown(among=("uuid",)) == ["a.yaml: limits.uuid is not known and was ignored"]


def test_a_flood_of_warnings_is_cut():
    assert shortened(["a", "b", "a"]) == ("a", "b")
    cut = shortened([str(number) for number in range(1000)])
    assert (len(cut), cut[-1]) == (MAX_WARNINGS + 1, "… and 900 more warnings")
