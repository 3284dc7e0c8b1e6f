"""Building and running: hostile compilations, what a program sees, its limits, and that all of it is cached."""

from __future__ import annotations

import os
import threading
from dataclasses import replace

import pytest

from sandbox.grader import boxes, building, verdicts
from sandbox.grader.building import BuildFailure
from sandbox.grader.model import Limits, Source, Verdict
from sandbox.model.errors import RequestError
from sandbox.model.result import Exited, Outcome
from tests.support.clock import SLOWNESS
from tests.support.require import requires

pytestmark = requires("cgroup")
MIB = 1 << 20
LIMITS = Limits(
    time_s=10 * SLOWNESS, memory_bytes=128 * MIB, compilation_s=5 * SLOWNESS, compilation_memory_bytes=256 * MIB, output_bytes=MIB
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def source(name, text, **more):
    return Source({name: text.encode(), **{key.replace("_", "."): value.encode() for key, value in more.items()}}, name)


def build(name, text, limits=LIMITS, **options):
    built = building.build(source(name, text), limits, **options)
    assert not isinstance(built, BuildFailure), f"{built.reason}\n{built.output}"
    return built


def python(text, limits=LIMITS, **options):
    return build("a.py", text, limits, **options)


def run(built, *, writable=True, staged=None, **options):
    with built.sandbox(writable=writable, files=staged) as box:
        return building.start(built, box, **options).wait()


def fails(name, text, limits=LIMITS, **options):
    failure = building.build(source(name, text), limits, **options)
    assert isinstance(failure, BuildFailure)
    return failure


@pytest.mark.requires("language c", "language cpp")
@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.c", '#include "/dev/zero"\nint main(){}', "compiler"),
        ("a.c", '#include "/etc/shadow"\nint main(){}', "compiler ended with exit code"),
        ("a.c", "int main(){}\nchar x[1 << 30] = {1};\nchar y[1 << 30] = {1};", "compiler"),
        (
            "a.cc",
            "template<int N> struct A { A<N * 2> a; A<N * 2 + 1> b; };\ntemplate<> struct A<1 << 30> {};\nA<1> a;\nint main(){}",
            "compiler",
        ),
        ("a.c", "int x;", "compiler ended with exit code 1"),
    ],
)
def test_a_hostile_compilation_is_a_compile_error(name, text, reason):
    failure = fails(name, text)

    assert failure.blame == "submission"
    assert reason in failure.reason
    assert len(failure.output) <= 65_600


@pytest.mark.requires("language cpp")
def test_a_compiler_that_takes_too_long_says_so():
    text = "constexpr long f(long n) { long s = 0; for (long i = 0; i < n; ++i) s += i % 7; return s; }\n"
    flood = "".join(f"constexpr long v{n} = f(4000000);\n" for n in range(500))

    failure = fails("a.cc", text + flood + "int main(){}", Limits(compilation_s=1.0))

    assert failure.run.outcome is Outcome.CPU_TIME
    assert "s of CPU time, 1 s are allowed" in failure.reason


@pytest.mark.requires("language cpp")
def test_a_compiler_that_eats_memory_says_so():
    text = "#include <array>\ntemplate<int N> struct A { std::array<A<N - 1>, 2> a; };\ntemplate<> struct A<0> { char x = 1; };\n"
    big = text + "constexpr A<25> a;\nint main() { return a.a[0].a[0].a[1].a.size(); }"

    failure = fails("a.cc", big, Limits(compilation_memory_bytes=64 * MIB, compilation_s=60 * SLOWNESS))

    assert failure.run.outcome is Outcome.MEMORY
    assert failure.reason == "the compiler used up its memory of 64 MiB"


def test_size_language_and_entry_are_refused_before_any_compilation():
    big = fails("a.py", "#" * 200_000)
    denied = fails("a.py", "print(1)", allowed=("cpp", "java"))
    unknown = fails("a.xyz", "")
    two = building.build(source("a.py", "", b_py=""), LIMITS)

    assert big.reason == "the source has 200000 bytes, 131072 are allowed"
    assert denied.reason == "Python 3 is not allowed for this problem; allowed are cpp, java"
    assert "no language has files such as .xyz" in unknown.reason
    assert "not clear which" in two.reason
    assert all(failure.blame == "submission" and failure.run is None for failure in (big, denied, unknown, two))


