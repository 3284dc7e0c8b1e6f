"""What is copied into the work directory because the command names it."""

from __future__ import annotations

import dataclasses
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
    assert found.announced == ["script.py"]


def test_what_lies_elsewhere_is_copied_only_as_program_or_script(policy, here):
    outer = here.parent / "outer"
    outer.write_bytes(b"o")
    for word in ("../outer", str(outer), "../inner/../outer"):
        assert gather(policy, "cat", word).argv == ["cat", word]
        assert gather(policy, "cat", word).files == {}
        for argv in ((word, "x"), ("python3", "-u", word), ("bash", "-x", word)):
            found = gather(policy, *argv)
            assert found.argv == ["/work/outer" if item == word else item for item in argv]
            assert found.files == {"outer": (b"o", 0o644)}
            assert found.copied == [(word, "outer")]
            assert found.announced == []
    assert gather(policy, "python3", "-c", "pass", str(outer)).files == {}
    assert gather(policy, "python3", "-", "../outer").files == {}


def test_a_words_own_way_back_is_rewritten(policy, here):
    (here / "a").mkdir()
    (here / "x").write_bytes(b"x")
    assert gather(policy, "cat", "a/../x").argv == ["cat", "/work/x"]
    assert gather(policy, "./a/../x").argv == ["/work/x"]
    assert gather(policy, "cat", "./x", "a//..//x").argv == ["cat", "./x", "/work/x"]


def test_nothing_hidden_and_nothing_through_a_link(policy, here):
    (here / ".env").write_bytes(b"secret")
    (here / ".git").mkdir()
    (here / ".git" / "config").write_bytes(b"secret")
    (here / "sub").mkdir()
    (here / "sub" / ".key").write_bytes(b"secret")
    (here / "sub" / "good").write_bytes(b"g")
    (here / "link").symlink_to("sub")
    (here / "out").symlink_to("..")
    (here / "to-good").symlink_to("sub/good")
    (here.parent / "outer").write_bytes(b"secret")
    words = (".env", "./.env", ".git/config", "sub/.key", "link/good", "out/outer", "to-good", "sub/good/", "..", ".", "")
    assert gather(policy, "cat", *words).files == {}
    assert list(gather(policy, "cat", "sub/good").files) == ["sub/good"]
    assert list(gather(policy, "./to-good").files) == ["to-good"]  # the program itself is what its name leads to
    assert list(gather(policy, "python3", ".git/config").files) == [".git/config"]


def test_a_word_is_announced_once(policy, here):
    (here / "x").write_bytes(b"x")
    assert gather(policy, "diff", "x", "x").announced == ["x"]
    assert gather(policy, "diff", "x", copy=False).announced == []


def test_a_program_without_a_slash_is_looked_up_inside(policy, here):
    (here / "python3").write_bytes(b"ours")
    assert gather(policy, "python3").files == {}


def test_two_files_of_one_name_are_kept_apart(policy, here):
    for directory in ("a", "b"):
        (here.parent / directory).mkdir()
        (here.parent / directory / "x").write_bytes(directory.encode())
    found = gather(policy, f"{here.parent}/a/x", "../b/x")
    assert found.argv == ["/work/x", "../b/x"]
    found = gather(policy, f"{here.parent}/a/python3", "../b/x", explicit=["../a/x"])
    assert found.argv == [f"{here.parent}/a/python3", "/work/2/x"]
    assert {name: data for name, (data, _) in found.files.items()} == {"x": b"a", "2/x": b"b"}


def test_a_file_in_the_way_of_a_directory(policy, here):
    (here.parent / "d").write_bytes(b"file")
    (here / "d").mkdir()
    (here / "d" / "f").write_bytes(b"below")
    found = gather(policy, "../d", "d/f")
    assert found.argv == ["/work/d", "/work/2/d/f"]


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
    assert gather(mounted, "python3", str(here / "f")).argv == ["python3", "/work/f"]
    (here / "empty" / "f").write_bytes(b"other")
    assert gather(mounted, "python3", str(here / "f")).files == {}


def test_only_regular_files_and_nothing_hangs(policy, here):
    os.mkfifo(here / "fifo")
    (here / "dir").mkdir()
    (here / "link").symlink_to("fifo")
    (here / "loop").symlink_to("loop")
    found = gather(policy, "cat", "fifo", "dir", "link", "loop", "x" * 5000, "nul\0byte", "line\nline")
    assert found.files == {}
    found = gather(policy, "python3", "fifo", "dir", "link", "loop")
    assert found.files == {}


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


@pytest.fixture
def tree(here):
    """A directory with files, links and a pipe."""
    (here / "t" / "deep" / "er").mkdir(parents=True)
    (here / "t" / "a").write_bytes(b"a")
    (here / "t" / "deep" / "er" / "b").write_bytes(b"bb")
    (here / "t" / "deep" / "er" / "b").chmod(0o755)
    (here / "t" / ".hidden").write_bytes(b"h")
    (here / "t" / "deep" / "link").symlink_to("/etc/passwd")
    (here / "t" / "up").symlink_to("..")
    os.mkfifo(here / "t" / "pipe")
    return here / "t"


CONTENT = {".hidden": (b"h", 0o644), "a": (b"a", 0o644), "deep/er/b": (b"bb", 0o755)}


@pytest.mark.parametrize(
    ("item", "prefix"),
    [("t", "t/"), ("t/", "t/"), ("t=in", "in/"), ("t/=in/side/", "in/side/"), ("t=.", ""), ("../inner/t", "t/")],
)
def test_a_directory_goes_in_whole(policy, tree, item, prefix):
    found = gather(policy, "x", explicit=[item])
    assert found.files == {prefix + name: content for name, content in CONTENT.items()}
    assert found.copied == []


def test_what_is_no_file_is_left_out_and_told(policy, tree):
    assert sorted(gather(policy, "x", explicit=["t"]).left_out) == [
        ("t/deep/link", "a symbolic link"),
        ("t/pipe", "neither a file nor a directory"),
        ("t/up", "a symbolic link"),
    ]


def test_the_directory_itself_may_be_a_link_or_the_current_one(policy, tree, monkeypatch):
    (tree.parent / "way").symlink_to("t")
    assert set(gather(policy, "x", explicit=["way"]).files) == {f"way/{name}" for name in CONTENT}
    monkeypatch.chdir(tree)
    assert set(gather(policy, "x", explicit=["."]).files) == {f"t/{name}" for name in CONTENT}
    assert set(gather(policy, "x", explicit=[".=."]).files) == set(CONTENT)


def test_a_word_that_the_directory_put_there_is_not_replaced(policy, tree):
    (tree.parent / "a").write_bytes(b"another")
    found = gather(policy, "cat", "a", explicit=["t=."])
    assert found.files["a"] == (b"a", 0o644)
    assert found.copied == []


def limited(policy, **limits):
    return dataclasses.replace(policy, limits=dataclasses.replace(policy.limits, **limits))


def test_a_directory_that_does_not_fit(policy, tree):
    with pytest.raises(RequestError, match="does not fit the scratch space"):
        gather(limited(policy, scratch_bytes=3), "x", explicit=["t"])
    with pytest.raises(RequestError, match="more than the 5 entries"):
        gather(limited(policy, scratch_inodes=5), "x", explicit=["t"])
    assert gather(limited(policy, scratch_bytes=4, scratch_inodes=8), "x", explicit=["t"]).files
    (tree.parent / "empty").mkdir()
    with pytest.raises(RequestError, match="without any regular file"):
        gather(policy, "x", explicit=["empty"])
