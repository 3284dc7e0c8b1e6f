"""In which language a source is, and where it starts."""

from __future__ import annotations

import re
import textwrap
import time

import pytest

from sandbox.grader import entrypoints, languages
from sandbox.grader.model import Source
from sandbox.model.errors import RequestError
from tests.support.clock import seconds

ALL = languages.load()


def source(files, language="", entry_point=""):
    if isinstance(files, str):
        files = dict.fromkeys(files.split(), "")
    return Source({name: textwrap.dedent(text).encode() for name, text in files.items()}, "here", language, entry_point)


def detected(files, **more):
    return entrypoints.detect(source(files, **more), ALL).id


def entry(language, files, **more):
    return entrypoints.find(source(files, **more), ALL[language])


@pytest.mark.parametrize(
    ("files", "language"),
    [
        ("a.c", "c"),
        ("a.c a.h", "c"),
        ("a.cpp a.h", "cpp"),
        ("a.cc b.cpp", "cpp"),
        ("a.C", "cpp"),
        ("a.py b.py data.txt", "python3"),
        ("a.py2", "python2"),
        ("A.java sub/B.java", "java"),
        ("a.kt", "kotlin"),
        ("a.js package.json", "javascript"),
        ("a.ts", "typescript"),
        ("a.rs", "rust"),
        ("a.go", "go"),
        ("a.cs", "csharp"),
        ("a.rb", "ruby"),
        ("a.php", "php"),
        ("a.pas", "pascal"),
        ("a.hs", "haskell"),
        ("a.ml", "ocaml"),
        ("a.sh", "bash"),
        ("a.lua", "lua"),
        ("a.plg", "prolog"),
        ("a.pm", "perl"),
    ],
)
def test_by_extension(files, language):
    assert detected(files) == language


@pytest.mark.parametrize(
    ("given", "usual"),
    [
        ("A.PY", "A.py"),
        ("a.CPP b.Cc a.H", "a.cpp b.cc a.H"),  # headers are included by the name that they have
        ("Main.JAVA sub/B.Java", "Main.java sub/B.java"),
        ("a.C", "a.C"),
        ("a.c B.C", "a.c B.C"),
        ("main.cpp PART.CPP", "main.cpp PART.CPP"),  # there is a file as it is written: the other one may be an include
        ("a.PY a.Py", "a.PY a.Py"),
        ("a.PY a.py/x", "a.PY a.py/x"),
        ("README.XYZ", "README.XYZ"),
        (".PY", ".PY"),
    ],
)
def test_capitals_in_extensions(given, usual):
    found = entrypoints.with_usual_extensions(source(given), ALL)
    assert list(found.files) == usual.split()


def test_an_entry_point_follows_its_file():
    found = entrypoints.with_usual_extensions(source("a.PY b.PY", entry_point="b.PY"), ALL)
    assert entrypoints.find(found, ALL["python3"]).main == "b.py"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("use strict;\nmy $n = <STDIN>;\nprint $n;\n", "perl"),
        ("print 1", "perl"),
        ("print 'a' . 1;\n", "perl"),
        ("#!/usr/bin/perl\n# :- x\n", "perl"),
        ("while (<>) {\n  chomp;\n  push @a, $_;\n}\n", "perl"),
        (":- initialization(main).\nmain :- read(X), Y is X * 2, write(Y), nl, halt.\n", "prolog"),
        ("main :-\n    write(hello),\n    nl.\n", "prolog"),
        ("fact(0, 1).\nfact(N, F) :- N > 0, M is N - 1, fact(M, G), F is N * G.\n", "prolog"),
        ("#!/usr/bin/swipl\nx.\n", "prolog"),
        ("likes(mary, wine).\n?- likes(mary, X).\n", "prolog"),
    ],
)
def test_pl_is_perl_or_prolog(text, language):
    assert detected({"a.pl": text}) == language


@pytest.mark.parametrize(
    ("first", "language"),
    [
        ("", "python3"),
        ("#!/usr/bin/env python3\n", "python3"),
        ("#!/usr/bin/pypy3\n", "pypy3"),
        ("#!/usr/bin/env pypy\n", "pypy3"),
        ("#!/usr/bin/env python\n", "python3"),
        ("#!/usr/bin/env python2\n", "python2"),
        ("#!/usr/bin/python2.7 -u\n", "python2"),
        ("#!/usr/bin/pypy2\n", "python2"),
    ],
)
def test_python_and_pypy(first, language):
    assert detected({"a.py": first + "print(1)\n"}) == language


