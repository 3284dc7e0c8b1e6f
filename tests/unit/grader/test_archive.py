from __future__ import annotations

import gc
import os
import stat
import struct
import tempfile
import zipfile

import pytest

from sandbox.grader import packages
from sandbox.grader.packages import archive
from sandbox.model.errors import ProblemError
from tests.support.problem_files import cases, zipped


@pytest.fixture(autouse=True)
def private_temporary_folder(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def refused(path, said):
    with pytest.raises(ProblemError) as caught:
        archive.unpack(path)
    assert said in str(caught.value)
    assert path.name in str(caught.value)
    assert os.listdir(tempfile.tempdir) == [], "what was unpacked of a refused archive has to go"


def test_files_and_folders_are_unpacked_and_removed(tmp_path):
    unpacked = archive.unpack(zipped(tmp_path / "a.zip", {"x/": "", "x/1.in": "one", "y": b"\x00\xff"}))
    assert (unpacked.root / "x" / "1.in").read_text() == "one"
    assert (unpacked.root / "y").read_bytes() == b"\x00\xff"
    assert stat.S_IMODE(unpacked.root.stat().st_mode) == 0o700
    unpacked.close()
    assert not unpacked.root.exists()
    unpacked.close()


def test_the_folder_goes_with_the_last_reference(tmp_path, private_temporary_folder):
    unpacked = archive.unpack(zipped(tmp_path / "a.zip", {"y": "1"}))
    assert len(os.listdir(private_temporary_folder)) == 1
    del unpacked
    gc.collect()
    assert os.listdir(private_temporary_folder) == []


def test_a_forked_process_leaves_the_folder_to_its_owner(tmp_path, monkeypatch):
    unpacked = archive.unpack(zipped(tmp_path / "a.zip", {"y": "1"}))
    owner = os.getpid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: owner + 1)
        unpacked.close()
    assert (unpacked.root / "y").exists()


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/etc/x", "a//x", "./x", "a/./x", "a\\..\\x", "C:\\x", "a\nb", "a/" * 25 + "x", "x" * 300, ".."],
)
def test_names_that_lead_outside_are_refused(tmp_path, name):
    refused(zipped(tmp_path / "a.zip", {"ok": "1", name: "2"}), "is not one that stays inside the package")
    assert sorted(os.listdir(tmp_path)) == ["a.zip", "temporary"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_special_files_are_refused(tmp_path, kind):
    refused(
        zipped(tmp_path / "a.zip", {"data/1.in": "/etc/passwd"}, modes={"data/1.in": kind | 0o777}), "is a link or a special file"
    )


def test_a_folder_by_its_mode_alone(tmp_path):
    unpacked = archive.unpack(zipped(tmp_path / "a.zip", {"x": ""}, modes={"x": stat.S_IFDIR | 0o755}))
    assert (unpacked.root / "x").is_dir()


@pytest.mark.parametrize(("files", "said"), [({"a": "1", "a/b": "2"}, "'a' as a file and as a folder")])
def test_a_file_is_no_folder(tmp_path, files, said):
    refused(zipped(tmp_path / "a.zip", files), said)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a", "1")
        made.writestr("a", "2")
    refused(path, "holds 'a' twice")


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_compressions_that_ask_for_memory_are_refused(tmp_path, method):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as made:
        made.writestr("a", "1" * 100)
    refused(path, "is compressed with method")


def test_encrypted_entries_are_refused(tmp_path):
    path = zipped(tmp_path / "a.zip", {"a": "1"})
    data = bytearray(path.read_bytes())
    directory = data.rindex(b"PK\x01\x02")
    data[directory + 8] |= 1
    path.write_bytes(data)
    refused(path, "is encrypted")


def test_too_many_entries(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_ENTRIES", 3)
    refused(zipped(tmp_path / "a.zip", {str(i): "" for i in range(4)}), "holds 4 entries")


def test_a_long_list_of_entries_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_MAX_DIRECTORY_BYTES", 100_000)
    refused(zipped(tmp_path / "a.zip", {"x" * 200 + str(i): "" for i in range(1000)}), "list of entries is too long")


@pytest.mark.parametrize("limit", ["MAX_ENTRY_BYTES", "MAX_TOTAL_BYTES"])
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(archive, limit, 1000)
    refused(zipped(tmp_path / "a.zip", {"bomb": b"\x00" * 1_000_000}), "unpacks to too much")


def test_a_bomb_that_lies_about_its_size_stops(tmp_path):
    path = zipped(tmp_path / "a.zip", {"bomb": b"\x00" * 1_000_000})
    data = bytearray(path.read_bytes())
    for sign, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        struct.pack_into("<I", data, data.rindex(sign) + offset, 10)
    path.write_bytes(data)
    refused(path, "is not a sound zip archive")


def test_what_really_comes_is_counted(tmp_path, monkeypatch):
    path = zipped(tmp_path / "a.zip", {"a": b"1" * 600, "b": b"2" * 600})
    monkeypatch.setattr(archive, "checked", lambda entries, name: [(entry.filename, entry) for entry in entries])
    monkeypatch.setattr(archive, "MAX_TOTAL_BYTES", 1000)
    refused(path, "unpacks to too much (at 'b')")


def test_damage(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(b"no archive")
    refused(path, "is not a sound zip archive")
    whole = zipped(tmp_path / "b.zip", {"a": "some text that is long enough " * 10}).read_bytes()
    path.write_bytes(whole[:35] + bytes(10) + whole[45:])
    refused(path, "is not a sound zip archive")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.zip")
    refused(tmp_path / "a.zip", "it is not a plain file")


def test_noise_of_other_systems_is_left_out(tmp_path):
    unpacked = archive.unpack(zipped(tmp_path / "a.zip", {"a": "1", "__MACOSX/._a": "2", "x/.DS_Store": "3"}))
    assert os.listdir(unpacked.root) == ["a"]


def test_a_problem_keeps_its_files_until_it_goes(tmp_path, private_temporary_folder):
    files = {f"hello/{name}": text for name, text in {"problem.yaml": "name: Hello", **cases("secret/1")}.items()}
    problem = packages.load(zipped(tmp_path / "hello.zip", files))
    (case,) = problem.tests.all_cases()
    assert case.input.read_text() == "secret/1\n"
    assert problem.name == "Hello"
    del problem
    gc.collect()
    assert not case.input.exists()
    assert os.listdir(private_temporary_folder) == []


def test_a_problem_can_be_closed(tmp_path, private_temporary_folder):
    problem = packages.load(zipped(tmp_path / "hello.kpp", {"problem.yaml": "", **cases("secret/1")}))
    assert problem.name == "hello", "an archive without a folder names the problem itself"
    packages.close(problem)
    assert os.listdir(private_temporary_folder) == []
    assert not problem.tests.all_cases()[0].input.exists()


@pytest.mark.parametrize(("name", "said"), [("x", "is no problem"), ("top/x", "is no problem"), (".in", "holds no test case")])
def test_nothing_is_left_of_an_archive_that_is_no_problem(tmp_path, private_temporary_folder, name, said):
    with pytest.raises(ProblemError) as caught:
        packages.load(zipped(tmp_path / "a.zip", {name: "1"}))
    assert str(caught.value).startswith(f"{tmp_path / 'a.zip'}: {said}"), "it is called as its owner calls it"
    assert os.listdir(private_temporary_folder) == []
