"""Places of programs: filled with one after another, whole or empty, removed with their maker."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil

import pytest

from sandbox.grader import places
from sandbox.grader.places import Place
from sandbox.grader.store import Store
from sandbox.model.errors import ResourceError


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "sandbox" / "places"


@pytest.fixture
def entries(tmp_path):
    store = Store(tmp_path / "store")
    one = store.put("one", {"program": (b"\x7fELF", 0o755), "sub/deep/data": (b"1", 0o600), "lib/x": (b"2", 0o600)})
    return one, store.put("two", {"a.py": (b"print()", 0o644)})


def content(place):
    return {
        os.path.relpath(os.path.join(folder, name), place.path): os.stat(os.path.join(folder, name)).st_mode & 0o777
        for folder, _, names in os.walk(place.path)
        for name in names
    }


def folders(place):
    return {os.path.relpath(folder, place.path): os.stat(folder).st_mode & 0o777 for folder, _, _ in os.walk(place.path)}


def test_a_program_takes_the_place_of_another(entries):
    one, two = entries
    place = Place()
    assert (content(place), folders(place)) == ({}, {".": 0o755})

    place.fill(one.files)
    assert content(place) == {"program": 0o555, "sub/deep/data": 0o444, "lib/x": 0o444}
    assert set(folders(place).values()) == {0o755}
    assert (place.path / "program").samefile(one.files / "program")

    inode = place.path.stat().st_ino
    place.fill(two.files)
    assert content(place) == {"a.py": 0o444}
    assert folders(place) == {".": 0o755}
    assert place.path.stat().st_ino == inode, "what is mounted is the directory"
    assert one.read("program") == b"\x7fELF", "the store keeps its own"


def test_its_modes_do_not_depend_on_the_umask(entries):
    before = os.umask(0o077)
    try:
        place = Place()
        place.fill(entries[0].files)
    finally:
        os.umask(before)
    assert set(folders(place).values()) == {0o755}
    assert (place.path.parent.stat().st_mode & 0o777, place.path.parent.parent.stat().st_mode & 0o777) == (0o755, 0o700)


def test_where_there_can_be_no_links_there_are_copies(entries, monkeypatch):
    def link(*_, **__):
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "link", link)
    place = Place()
    place.fill(entries[0].files)

    assert content(place) == {"program": 0o555, "sub/deep/data": 0o444, "lib/x": 0o444}
    assert not (place.path / "program").samefile(entries[0].files / "program")


def test_what_cannot_be_removed_keeps_the_next_program_out(entries, monkeypatch):
    place = Place()
    place.fill(entries[0].files)
    unlink = os.unlink

    def stubborn(name, **options):
        if name == "program":
            raise PermissionError(errno.EACCES, "not yours")
        unlink(name, **options)

    monkeypatch.setattr(os, "unlink", stubborn)
    with pytest.raises(ResourceError, match="'program' of the program before cannot be removed"):
        place.fill(entries[1].files)
    assert set(content(place)) == {"program"}


def test_half_a_program_is_none(entries, root, monkeypatch):
    place = Place()
    link = os.link

    def full(name, target, **options):
        if name == "data":
            raise OSError(errno.ENOSPC, "full")
        link(name, target, **options)

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(places.shutil, "copy", lambda *_, **__: full("data", ""))
    with pytest.raises(ResourceError, match="a program cannot be put here"):
        place.fill(entries[0].files)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(root.parent.parent))
    place.fill(entries[1].files)
    assert set(content(place)) == {"a.py"}


def test_a_folder_that_cannot_be_read_is_no_program(entries):
    place = Place()
    with pytest.raises(ResourceError):
        place.fill(entries[0].files / "nowhere")


def test_who_removes_something_is_noticed(entries):
    place = Place()
    place.fill(entries[0].files)
    assert (place.is_there(), place.is_whole()) == (True, True)
    (place.path / "sub/deep/data").unlink()
    assert (place.is_there(), place.is_whole()) == (True, False)
    place.fill(entries[0].files)
    assert place.is_whole()
    place.path.rename(place.path.with_name("away"))
    place.path.mkdir()
    assert (place.is_there(), place.is_whole()) == (False, False)


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("step", ["mkdir", "chmod", "fchmod"])
def test_a_place_that_cannot_be_made_leaves_nothing(root, monkeypatch, step):
    Place().close()
    before, real = descriptors(), getattr(os, step)

    def full(what, *args, **options):
        if what == "program" or step == "fchmod":
            raise OSError(errno.ENOSPC, "full")
        return real(what, *args, **options)

    monkeypatch.setattr(os, step, full)
    for _ in range(3):
        with pytest.raises(ResourceError, match="No space left"):
            Place()
    monkeypatch.undo()
    assert (descriptors(), os.listdir(root)) == (before, [])


def test_the_end_of_a_place_that_is_gone_leaves_nothing(root):
    before = descriptors()
    for _ in range(3):
        place = Place()
        shutil.rmtree(root)
        place.close()
    assert descriptors() == before


def test_its_end_is_that_of_its_directory(root, entries):
    place = Place()
    place.fill(entries[0].files)
    assert len(os.listdir(root)) == 1
    place.close()
    place.close()
    assert os.listdir(root) == []


def test_a_place_that_was_removed_says_so(entries):
    place = Place()
    os.rmdir(place.path)
    with pytest.raises(ResourceError):
        place.fill(entries[0].files)


def _make(ready, go_on):
    place = Place()
    ready.put(str(place.path))
    go_on.get()
    os._exit(0)  # nothing is tidied up


def test_the_place_of_a_dead_process_is_removed_and_that_of_a_living_one_is_not(root, entries):
    context = multiprocessing.get_context("fork")
    ready, go_on = context.Queue(), context.Queue()
    process = context.Process(target=_make, args=(ready, go_on))
    process.start()
    theirs = ready.get()
    mine = Place()
    assert os.path.isdir(theirs)
    go_on.put(None)
    process.join()
    other = Place()
    assert not os.path.exists(theirs)
    assert mine.path.is_dir()
    assert other.path.is_dir()


def _leave():
    raise SystemExit  # an orderly end: finalizers run


def test_a_forked_child_removes_nothing(entries):
    place = Place()
    process = multiprocessing.get_context("fork").Process(target=_leave)
    process.start()
    process.join()
    assert place.path.is_dir()
    Place()
    assert place.path.is_dir()


def test_a_root_of_somebody_else_is_refused(root):
    root.mkdir(parents=True, mode=0o755)
    root.chmod(0o755)
    with pytest.raises(ResourceError, match="somebody else"):
        Place()