def test_what_the_caller_says_wins():
    assert detected("a.py", language="pypy3") == "pypy3"
    assert detected("a.txt", language="C++") == "cpp"
    assert detected("a.txt", language="node") == "javascript"
    assert entrypoints.find(source("a.txt", language="python3"), ALL["python3"]).main == "a.txt"
    with pytest.raises(RequestError, match="no language 'klingon'; there are bash, c, cpp"):
        detected("a.py", language="klingon")


def test_no_language_and_several_languages():
    with pytest.raises(RequestError, match=r"no language has files such as \.xyz"):
        detected("a.xyz")
    with pytest.raises(
        RequestError, match=re.escape("files of several languages (C, PyPy 3, Python 2, Python 3); give the language")
    ):
        detected("a.c b.py")
    assert detected("a.c b.py c.py") == "python3"


JAVA = "public class {name} {{ public static void main(String[] args) {{ }} }}"


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("class A { public static void main(String[] a) {} }", ("", ["A"])),
        ("class A { static public final void main ( final String ... a ) {} }", ("", ["A"])),
        ("class A { public static void main(java.lang.String a[]) {} }", ("", ["A"])),
        ("package x . y;\nclass A { public static void main(String[] a) {} }", ("x.y", ["A"])),
        ("/* package no; */ package yes; class A { }", ("yes", [])),
        ("class A { static class B { public static void main(String[] a) {} } }", ("", ["A$B"])),
        ("class A { } class B { public static void main(String[] a) {} }", ("", ["B"])),
        ("class A { void f() { class B {} } public static void main(String[] a) {} }", ("", ["A"])),
        ("class A<T extends B> extends C<T> implements D { public static void main(String[] a) {} }", ("", ["A"])),
        ("record A(int x) { public static void main(String[] a) {} }", ("", ["A"])),
        ("enum A { X, Y { void f() {} }; public static void main(String[] a) {} }", ("", ["A"])),
        ("interface A { public static void main(String[] a) {} }", ("", ["A"])),
        ("interface A { static void main(String[] a) {} }", ("", ["A"])),  # what is in an interface is public
        ("@interface A {} class B { static void main(String[] a) {} }", ("", [])),
        ("interface A { class B { static void main(String[] a) {} } }", ("", [])),
        ("class A { // public static void main(String[] a) {}\n }", ("", [])),
        ("class A { /* public static void main(String[] a) {} */ }", ("", [])),
        ('class A { String s = "public static void main(String[] a) {"; }', ("", [])),
        ("class A { String s = \"\\\"{{{\"; char c = '{'; char d = '\\''; public static void main(String[] a) {} }", ("", ["A"])),
        ('class A { String s = """\n { " \\""" class Z { """; public static void main(String[] a) {} }', ("", ["A"])),
        ("class A { void main() { B.main(new String[0]); } }", ("", [])),
        ("class A { public void main(String[] a) {} }", ("", [])),
        ("class A { Object o = B.class; public static void main(String[] a) {} }", ("", ["A"])),
        ("class A { @Foo({1, 2}) public static void main(String[] a) {} }", ("", ["A"])),
        ("class A { int record = 1; void f() { int x = record + 1; } public static void main(String[] a) {} }", ("", ["A"])),
        ("class Ä { public static void main(String[] a) {} }", ("", ["Ä"])),
        ("}}}{{{ class", ("", [])),
    ],
)
def test_java_classes_with_a_main_method(text, classes):
    assert entrypoints.java_classes(text) == classes


def test_java_starts_in_the_class_with_main():
    files = {"Util.java": "class Util {}", "x/Start.java": "package x; " + JAVA.format(name="Start")}

    assert entry("java", files).main == "x.Start"
    assert set(entry("java", files).files) == set(files)


def test_java_prefers_main_and_top_level_classes():
    both = {"A.java": JAVA.format(name="A"), "Main.java": JAVA.format(name="Main")}
    nested = {"A.java": JAVA.format(name="A")[:-1] + "static class B { public static void main(String[] a) {} } }"}
    named = {"A.java": JAVA.format(name="A") + JAVA.format(name="B").replace("public class", "class")}

    assert entry("java", both).main == "Main"
    assert entry("java", nested).main == "A"
    assert entry("java", named).main == "A"