def test_a_compiler_that_is_not_there_is_the_judges_failure():
    from sandbox.grader import languages

    known = dict(languages.load())
    for name in ("c", "python2"):
        lacking = known[name].run.model_copy(update={"command": ("no-such-program",)})
        known[name] = known[name].model_copy(update={"run": lacking, "compile": None, "keep_sources": True})
    said = "cannot be used on this host: no-such-program is not there; install it, or say that the program is in another language"

    failure = fails("a.c", "int main(){}", languages=known)
    old = fails("a.py", "#!/usr/bin/env python2\nprint(1)", languages=known)

    assert (failure.blame, failure.reason) == ("judge", f"C {said}")
    assert (old.blame, old.language, old.reason) == ("judge", "python2", f"Python 2 {said}")


def test_the_store_knows_sources_includes_and_main(cache):
    text = "import helper\nprint(helper.x)"
    one = python(text, include={"python3": {"helper.py": b"x = 1"}})
    other = python(text, include={"default": {"helper.py": b"x = 2"}})
    again = python(text, include={"python3": {"helper.py": b"x = 1"}, "default": {"helper.py": b"x = 3"}})

    assert [run(built).stdout for built in (one, other, again)] == [b"1\n", b"2\n", b"1\n"]
    assert (one.cached, other.cached, again.cached) == (False, False, True)
    assert again.entry.files == one.entry.files != other.entry.files
    assert cache in one.entry.files.parents


@pytest.mark.requires("language c")
def test_warnings_are_told_of_a_program_from_the_store_too():
    text = '#warning "mind the gap"\nint main(void) { return 0; }\n'
    one, again = build("a.c", text), build("a.c", text)

    assert (one.cached, again.cached) == (False, True)
    assert "mind the gap" in one.output
    assert again.output == one.output


def test_an_include_wins_over_a_file_of_the_submission():
    files = {"main.py": b"import grader", "grader.py": b"print('mine')"}

    built = building.build(Source(files, "s"), LIMITS, include={"python3": {"grader.py": b"print('the judge')"}})

    assert run(built).stdout == b"the judge\n"


@pytest.mark.requires("language c")
def test_includes_are_compiled_along_and_headers_are_found():
    text = '#include "lib.h"\n#include <stdio.h>\nint main(){ printf("%d\\n", twice(21)); }'

    built = build("a.c", text, include={"c": {"lib.h": b"int twice(int);", "lib.c": b"int twice(int n) { return 2 * n; }"}})

    assert run(built).stdout == b"42\n"


def test_a_spoiled_artefact_is_made_anew():
    built = python("print(1)")
    path = built.entry.files / "a.py"
    path.chmod(0o644)
    path.write_text("print(2)")
    path.chmod(0o444)
    boxes.close()  # whoever uses the entry keeps it
    del built

    again = python("print(1)")

    assert (again.cached, run(again).stdout) == (False, b"1\n")


LOOK = """
import os
print(sorted(os.listdir("/program")), sorted(os.listdir(".")), os.getcwd())
for path in ("/program/x", "x"):
    try:
        open(path, "w").close()
        print("wrote", path)
    except OSError as error:
        print(error.strerror, path)
print(sorted(name for name in os.listdir("/") if name in ("root", "home", "srv", "program", "case")))
"""


def test_a_program_sees_its_files_read_only_and_an_empty_directory():
    said = run(python(LOOK), files={"data.txt": b"1"}).stdout.decode().splitlines()

    assert said == ["['a.py'] ['data.txt'] /work", "Read-only file system /program/x", "wrote x", "['program']"]


def test_a_working_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "data.in").write_bytes(b"1")

    said = run(python(LOOK), writable=False, staged={"data.txt": tmp_path / "data.in"}).stdout.decode().splitlines()

    assert said == [
        "['a.py'] ['data.txt'] /case",
        "Read-only file system /program/x",
        "Read-only file system x",
        "['case', 'program']",
    ]


