"""What is copied into the work directory because the command names it."""

from __future__ import annotations

import os

import pytest

from sandbox.cli import inputs
from sandbox.model.errors import NotExecutable, RequestError
from sandbox.policy.profile import Profile


@pytest.fixture(scope="module")
def policy():
    return Profile.load("default").policy


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Two levels, so that `..` stays in our own directory."""
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    return inner


def gather(policy, *argv, cwd=None, explicit=(), copy=True):
    return inputs.gather(argv, policy, cwd=cwd, explicit=explicit, copy=copy)


def test_relative_names_stay_as_they_are(policy, here):
    (here / "script.py").write_bytes(b"print()")
    (here / "bin").mkdir()
    (here / "bin" / "tool").write_bytes(b"#!")
    (here / "bin" / "tool").chmod(0o711)
    found = gather(policy, "./bin/tool", "script.py", "-", "--flag=script.py", "missing.py")
    assert found.argv == ["./bin/tool", "script.py", "-", "--flag=script.py", "missing.py"]
    assert found.files == {"bin/tool": (b"#!", 0o755), "script.py": (b"print()", 0o644)}
    assert found.copied == [("./bin/tool", "bin/tool"), ("script.py", "script.py")]


def test_names_elsewhere_become_base_names(policy, here):
    outer = here.parent / "outer.txt"
    outer.write_bytes(b"o")
    found = gather(policy, "cat", "../outer.txt", str(outer))
    assert found.argv == ["cat", "/work/outer.txt", "/work/outer.txt"]
    assert list(found.files) == ["outer.txt"]


def test_a_program_without_a_slash_is_looked_up_inside(policy, here):
    (here / "python3").write_bytes(b"ours")
    assert gather(policy, "python3").files == {}


def test_two_files_of_one_name_are_kept_apart(policy, here):
    for directory in ("a", "b"):
        (here.parent / directory).mkdir()
        (here.parent / directory / "x").write_bytes(directory.encode())
    found = gather(policy, "diff", f"{here.parent}/a/x", "../b/x")
    assert found.argv == ["diff", "/work/x", "/work/2/x"]
    assert {name: data for name, (data, _) in found.files.items()} == {"x": b"a", "2/x": b"b"}


def test_a_file_in_the_way_of_a_directory(policy, here):
    (here.parent / "d").write_bytes(b"file")
    (here / "d").mkdir()
    (here / "d" / "f").write_bytes(b"below")
    found = gather(policy, "cat", "../d", "d/f")
    assert found.argv == ["cat", "/work/d", "/work/2/d/f"]


def test_words_become_absolute_in_another_working_directory(policy, here):
    (here / "f").write_bytes(b"")
    assert gather(policy, "cat", "f", cwd="/tmp").argv == ["cat", "/work/f"]
    assert gather(policy, "cat", "f", cwd="/work").argv == ["cat", "f"]


def test_what_the_profile_shows_is_not_copied(policy):
    found = gather(policy, "/bin/sh", "/usr/bin/env", "/proc/self/status", "/dev/null", "/usr/../usr/bin/env")
    assert found.files == {}
    assert found.argv[0] == "/bin/sh"


def test_a_path_below_a_mount_that_is_not_there_inside_is_copied(policy, here):
    from sandbox.cli import values

    (here / "empty").mkdir()
    mounted = Profile(policy).with_mounts([values.mount(f"empty:{here}")]).policy
    (here / "f").write_bytes(b"f")
    assert gather(mounted, "cat", str(here / "f")).argv == ["cat", "/work/f"]
    (here / "empty" / "f").write_bytes(b"other")
    assert gather(mounted, "cat", str(here / "f")).files == {}


def test_only_regular_files_and_nothing_hangs(policy, here):
    os.mkfifo(here / "fifo")
    (here / "dir").mkdir()
    (here / "link").symlink_to("fifo")
    (here / "loop").symlink_to("loop")
    found = gather(policy, "cat", "fifo", "dir", "link", "loop", "x" * 5000, "nul\0byte", "line\nline")
    assert found.files == {}
    (here / "good").write_bytes(b"g")
    (here / "to-good").symlink_to("good")
    assert gather(policy, "cat", "to-good").files == {"to-good": (b"g", 0o644)}


def test_a_directory_as_program(policy, here):
    (here / "dir").mkdir()
    with pytest.raises(NotExecutable, match="is a directory"):
        gather(policy, "./dir")


def test_too_much_is_refused(policy, here, monkeypatch):
    monkeypatch.setattr(inputs, "COPY_BYTES", 10)
    (here / "a").write_bytes(b"123456")
    (here / "b").write_bytes(b"12345")
    assert len(gather(policy, "cat", "a").files) == 1
    with pytest.raises(RequestError, match="'b' is too large"):
        gather(policy, "cat", "a", "b")
    assert gather(policy, "cat", "a", "b", copy=False).files == {}


def test_a_file_that_was_put_there_is_not_replaced(policy, here):
    (here / "data").write_bytes(b"ours")
    (here / "other").write_bytes(b"other")
    found = gather(policy, "cat", "data", explicit=["other=data"])
    assert found.files == {"data": (b"other", 0o644)}
    assert found.copied == []


def test_explicit_files(policy, here):
    (here / "with=sign").write_bytes(b"1")
    (here / "plain").write_bytes(b"2")
    found = gather(policy, "x", explicit=["with=sign", "plain=a/b"])
    assert {name: data for name, (data, _) in found.files.items()} == {"with=sign": b"1", "a/b": b"2"}
    os.mkfifo(here / "fifo")
    for wrong in ("fifo", "=x", "plain=", "missing"):
        with pytest.raises(RequestError, match="--file"):
            gather(policy, "x", explicit=[wrong])
