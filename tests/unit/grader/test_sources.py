"""Reading submissions: files, folders and zips, none of which is to be trusted."""

from __future__ import annotations

import os
import re
import socket
import zipfile

import pytest

from sandbox.grader import sources
from sandbox.grader.packages import archive
from sandbox.model.errors import RequestError


def refused(message, path, **options):
    with pytest.raises(RequestError, match=re.escape(message)):
        sources.read(path, **options)


def write_zip(path, files, **attributes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files:
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = attributes.get("mode", 0o100644) << 16
            made.writestr(entry, data)
    return path


def test_a_file_is_named_by_its_last_part(tmp_path):
    (tmp_path / "a.py").write_bytes(b"print(1)")

    found = sources.read(tmp_path / "a.py", language="python3", entry_point="a")

    assert (dict(found.files), found.language, found.entry_point) == ({"a.py": b"print(1)"}, "python3", "a")
    assert found.origin == str(tmp_path / "a.py")


def test_a_folder_with_folders(tmp_path):
    for name in ("b.py", "a/c.py", ".git/config", "__pycache__/x.pyc", ".hidden"):
        (tmp_path / "s" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "s" / name).write_bytes(name.encode())

    assert dict(sources.read(tmp_path / "s").files) == {".hidden": b".hidden", "a/c.py": b"a/c.py", "b.py": b"b.py"}


def test_the_path_itself_may_be_a_link_of_the_caller(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.c").write_bytes(b"1")
    (tmp_path / "link").symlink_to("s")

    assert list(sources.read(tmp_path / "link").files) == ["a.c"]


def test_links_and_pipes_below_are_refused_and_not_opened(tmp_path):
    for name, make in (
        ("link", lambda path: path.symlink_to("/etc/passwd")),
        ("pipe", os.mkfifo),
        ("folder", lambda path: path.symlink_to("/etc")),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.c").write_bytes(b"1")
        make(tmp_path / name / "x.c")
        refused("'x.c' is a " + ("pipe" if name == "pipe" else "link"), tmp_path / name)


def test_sockets_are_refused(tmp_path, monkeypatch):
    (tmp_path / "s").mkdir()
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("s/x.c")
        refused("'x.c' is no regular file", tmp_path / "s")


def test_a_pipe_as_the_submission_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "a.py")

    refused("neither a file nor a folder", tmp_path / "a.py")


def test_too_large_too_many_too_deep_and_empty(tmp_path):
    (tmp_path / "s").mkdir()
    refused("the submission is empty", tmp_path / "s")
    (tmp_path / "s" / "a").write_bytes(b"x" * 11)
    refused("larger than 10 bytes", tmp_path / "s", max_bytes=10)
    refused("larger than 10 bytes", tmp_path / "s" / "a", max_bytes=10)
    (tmp_path / "s" / "b").write_bytes(b"")
    refused("more than 1 files", tmp_path / "s", max_files=1)
    deep = tmp_path / "deep" / "/".join("d" * 20)
    deep.mkdir(parents=True)
    (deep / "a.c").write_bytes(b"")
    refused("folders deep", tmp_path / "deep")
    refused("cannot be read", tmp_path / "nothing")


def test_a_file_without_an_end_is_not_read_to_it():
    refused("neither a file nor a folder", "/dev/zero")


@pytest.mark.parametrize("name", ["a\nb.c", "a\\b.c", "a\x1b[2J.c", "\udcff.c", "n" * 241])
def test_names_that_are_no_plain_names(tmp_path, name):
    if len(name) < 200:
        (tmp_path / "s").mkdir()
        (tmp_path / "s" / name).write_bytes(b"")
        refused("no usable file name", tmp_path / "s")
    with pytest.raises(RequestError, match="no usable file name"):
        sources.from_bytes(name, b"")


def test_a_zip(tmp_path):
    path = write_zip(tmp_path / "s.zip", [("a.c", b"1"), ("b/c.c", b"2"), ("__MACOSX/x", b"3"), ("b/", b"")])

    assert dict(sources.read(path).files) == {"a.c": b"1", "b/c.c": b"2"}


@pytest.mark.parametrize("name", ["../a.c", "/etc/passwd", "a/../../b", "a//b", "./a", "a\\..\\b"])
def test_a_zip_that_points_elsewhere(tmp_path, name):
    refused("no usable file name", write_zip(tmp_path / "s.zip", [(name, b"1")]))


def test_a_zip_with_a_link(tmp_path):
    refused("'a.c' is a link", write_zip(tmp_path / "s.zip", [("a.c", b"/etc/passwd")], mode=0o120777))


def test_a_zip_with_a_name_twice_or_a_file_that_is_a_folder(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = write_zip(tmp_path / "twice.zip", [("a.c", b"1"), ("a.c", b"2")])
    refused("in it twice", twice)
    refused("a file and a folder", write_zip(tmp_path / "both.zip", [("a", b"1"), ("a/b", b"2")]))


def test_a_bomb_is_not_unpacked(tmp_path):
    refused("larger than 1000000 bytes", write_zip(tmp_path / "s.zip", [("a.c", bytes(50_000_000))]), max_bytes=1_000_000)


def test_a_long_list_of_entries_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_MAX_DIRECTORY_BYTES", 100_000)
    refused("list of entries is too long", write_zip(tmp_path / "s.zip", [("x" * 200 + str(i), b"") for i in range(1000)]))


def test_a_large_file_in_a_zip_is_whole(tmp_path):
    data = bytes(range(256)) * 40_000

    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = tmp_path / f"{method}.zip"
        with zipfile.ZipFile(path, "w", method) as made:
            made.writestr("a.c", data)
        assert sources.read(path).files == {"a.c": data}


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_compressions_that_ask_for_memory_are_refused(tmp_path, method):
    path = tmp_path / "s.zip"
    with zipfile.ZipFile(path, "w", method) as made:
        made.writestr("a.c", b"1")
    refused("compressed with method", path)


def test_broken_zips(tmp_path):
    path = write_zip(tmp_path / "s.zip", [("a.c", bytes(range(256)) * 40)])
    whole = path.read_bytes()
    for number, data in enumerate(
        [b"", b"PK", whole[: len(whole) // 2], whole.replace(b"a.c", b"b.c", 1), whole[:60] + b"\xff" * 20 + whole[80:]]
    ):
        path = tmp_path / f"{number}.zip"
        path.write_bytes(data)
        refused("no usable zip", path)


def test_an_encrypted_zip(tmp_path):
    path = write_zip(tmp_path / "s.zip", [("a.c", b"1")])
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    data[6] |= 1
    path.write_bytes(data)

    refused("no usable zip", path)
