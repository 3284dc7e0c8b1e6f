"""Language files: what they may say, how they extend each other, and what a host has of them."""

from __future__ import annotations

import re

import pytest

from sandbox.grader import languages
from sandbox.grader.languages import SHIPPED
from sandbox.model.errors import RequestError
from tests.support.require import LANGUAGES

GOOD = """
name = "Toy"
extensions = [".toy"]
keep_sources = true
[run]
command = ["toy", "{program}/{main}"]
"""


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "sandbox" / "languages").mkdir(parents=True)
    (tmp_path / "more").mkdir()
    return tmp_path


def write(place, name, text):
    (place / f"{name}.toml").write_text(text)


def refused(places, text, message):
    write(places / "more", "toy", text)
    with pytest.raises(RequestError) as caught:
        languages.load([places / "more"])
    assert str(places / "more" / "toy.toml") in str(caught.value)
    assert re.search(message, str(caught.value)), str(caught.value)


def test_every_shipped_file_is_valid_and_tested_for():
    assert sorted(languages.load()) == sorted(path.stem for path in SHIPPED.glob("*.toml")) == sorted(LANGUAGES)


def test_a_language_is_one_more_file(places):
    write(places / "config" / "sandbox" / "languages", "toy", GOOD)

    found = languages.load()["toy"]

    assert (found.id, found.name, found.run.profile, found.lineage) == ("toy", "Toy", "native", ())
    assert found.origin.endswith("languages/toy.toml")


def test_extends_merges_tables_and_replaces_the_rest(places):
    write(places / "more", "mine", 'extends = "java"\nname = "My Java"\n[run]\nprofile = "strict"\n[overhead]\npids = 7\n')

    java, mine = (languages.load([places / "more"])[name] for name in ("java", "mine"))

    assert (mine.run.profile, mine.run.command, mine.compile) == ("strict", java.run.command, java.compile)
    assert (mine.overhead.pids, mine.overhead.memory, mine.lineage) == (7, java.overhead.memory, ("java",))
    assert mine.fingerprint != java.fingerprint


def test_a_file_may_extend_the_shipped_one_of_its_name(places):
    write(places / "more", "cpp", 'extends = "cpp"\n[compile]\ncommand = ["g++", "-o", "program", "{sources}"]\n')

    found = languages.load([places / "more"])["cpp"]

    assert found.compile.command == ("g++", "-o", "program", "{sources}")
    assert (found.compile.artefacts, found.name, found.lineage) == (("program",), "C++", ())


def test_the_fingerprint_is_about_what_is_said(places):
    write(places / "more", "toy", GOOD)
    one = languages.load([places / "more"])["toy"]
    write(places / "config" / "sandbox" / "languages", "toy", GOOD + "\n# the same, elsewhere\n")
    other = languages.load()["toy"]

    assert (one.fingerprint, one.origin) == (other.fingerprint, one.origin)
    assert one.origin != other.origin


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = 1 2\n", "is not TOML: .*line 1"),
        (GOOD.replace('name = "Toy"', ""), "name: Field required"),
        (GOOD.replace("[run]", "colour = 1\n[run]"), "colour: there is no such key"),
        (GOOD.replace("{main}", "{mian}"), r"run.command: \{mian\} is not known; there are \{sources\}"),
        (GOOD.replace("{program}/{main}", "-I{sources}"), "becomes several words"),
        (GOOD.replace('".toy"', '"toy"'), "extensions: an extension is such as '.py', not 'toy'"),
        (GOOD.replace('[".toy"]', "[]"), "a language has at least one"),
        (GOOD.replace('["toy", "{program}/{main}"]', '"toy x"'), "run.command: expected a list of words"),
        (GOOD.replace('["toy", "{program}/{main}"]', "[]"), "at least one word"),
        (GOOD.replace("keep_sources = true", ""), "nothing is left to run"),
        (GOOD.replace("keep_sources = true", 'keep_sources = true\nshebang = "("'), "shebang: '\\(' is no regular expression"),
        (GOOD + '[overhead]\nmemory = "many"\n', "overhead.memory"),
        (GOOD + '[[mounts]]\nsource = "a/../b"\n', "mounts.0.source: expected a clean absolute path"),
        (GOOD.replace("keep_sources", 'id = "x"\nkeep_sources'), "id: cannot be said"),
        ('extends = "nothing"\n' + GOOD, "there is no language 'nothing'"),
        ("extends = 3\n" + GOOD, "extends: expected the id"),
        ('extends = "toy"\n' + GOOD, "there is no language 'toy'"),
        ("x = '" + "y" * 70_000 + "'", "at most 64 KiB"),
    ],
)
def test_a_bad_file_is_named_with_the_key(places, text, message):
    refused(places, text, message)


def test_files_that_extend_each_other_in_a_circle(places):
    write(places / "more", "one", 'extends = "two"\n')
    write(places / "more", "two", 'extends = "one"\n')

    with pytest.raises(RequestError, match="more than 8 files extend each other: two → one"):
        languages.load([places / "more"])


def test_a_name_that_is_no_id(places):
    write(places / "more", "My Toy", GOOD)

    with pytest.raises(RequestError, match="'My Toy' is no id"):
        languages.load([places / "more"])


def test_what_this_host_lacks_is_named(places):
    write(places / "more", "toy", GOOD + '[[mounts]]\nsource = "/nowhere/at/all"\n')

    found = languages.available([languages.load([places / "more"])["toy"]])[0]

    assert (dict(found.programs), found.missing) == ({}, ("toy", "/nowhere/at/all"))


def test_a_toolchain_that_is_mounted_is_found_where_it_is(places):
    tool = places / "chain" / "bin" / "toy"
    tool.parent.mkdir(parents=True)
    tool.write_text("")
    tool.chmod(0o755)
    text = GOOD.replace('"toy",', '"/opt/toy/bin/toy",') + f'[[mounts]]\nsource = "{places / "chain"}"\ntarget = "/opt/toy"\n'
    write(places / "more", "toy", text)

    found = languages.available([languages.load([places / "more"])["toy"]])[0]

    assert (dict(found.programs), found.missing) == ({"/opt/toy/bin/toy": str(tool)}, ())


def test_file_names_are_never_options():
    names = ["-o.c", "@x.c", "a.c", "_b.c", "ä.c", ".c.c", "-fplugin=x.c"]

    words = languages.expand(["cc", "{sources}"], {}, names)

    assert words == ("cc", "./-o.c", "./@x.c", "a.c", "_b.c", "ä.c", "./.c.c", "./-fplugin=x.c")


def test_get_by_id_name_or_alias():
    assert {languages.get(name).id for name in ("cpp", "C++", "c++", "cxx")} == {"cpp"}
    with pytest.raises(RequestError, match="there is no language 'x'; there are"):
        languages.get("x")