def test_java_without_main_or_with_too_many():
    assert entry("java", {"sub/A.java": "class A {}"}).main == "A"  # Java says what is missing, when it is started
    with pytest.raises(RequestError, match=r"several classes have a main method \(A, B\); say the entry point \(--entry-point, "):
        entry("java", {"A.java": JAVA.format(name="A"), "B.java": JAVA.format(name="B")})
    assert entry("java", {"A.java": JAVA.format(name="A"), "B.java": JAVA.format(name="B")}, entry_point="B").main == "B"


@pytest.mark.parametrize(
    ("name", "text", "renamed"),
    [
        ("sol.java", "import x.y;\n/* public class No */ public final class Solution { public class Inner {} }", "Solution.java"),
        ("in/a-b.java", "package p; class Other {}\n@Deprecated public record R(int x) {}", "in/R.java"),
        ("A.java", "public class A {}", "A.java"),
        ("a.java", "class Main { public static class B {} }", "a.java"),
        ("a.java", "class Main { public void f() {} } class B {}", "a.java"),
        ("a.txt", "public class B {}", "a.txt"),
        ("a.java", "public class", "a.java"),
        ("a.java", "public class / ../b {}", "a.java"),
        ("a.java", f"public class {'B' * 1000} {{}}", "a.java"),
    ],
)
def test_java_files_have_the_name_of_their_public_class(name, text, renamed):
    assert entrypoints.java_names({name: text.encode()}) == {renamed: text.encode()}


def test_no_java_file_takes_the_place_of_another():
    files = {"A.java": b"class A {}", "b.java": b"public class A {}"}
    assert entrypoints.java_names(files) == files


@pytest.mark.parametrize(
    ("name", "text", "main"),
    [
        ("hello.kt", "fun main() {}", "HelloKt"),
        ("a-b.kt", "package x.y\nfun main() {}", "x.y.A_bKt"),
        ("a.kt", '@file:JvmName("Start")\nfun main() {}', "Start"),
    ],
)
def test_kotlin_starts_in_the_class_of_the_file(name, text, main):
    assert entry("kotlin", {name: text}).main == main


@pytest.mark.parametrize(
    ("files", "main"),
    [
        ("a.py", "a.py"),
        ("x.py __main__.py main.py", "__main__.py"),
        ("x.py main.py", "main.py"),
        ("x.py sub/main.py", "x.py"),
        ({"x.py": "", "y.py": "if __name__ == '__main__':\n  pass\n"}, "y.py"),
        ("sub/x.py", "sub/x.py"),
        ({"common.py": "import os, sys", "validate.py": "from common import reject"}, "validate.py"),
        ({"a.py": "import b, c", "b.py": "import b", "c.py": "from . import b"}, "a.py"),
        ({"a.py": "", "my-tool.py": "importlib.import_module('a')\nimport a"}, "my-tool.py"),
    ],
)
def test_pythons_main_file(files, main):
    found = entry("python3", files)

    assert (found.main, found.files[0]) == (main, main)


def test_a_main_file_that_is_not_clear():
    with pytest.raises(RequestError, match=re.escape("which of x.py, y.py is the main file; name it __main__.py")):
        entry("python3", "x.py y.py")
    assert entry("python3", "x.py y.py", entry_point="y.py").main == "y.py"
    assert entry("python3", "x.py y.py", entry_point="y").main == "y.py"
    with pytest.raises(RequestError, match="entry point 'z' is not among its files"):
        entry("python3", "x.py y.py", entry_point="z")


def test_c_compiles_all_sources_and_no_headers():
    assert set(entry("c", "a.c b.c a.h").files) == {"a.c", "b.c"}


@pytest.mark.parametrize(
    "text",
    [
        "/*" * 100_000,
        '"' * 250_000,
        "class A {" * 30_000,
        "{" * 250_000,
        "'\"" * 120_000,
        "main (" * 40_000,
        "\\" * 250_000,
        "package a." * 25_000,
    ],
)
def test_hostile_java_takes_no_time(text):
    begun = time.thread_time()

    assert entrypoints.java_classes(text)[1] == []
    assert entrypoints.java_names({"a.java": text.encode()}).keys() <= {"a.java", "A.java"}
    assert time.thread_time() - begun < seconds(3)


@pytest.mark.parametrize(
    "text", ["use " + "a" * 250_000, "foo(" * 60_000, "my $" * 60_000, ("a" * 190 + "(\n") * 1300, " (x" * 80_000]
)
def test_hostile_lines_take_no_time(text):
    begun = time.thread_time()

    assert detected({"a.pl": text}) in ("perl", "prolog")
    assert time.thread_time() - begun < seconds(3)
