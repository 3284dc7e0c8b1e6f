"""A program in each language that this host has: compiled and run in sandboxes, and again from the store."""

from __future__ import annotations

import pytest

from sandbox.grader import building
from sandbox.grader.building import BuildFailure
from sandbox.grader.model import Limits, Source
from sandbox.model.result import Exited, Outcome
from tests.support.clock import SLOWNESS
from tests.support.forms import chosen
from tests.support.require import require, rust_toolchain

LIMITS = Limits(time_s=20 * SLOWNESS, memory_bytes=256 << 20, compilation_s=60 * SLOWNESS)
# Each reads a number, writes its double to stdout, and uses the first argument of the case as a greeting.
DOUBLE = {
    "c": ("a.c", '#include <stdio.h>\nint main(int c, char **v){int n;scanf("%d",&n);printf("%s %d\\n",v[1],n*2);}'),
    "cpp": ("a.cc", "#include <iostream>\nint main(int, char **v){int n;std::cin>>n;std::cout<<v[1]<<' '<<n*2<<std::endl;}"),
    "python3": ("a.py", "import sys\nprint(sys.argv[1], int(input()) * 2)"),
    "python2": ("a.py2", "import sys\nprint sys.argv[1], int(raw_input()) * 2"),
    "pypy3": ("a.py", "#!/usr/bin/pypy3\nimport sys\nprint(sys.argv[1], int(input()) * 2)"),
    "java": (
        "Hello.java",
        """package a.b; import java.util.*; public class Hello { public static void main(String[] a)
        { System.out.println(a[0] + " " + new Scanner(System.in).nextInt() * 2); } class Inner {} }""",
    ),
    "kotlin": ("hello.kt", 'fun main(a: Array<String>) { println("${a[0]} ${readLine()!!.toInt() * 2}") }'),
    "javascript": ("a.js", "console.log(process.argv[2], parseInt(require('fs').readFileSync(0, 'utf8')) * 2)"),
    "typescript": (
        "a.ts",
        "declare var process: any, require: any;\nconsole.log(process.argv[2], +require('fs').readFileSync(0) * 2)",
    ),
    "rust": (
        "a.rs",
        """use std::io; fn main() { let mut s = String::new(); io::stdin().read_line(&mut s).unwrap();
        println!("{} {}", std::env::args().nth(1).unwrap(), s.trim().parse::<i32>().unwrap() * 2); }""",
    ),
    "go": ("a.go", 'package main\nimport ("fmt"; "os")\nfunc main() { var n int; fmt.Scan(&n); fmt.Println(os.Args[1], n*2) }'),
    "csharp": (
        "a.cs",
        """using System; class A { static void Main(string[] a)
        { Console.WriteLine(a[0] + " " + int.Parse(Console.ReadLine()) * 2); } }""",
    ),
    "ruby": ("a.rb", 'puts "#{ARGV[0]} #{STDIN.gets.to_i * 2}"'),
    "perl": ("a.pl", 'use strict; my $n = <STDIN>; print "$ARGV[0] ", $n * 2, "\\n";'),
    "prolog": (
        "a.pl",
        """main :- current_prolog_flag(argv, [A|_]), read_line_to_string(user_input, S), number_string(N, S),
            M is N * 2, format('~w ~w~n', [A, M]).\n""",
    ),
    "php": ("a.php", '<?php echo $argv[1], " ", intval(fgets(STDIN)) * 2, "\\n";'),
    "pascal": ("a.pas", "program a; var n: longint; begin read(n); writeln(paramstr(1), ' ', n * 2); end."),
    "haskell": (
        "a.hs",
        """import System.Environment
main :: IO ()
main = do { [a] <- getArgs; n <- readLn; putStrLn (a ++ " " ++ show (n * 2 :: Int)) }""",
    ),
    "ocaml": ("a.ml", 'let () = Scanf.scanf " %d" (fun n -> Printf.printf "%s %d\\n" Sys.argv.(1) (n * 2))'),
    "bash": ("a.sh", 'read -r n; echo "$1 $((n * 2))"'),
    "lua": ("a.lua", 'print(arg[1], io.read("n") * 2)'),
}
BROKEN = {
    "c": "int main( {",
    "cpp": "int main() { return x; }",
    "python3": "print(1",
    "python2": "print(1",
    "pypy3": "#!/usr/bin/pypy3\nprint(1",
    "java": "public class Hello { public static void main(String[] a) { int x = y; } }",
    "javascript": "console.log(",
    "go": "package main\nfunc main() { x := }",
    "csharp": "class A { static void Main() { return x; } }",
    "ruby": "puts(",
    "perl": "use strict; my $n = (;",
    "php": "<?php echo (",
    "pascal": "program a; begin x := ; end.",
    "haskell": "main = putStrLn (1 ::",
    "ocaml": "let () = (",
    "bash": "if",
    "lua": "print(",
    "rust": "fn main() { x }",
    "kotlin": "fun main( {",
    "typescript": "let x: number = (",
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run(built, **options):
    with built.sandbox() as box:
        return building.start(built, box, stdin=b"21\n", arguments=("hello",), **options).wait()


@pytest.mark.parametrize("language", chosen(DOUBLE, "c cpp python3 java javascript ruby perl pascal bash lua"))
def test_a_program_is_compiled_run_and_kept(language):
    require("cgroup", f"language {language}")
    name, text = DOUBLE[language]
    source = Source({name: text.encode()}, name)

    built = building.build(source, LIMITS)
    assert not isinstance(built, BuildFailure), f"{built.reason}\n{built.output}"
    ended = run(built)
    again = building.build(source, LIMITS)

    assert (built.language.id, built.cached, again.cached) == (language, False, True)
    assert any(sign.isdigit() for sign in built.version)
    assert (ended.outcome, ended.exit) == (Outcome.EXITED, Exited(0)), ended.stderr
    # Mono complains on stdout where the caller's scheduling policy is an uncommon one.
    assert ended.stdout.split(b"\n")[-2].split() == [b"hello", b"42"]
    assert again.entry.files == built.entry.files


@pytest.mark.parametrize("language", chosen(BROKEN, "c python3 java perl"))
def test_a_program_that_is_none_is_a_compile_error_with_the_compilers_words(language):
    require("cgroup", f"language {language}")
    name = DOUBLE[language][0]

    failure = building.build(Source({name: BROKEN[language].encode()}, name), LIMITS)

    assert isinstance(failure, BuildFailure)
    assert failure.blame == "submission"
    assert failure.reason.startswith("the compiler ended with exit code ")
    assert failure.output.strip()
    assert failure.run is not None


def test_a_toolchain_elsewhere_is_one_file_of_the_user(tmp_path, monkeypatch):
    require("cgroup", "rust toolchain")
    place = tmp_path / "config" / "sandbox" / "languages"
    place.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (place / "rust.toml").write_text(f"""
        extends = "rust"
        [[mounts]]
        source = "{rust_toolchain()}"
        target = "/opt/rust"
        [version]
        command = ["/opt/rust/bin/rustc", "--version"]
        [compile]
        command = ["/opt/rust/bin/rustc", "-O", "--edition", "2021", "--crate-name", "program", "-o", "program", "{{main}}"]
    """)
    name, text = DOUBLE["rust"]

    built = building.build(Source({name: text.encode()}, name), LIMITS)

    assert not isinstance(built, BuildFailure), f"{built.reason}\n{built.output}"
    assert built.version.startswith("rustc 1.")
    assert run(built).stdout == b"hello 42\n"