def test_files_of_a_case_that_cannot_be_read(tmp_path):
    built = python("print(1)")

    with (
        pytest.raises(RequestError, match="the file of the case cannot be read: No such file"),
        built.sandbox(writable=False, files={"x": tmp_path / "nothing"}),
    ):
        pass
    with pytest.raises(RequestError, match="go to `start`"), built.sandbox(files={"x": tmp_path / "nothing"}):
        pass


def verdict(built, **options):
    return verdicts.of_run(run(built, **options), built.limits, language=built.language)


def test_limits_of_the_problem_are_those_of_the_run():
    assert verdict(python("while True: pass"), cpu_s=0.3)[0] is Verdict.TLE
    found = verdict(python("import time; time.sleep(60)"), wall_s=0.5)
    assert (found[0], "elapsed time" in found[1]) == (Verdict.TLE, True)
    found = verdict(python("import time; time.sleep(60)"), idle_s=0.5)
    assert (found[0], "waits or sleeps" in found[1]) == (Verdict.TLE, True)
    assert verdict(python("print('x' * 2_000_000)"))[0] is Verdict.OLE
    assert verdict(python("x = bytearray(200_000_000)"))[0] is Verdict.MLE
    few = replace(LIMITS, pids=64, memory_bytes=1024 * MIB)  # what forks share is counted too
    bomb = python("import os\nwhile True: os.fork()", few)
    assert verdict(bomb) == (Verdict.RTE, "started more processes or threads than are allowed (at most 64 at one time)")
    assert verdict(python("import ctypes\nctypes.CDLL(None).abort()"))[1].startswith("ended by SIGABRT")
    assert verdict(python("raise SystemExit(3)")) == (Verdict.RTE, "ended with exit code 3, 0 is expected")
    assert verdict(python("print(1)")) == (None, "")


@pytest.mark.requires("language c")
def test_the_stack_is_as_large_as_the_memory():
    text = """
        #include <string.h>
        int f(int n) { volatile char x[1024]; memset((char *)x, n, 1024); int r = n ? f(n - 1) : 0; return r + x[5] * 0; }
        int main() { return f(%d); }
    """

    assert verdict(build("a.c", text % 90_000)) == (None, "")
    assert verdict(build("a.c", text % 10_000_000))[0] in (Verdict.MLE, Verdict.RTE)


JAVA = "public class Main {{ public static void main(String[] a) {{ {0} }} }}"


@pytest.mark.requires("language java")
def test_java_gets_the_whole_memory_for_its_heap_and_threads_of_its_own():
    fits = JAVA.format(
        "byte[][] x = new byte[100][]; for (int i = 0; i < 100; i++) x[i] = new byte[1 << 20]; System.out.println(x.length);"
    )
    full = JAVA.format(
        "byte[][] x = new byte[9999][]; for (int i = 0; i < 9999; i++) x[i] = new byte[1 << 20]; System.out.println(x.length);"
    )
    deep = (
        "public class Main { static int f(int n) { return n == 0 ? 0 : 1 + f(n - 1); }"
        + JAVA.format("System.out.println(f(100000));")[19:]
    )
    few = Limits(time_s=20 * SLOWNESS, memory_bytes=128 * MIB, pids=1, compilation_s=60 * SLOWNESS)

    assert verdict(build("Main.java", fits, few)) == (None, "")
    assert verdict(build("Main.java", deep, few)) == (None, "")
    found = verdict(build("Main.java", full, few))
    assert found[0] is Verdict.MLE
    assert "128 MiB are allowed (and 256 MiB for the runtime of Java)" in found[1]


@pytest.mark.requires("language javascript")
def test_node_likewise():
    few = Limits(time_s=20 * SLOWNESS, memory_bytes=96 * MIB, pids=1, compilation_s=60 * SLOWNESS)
    fits = "let x = []; for (let i = 0; i < 80; i++) x.push(new Array(100000).fill(i)); console.log(x.length)"
    full = "let x = []; for (;;) x.push(new Array(100000).fill(x.length))"
    deep = "function f(n) { return n ? 1 + f(n - 1) : 0 } console.log(f(100000))"

    assert verdict(build("a.js", fits, few)) == (None, "")
    assert verdict(build("a.js", deep, few)) == (None, "")
    assert verdict(build("a.js", full, few))[0] is Verdict.MLE


