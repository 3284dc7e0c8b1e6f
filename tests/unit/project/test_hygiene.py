"""Rules of this repository that no linter knows: dangerous calls, sizes, what the launcher may load."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "sandbox"
WARM = PACKAGE / "launcher" / "warm.py"  # the program itself: what it does there, it does with the payload's rights
INSIDE = PACKAGE / "grader" / "inside"  # programs of their own that run inside sandboxes, as payloads
MAX_LINES, MAX_INIT_LINES, MAX_FUNCTION_LINES = 400, 300, 60
SKIPPED = {
    "__pycache__", ".git", ".venv", "build", "dist", "out", "node_modules",
    ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache",
}  # fmt: skip
# Compiled into the interpreter, or tiny. `typing`, `dataclasses` or `subprocess` cost more than the start of a launcher.
LAUNCHER_MODULES = {
    "__future__", "_signal", "_socket", "atexit", "ctypes", "errno", "fcntl", "gc", "io", "os", "resource", "select", "stat",
    "struct", "sys", "time",
}  # fmt: skip


def files(*suffixes: str, below: Path = ROOT) -> list[Path]:
    found = []
    for directory, names, members in os.walk(below):
        names[:] = [name for name in names if name not in SKIPPED]
        found += [Path(directory) / member for member in members if member.endswith(suffixes)]
    return sorted(found)


def sources() -> list[Path]:
    return files(".py", below=PACKAGE)


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call with its dotted name ("" where it has none)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield dotted(node.func), node


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def imports(tree: ast.AST) -> set[str]:
    """Top names of modules imported at run time, also inside functions; TYPE_CHECKING blocks are left out."""
    found: set[str] = set()
    for node in _runtime_nodes(tree):
        if isinstance(node, ast.Import):
            found.update(name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def _runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and dotted(node.test).endswith("TYPE_CHECKING"):
            for other in node.orelse:
                yield other
                yield from _runtime_nodes(other)
            continue
        yield node
        yield from _runtime_nodes(node)


def where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), str(path))


def test_the_walk_finds_the_package():
    assert len(sources()) > 20


def test_ctypes_only_in_the_kernel_room():
    """And in the attacks of `sandbox selftest` and the judge of functions, programs of their own that are run inside."""
    payloads = (PACKAGE / "selftest" / "payload.py", INSIDE / "function_judge.py")
    allowed = [path for path in sources() if room(path) == "kernel" or path in payloads]
    bad = [str(path) for path in sources() if path not in allowed and imports(parsed(path)) & {"ctypes", "cffi", "prctl"}]
    assert not bad


def test_fork_and_exec_only_in_kernel_and_launcher():
    words = ("os.fork", "os.forkpty", "os.vfork", "pty.fork", "os.execv", "os.execve", "os.execvp", "os.execvpe")
    bad = [
        where(path, node)
        for path in sources()
        if room(path) not in ("kernel", "launcher") and path.parent != INSIDE
        for name, node in calls(parsed(path))
        if name in words
    ]
    assert not bad


@pytest.mark.parametrize("keyword", ["preexec_fn", "shell"])
def test_no_dangerous_keyword(keyword):
    bad = []
    for path in sources():
        bad += [where(path, node) for _, node in calls(parsed(path)) if keyword in [item.arg for item in node.keywords]]
    assert not bad


def test_no_dangerous_calls():
    """Paths that the payload can shape are opened by descriptor; nothing of it is unpickled, evaluated or extracted."""
    names = {"eval", "exec", "compile", "os.system", "os.popen", "pickle.loads", "pickle.load", "marshal.loads", "shutil.rmtree",
             "shutil.chown", "os.lchown", "os.walk", "tempfile.mktemp"}  # fmt: skip
    bad = []
    for path in sources():
        for name, node in calls(parsed(path)):
            if (path == WARM or path.parent == INSIDE) and name in ("exec", "compile"):
                continue
            if name in names or name.split(".")[-1] in ("extractall", "unpack_archive"):
                bad.append(f"{where(path, node)}: {name}")
    assert not bad


def test_realpath_only_on_the_side_of_the_caller():
    """realpath looks at names, and names of the payload change between the look and the use."""
    bad = []
    for path in sources():
        if room(path) in ("launcher", "kernel", "runtime", "model") and path != WARM:
            bad += [where(path, node) for name, node in calls(parsed(path)) if name.split(".")[-1] in ("realpath", "resolve")]
    assert not bad


def test_assert_is_no_check():
    bad = [where(path, node) for path in sources() for node in ast.walk(parsed(path)) if isinstance(node, ast.Assert)]
    assert not bad


def test_no_exception_is_swallowed_whole():
    bad = []
    for path in sources():
        for node in ast.walk(parsed(path)):
            if not isinstance(node, ast.ExceptHandler):
                continue
            broad = node.type is None or dotted(node.type) in ("Exception", "BaseException")
            if broad and all(isinstance(line, ast.Pass | ast.Continue) for line in node.body):
                bad.append(where(path, node))
    assert not bad


def test_the_launcher_loads_only_cheap_modules():
    bad = {}
    for path in sources():
        if room(path) in ("launcher", "kernel") and path.name not in ("privileges.py", "libraries.py"):  # those serve the caller
            extra = imports(parsed(path)) - LAUNCHER_MODULES - {"sandbox"} - ({"runpy"} if path == WARM else set())
            if extra:
                bad[str(path.relative_to(ROOT))] = extra
    assert not bad


def test_what_the_launcher_really_loads():
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from sandbox.launcher import keeper; "
        "print(*sorted(name for name in sys.modules if '.' not in name))"
    )
    out = subprocess.run([sys.executable, "-I", "-S", "-B", "-c", code], capture_output=True, text=True, check=True).stdout
    heavy = {"typing", "dataclasses", "enum", "re", "inspect", "socket", "subprocess", "signal", "json", "logging", "collections",
             "contextlib", "pathlib", "traceback", "asyncio", "pydantic", "threading", "tempfile", "random"}  # fmt: skip
    # ctypes itself, loaded by every other rule's leave, brings no more than _ctypes and struct
    assert not heavy & set(out.split())


def test_importing_the_package_costs_nothing():
    code = "import sandbox; import sys; print(*sys.modules)"
    command = [sys.executable, "-X", "importtime", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    timed = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    loaded = {name.split(".")[0] for name in done.stdout.split()} | timed
    assert "sandbox" in loaded
    assert not loaded & {"pydantic", "pydantic_core", "pyroute2", "asyncio", "anyio", "pyseccomp", "click", "rich", "ctypes"}


def test_files_and_functions_stay_small():
    bad = []
    for path in sources() + files(".py", below=ROOT / "tests") + files(".py", below=ROOT / "benchmarks"):
        if "vm" in path.relative_to(ROOT).parts[:2]:
            continue  # the tool for the virtual machine must be one file: the guest has nothing else
        lines = path.read_text().count("\n")
        allowed = MAX_INIT_LINES if path.name == "init.py" else MAX_LINES
        if lines > allowed:
            bad.append(f"{path.relative_to(ROOT)}: {lines} lines, allowed {allowed}")
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    bad.append(f"{where(path, node)}: {node.name} has {length} lines, allowed {MAX_FUNCTION_LINES}")
    assert not bad


def test_nothing_is_left_for_later():
    words = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error")
    bad = []
    for path in files(".py", ".md", ".toml", ".c", ".sh", ".yml", "Makefile"):
        text = path.read_text(errors="replace")
        bad += [f"{path.relative_to(ROOT)}: {word}" for word in words if word in text.split() or f"{word}:" in text]
    assert not bad


def test_the_repository_speaks_of_itself_alone():
    """No path of a machine it was written on, no visitor from outside."""
    words = ("/wo" + "rk/main", "/wo" + "rk/shared", "/tm" + "p/w/", "/ro" + "ot/.pyenv")
    bad = []
    for path in files(".py", ".md", ".toml", ".c", ".h", ".json", ".txt", "Makefile", "run", "setup", "cgroup2-vm"):
        text = path.read_text(errors="replace")
        bad += [f"{path.relative_to(ROOT)}: {word}" for word in words if word in text]
    assert not bad


def test_tests_skip_only_through_the_vocabulary():
    bad = []
    for path in files(".py", below=ROOT / "tests"):
        if path.parent.name == "support" or "vm" in path.relative_to(ROOT).parts[:2]:
            continue
        for node in ast.walk(parsed(path)):
            name = dotted(node) if isinstance(node, ast.Attribute) else ""
            if name in ("pytest.skip", "pytest.importorskip", "pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail",
                        "unittest.skip"):  # fmt: skip
                bad.append(f"{where(path, node)}: {name}")
    assert not bad


def test_tests_do_not_sleep():
    bad = []
    for path in files(".py", below=ROOT / "tests"):
        if path.parent.name == "support" or "vm" in path.relative_to(ROOT).parts[:2]:
            continue
        bad += [where(path, node) for name, node in calls(parsed(path)) if name in ("time.sleep", "sleep")]
    assert not bad
