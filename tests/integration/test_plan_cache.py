"""Plans on disk: what is a hit, what must be a miss, and that the command says the same either way."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.clock import wait_until
from tests.support.command import ROOT, Cli

FAST = (
    "import sys; from sandbox.cli import fast; code = fast.run(sys.argv[1:]);"
    "loaded = {name.split('.')[0] for name in sys.modules} | set(sys.modules);"
    "without = set('pydantic pyseccomp click rich sandbox.host.doctor'.split());"
    "print('miss' if code is None else f'hit {code}', *sorted(loaded & without))"
)


class Caching(Cli):
    """The command with a cache of its own."""

    def __init__(self, directory: Path, *, degraded: bool) -> None:
        super().__init__(directory, degraded=degraded)
        self.home = directory.parent / "cache"
        self.plans = self.home / "sandbox" / "plans"
        self.environment.update(XDG_CACHE_HOME=str(self.home), XDG_CONFIG_HOME=str(directory.parent / "config"))
        self.environment.pop("SANDBOX_NO_PLAN_CACHE", None)

    def look(self, *words: str) -> str:
        """ "miss", or "hit", the exit code, and what was loaded of the modules that a hit does without; nothing is kept."""
        words = tuple(self.words("run", *words)[5:])
        command = [sys.executable, "-B", "-c", FAST, *words]
        done = subprocess.run(
            command,
            cwd=self.directory,
            env={**self.environment, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
            text=True,
        )
        return done.stdout.splitlines()[-1]

    def entries(self) -> list[Path]:
        return sorted(self.plans.iterdir()) if self.plans.is_dir() else []

    def fill(self, *words: str) -> Path:
        """Run it once, so that its plan is kept; the entry."""
        old = time.time_ns() + 100_000_000  # what has just been written may not be kept: time stamps are coarse
        wait_until(lambda: time.time_ns() > old, within=5)
        before = {path: path.stat().st_ino for path in self.entries()}
        code, _, err = self("run", *words)
        assert code == 0, err
        (new,) = [path for path in self.entries() if path.stat().st_ino != before.get(path)]
        return new


@pytest.fixture
def cli(tmp_path: Path, degraded: bool) -> Caching:
    directory = tmp_path / "here"
    directory.mkdir()
    return Caching(directory, degraded=degraded)


def test_the_second_run_compiles_nothing(cli: Caching) -> None:
    assert cli.look("--", "true") == "miss"
    entry = cli.fill("--", "true")
    assert cli.look("--", "true") == "hit 0"
    assert stat.S_IMODE(entry.stat().st_mode) == 0o600
    assert stat.S_IMODE(cli.plans.stat().st_mode) == 0o700


def test_what_does_not_shape_the_plan_is_no_miss(cli: Caching) -> None:
    cli.fill("--", "true")
    assert cli.look("-q", "--env", "A=b", "--no-copy", "--", "sh", "-c", "exit 3") == "hit 3"


@pytest.mark.parametrize(
    "words", [("--limit", "wall=3s"), ("--set", "identity.uid=2000"), ("-p", "strict"), ("--mount", "/usr/share:/data")]
)
def test_other_options_have_another_plan(cli: Caching, words: tuple[str, ...]) -> None:
    cli.fill("--", "true")
    assert cli.look(*words, "--", "true") == "miss"
    cli.fill(*words, "--", "true")
    assert cli.look(*words, "--", "true").startswith("hit 0")
    assert cli.look("--", "true") == "hit 0"


def test_limits_of_the_command_line_hold_from_the_cache_too(cli: Caching) -> None:
    words = ("--limit", "wall=1s", "--limit", "memory=64MiB", "--", "sh", "-c", "exec sleep $0")
    cli.fill(*words, "0")
    assert cli.look(*words, "30") == "hit 137"


def test_an_edited_profile_is_a_miss(cli: Caching, tmp_path: Path) -> None:
    profile = tmp_path / "mine.toml"
    text = 'extends = "python"\ndescription = "mine"\n[limits]\nwall = "5s"\n'
    profile.write_text(text)
    cli.fill("-p", str(profile), "--", "true")
    found = profile.stat()
    assert cli.look("-p", str(profile), "--", "true") == "hit 0"
    profile.write_text(text.replace("5s", "4s"))
    os.utime(profile, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert cli("run", "--json", "-p", str(profile), "--", "true")[1].count(b'"wall_ns": 4000000000') == 1


def test_a_profile_that_takes_a_name_over_is_a_miss(cli: Caching, tmp_path: Path) -> None:
    cli.fill("-p", "python", "--", "true")
    own = tmp_path / "config" / "sandbox" / "profiles"
    own.mkdir(parents=True)
    (own / "python.toml").write_text('extends = "python"\ndescription = "mine"\n[limits]\nwall = "4s"\n')
    assert cli("run", "--json", "-p", "python", "--", "true")[1].count(b'"wall_ns": 4000000000') == 1


@pytest.mark.claim("SEC-PO-04")
@pytest.mark.parametrize("change", ["link", "replaced", "closed", "gone"])
def test_a_mount_source_that_is_no_more_what_it_was_is_a_miss(cli: Caching, tmp_path: Path, change: str) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    for path in (data, other):
        path.mkdir()
        (path / "name").write_text(path.name)
    words = ("--mount", f"{data}:/data", "--", "cat", "/data/name")
    cli.fill(*words)
    if change == "closed":
        data.chmod(0o700)
    else:
        data.rename(tmp_path / "away")
    if change == "link":
        data.symlink_to(other)
    elif change == "replaced":
        other.rename(data)
    kept = cli.entries()[0].read_bytes()
    code, out, _ = cli("run", *words)
    closed = (1, b"") if os.getuid() == 0 or code else (0, b"data")  # a user of its own may not read it
    assert (code, out) == {"gone": (125, b""), "closed": closed}.get(change, (0, b"other"))
    assert change == "gone" or cli.entries()[0].read_bytes() != kept or cli.look(*words) != "hit 0"


def test_other_facts_of_the_host_or_caller_are_a_miss(cli: Caching) -> None:
    cli.fill("--", "true")
    before = cli.entries()[0].read_bytes()
    limit = "import resource, os, sys; resource.setrlimit(resource.RLIMIT_SIGPENDING, (300, 300))"
    code = f"{limit}; os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    command = [sys.executable, "-c", code, *cli.words("run", "--", "cat", "/proc/self/limits")[1:]]
    done = subprocess.run(command, env=cli.environment, cwd=cli.directory, capture_output=True, check=True)
    assert re.search(rb"pending signals +300 +300", done.stdout)
    assert cli.entries()[0].read_bytes() != before


def test_a_caller_under_a_filter_is_another_one(cli: Caching) -> None:
    cli.fill("--", "true")
    code = "import os, pyseccomp, sys; pyseccomp.SyscallFilter(pyseccomp.ALLOW).load(); os.execv(sys.executable, sys.argv[1:])"
    words = [sys.executable, "-B", "-c", FAST, *cli.words("run", "--", "true")[5:]]
    environment = {**cli.environment, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, cwd=cli.directory, env=environment, capture_output=True, check=True, text=True)
    assert "pyseccomp" in done.stdout, "it was not compiled anew"


@pytest.mark.root
def test_root_in_the_home_of_somebody_else_leaves_nothing_there(cli: Caching) -> None:
    cli.home.mkdir()
    os.chown(cli.home, 12345, 12345)
    assert cli("run", "--", "true")[0] == 0
    assert list(cli.home.iterdir()) == []


def test_files_that_are_not_ours_are_not_pruned(cli: Caching) -> None:
    cli.fill("--", "true")
    for number in range(40):
        (cli.plans / f"note-{number}").touch()
    cli.fill("--limit", "wall=3s", "--", "true")
    assert len(cli.entries()) == 42


def _damage(entry: Path, how: str) -> None:
    data = entry.read_bytes()
    if how == "flipped":
        entry.write_bytes(data[:-40] + bytes([data[-40] ^ 1]) + data[-39:])
    elif how == "truncated":
        entry.write_bytes(data[: len(data) // 2])
    elif how == "empty":
        entry.write_bytes(b"")
    elif how == "large":
        os.truncate(entry, 5 << 20)
    elif how == "open to others":
        entry.chmod(0o622)
    elif how == "link":
        entry.rename(entry.with_name("elsewhere"))
        entry.symlink_to("elsewhere")
    elif how == "hard link":
        os.link(entry, entry.with_name("elsewhere"))
    elif how == "fifo":
        entry.unlink()
        os.mkfifo(entry, 0o600)
    elif how == "directory open to others":
        entry.parent.chmod(0o777)
    elif how == "directory is a link":
        entry.parent.rename(entry.parent.with_name("moved"))
        entry.parent.symlink_to("moved")


@pytest.mark.claim("SEC-PO-04")
@pytest.mark.parametrize(
    "how",
    [
        "flipped",
        "truncated",
        "empty",
        "large",
        "open to others",
        "link",
        "hard link",
        "fifo",
        "directory open to others",
        "directory is a link",
    ],
)
def test_an_entry_that_somebody_else_could_have_written_is_not_used(cli: Caching, how: str) -> None:
    entry = cli.fill("--", "true")
    _damage(entry, how)
    assert cli.look("--", "true") == "miss"
    assert cli("run", "--", "echo", "works") == (0, b"works\n", b"")
    if "directory" not in how:
        assert cli.look("--", "true") == "hit 0"  # written anew


@pytest.mark.root
@pytest.mark.claim("SEC-PO-04")
@pytest.mark.parametrize("what", ["entry", "directory"])
def test_what_belongs_to_another_user_is_not_used(cli: Caching, what: str) -> None:
    entry = cli.fill("--", "true")
    os.chown(entry if what == "entry" else entry.parent, 1234, 1234)
    assert cli.look("--", "true") == "miss"
    assert cli("run", "--", "echo", "works") == (0, b"works\n", b"")


@pytest.mark.claim("SEC-PO-04")
def test_a_poisoned_entry_with_a_right_digest_is_not_used(cli: Caching) -> None:
    """Somebody puts the plan of a wider policy in the place of a tighter one: an entry says what it is for."""
    wide = cli.fill("--mount", "/usr/share:/data", "--", "true")
    tight = cli.fill("--", "true")
    shutil.copyfile(wide, tight)
    assert cli.look("--", "true") == "miss"


def test_it_can_be_turned_off(cli: Caching) -> None:
    assert cli("run", "--no-plan-cache", "--", "true")[0] == 0
    cli.environment["SANDBOX_NO_PLAN_CACHE"] = "1"
    assert cli("run", "--", "true")[0] == 0
    assert not cli.entries()


@pytest.mark.parametrize("kind", ["missing", "file", "full"])
def test_a_cache_that_cannot_be_written_is_no_error(cli: Caching, kind: str) -> None:
    if kind == "file":
        cli.home.write_text("in the way")
    else:
        cli.environment["XDG_CACHE_HOME"] = "/proc/nowhere" if kind == "missing" else "/dev/full/x"
    assert cli("run", "--", "echo", "works") == (0, b"works\n", b"")


def test_a_full_disk_leaves_no_half_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sandbox.policy import plancache

    place = os.open(tmp_path, os.O_RDONLY)
    monkeypatch.setattr(os, "rename", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError):
        plancache._write(place, "a" * 64, b"data")
    os.close(place)
    assert not list(tmp_path.iterdir())


def test_two_commands_at_once(cli: Caching) -> None:
    both = [cli.start("run", "--", "echo", "works") for _ in range(4)]
    assert [process.communicate()[0] for process in both] == [b"works\n"] * 4
    assert len(cli.entries()) <= 1
    cli("run", "--", "true")
    assert cli.look("--", "true") == "hit 0"


def test_the_oldest_entries_go(tmp_path: Path) -> None:
    from sandbox.policy import plancache

    names = [f"{number:064x}" for number in range(plancache.MAX_ENTRIES + 3)]
    for age, name in enumerate(names):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (age, age))
    place = os.open(tmp_path, os.O_RDONLY)
    plancache._prune(place, names[0])
    os.close(place)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert names[0] in left
    assert left[1:] == names[3:]


@pytest.mark.root
def test_each_launcher_of_root_has_ids_of_its_own_from_the_cache_too(cli: Caching) -> None:
    cli.fill("--", "true")
    first = re.compile(rb'"host_uids": \[(\d+)')
    seen = {first.search(cli("run", "--json", "--", "true")[1])[1] for _ in range(4)}
    assert len(seen) > 1


SAME = [
    (("--", "sh", "-c", "echo out; echo err >&2; exit 5"), b""),
    (("--", "cat"), b"given\n"),
    (("--limit", "wall=1s", "--", "sleep", "20"), b""),
    (("--", "nowhere"), b""),
    (("--", "/etc"), b""),
    (("--", "sh", "-c", "kill -9 $$"), b""),
    (("--collect", "x", "--", "true"), b""),
    (("--env", "LD_PRELOAD=x", "--", "true"), b""),
    (("--env", "NOT_THERE_AT_ALL", "--", "true"), b""),
    (("--cwd", "/nowhere", "--", "true"), b""),
    (("--stdin", "/nowhere", "--", "true"), b""),
    (("--file", "nowhere", "--", "true"), b""),
    (("--", "python3", "script.py", "in.txt"), b""),
    (("--file", "in.txt=x", "--collect", "x", "--json", "--nonsense", "--", "true"), b""),
    (("--limit", "wall", "--", "true"), b""),
    (("--limit", "wall=1h", "--", "true"), b""),
    (("--set", "identity.uid=0", "--", "true"), b""),
    (("-p", "nowhere", "--", "true"), b""),
    (("--mount", "/nowhere", "--", "true"), b""),
    (("--help",), b""),
    (("--",), b""),
    ((), b""),
    (("true",), b""),
    (("-qt", "--", "true"), b""),
    (("--prof", "default", "--", "true"), b""),
    (("-p",), b""),
]


@pytest.mark.parametrize(("words", "given"), SAME, ids=lambda item: " ".join(item) if isinstance(item, tuple) else "")
def test_both_ways_say_the_same(cli: Caching, words: tuple[str, ...], given: bytes) -> None:
    (cli.directory / "in.txt").write_text("in")
    (cli.directory / "script.py").write_text("import sys; print(sys.argv, open(sys.argv[1]).read())")
    old = time.time_ns() + 100_000_000
    wait_until(lambda: time.time_ns() > old, within=5)

    def call() -> tuple[int, bytes, bytes]:
        code, out, err = cli("run", *words, stdin=given)
        return code, out, re.sub(rb"=[\d.]+ (MiB|KiB|ms|s)|_wait", b"", err)

    plain, kept, cached = (_without(cli, call), call(), call())
    assert plain == kept == cached


def _without(cli: Caching, call: Callable[[], tuple[int, bytes, bytes]]) -> tuple[int, bytes, bytes]:
    cli.environment["SANDBOX_NO_PLAN_CACHE"] = "1"
    try:
        return call()
    finally:
        del cli.environment["SANDBOX_NO_PLAN_CACHE"]