@pytest.mark.requires("language cpp")
def test_out_of_memory_in_cpp_needs_evidence():
    eats = "#include <vector>\n#include <cstring>\nint main(){ for (;;) memset(new char[1 << 20], 1, 1 << 20); }"
    huge = "#include <vector>\nint main(){ std::vector<char> x(1ul << 60); return x[5]; }"
    kills = "#include <csignal>\nint main(){ raise(SIGKILL); }"

    assert verdict(build("a.cc", eats))[0] is Verdict.MLE
    assert verdict(build("a.cc", huge))[0] is Verdict.RTE
    assert verdict(build("a.cc", kills)) == (Verdict.RTE, "ended by SIGKILL")


@pytest.mark.requires("system python")
def test_a_warm_interpreter_runs_the_same_program():
    text = "import sys\nprint(__name__, sys.argv[0], int(input()) * 2)"

    cold, warm = python(text), python(text, warm=True)

    assert (cold.profile.policy.warm.interpreter, warm.profile.policy.warm.interpreter) == ("", "/usr/bin/python3")
    assert run(warm, stdin=b"4").stdout == run(cold, stdin=b"4").stdout == b"__main__ /program/a.py 8\n"


def test_runs_of_one_program_share_one_warm_sandbox_from_many_threads():
    built = python("print(int(input()) * 2)")
    outputs = {}

    def one(number):
        with built.sandbox() as box:
            outputs[number] = (id(box), building.start(built, box, stdin=b"%d" % number).wait().stdout)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {number: out for number, (_, out) in outputs.items()} == {number: b"%d\n" % (2 * number) for number in range(8)}
    assert len({box for box, _ in outputs.values()}) == 1


def test_a_sandbox_is_bound_to_cores():
    core = min(os.sched_getaffinity(0))
    built = python("import os; print(os.sched_getaffinity(0))")

    with built.sandbox(cpus=(core,)) as box:
        assert building.start(built, box).wait().stdout == b"{%d}\n" % core


def test_idle_sandboxes_are_bounded():
    for number in range(boxes.MOST_IDLE + 3):
        run(python("print(1)", replace(LIMITS, memory_bytes=(100 + number) * MIB)))

    assert len(boxes._all) <= boxes.MOST_IDLE + 1


@pytest.mark.parametrize("name", ["-o.c", "@a.c", "sub/-x.c"])
def test_a_source_cannot_give_options_to_its_compiler(name):
    failure = building.build(Source({name: b"int x;", "a.c": b"int main(){}"}, "s"), LIMITS)

    assert isinstance(failure, BuildFailure)
    assert failure.reason == f"the file name {name!r} would be taken for an option by compilers"


@pytest.mark.requires("language c", "language cpp", "language java")
@pytest.mark.parametrize(
    ("name", "text", "language"),
    [
        ("A.PY", "print(2)", "python3"),
        ("A.CPP", "#include <iostream>\nint main() { std::cout << 2 << std::endl; }", "cpp"),
        ("A.C", "#include <iostream>\nint main() { std::cout << 2 << std::endl; }", "cpp"),
        ("MAIN.JAVA", "public class Main { public static void main(String[] a) { System.out.println(2); } }", "java"),
    ],
)
def test_capitals_in_extensions_compile_and_run(name, text, language):
    built = build(name, text, replace(LIMITS, compilation_s=60 * SLOWNESS, compilation_memory_bytes=1024 * MIB))

    assert (built.language.id, run(built).stdout) == (language, b"2\n")


def test_a_source_made_by_a_caller_cannot_leave_its_directory(cache):
    failure = building.build(Source({"../x.py": b"print(1)"}, "s"), LIMITS)

    assert isinstance(failure, BuildFailure)
    assert "'../x.py' must be a relative name" in failure.reason


def test_a_program_that_exits_at_once_has_an_exit_code():
    assert run(python("raise SystemExit(7)")).exit == Exited(7)
